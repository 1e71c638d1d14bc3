"""Training data: pairs found, read, kept and split."""

from __future__ import annotations

import logging
import os
import shutil
import string
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin, Writer
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from ssvif_core.cli.pairs import pairs as pairs_command
from ssvif_core.data import pairs as pairs_module
from ssvif_core.data.bag_pairs import COMPRESSED_TYPE
from ssvif_core.data.bags import IMAGE_TYPE, TYPES, write_pairs
from ssvif_core.data.layouts import Listing, find_pairs, match_names
from ssvif_core.data.pairs import CropDataset, PairDataset
from ssvif_core.data.splits import PARTS, Split, read_split, select, write_split
from ssvif_core.data.video import VideoWriter
from ssvif_core.data.words import THERMAL_WORDS, VISIBLE_WORDS
from ssvif_core.errors import InputError
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Pair

VISIBLE, THERMAL = "/visible/image_raw", "/thermal/image_raw"


def plant(root: Path, *paths: str, size: tuple[int, int] = (20, 24), value: int = 7) -> None:
    """Image files of one grey."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / path), np.full(size, value, np.uint8))


def plant_pairs(root: Path, count: int) -> Listing:
    """Pairs 00, 01, ...; visible n is grey n, thermal n is grey 100 + n."""
    for number in range(count):
        plant(root, f"vi/{number:02}.png", value=number)
        plant(root, f"ir/{number:02}.png", value=100 + number)
    return find_pairs(root)


def film(path: Path, frames: int, size: tuple[int, int] = (48, 64)) -> None:
    """A video whose frame n is grey 10 n."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, 20.0) as video:
        for number in range(frames):
            video.write(np.full((*size, 3), 10 * number, np.uint8))


def found(root: Path, **options) -> dict[str, tuple[str, ...]]:
    """What `find_pairs` lists: files by name of the pair."""
    return {
        pair.name: tuple(
            path.relative_to(root).as_posix()
            for path in (pair.visible, pair.thermal, pair.mask)
            if path is not None
        )
        for pair in find_pairs(root, **options).pairs
    }


# --- layouts

