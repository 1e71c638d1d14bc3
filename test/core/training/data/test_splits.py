"""A split assigns pairs by name, so new pairs do not change it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import plant_pairs

from ssvif_core.errors import InputError
from ssvif_core.training.data.splits import PARTS, Split, read_split, select, write_split

NAMES = [f"{number:05}N" for number in range(400)]


def test_a_written_split_is_read_back_unchanged(tmp_path: Path) -> None:
    names = [*NAMES, "00123", "1e3", "no", "a b", "ä#10", "null"]
    split = write_split(tmp_path / "split.yaml", names)
    assert read_split(tmp_path / "split.yaml") == split
    assert split.names == set(names)
    assert 0.12 < len(split.test) / len(names) < 0.28
    assert 0.05 < len(split.validation) / len(names) < 0.15


@settings(max_examples=30)
@given(st.sets(st.sampled_from(NAMES), min_size=1, max_size=20), st.integers(0, 3))
def test_new_pairs_never_move_other_pairs(tmp_path_factory, names: set[str], seed: int) -> None:
    folder = tmp_path_factory.mktemp("splits")
    few = write_split(folder / "few.yaml", sorted(names)[::2], seed=seed)
    many = write_split(folder / "many.yaml", names, seed=seed)
    for part in PARTS:
        assert set(few.part(part)) == set(many.part(part)) & few.names


def test_another_seed_gives_another_split(tmp_path: Path) -> None:
    splits = [write_split(tmp_path / f"{seed}.yaml", NAMES, seed=seed) for seed in (0, 1)]
    assert splits[0] != splits[1]


def test_frames_of_a_video_stay_together(tmp_path: Path) -> None:
    names = [f"{video}#{frame}" for video in "abcdefghij" for frame in range(0, 100, 10)]
    split = write_split(tmp_path / "split.yaml", names, test=0.4)
    for video in "abcdefghij":
        assert {any(name[0] == video for name in split.part(part)) for part in PARTS} == {
            True,
            False,
        }
        assert sum(any(name[0] == video for name in split.part(part)) for part in PARTS) == 1


def test_a_single_bag_is_divided_by_time(tmp_path: Path) -> None:
    """By its name, all of it would be in one part: 80 pairs to train on, and none to judge."""
    names = [f"drive#{frame}" for frame in range(0, 800, 10)]
    split = write_split(tmp_path / "split.yaml", names[::-1])
    assert [len(split.part(part)) for part in PARTS] == [56, 8, 16]
    assert split.train + split.validation + split.test == tuple(names)
    split = write_split(tmp_path / "two.yaml", names, validation=0.25, test=0)
    assert (len(split.train), len(split.validation), split.test) == (60, 20, ())


def test_names_that_look_like_numbers_are_names(tmp_path: Path) -> None:
    (tmp_path / "split.yaml").write_text("train: [00123, 1e3]\ntest:\n")
    assert read_split(tmp_path / "split.yaml") == Split(train=("00123", "1e3"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("train: [a, b]\ntest: [b]", "'b' is in train and in test; keep it in only one"),
        ("trian: [a]", "a split with the keys trian; expected lists train, validation, test"),
        ("[a, b]", "a split with no keys"),
        ("", "a split with no keys"),
        ("train: a", "train holds a; expected a list of names"),
        ("train: [a", "not valid YAML"),
    ],
)
def test_an_error_names_a_split_file_of_another_form(
    tmp_path: Path, content: str, text: str
) -> None:
    path = tmp_path / "split.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=f"split.yaml: {text}"):
        read_split(path)


def test_a_missing_split_file_and_one_that_may_not_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none.yaml: cannot be read"):
        read_split(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be written"):
        write_split(tmp_path / "nowhere" / "split.yaml", NAMES)
    write_split(tmp_path / "split.yaml", NAMES)
    with pytest.raises(InputError, match="exists already, and a split must not change"):
        write_split(tmp_path / "split.yaml", NAMES[:3])
    with pytest.raises(InputError, match="shares of 0.5 for validation and 0.5 for test"):
        write_split(tmp_path / "other.yaml", NAMES, 0.5, 0.5)


def test_a_part_of_a_split_selects_its_pairs(tmp_path: Path, caplog) -> None:
    listings = [plant_pairs(tmp_path, 5)]
    split = Split(train=("00", "03"), test=("01", "elsewhere"))
    chosen = select(listings, split, "train")
    assert [listing.names for listing in chosen] == [("00", "03")]
    assert "2 pairs are in no part of the split: 02, 04" in caplog.text


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("train", r"2 of 3 pairs of the split's train are not in the data: 97, 98"),
        ("validation", "the split names no pairs for validation"),
        ("tests", "part 'tests' of a split; expected one of train, validation, test"),
    ],
)
def test_a_part_without_pairs_in_the_data_is_an_error(tmp_path: Path, part: str, text: str) -> None:
    listings = [plant_pairs(tmp_path, 2)]
    with pytest.raises(InputError, match=text):
        select(listings, Split(train=("00", "97", "98")), part)
