"""Two videos are paired by time, and a thermal video of 16 bits keeps its counts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ssvif_core.errors import InputError
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.reading import read_sources
from ssvif_core.recordings.video import pair_count, video_pairs
from ssvif_core.types import Pair

SIZE = (64, 48)


def video(path: Path, count: int, rate: float, kind: type = np.uint8) -> Path:
    """Frames that show the time: grey level 100 at 1 s, or counts of 1000 more than that."""
    deep = kind is np.uint16
    options = [cv2.VIDEOWRITER_PROP_IS_COLOR, int(not deep)]
    if deep:
        options += [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U]
    codec = cv2.VideoWriter.fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, rate, SIZE, options)
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write such a video")
    for number in range(count):
        shape = (*SIZE[::-1],) if deep else (*SIZE[::-1], 3)
        writer.write(np.full(shape, round(100 * number / rate) + 1000 * deep, kind))
    writer.release()
    return path


@pytest.mark.parametrize(("rates"), [(10, 30), (30, 10), (30, 9), (25, 30), (30, 30)])
def test_two_videos_are_paired_by_time(tmp_path: Path, rates: tuple[int, int]) -> None:
    paths = [video(tmp_path / f"{name}.mkv", rate * 2, rate) for name, rate in
             zip("vt", rates, strict=True)]  # fmt: skip
    pairs = list(video_pairs(*paths))
    assert len(pairs) == pair_count(*paths) == min(rates) * 2
    for pair in pairs:
        shown_s = [float(image.flat[0]) / 100 for image in (pair.visible, pair.thermal)]
        assert abs(shown_s[0] - shown_s[1]) < 0.6 / max(rates) + 0.02
        stamps_s = [(s - 1_000_000_000) * 1e-9 for s in (pair.visible_stamp, pair.thermal_stamp)]
        assert stamps_s == pytest.approx(shown_s, abs=0.011)
    later = list(video_pairs(*paths, start=5))
    assert [p.visible_stamp for p in later] == [p.visible_stamp for p in pairs[5:]]


@pytest.mark.parametrize(
    ("counts", "rates"),
    [((10, 8), (60, 30)), ((7, 40), (10, 30)), ((9, 9), (30, 30)), ((31, 30), (30, 30))],
)
def test_the_number_of_pairs_is_known_before(
    tmp_path: Path, counts: tuple[int, int], rates: tuple[int, int]
) -> None:
    """Whichever video ends first."""
    paths = [
        video(tmp_path / f"{n}.mkv", c, r) for n, c, r in zip("vt", counts, rates, strict=True)
    ]
    assert pair_count(*paths) == len(list(video_pairs(*paths)))


def test_rates_that_differ_little_are_paired_by_time(tmp_path: Path) -> None:
    paths = video(tmp_path / "v.mkv", 75, 30.0), video(tmp_path / "t.mkv", 71, 28.5)
    last = list(video_pairs(*paths))[-1]
    assert abs(int(last.visible.flat[0]) - int(last.thermal.flat[0])) <= 4


def test_one_number_of_frames_means_frame_by_frame(tmp_path: Path) -> None:
    """Synchronised recordings whose headers name other rates."""
    paths = video(tmp_path / "v.mkv", 20, 30), video(tmp_path / "t.mkv", 20, 25)
    assert len(list(video_pairs(*paths))) == pair_count(*paths) == 20


def test_a_grey_video_of_16_bits_keeps_its_counts(tmp_path: Path) -> None:
    paths = (
        video(tmp_path / "visible.mkv", 6, 30),
        video(tmp_path / "thermal.mkv", 6, 30, np.uint16),
    )
    for number, pair in enumerate(video_pairs(*paths)):
        assert pair.thermal.dtype == np.uint16
        assert set(pair.thermal.ravel()) == {1000 + round(100 * number / 30)}
    sources = find_pairs(tmp_path, frame_step=2).pairs
    read = [pair for _, pair in read_sources(sources)]
    assert len(read) == 3 and all(isinstance(pair, Pair) for pair in read)


def test_a_painted_thermal_video_is_told(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    painted = cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)
    writer = cv2.VideoWriter(str(tmp_path / "t.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, SIZE)
    for _ in range(3):
        writer.write(painted)
    writer.release()
    with pytest.raises(InputError, match="t.avi: the thermal image is in colour"):
        next(video_pairs(video(tmp_path / "v.mkv", 3, 30), tmp_path / "t.avi"))
