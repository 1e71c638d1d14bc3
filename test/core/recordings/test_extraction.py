"""Extraction: which pairs of a recording are kept, and how they are written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.overlap import Overlap
from ssvif_core.cameras.yaml_file import save_camera_pair
from ssvif_core.cli import app
from ssvif_core.errors import InputError
from ssvif_core.recordings.extraction import Fate, Selection, SelectionConfig
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.sources import split_by_time
from ssvif_core.synthetic import DriveConfig, DriveGenerator, thermal_to_visible
from ssvif_core.types import Pair


@pytest.fixture(scope="module")
def day_pairs() -> list[Pair]:
    """Twelve pairs of a drive by day, a third of a second apart."""
    config = DriveConfig(condition="day", visible_size=(320, 240), thermal_size=(160, 128))
    frames = (DriveGenerator(config).frame(10 * number) for number in range(12))
    return [
        Pair(frame.visible, frame.thermal, stamp, stamp)
        for number, frame in enumerate(frames)
        if (stamp := 1_000_000_000 + number * 333_000_000)
    ]


def varied(pairs: list[Pair]) -> list[Pair]:
    """The pairs, made so different that each is worth keeping."""
    return [replace(pair, visible=np.roll(pair.visible, 40 * n, 1)) for n, pair in enumerate(pairs)]


def fates(pairs: list[Pair], config: SelectionConfig = SelectionConfig()) -> list[Fate]:
    selection = Selection(config)
    return [selection.decide(pair) for pair in pairs]


def test_all_pairs_that_differ_are_kept(day_pairs: list[Pair]) -> None:
    assert set(fates(varied(day_pairs))) == {Fate.KEPT}


def test_a_person_who_walks_past_a_standing_robot_is_kept(day_pairs: list[Pair]) -> None:
    """A fiftieth of the image changes, and its mean by less than the threshold."""
    pairs = []
    for number in range(4):
        visible, thermal = day_pairs[0].visible.copy(), day_pairs[0].thermal.copy()
        x = 40 + 60 * number
        visible[100:180, x : x + 20] //= 3
        thermal[54:96, x // 2 : x // 2 + 10] += 300
        thermal[0, number] += 1  # equal images would count as repeated
        pairs.append(Pair(visible, thermal, number, number))
    assert fates(pairs) == [Fate.KEPT] * 4


def test_a_standing_robot_gives_one_pair(day_pairs: list[Pair]) -> None:
    noise = np.random.default_rng(0)
    still = [
        replace(
            day_pairs[0],
            thermal=day_pairs[0].thermal + noise.integers(0, 2, (128, 160)).astype(np.uint16),
        )
        for _ in range(6)
    ]
    assert fates(still) == [Fate.KEPT] + 5 * [Fate.LIKE_THE_LAST]
    assert fates(still, SelectionConfig(difference=0)) == 6 * [Fate.KEPT]


@pytest.mark.parametrize(
    ("damage", "fate"),
    [
        (lambda p, _: replace(p, visible=cv2.GaussianBlur(p.visible, (0, 0), 6)), Fate.BLURRED),
        (lambda p, last: replace(p, thermal=last.thermal), Fate.REPEATED),
        (
            lambda p, _: replace(p, thermal=(p.thermal // 200 + 7000).astype(np.uint16)),
            Fate.SHUTTER,
        ),
    ],
    ids=["blurred", "repeated", "shutter"],
)
def test_a_damaged_pair_is_left_out_and_the_next_is_kept(
    day_pairs: list[Pair], damage, fate: Fate
) -> None:
    pairs = varied(day_pairs)
    pairs[8] = damage(pairs[8], pairs[7])
    expected = 12 * [Fate.KEPT]
    expected[8] = fate
    assert fates(pairs) == expected


@pytest.fixture
def recording(tmp_path: Path, day_pairs: list[Pair]) -> Path:
    """A bag whose pairs all differ, but one that comes twice."""
    from ssvif_core.recordings.bags import write_pairs

    pairs = varied(day_pairs)
    pairs[5] = replace(pairs[4], visible_stamp=pairs[5].visible_stamp,
                       thermal_stamp=pairs[5].thermal_stamp)  # fmt: skip
    write_pairs(tmp_path / "bag", pairs)
    return tmp_path / "bag"


def extract(recording: Path, out: Path, *options: object):
    command = ["extract", str(recording), "--out", str(out), "--every", "1", *map(str, options)]
    return CliRunner().invoke(app, command)


def test_the_command_writes_what_other_commands_read(
    recording: Path, tmp_path: Path, day_pairs: list[Pair]
) -> None:
    result = extract(recording, tmp_path / "out")
    assert result.exit_code == 0 and "11 of 12 pairs kept" in result.output
    assert "1 left out: thermal image repeated" in result.output
    listing = find_pairs(tmp_path / "out")
    assert len(listing.pairs) == 11
    thermal = cv2.imread(str(listing.pairs[0].thermal), cv2.IMREAD_UNCHANGED)
    assert thermal.dtype == np.uint16 and np.array_equal(thermal, day_pairs[0].thermal)
    sheet = cv2.imread(str(tmp_path / "out/contact_sheet.png"))
    assert sheet.shape[1] == 6 * 244 and sheet.any()
    assert json.loads((tmp_path / "out/extract.json").read_text())["pairs"]["kept"] == 11


def test_an_interrupted_extraction_goes_on_and_files_stay(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert extract(recording, out).exit_code == 0
    first, *others = sorted((out / "ir").iterdir())
    others[0].unlink()
    before = first.stat().st_mtime_ns
    assert extract(recording, out).exit_code == 0
    assert others[0].is_file() and first.stat().st_mtime_ns == before


def test_each_recording_has_a_folder_of_its_own(tmp_path: Path, day_pairs: list[Pair]) -> None:
    for folder, pair in zip(("a/b", "a_b"), day_pairs, strict=False):
        for kind, image in (("vi", pair.visible), ("ir", pair.thermal)):
            (tmp_path / "in" / folder / kind).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / "in" / folder / kind / "c.png"), image)
    assert extract(tmp_path / "in", tmp_path / "out").exit_code == 0
    written = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("vi/*")}
    assert written == {Path("1/vi/a_b_c.png"), Path("2/vi/a_b_c.png")}
    _, last = split_by_time(find_pairs(tmp_path / "out").pairs, 0.1)
    assert len(last) == 2  # the end of each


def test_a_folder_of_other_settings_or_other_files_is_refused(
    recording: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert extract(recording, out).exit_code == 0
    result = extract(recording, out, "--slop", 0.01)
    assert isinstance(result.exception, InputError)
    assert "slop was 0.02 and is 0.01; choose another folder" in str(result.exception)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    result = extract(recording, tmp_path / "mine")
    assert "holds other files; choose an empty or a new folder" in str(result.exception)


def test_calibrated_cameras_give_aligned_pairs_of_16_bits(
    recording: Path, tmp_path: Path, day_pairs: list[Pair]
) -> None:
    mapping = thermal_to_visible((160, 128), (320, 240), scale=0.7, shift=(10.0, 5.0))
    camera_pair = CameraPair(Camera(320, 240), Camera(160, 128), mapping)
    save_camera_pair(camera_pair, tmp_path / "pair.yaml")
    assert (
        extract(recording, tmp_path / "out", "--calibration", tmp_path / "pair.yaml").exit_code == 0
    )
    source = find_pairs(tmp_path / "out").pairs[0]
    visible = cv2.imread(str(source.visible))
    thermal = cv2.imread(str(source.thermal), cv2.IMREAD_UNCHANGED)
    expected = Overlap.of(camera_pair, (320, 240), (160, 128)).pair(day_pairs[0])
    assert thermal.dtype == np.uint16
    assert np.array_equal(visible, expected.visible)
    assert np.array_equal(thermal, expected.thermal)


def test_a_calibration_of_other_sizes_is_told_once_and_leaves_no_folder(
    recording: Path, tmp_path: Path
) -> None:
    save_camera_pair(CameraPair(Camera(400, 300), Camera(90, 70), np.eye(3)), tmp_path / "c.yaml")
    command = ["extract", str(recording), "--calibration", str(tmp_path / "c.yaml"),
               "--out", str(tmp_path / "out")]  # fmt: skip
    problem = CliRunner().invoke(app, command).exception
    assert isinstance(problem, InputError) and "expected 90x70" in str(problem)
    assert not (tmp_path / "out").exists()
