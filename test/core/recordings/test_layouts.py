"""Pairs are found in folders of images, in videos and in bags."""

from __future__ import annotations

import shutil
import string
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import THERMAL, VISIBLE, film, listed_files, plant
from rosbags.rosbag2 import StoragePlugin, Writer

from ssvif_core.errors import InputError
from ssvif_core.recordings.bag_pairs import COMPRESSED_TYPE
from ssvif_core.recordings.bags import IMAGE_TYPE, TYPES, write_pairs
from ssvif_core.recordings.images import list_images
from ssvif_core.recordings.layouts import find_pairs, match_names
from ssvif_core.recordings.sources import PairSource, split_by_time
from ssvif_core.recordings.words import THERMAL_WORDS, VISIBLE_WORDS
from ssvif_core.training.data.pairs import PairDataset
from ssvif_core.types import AnyArray, Pair

LAYOUTS = {
    "vi and ir": (["vi/1.png", "ir/1.png"], {"1": ("vi/1.png", "ir/1.png")}),
    "different endings": (["vi/1.png", "ir/1.TIFF"], {"1": ("vi/1.png", "ir/1.TIFF")}),
    "upper and lower case": (
        ["RGB/1.png", "Thermal_Image/1.png"],
        {"1": ("RGB/1.png", "Thermal_Image/1.png")},
    ),
    "M3FD": (["Vis/00000.png", "Ir/00000.png"], {"00000": ("Vis/00000.png", "Ir/00000.png")}),
    "FMB": (
        [
            f"{part}/{folder}/1.png"
            for part in ("train", "test")
            for folder in ("Visible", "Infrared", "Label", "color")
        ],
        {"1": ("train/Visible/1.png", "train/Infrared/1.png", "train/Label/1.png")},
    ),
    "LLVIP": (
        [
            "visible/train/1.jpg", "infrared/train/1.jpg",
            "visible/test/2.jpg", "infrared/test/2.jpg",
        ],
        {"1": ("visible/train/1.jpg", "infrared/train/1.jpg")},
    ),
    "RoadScene": (
        ["crop_HR_visible/F_1.jpg", "crop_LR_visible/F_1.jpg", "cropinfrared/F_1.jpg"],
        {"F_1": ("crop_LR_visible/F_1.jpg", "cropinfrared/F_1.jpg")},
    ),
    "MSRS": (
        [
            f"{part}/{folder}/1D.png"
            for part in ("train", "test", "detection")
            for folder in ("vi", "ir", "Segmentation_labels", "Segmentation_visualize")
        ],
        {"1D": ("train/vi/1D.png", "train/ir/1D.png", "train/Segmentation_labels/1D.png")},
    ),
    "KAIST": (
        ["set00/V0/visible/I1.jpg", "set00/V0/lwir/I1.jpg"],
        {"set00/V0/I1": ("set00/V0/visible/I1.jpg", "set00/V0/lwir/I1.jpg")},
    ),
    "scenes below the modality": (
        ["vi/a/1.png", "ir/a/1.png", "mask/a/1.png", "vi/b/1.png", "ir/b/1.png"],
        {"a/1": ("vi/a/1.png", "ir/a/1.png", "mask/a/1.png"), "b/1": ("vi/b/1.png", "ir/b/1.png")},
    ),
    "TNO, one folder": (
        ["VIS1.png", "IR1.png", "VIS2.png", "IR2.png"],
        {"1": ("VIS1.png", "IR1.png"), "2": ("VIS2.png", "IR2.png")},
    ),
    "TNO, one folder per scene": (
        ["Athena/man/VIS_r.bmp", "Athena/man/IR_g.bmp", "Tank/vis.png", "Tank/LWIR.png"],
        {
            "Athena/man": ("Athena/man/VIS_r.bmp", "Athena/man/IR_g.bmp"),
            "Tank": ("Tank/vis.png", "Tank/LWIR.png"),
        },
    ),
    "one folder, words at the end": (
        ["a-1_vis.png", "a-1_ir.png", "a-1_mask.png", "map.png"],
        {"a-1": ("a-1_vis.png", "a-1_ir.png", "a-1_mask.png")},
    ),
    "two folders, words at the end": (
        ["vi/7_vis.png", "ir/7_ir.png", "labels/7_label.png"],
        {"7": ("vi/7_vis.png", "ir/7_ir.png", "labels/7_label.png")},
    ),
    "a word on one side": (
        ["rgb/F_6_rgb.png", "thermal/F_6.png"],
        {"F_6": ("rgb/F_6_rgb.png", "thermal/F_6.png")},
    ),
    "several sets": (
        ["one/vi/1.png", "one/ir/1.png", "two/VI/1.png", "two/IR/1.png"],
        {"one/1": ("one/vi/1.png", "one/ir/1.png"), "two/1": ("two/VI/1.png", "two/IR/1.png")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_are_found_in_a_common_layout(tmp_path: Path, layout: str) -> None:
    files, expected = LAYOUTS[layout]
    plant(tmp_path, *files)
    assert listed_files(tmp_path) == expected


@pytest.mark.parametrize("layout", ["FMB", "LLVIP", "MSRS"])
def test_only_train_is_read_of_a_set_with_test_data(tmp_path: Path, layout: str) -> None:
    plant(tmp_path, *LAYOUTS[layout][0])
    listing = find_pairs(tmp_path)
    assert any("test" in path.parts for path in listing.left_out)
    assert "not read, because it may be test data: " in listing.describe()


def test_test_data_alone_is_not_read(tmp_path: Path) -> None:
    plant(tmp_path, "test/vi/1.png", "test/ir/1.png")
    with pytest.raises(
        InputError, match="not read, because it may be test data: test; to read it, "
    ):
        find_pairs(tmp_path)
    assert find_pairs(tmp_path / "test").names == ("1",)


def test_a_listing_describes_pairs_and_images_without_partner(tmp_path: Path) -> None:
    plant(tmp_path, *(f"{f}/{n}.png" for f in ("vi", "ir", "mask") for n in "ab"))
    plant(tmp_path, *(f"vi/v{n}.png" for n in range(5)), "ir/t.png")
    listing = find_pairs(tmp_path)
    assert listing.describe().splitlines() == [
        f"{tmp_path}: vi + ir + mask",
        "  2 pairs, 2 with masks",
        "  5 visible without partner: vi/v0.png, vi/v1.png, vi/v2.png and 2 more",
        "  1 thermal without partner: ir/t.png",
    ]
    assert len(listing.unpaired) == 6


def test_files_that_share_a_name_are_reported_and_the_others_paired(tmp_path: Path) -> None:
    plant(tmp_path, "vi/a.png", "vi/b.png", "ir/a.png", "ir/b.png", "ir/b.jpg")
    listing = find_pairs(tmp_path)
    assert listing.names == ("a",)
    assert "ir: b.jpg and b.png share a name" in listing.describe()


def test_a_file_with_several_possible_partners_gets_none(tmp_path: Path) -> None:
    plant(tmp_path, "1_vis.png", "1_rgb.png", "1_ir.png", "2_vis.png", "2_ir.png")
    listing = find_pairs(tmp_path)
    assert listing.names == ("2",)
    assert {path.name for path in listing.unpaired} == {"1_vis.png", "1_rgb.png", "1_ir.png"}


WORDS = [word for word in VISIBLE_WORDS if "_" not in word]


PLACES = ("{name}_{word}", "{word}_{name}", "{name}-{word}", "{name}.{word}", "0_{word}_{name}")


@settings(deadline=None)
@given(
    names=st.sets(
        st.text(string.ascii_letters + string.digits + "_- .", max_size=8)
        | st.lists(st.sampled_from([*WORDS, *THERMAL_WORDS, "x", "1"]), max_size=3).map("_".join),
        min_size=1,
        max_size=8,
    ),
    place=st.sampled_from(PLACES),
    visible=st.sampled_from(WORDS),
    thermal=st.sampled_from(THERMAL_WORDS),
    upper=st.booleans(),
)
def test_names_that_differ_in_the_word_for_the_modality_are_paired(
    names: set[str], place: str, visible: str, thermal: str, upper: bool
) -> None:
    """The rest of the names may be anything, even words for a modality."""
    sides = []
    for word in (visible, thermal):
        word = word.upper() if upper else word
        sides.append(
            {place.format(name=name, word=word): Path(word, str(n)) for n, name in enumerate(names)}
        )
    matches = match_names(*sides)
    assert len(matches) == len(names)
    assert all(left.name == right.name for _, left, right in matches)


@settings(deadline=None)
@given(st.sets(st.text("abvirgs12_-", min_size=1, max_size=8), min_size=1, max_size=8))
def test_equal_names_are_paired_and_kept(names: set[str]) -> None:
    sides = [{name: Path(folder, name) for name in names} for folder in ("vi", "ir")]
    assert {short for short, _, _ in match_names(*sides)} == names


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder; expected"):
        find_pairs(tmp_path / "nowhere")


def test_an_empty_folder_is_refused_with_the_expected_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"visible \(.*vi.*\) and thermal \(.*found: nothing"):
        find_pairs(tmp_path)


def test_a_folder_without_pairs_is_refused_with_its_content(tmp_path: Path) -> None:
    plant(tmp_path, "rgb/1.png", "depth/1.png")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="no pair of folders.*found: depth, notes.txt, rgb"):
        find_pairs(tmp_path)


def test_folders_without_a_common_name_are_refused_with_examples(tmp_path: Path) -> None:
    plant(tmp_path, "vi/a.png", "ir/b.png", "ir/c.png")
    with pytest.raises(InputError, match=r"1 visible files \(a\) and 2 thermal files \(b, c\)"):
        find_pairs(tmp_path)


def test_a_frame_step_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frame_step=0; expected at least 1"):
        find_pairs(tmp_path, 0)


def test_every_nth_frame_of_two_videos_is_a_pair(tmp_path: Path) -> None:
    film(tmp_path / "vi" / "a.mp4", 23)
    film(tmp_path / "ir" / "a.mp4", 22, size=(32, 32))
    listing = find_pairs(tmp_path, frame_step=7)
    assert listing.names == ("a#0", "a#7", "a#14", "a#21")
    dataset = PairDataset([listing])
    for number, (visible, thermal) in zip((0, 7, 14, 21), dataset, strict=True):
        assert visible.shape == (48, 64, 3) and thermal.shape == (48, 64)
        assert abs(visible.mean() - 10 * number) < 4 and abs(thermal.mean() - 10 * number) < 4


def test_a_broken_video_is_reported_and_the_others_are_listed(tmp_path: Path) -> None:
    for folder in ("vi", "ir"):
        film(tmp_path / folder / "a.mp4", 3)
        film(tmp_path / folder / "b.mp4", 3)
    (tmp_path / "ir" / "a.mp4").write_bytes(b"no video")
    listing = find_pairs(tmp_path)
    assert listing.names == ("b#0",)
    assert "ir/a.mp4: cannot be read as a video" in listing.describe()


def test_a_video_that_ends_early_gives_its_frames(tmp_path: Path) -> None:
    for folder in ("vi", "ir"):
        film(tmp_path / folder / "a.mp4", 12)
    listing = find_pairs(tmp_path, 5)
    film(tmp_path / "ir" / "a.mp4", 8)
    dataset = PairDataset([listing])
    assert dataset.names == ("a#0", "a#5")
    assert "1 of 3 pairs cannot be read" in dataset.skipped[0]
    assert "ends before frame 10" in dataset.skipped[0]


def test_every_nth_pair_of_a_bag_is_listed(drive_bag: Path, drive_pairs: list[Pair]) -> None:
    listing = find_pairs(drive_bag, 5)
    assert listing.names == ("drive#0", "drive#5", "drive#10")
    assert f"bag drive with {VISIBLE} (12) + {THERMAL} (12), 12 synchronised" in listing.describe()
    dataset = PairDataset([listing])
    for number, (visible, thermal) in zip((0, 5, 10), dataset, strict=True):
        assert np.array_equal(visible, drive_pairs[number].visible)
        assert thermal.shape == visible.shape[:2] and thermal.dtype == np.uint8
        assert thermal.max() == 255


def test_bag_folders_and_bag_files_are_found(tmp_path: Path, drive_bag: Path) -> None:
    shutil.copytree(drive_bag, tmp_path / "one")
    shutil.copy(next(drive_bag.glob("*.mcap")), tmp_path / "two.mcap")
    (tmp_path / "three.mcap").write_bytes(b"broken")
    listing = find_pairs(tmp_path, 12)
    assert set(listing.names) == {"one#0", "two.mcap#0"}
    assert "three.mcap: not a readable bag" in listing.describe()


def test_images_of_a_bag_are_paired_with_the_nearest_stamps(
    tmp_path: Path, drive_pairs: list[Pair]
) -> None:
    """Visible at 30 Hz, thermal at 10 Hz and 40 ms later, so it belongs to the next visible one."""
    ms = 1_000_000
    pairs = [
        Pair(pair.visible, pair.thermal, (1000 + 33 * n) * ms, (1000 + 100 * n + 40) * ms)
        for n, pair in enumerate(drive_pairs)
    ]
    write_pairs(tmp_path / "b", pairs)
    dataset = PairDataset([find_pairs(tmp_path / "b", 1)])
    visible_numbers = [
        next(n for n, pair in enumerate(drive_pairs) if np.array_equal(pair.visible, visible))
        for visible, _ in dataset
    ]
    assert visible_numbers == [1, 4, 7, 10]


def image_message(message_type: str, encoding: str, rows: AnyArray, width: int) -> object:
    types = TYPES.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "")
    if message_type == COMPRESSED_TYPE:
        return types[message_type](header, "png", cv2.imencode(".png", rows)[1].reshape(-1))
    height, step = rows.shape
    return types[message_type](header, height, width, encoding, 0, step, rows.reshape(-1))


