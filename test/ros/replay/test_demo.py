"""The demo tells two cameras that do not show the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ssvif_core.errors import InputError
from ssvif_core.recordings.bags import write_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator, thermal_to_visible
from ssvif_core.types import Pair
from ssvif_ros.replay.cli import demo
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


def test_the_topics_of_a_bag_are_found(tmp_path: Path) -> None:
    """By the same rule as in `ssvif evaluate`."""
    random = np.random.default_rng(0)
    pairs = [
        Pair(random.integers(0, 255, (48, 64, 3)).astype(np.uint8),
             random.integers(7000, 8000, (24, 32)).astype(np.uint16), n * 10**8, n * 10**8)
        for n in range(1, 4)
    ]  # fmt: skip
    rgb, lwir = "/front/rgb/image_raw", "/front/lwir/image_raw"
    write_pairs(tmp_path / "bag", pairs, rgb, lwir)
    assert DemoInput.of(tmp_path / "bag") == DemoInput(tmp_path / "bag", rgb, lwir)
    with pytest.raises(InputError, match="/front/lwir/image_raw"):
        DemoInput.of(tmp_path / "bag", ("/visible/image_raw", lwir))
    result = CliRunner().invoke(typer_app(), ["--bag", str(tmp_path / "bag"), "--visible", rgb])
    assert "--visible and --thermal belong together" in str(result.exception)


def typer_app() -> typer.Typer:
    app = typer.Typer()
    app.command()(demo)
    return app


def test_cameras_that_see_different_parts_are_told(tmp_path: Path) -> None:
    (warning,) = alignment_warnings(bag(tmp_path / "apart", 0.65))
    assert "do not show the same" in warning and "`ssvif calibrate`" in warning


def test_aligned_cameras_and_a_damaged_bag_give_no_warning(tmp_path: Path) -> None:
    assert list(alignment_warnings(bag(tmp_path / "aligned", 1.0))) == []
    assert list(alignment_warnings(DemoInput(tmp_path / "none"))) == []
