"""`ssvif fuse` takes what people have: a bag, two videos, or a list of pairs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssvif_core.cameras.model import aligned
from ssvif_core.cameras.yaml_file import save_camera_pair
from ssvif_core.errors import InputError
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.bags import write_pairs
from ssvif_core.recordings.pair_list import read_pair_list
from ssvif_core.recordings.video import VideoWriter
from ssvif_core.types import Pair

pytestmark = pytest.mark.slow


def fuse(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ssvif_core.cli", "fuse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=170)


def test_a_bag_is_fused_as_a_stream(
    drive_bag: Path, drive_pairs: list[Pair], tmp_path: Path
) -> None:
    result = fuse(drive_bag, "--out", tmp_path / "out", "--every", 3)
    assert result.returncode == 0, result.stderr
    files = sorted((tmp_path / "out").rglob("*.png"))
    assert len(files) == len(drive_pairs[::3])
    pipeline = FusionPipeline()
    for file, pair in zip(files, drive_pairs[::3], strict=True):
        expected = pipeline(pair).fused
        assert np.abs(cv2.imread(str(file)).astype(int) - expected).max() <= 1


def test_the_time_offset_of_a_calibration_is_used(drive_pairs: list[Pair], tmp_path: Path) -> None:
    """The thermal clock is three frames behind; each image shows its number."""
    late_ns = 100_000_000
    pairs = [
        Pair(p.visible, p.thermal, p.visible_stamp, p.thermal_stamp - late_ns) for p in drive_pairs
    ]
    write_pairs(tmp_path / "b", pairs, offset_ns=late_ns)
    sizes = [(a.shape[1], a.shape[0]) for a in (pairs[0].visible, pairs[0].thermal)]
    file = tmp_path / "pair.yaml"
    save_camera_pair(replace(aligned(*sizes), time_offset=late_ns * 1e-9), file)
    for number, options in enumerate((("--calibration", file), ("--thermal-time-offset", 0.1))):
        out = tmp_path / f"out{number}"
        result = fuse(tmp_path / "b", "--out", out, *options)
        assert result.returncode == 0, result.stderr
        assert len(list(out.rglob("*.png"))) == len(pairs)


def test_recordings_of_one_folder_do_not_influence_each_other(
    drive_pairs: list[Pair], tmp_path: Path
) -> None:
    for name, change in (("a", 0), ("b", 3000)):
        pairs = [
            Pair(p.visible, p.thermal + np.uint16(change), p.visible_stamp, p.thermal_stamp)
            for p in drive_pairs[:4]
        ]
        write_pairs(tmp_path / "both" / name, pairs)
    for source, out in ((tmp_path / "both", "both"), (tmp_path / "both" / "b", "alone")):
        assert fuse(source, "--out", tmp_path / "out" / out).returncode == 0
    together = sorted((tmp_path / "out/both").rglob("*b*.png"))[-4:]
    alone = sorted((tmp_path / "out/alone").rglob("*.png"))
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(cv2.imread(str(one)), cv2.imread(str(other)))


def test_two_videos_are_fused(drive_pairs: list[Pair], tmp_path: Path) -> None:
    for name in ("visible", "thermal"):
        with VideoWriter(tmp_path / f"{name}.mp4", 30.0) as video:
            for pair in drive_pairs[:6]:
                grey = (pair.thermal // 40).astype(np.uint8)
                video.write(pair.visible if name == "visible" else cv2.merge([grey] * 3))
    result = fuse("--visible", tmp_path / "visible.mp4", "--thermal", tmp_path / "thermal.mp4",
                  "--out", tmp_path / "out")  # fmt: skip
    assert result.returncode == 0, result.stderr
    names = [file.name for file in sorted((tmp_path / "out").iterdir())]
    assert names == [f"visible_{frame:06d}.png" for frame in range(6)]


@pytest.fixture
def adas(tmp_path: Path) -> Path:
    """A dataset whose names differ by a prefix, as FLIR ADAS has them."""
    for folder, prefix, shape in (("rgb", "video-a-", (48, 64, 3)), ("t", "ir-b-", (24, 32))):
        for number in range(2):
            path = tmp_path / "data" / folder / f"{prefix}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng(number).integers(0, 200, shape, dtype=np.uint8)
            cv2.imwrite(str(path), image)
    return tmp_path / "data"


def test_a_list_tells_the_pairs_whose_names_do_not(adas: Path, tmp_path: Path) -> None:
    list_file = adas / "pairs.csv"
    list_file.write_text(
        "visible,thermal\n# night\nrgb/video-a-0.png, t/ir-b-1.png\n\n"
        "rgb/video-a-1.png,t/ir-b-0.png\n"
    )
    listing = read_pair_list(list_file)
    assert listing.names == ("rgb/video-a-0", "rgb/video-a-1")
    assert [pair.thermal.name for pair in listing.pairs] == ["ir-b-1.png", "ir-b-0.png"]
    result = fuse(list_file, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert cv2.imread(str(tmp_path / "out/rgb/video-a-1.png")).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no pairs; expected lines of"),
        ("visible,thermal\n", "no pairs; expected lines of"),
        ("rgb/video-a-0.png\n", "line 1 is 'rgb/video-a-0.png'; expected"),
        ("rgb/video-a-0.png,t/none.png\n", "line 1: no file .*none.png"),
        ("rgb/video-a-0.png,t/ir-b-0.png\n" * 2, "line 2: rgb/video-a-0.png is in the list twice"),
        ("\xff\xfe", "no pairs|cannot be read as a list"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(adas: Path, text: str, reason: str) -> None:
    list_file = adas / "pairs.csv"
    list_file.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=f"pairs.csv: .*{reason}|pairs.csv: {reason}"):
        read_pair_list(list_file)


def test_files_of_one_name_in_other_folders_are_two_pairs(adas: Path) -> None:
    inner = adas / "lists" / "pairs.csv"
    inner.parent.mkdir()
    (adas / "more").mkdir()
    (adas / "more" / "video-a-0.png").write_bytes((adas / "rgb/video-a-0.png").read_bytes())
    inner.write_text(
        "../rgb/video-a-0.png,../t/ir-b-0.png\n../more/video-a-0.png,../t/ir-b-1.png\n"
    )
    assert read_pair_list(inner).names == ("video-a-0", "video-a-0_2")


def test_a_list_cannot_write_outside_the_folder(adas: Path, tmp_path: Path) -> None:
    inner = adas / "lists" / "pairs.csv"
    inner.parent.mkdir()
    inner.write_text("../rgb/video-a-0.png,../t/ir-b-0.png\n")
    result = fuse(inner, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["video-a-0.png"]


def test_what_to_fuse_must_be_said(tmp_path: Path) -> None:
    for arguments in ((), ("--visible", tmp_path), (tmp_path, "--visible", tmp_path)):
        result = fuse(*arguments, "--out", tmp_path / "out")
        assert result.returncode == 2
        assert "give a recording" in result.stderr and "Traceback" not in result.stderr
