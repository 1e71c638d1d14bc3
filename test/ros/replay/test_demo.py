"""The demo tells two cameras that do not show the same."""

from __future__ import annotations

from pathlib import Path

from ssvif_core.recordings.bags import write_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator, thermal_to_visible
from ssvif_core.types import Pair
from ssvif_ros.replay.demo import DemoInput, alignment_warnings


def bag(path: Path, scale: float) -> DemoInput:
    """A drive by day whose thermal camera has `scale` times the field of view."""
    mapping = thermal_to_visible(
        (160, 128), (320, 240), scale=scale, shift=(12.0 * (scale < 1), 0.0)
    )
    drive = DriveGenerator(
        DriveConfig(
            condition="day", visible_size=(320, 240), thermal_size=(160, 128), homography=mapping
        )
    )
    frames = (drive.frame(20 * number) for number in range(12))
    pairs = [
        Pair(frame.visible, frame.thermal, 10**9 + n * 10**8, 10**9 + n * 10**8)
        for n, frame in enumerate(frames)
    ]
    write_pairs(path, pairs)
    return DemoInput(path)


def test_cameras_that_see_different_parts_are_told(tmp_path: Path) -> None:
    (warning,) = alignment_warnings(bag(tmp_path / "apart", 0.65))
    assert "do not show the same" in warning and "`ssvif calibrate`" in warning


def test_aligned_cameras_and_a_damaged_bag_give_no_warning(tmp_path: Path) -> None:
    assert list(alignment_warnings(bag(tmp_path / "aligned", 1.0))) == []
    assert list(alignment_warnings(DemoInput(tmp_path / "none"))) == []