LAYOUTS = {
    "vi and ir": (["vi/1.png", "ir/1.png"], {"1": ("vi/1.png", "ir/1.png")}),
    "endings differ": (["vi/1.png", "ir/1.TIFF"], {"1": ("vi/1.png", "ir/1.TIFF")}),
    "letters of any case": (
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
    "TNO, a folder a scene": (
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
def test_a_layout_people_have_is_found(tmp_path: Path, layout: str) -> None:
    files, expected = LAYOUTS[layout]
    plant(tmp_path, *files)
    assert found(tmp_path) == expected


@pytest.mark.parametrize("layout", ["FMB", "LLVIP", "MSRS"])
def test_of_a_set_with_test_data_only_train_is_read(tmp_path: Path, layout: str) -> None:
    plant(tmp_path, *LAYOUTS[layout][0])
    listing = find_pairs(tmp_path)
    assert any("test" in path.parts for path in listing.left_out)
    assert "not read, as it may be test data: " in listing.describe()


def test_test_data_alone_is_not_read(tmp_path: Path) -> None:
    plant(tmp_path, "test/vi/1.png", "test/ir/1.png")
    with pytest.raises(InputError, match="not read, as it may be test data: test; to read it, "):
        find_pairs(tmp_path)
    assert find_pairs(tmp_path / "test").names == ("1",)


def test_a_listing_says_what_was_paired_and_what_was_not(tmp_path: Path) -> None:
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


def test_files_that_share_a_name_are_named_and_the_rest_is_paired(tmp_path: Path) -> None:
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
def test_names_with_a_word_for_the_modality_pair_back(
    names: set[str], place: str, visible: str, thermal: str, upper: bool
) -> None:
    """Whatever else is in the names, words for a modality included."""
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
def test_equal_names_are_paired_as_they_are(names: set[str]) -> None:
    sides = [{name: Path(folder, name) for name in names} for folder in ("vi", "ir")]
    assert {short for short, _, _ in match_names(*sides)} == names


# --- what cannot be paired


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder; expected"):
        find_pairs(tmp_path / "nowhere")


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"visible \(.*vi.*\) and thermal \(.*found: nothing"):
        find_pairs(tmp_path)


def test_a_folder_without_pairs_lists_what_is_there(tmp_path: Path) -> None:
    plant(tmp_path, "rgb/1.png", "depth/1.png")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="no pair of folders.*found: depth, notes.txt, rgb"):
        find_pairs(tmp_path)


def test_no_common_name_gives_examples(tmp_path: Path) -> None:
    plant(tmp_path, "vi/a.png", "ir/b.png", "ir/c.png")
    with pytest.raises(InputError, match=r"1 visible files \(a\) and 2 thermal files \(b, c\)"):
        find_pairs(tmp_path)


def test_a_frame_step_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frame_step=0; expected at least 1"):
        find_pairs(tmp_path, 0)


# --- videos and bags


def test_of_two_videos_every_nth_frame_is_a_pair(tmp_path: Path) -> None:
    film(tmp_path / "vi" / "a.mp4", 23)
    film(tmp_path / "ir" / "a.mp4", 22, size=(32, 32))
    listing = find_pairs(tmp_path, frame_step=7)
    assert listing.names == ("a#0", "a#7", "a#14", "a#21")
    dataset = PairDataset([listing])
    for number, (visible, thermal) in zip((0, 7, 14, 21), dataset, strict=True):
        assert visible.shape == (48, 64, 3) and thermal.shape == (48, 64)
        assert abs(visible.mean() - 10 * number) < 4 and abs(thermal.mean() - 10 * number) < 4


def test_a_broken_video_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    for folder in ("vi", "ir"):
        film(tmp_path / folder / "a.mp4", 3)
        film(tmp_path / folder / "b.mp4", 3)
    (tmp_path / "ir" / "a.mp4").write_bytes(b"no video")
    listing = find_pairs(tmp_path)
    assert listing.names == ("b#0",)
    assert "ir/a.mp4: cannot be read as a video" in listing.describe()


def test_a_video_that_ends_early_gives_what_it_has(tmp_path: Path) -> None:
    for folder in ("vi", "ir"):
        film(tmp_path / folder / "a.mp4", 12)
    listing = find_pairs(tmp_path, 5)
    film(tmp_path / "ir" / "a.mp4", 8)
    dataset = PairDataset([listing])
    assert dataset.names == ("a#0", "a#5")
    assert "ends before frame 10, so 1 of 3 pairs are missing" in dataset.skipped[0]


def test_of_a_bag_every_nth_pair_is_taken(drive_bag: Path, drive_pairs: list[Pair]) -> None:
    listing = find_pairs(drive_bag, 5)
    assert listing.names == ("drive#0", "drive#5", "drive#10")
    assert f"bag drive with {VISIBLE} (12) + {THERMAL} (12), 12 synchronised" in listing.describe()
    dataset = PairDataset([listing])
    for number, (visible, thermal) in zip((0, 5, 10), dataset, strict=True):
        assert np.array_equal(visible, drive_pairs[number].visible)
        assert thermal.shape == visible.shape[:2] and thermal.dtype == np.uint8
        assert thermal.max() == 255


def test_bags_of_a_folder_and_bare_files_are_found(tmp_path: Path, drive_bag: Path) -> None:
    shutil.copytree(drive_bag, tmp_path / "one")
    shutil.copy(next(drive_bag.glob("*.mcap")), tmp_path / "two.mcap")
    (tmp_path / "three.mcap").write_bytes(b"broken")
    listing = find_pairs(tmp_path, 12)
    assert set(listing.names) == {"one#0", "two.mcap#0"}
    assert "three.mcap: not a readable bag" in listing.describe()


def test_images_of_a_bag_pair_with_the_nearest_in_time(
    tmp_path: Path, drive_pairs: list[Pair]
) -> None:
    """Visible at 30 Hz, thermal at 10 Hz and 40 ms apart: it belongs to the next visible one."""
    ms = 1_000_000
    write = [
        Pair(pair.visible, pair.thermal, (1000 + 33 * n) * ms, (1000 + 100 * n + 40) * ms)
        for n, pair in enumerate(drive_pairs)
    ]
    write_pairs(tmp_path / "b", write)
    dataset = PairDataset([find_pairs(tmp_path / "b", 1)])
    visible_numbers = [
        next(n for n, pair in enumerate(drive_pairs) if np.array_equal(pair.visible, visible))
        for visible, _ in dataset
    ]
    assert visible_numbers == [1, 4, 7, 10]


def image_message(kind: str, encoding: str, rows: np.ndarray, width: int) -> object:
    types = TYPES.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "")
    if kind == COMPRESSED_TYPE:
        return types[kind](header, "png", cv2.imencode(".png", rows)[1].reshape(-1))
    height, step = rows.shape
    return types[kind](header, height, width, encoding, 0, step, rows.reshape(-1))