def write_bag(path: Path, topics: dict[str, tuple[str, str, AnyArray, int]]) -> None:
    """Two messages per topic, recorded at 1 s and 2 s; topic -> type, encoding, rows, width."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, (message_type, *content) in topics.items():
            connection = writer.add_connection(topic, message_type, typestore=TYPES)
            data = TYPES.serialize_cdr(image_message(message_type, *content), message_type)
            for seconds in (1, 2):
                writer.write(connection, seconds * 10**9, data)


RGB = np.tile(np.array([200, 100, 50], np.uint8), (24, 32))


PADDED = np.pad(RGB, ((0, 0), (0, 8)))


COUNTS = np.arange(24 * 32, dtype="<u2").reshape(24, 32) * 80


def test_topics_are_chosen_by_name_then_encoding_and_zero_stamps_replaced(tmp_path: Path) -> None:
    write_bag(
        tmp_path / "b",
        {
            "/camera/image": (IMAGE_TYPE, "rgb8", PADDED, 32),
            "/lwir/image": (IMAGE_TYPE, "mono16", COUNTS.view(np.uint8), 32),
            "/depth/image": (IMAGE_TYPE, "16UC1", COUNTS.view(np.uint8), 32),
        },
    )
    listing = find_pairs(tmp_path / "b", 1)
    assert len(listing.pairs) == 2
    visible, thermal = PairDataset([listing])[1]
    assert visible.shape == (24, 32, 3) and (visible == (50, 100, 200)).all()
    assert thermal[0, 0] == 0 and thermal[-1, -1] == 255


def test_compressed_images_of_a_bag_are_read(tmp_path: Path) -> None:
    write_bag(
        tmp_path / "b",
        {
            "/rgb/compressed": (COMPRESSED_TYPE, "", RGB.reshape(24, 32, 3), 32),
            "/ir/compressed": (COMPRESSED_TYPE, "", COUNTS, 32),
        },
    )
    visible, thermal = PairDataset([find_pairs(tmp_path / "b")])[0]
    assert (visible == (200, 100, 50)).all()
    assert thermal[0, 0] == 0 and thermal[-1, -1] == 255


def test_ambiguous_topics_are_refused_and_can_be_given(tmp_path: Path) -> None:
    topics = {f"/{name}/image": (IMAGE_TYPE, "mono8", RGB, 96) for name in ("left", "right")}
    write_bag(tmp_path / "b", topics)
    with pytest.raises(InputError, match=r"name both .*/left/image \(96x24 mono8\)"):
        find_pairs(tmp_path / "b")
    listing = find_pairs(tmp_path / "b", topics=("/right/image", "/left/image"))
    assert len(PairDataset([listing])) == 1
    with pytest.raises(InputError, match="no topic /x; the bag has /left/image"):
        find_pairs(tmp_path / "b", topics=("/right/image", "/x"))


def test_a_bag_without_close_stamps_is_refused(tmp_path: Path, drive_pairs: list[Pair]) -> None:
    apart = [Pair(p.visible, p.thermal, p.visible_stamp, 10**12) for p in drive_pairs[:1]]
    write_pairs(tmp_path / "b", apart)
    with pytest.raises(InputError, match="within 20 ms; are the cameras' clocks the same"):
        find_pairs(tmp_path / "b")


@pytest.mark.parametrize(
    ("root", "pairs", "masks"),
    [("msrs/train", 241, 241), ("msrs", 241, 241), ("roadscene/train", 176, 0), ("m3svd", 134, 0)],
)
def test_all_pairs_of_real_sets_are_listed(shared: Path, root: str, pairs: int, masks: int) -> None:
    listing = find_pairs(shared / root)
    assert len(listing.pairs) == len(set(listing.names)) == pairs
    assert sum(pair.mask is not None for pair in listing.pairs) == masks
    assert not listing.unpaired and not listing.problems


def test_numbers_in_names_count_as_numbers(tmp_path: Path) -> None:
    """`ssvif extract` writes clip_9 and clip_10; the end of a recording is what was filmed last."""
    plant(tmp_path, *(f"{kind}/clip_{n}.png" for kind in ("vi", "ir") for n in (100, 9, 10, 0)))
    names = ("clip_0", "clip_9", "clip_10", "clip_100")
    assert find_pairs(tmp_path).names == names
    assert tuple(list_images(tmp_path / "vi")) == names


@pytest.mark.parametrize(
    ("share", "ends"),
    [(0.1, ["a/3", "b/9"]), (0.5, ["a/2", "a/3", "b/5", "b/6", "b/7", "b/8", "b/9"]), (1, None)],
)
def test_each_recording_is_split_by_time(share: float, ends: list[str] | None) -> None:
    """The end of each folder, and at least one pair of it."""
    sources = [
        PairSource(f"{folder}/{n}", Path(folder, f"vi/{n}.png"), Path(folder, f"ir/{n}.png"))
        for folder, count in (("a", 4), ("b", 10))
        for n in range(count)
    ]
    first, last = split_by_time(sources, share)
    assert [each.name for each in last] == (ends or [each.name for each in sources])
    assert sorted(each.name for each in first + last) == sorted(each.name for each in sources)
