"""Two cameras that do not show the same are told, and aligned ones never."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from ssvif_core.calibration.drift import misalignment
from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cli import app
from ssvif_core.evaluation.plan import Settings
from ssvif_core.evaluation.report import write_report
from ssvif_core.evaluation.run import evaluate
from ssvif_core.evaluation.tables import write_tables
from ssvif_core.synthetic import DriveConfig, DriveGenerator, thermal_to_visible
from ssvif_core.training.config import TrainConfig
from ssvif_core.training.data.sets import read_pairs
from ssvif_core.types import Pair

VISIBLE, THERMAL = (640, 480), (320, 256)
MAPPING = thermal_to_visible(THERMAL, VISIBLE, scale=0.7, angle=3.0, shift=(25.0, -15.0))
TOLD = "the two cameras do not show the same: their images lie about"


def drive(mapping: np.ndarray | None) -> list[Pair]:
    config = DriveConfig(
        condition="day", visible_size=VISIBLE, thermal_size=THERMAL, homography=mapping, frames=200
    )
    frames = [DriveGenerator(config).frame(number) for number in range(0, 200, 20)]
    return [Pair(frame.visible, frame.thermal) for frame in frames]


@pytest.fixture(scope="module")
def apart() -> list[Pair]:
    return drive(MAPPING)


def test_cameras_that_see_different_parts_are_told_with_the_command(apart: list[Pair]) -> None:
    text = misalignment(apart)
    assert text.startswith(TOLD) and "`ssvif calibrate`" in text


def test_their_calibration_is_not_doubted(apart: list[Pair]) -> None:
    assert misalignment(apart, CameraPair(Camera(*VISIBLE), Camera(*THERMAL), MAPPING)) == ""


def test_a_wrong_calibration_is_told(apart: list[Pair]) -> None:
    wrong = thermal_to_visible(THERMAL, VISIBLE, scale=0.7, angle=3.0, shift=(-25.0, 15.0))
    text = misalignment(apart, CameraPair(Camera(*VISIBLE), Camera(*THERMAL), wrong))
    assert text.startswith(TOLD) and "calibrate again" in text


def test_aligned_cameras_and_empty_scenes_are_not_doubted() -> None:
    assert misalignment(drive(None)) == ""
    noise = np.random.default_rng(0)
    flat = [
        Pair(
            noise.integers(90, 94, (480, 640, 3)).astype(np.uint8),
            np.full((256, 320), 7000, np.uint16),
        )
        for _ in range(3)
    ]
    assert misalignment(flat) == ""


@pytest.mark.slow
def test_commands_warn_and_go_on(
    apart: list[Pair], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, pair in enumerate(apart):
        for kind, image in (("vi", pair.visible), ("ir", pair.thermal)):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "data" / kind / f"{number}.png"), image)
    result = CliRunner().invoke(app, ["pairs", str(tmp_path / "data")])
    assert result.exit_code == 0 and TOLD in result.output
    with caplog.at_level(logging.WARNING):
        read_pairs(TrainConfig(data=[str(tmp_path / "data")]))
    assert TOLD in caplog.text
    scored = evaluate([tmp_path / "data"], Settings(), workers=1, pictured=0)
    assert TOLD in scored.warnings[0] and not scored.problems
    write_tables(tmp_path, scored)
    write_report(tmp_path / "report.html", scored)
    assert TOLD in (tmp_path / "summary.md").read_text().splitlines()[2]
    assert TOLD in (tmp_path / "summary.json").read_text()
    assert "Before you read on" in (tmp_path / "report.html").read_text()