def write_bag(path: Path, topics: dict[str, tuple[str, str, np.ndarray, int]]) -> None:
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, (kind, *content) in topics.items():
            connection = writer.add_connection(topic, kind, typestore=TYPES)
            for number in range(2):
                message = TYPES.serialize_cdr(image_message(kind, *content), kind)
                writer.write(connection, 10**9 * (1 + number), message)


RGB = np.tile(np.array([200, 100, 50], np.uint8), (24, 32))
PADDED = np.pad(RGB, ((0, 0), (0, 8)))
COUNTS = np.arange(24 * 32, dtype="<u2").reshape(24, 32) * 80


def test_topics_are_told_by_name_then_encoding_and_stamps_of_zero_by_arrival(
    tmp_path: Path,
) -> None:
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


def test_topics_that_cannot_be_told_apart_are_listed_and_can_be_given(tmp_path: Path) -> None:
    topics = {f"/{name}/image": (IMAGE_TYPE, "mono8", RGB, 96) for name in ("left", "right")}
    write_bag(tmp_path / "b", topics)
    with pytest.raises(InputError, match=r"name both .*/left/image \(96x24 mono8\)"):
        find_pairs(tmp_path / "b")
    listing = find_pairs(tmp_path / "b", topics=("/right/image", "/left/image"))
    assert len(PairDataset([listing])) == 1
    with pytest.raises(InputError, match="no topic /x; the bag has /left/image"):
        find_pairs(tmp_path / "b", topics=("/right/image", "/x"))


def test_a_bag_whose_cameras_never_meet_says_so(tmp_path: Path, drive_pairs: list[Pair]) -> None:
    apart = [Pair(p.visible, p.thermal, p.visible_stamp, 10**12) for p in drive_pairs[:1]]
    write_pairs(tmp_path / "b", apart)
    with pytest.raises(InputError, match="within 20 ms; are the cameras' clocks the same"):
        find_pairs(tmp_path / "b")


# --- reading and keeping


def test_thermal_comes_on_the_visible_grid_in_eight_bits(tmp_path: Path) -> None:
    plant(tmp_path, "vi/1.png", size=(40, 60))
    (tmp_path / "ir").mkdir()
    counts = np.linspace(29_000, 31_000, 20 * 30).astype(np.uint16).reshape(20, 30)
    cv2.imwrite(str(tmp_path / "ir/1.tiff"), counts)
    visible, thermal = PairDataset([find_pairs(tmp_path)])[0]
    assert (visible.shape, visible.dtype) == ((40, 60, 3), np.uint8)
    assert (thermal.shape, thermal.dtype) == ((40, 60), np.uint8)
    # As the node shows it: white is the 99.5th percentile, black is bound to the median.
    assert (thermal.min(), thermal.max()) == (0, 255)
    black, white = ThermalGain().update(counts)
    middle = 255 * (np.median(counts) - black) / (white - black)
    assert np.median(thermal) == pytest.approx(middle, abs=1)


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_what_cannot_be_read_is_named_once_and_left_out(tmp_path: Path, caplog, cache) -> None:
    """In all kinds of caches the same pairs are left, in order."""
    listing = plant_pairs(tmp_path, 30)
    (tmp_path / "ir/07.png").write_bytes(b"broken")
    (tmp_path / "vi/11.png").unlink()
    dataset = PairDataset([listing], cache, tmp_path / "cache")
    left = [number for number in range(30) if number not in (7, 11)]
    assert dataset.names == tuple(f"{number:02}" for number in left)
    assert [(v[0, 0, 0], t[0, 0]) for v, t in dataset] == [(n, 100 + n) for n in left]
    assert len(dataset.skipped) == 2
    assert "07.png: not a readable image" in dataset.skipped[0]
    assert caplog.text.count("07.png") == 1 and "2 of 30 pairs skipped" in caplog.text


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    listing = plant_pairs(tmp_path, 2)
    for number in (0, 1):
        (tmp_path / f"vi/0{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match="none of 2 pairs can be read; the first: .*00.png: not a"):
        PairDataset([listing])
    with pytest.raises(InputError, match="no pairs to read"):
        PairDataset([])


def test_several_listings_and_single_sources_make_one_set(tmp_path: Path) -> None:
    one, two = plant_pairs(tmp_path / "one", 2), plant_pairs(tmp_path / "two", 3)
    dataset = PairDataset([one, two.pairs[2]])
    assert dataset.names == ("00", "01", "02")
    assert len(PairDataset([one, one])) == 4  # weighted twice, read once


def test_a_disk_cache_needs_the_files_no_more(tmp_path: Path) -> None:
    listing = plant_pairs(tmp_path, 3)
    dataset = PairDataset([listing], "disk", tmp_path / "cache")
    shutil.rmtree(tmp_path / "vi")
    visible, thermal = dataset[2]
    assert isinstance(visible, np.memmap) and isinstance(thermal, np.memmap)
    assert (visible == 2).all() and (thermal == 102).all()


def test_a_disk_cache_decodes_only_what_has_changed(tmp_path: Path, monkeypatch) -> None:
    film(tmp_path / "vi/a.mp4", 3)
    film(tmp_path / "ir/a.mp4", 3)
    listing = plant_pairs(tmp_path, 3)
    PairDataset([listing], "disk", tmp_path / "cache")
    plant(tmp_path, "vi/01.png", value=55)
    os.utime(tmp_path / "vi/01.png", ns=(1, 1))
    read = []
    monkeypatch.setattr(
        pairs_module,
        "_read",
        lambda group, inner=pairs_module._read: (read.append(group[0].name), inner(group))[1],
    )
    dataset = PairDataset([listing], "disk", tmp_path / "cache")
    assert read == ["01"]
    assert [int(visible[0, 0, 0]) for visible, _ in dataset] == [0, 55, 2, 0]


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path: Path, monkeypatch) -> None:
    listing = plant_pairs(tmp_path, 3)
    write = Path.write_bytes

    def fill_up(path: Path, data: memoryview) -> int:
        write(path, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(InputError, match=r"cache: .*cannot be written \(No space left.*free some"):
        PairDataset([listing], "disk", tmp_path / "cache")
    monkeypatch.undo()
    assert not list((tmp_path / "cache").iterdir())
    assert len(PairDataset([listing], "disk", tmp_path / "cache")) == 3


def test_a_cache_folder_that_cannot_be(tmp_path: Path) -> None:
    listing = plant_pairs(tmp_path, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the cache cannot be written"):
        PairDataset([listing], "disk", tmp_path / "file" / "cache")
    with pytest.raises(InputError, match="a disk cache needs a folder"):
        PairDataset([listing], "disk")
    with pytest.raises(InputError, match="cache 'disc'; expected one of ram, disk, none"):
        PairDataset([listing], "disc")


def test_more_than_memory_holds_asks_for_a_disk_cache(tmp_path: Path, monkeypatch) -> None:
    listing = plant_pairs(tmp_path, 3)
    monkeypatch.setattr(os, "sysconf", lambda name: 64)
    with pytest.raises(InputError, match="3 pairs need some .* GB of memory; use a disk cache"):
        PairDataset([listing])


def test_pairs_of_unlike_shape_are_named_once_and_used(tmp_path: Path, caplog) -> None:
    """One 4:3 beside 5:4 is what cameras have; a square one was cropped."""
    for number, size in enumerate([(24, 30), (24, 24), (24, 24)]):
        plant(tmp_path, f"vi/{number}.png", size=(24, 32))
        plant(tmp_path, f"ir/{number}.png", size=size)
    dataset = PairDataset([find_pairs(tmp_path)])
    assert dataset.unlike == ("1", "2") and len(dataset) == 3
    assert caplog.text.count("2 of 3 pairs have images of unlike shape (1, 2)") == 1
    assert dataset[1][1].shape == (24, 32)


def test_masks_come_on_the_visible_grid(tmp_path: Path) -> None:
    plant(tmp_path, "vi/1.png", "ir/1.png", "vi/2.png", "ir/2.png", size=(20, 24))
    plant(tmp_path, "mask/1.png", size=(10, 12), value=255)
    dataset = PairDataset([find_pairs(tmp_path)])
    mask = dataset.mask(0)
    assert mask is not None and mask.shape == (20, 24) and (mask == 255).all()
    assert dataset.mask(1) is None


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.full((20, 24, 3), (0, 90, 200), np.uint8), "a coloured picture; expected an image"),
        (np.full((20, 24), 300, np.uint16), "ids up to 300; expected class ids of 0 to 255"),
    ],
)
def test_a_mask_of_something_else_is_refused(tmp_path: Path, image: np.ndarray, text: str) -> None:
    plant(tmp_path, "vi/1.png", "ir/1.png", "mask/1.png")
    cv2.imwrite(str(tmp_path / "mask/1.png"), image)
    with pytest.raises(InputError, match=f"mask/1.png: {text}"):
        PairDataset([find_pairs(tmp_path)]).mask(0)


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_crops_do_not_depend_on_the_cache_or_the_process(tmp_path: Path, cache: str) -> None:
    random = np.random.default_rng(0)
    for folder in ("vi", "ir"):
        plant(tmp_path, f"{folder}/1.png")
        cv2.imwrite(
            str(tmp_path / folder / "1.png"), random.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        )
    listing = find_pairs(tmp_path)
    crops = CropDataset(PairDataset([listing], cache, tmp_path / "cache"), 32, 3, 4)
    expected = CropDataset(list(PairDataset([listing])), 32, 3, 4)
    for number, batch in enumerate(DataLoader(crops, num_workers=1)):
        for key, value in batch.items():
            assert value[0].equal(expected[number][key])


# --- splits

NAMES = [f"{number:05}N" for number in range(400)]


def test_a_split_comes_back_as_it_was_written(tmp_path: Path) -> None:
    names = [*NAMES, "00123", "1e3", "no", "a b", "ä#10", "null"]
    split = write_split(tmp_path / "split.yaml", names)
    assert read_split(tmp_path / "split.yaml") == split
    assert split.names == set(names)
    assert 0.12 < len(split.test) / len(names) < 0.28
    assert 0.05 < len(split.validation) / len(names) < 0.15


@settings(deadline=None, max_examples=30)
@given(st.sets(st.sampled_from(NAMES), min_size=1, max_size=20), st.integers(0, 3))
def test_more_pairs_never_move_others(tmp_path_factory, names: set[str], seed: int) -> None:
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
        assert {any(n[0] == video for n in split.part(part)) for part in PARTS} == {True, False}
        assert sum(any(n[0] == video for n in split.part(part)) for part in PARTS) == 1


def test_names_that_look_like_numbers_are_names(tmp_path: Path) -> None:
    (tmp_path / "split.yaml").write_text("train: [00123, 1e3]\ntest:\n")
    assert read_split(tmp_path / "split.yaml") == Split(train=("00123", "1e3"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("train: [a, b]\ntest: [b]", "'b' is in train and in test; keep it in one of them"),
        ("trian: [a]", "a split with the keys trian; expected lists train, validation, test"),
        ("[a, b]", "a split with no keys"),
        ("", "a split with no keys"),
        ("train: a", "train holds a; expected a list of names"),
        ("train: [a", "not valid YAML"),
    ],
)
def test_a_split_file_of_another_form_is_named(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "split.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=f"split.yaml: {text}"):
        read_split(path)


def test_a_split_file_that_is_not_there_or_may_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none.yaml: cannot be read"):
        read_split(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be written"):
        write_split(tmp_path / "nowhere" / "split.yaml", NAMES)
    write_split(tmp_path / "split.yaml", NAMES)
    with pytest.raises(InputError, match="is there already, and a split is fixed"):
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
def test_a_part_that_is_not_there_is_an_error(tmp_path: Path, part: str, text: str) -> None:
    listings = [plant_pairs(tmp_path, 2)]
    with pytest.raises(InputError, match=text):
        select(listings, Split(train=("00", "97", "98")), part)


# --- the command


def ssvif_pairs(*arguments: object):
    app = typer.Typer()
    app.command()(pairs_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_lists_writes_and_checks_a_split(tmp_path: Path) -> None:
    plant_pairs(tmp_path / "data", 30)
    split = tmp_path / "split.yaml"
    result = ssvif_pairs(tmp_path / "data", "--write-split", split)
    assert result.exit_code == 0 and "vi + ir\n  30 pairs" in result.output
    counts = {part: len(names) for part, names in yaml.safe_load(split.read_text()).items()}
    summary = ", ".join(f"{counts[part]} {part}" for part in PARTS)
    assert f"split.yaml: {summary}" in result.output
    assert f"split.yaml: {summary}" in ssvif_pairs(tmp_path / "data", "--split", split).output


def test_the_command_fails_if_something_has_no_partner(tmp_path: Path) -> None:
    plant_pairs(tmp_path, 3)
    plant(tmp_path, "vi/lonely.png")
    result = ssvif_pairs(tmp_path)
    assert result.exit_code == 2
    assert "1 visible without partner: vi/lonely.png" in result.output


def test_the_command_takes_the_topics_of_a_bag(tmp_path: Path, drive_pairs: list[Pair]) -> None:
    write_pairs(tmp_path / "bag", drive_pairs[:4], "/cam0/image", "/cam1/image")
    bag = tmp_path / "bag"
    result = ssvif_pairs(bag, "--visible", "/cam0/image", "--thermal", "/cam1/image")
    assert "/cam0/image (4) + /cam1/image (4), 4 synchronised" in result.output
    alone = ssvif_pairs(bag, "--visible", "/cam0/image")
    assert isinstance(alone.exception, InputError)


# --- real sets


@pytest.mark.parametrize(
    ("root", "pairs", "masks"),
    [("msrs/train", 241, 241), ("msrs", 241, 241), ("roadscene/train", 176, 0), ("m3svd", 134, 0)],
)
def test_real_sets_are_listed_whole(shared: Path, root: str, pairs: int, masks: int) -> None:
    listing = find_pairs(shared / root)
    assert len(listing.pairs) == len(set(listing.names)) == pairs
    assert sum(pair.mask is not None for pair in listing.pairs) == masks
    assert not listing.unpaired and not listing.problems


def test_real_pairs_and_masks_are_read(shared: Path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    listing = find_pairs(shared / "msrs/train")
    dataset = PairDataset(listing.pairs[:6])
    mask = dataset.mask(5)
    assert mask is not None and mask.shape == dataset[5][1].shape == (480, 640)
    assert set(np.unique(mask)) <= {0, 1, 2, 3, 255}


def test_salient_crops_hold_what_stands_out_of_its_surroundings() -> None:
    """A small warm spot in a large image: by chance it is seldom in a crop."""
    visible, thermal = np.zeros((480, 640, 3), np.uint8), np.full((480, 640), 80, np.uint8)
    thermal[300:316, 500:508] = 200
    shares = []
    for salient in (0.0, 1.0):
        crops = CropDataset([(visible, thermal)], 96, 0, 100, salient)
        shares.append(np.mean([int(crops[n]["thermal"].max()) > 127 for n in range(100)]))
        assert crops[7]["thermal"].equal(crops[7]["thermal"])  # a function of its number alone
    assert shares[0] < 0.3 and shares[1] > 0.85


def test_a_flat_image_gives_salient_crops_from_anywhere() -> None:
    column = np.arange(640, dtype=np.uint8)[None].repeat(480, 0)
    crops = CropDataset([(np.dstack([column] * 3), np.zeros((480, 640), np.uint8))], 96, 0, 20, 1.0)
    assert len({float(crops[n]["visible"].float().mean()) for n in range(20)}) > 10
