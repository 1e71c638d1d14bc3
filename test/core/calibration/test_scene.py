"""Calibration from a scene gives the mapping or a refusal. docs/results.md has statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from ssvif_core.calibration.drift import alignment
from ssvif_core.calibration.features import edge_field
from ssvif_core.calibration.refine import overlap
from ssvif_core.calibration.scene import calibrate_from_scene
from ssvif_core.calibration.search import SearchLimits
from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.cli import app
from ssvif_core.errors import InputError
from ssvif_core.recordings.bags import write_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair

VISIBLE, THERMAL = (640, 480), (320, 256)
# The thermal camera sees four fifths of the visible field of view, off centre and rotated by 4
# degrees.
TRUE = CameraPair(
    Camera(*VISIBLE), Camera(*THERMAL),
    np.array([[1.596, -0.1116, 90.0], [0.1116, 1.596, 20.0], [0, 0, 1]]),
)  # fmt: skip

NEAR = SearchLimits(scale=(0.5, 1.3), rotation=6.0)  # a small search saves time


@pytest.fixture(scope="module")
def drive() -> list[Pair]:
    """Four pairs of a drive by day, with different lenses and positions of the cameras."""
    scenes = DriveGenerator(
        DriveConfig(seed=3, visible_size=VISIBLE, thermal_size=THERMAL, condition="day",
                    frames=120, homography=TRUE.homography, parallax=0.01)
    )  # fmt: skip
    return [Pair(s.visible, s.thermal) for s in map(scenes.frame, range(0, 120, 30))]


def error(pair: CameraPair) -> float:
    corners = overlap(TRUE)
    return float(np.linalg.norm(pair.to_visible(TRUE.to_thermal(corners)) - corners, axis=1).mean())


def moved(x: float, y: float) -> CameraPair:
    """The true camera pair with a wrong shift, visible pixels."""
    shift = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
    return CameraPair(TRUE.visible, TRUE.thermal, shift @ TRUE.homography)


def test_edges_of_both_polarities_have_the_same_field() -> None:
    image = np.random.default_rng(0).normal(size=(60, 80)).astype(np.float32)
    assert edge_field(image) == pytest.approx(edge_field(-image), abs=1e-4)


def test_a_drive_by_day_gives_the_mapping(drive: list[Pair]) -> None:
    result = calibrate_from_scene(drive, limits=NEAR)
    assert result.pair is not None
    assert error(result.pair) < 3
    assert result.deviation < 4.5 and result.beyond > 1.5 and result.frames == 4


def test_a_start_that_is_about_right_replaces_the_search(drive: list[Pair]) -> None:
    start = moved(9.0, -7.0)
    result = calibrate_from_scene(drive, start=start)
    assert result.pair is not None and error(result.pair) < 3


WINDOWS = {
    "part of the visible image": (Camera(1280, 960, roi=(320, 240, 640, 480)), TRUE.thermal),
    "binned visible": (Camera(1280, 960, binning=(2, 2)), TRUE.thermal),
    "binned thermal": (TRUE.visible, Camera(640, 512, binning=(2, 2))),
    "part of the thermal image": (TRUE.visible, Camera(640, 512, roi=(200, 100, 320, 256))),
}


@pytest.fixture(params=WINDOWS)
def windowed(request: pytest.FixtureRequest) -> CameraPair:
    """Cameras that send the same images as a part of their full image, or with binning."""
    return CameraPair(*WINDOWS[request.param], np.eye(3)).with_sent(TRUE)


def test_parts_and_binned_images_give_the_mapping_of_the_full_images(
    drive: list[Pair], windowed: CameraPair
) -> None:
    assert error(windowed) < 1e-6
    result = calibrate_from_scene(drive, windowed.visible, windowed.thermal, start=windowed)
    assert result.pair is not None and error(result.pair) < 3
    assert (result.pair.visible.roi, result.pair.thermal.binning) == (
        windowed.visible.roi, windowed.thermal.binning,
    )  # fmt: skip


def test_drift_is_measured_in_pixels_of_the_sent_images(
    drive: list[Pair], windowed: CameraPair
) -> None:
    good, off = (alignment(drive, windowed.with_sent(sent)) for sent in (TRUE, moved(20.0, 0.0)))
    assert good is not None and good.offset < 4
    assert off is not None and off.offset == pytest.approx(20, abs=5)


@pytest.mark.slow
def test_an_estimated_lens_is_estimated_again(drive: list[Pair]) -> None:
    """A measured lens is kept."""
    first = calibrate_from_scene(drive, start=TRUE).pair
    assert first is not None and first.thermal.estimated
    wrong = replace(first, thermal=replace(first.thermal, distortion=(0.3, 0, 0, 0)))
    again = calibrate_from_scene(drive, wrong.visible, wrong.thermal, limits=NEAR)
    assert again.pair is not None and error(again.pair) < 3
    measured = replace(wrong.thermal, estimated=False)
    kept = calibrate_from_scene(drive, wrong.visible, measured, limits=NEAR).best.thermal
    assert kept.distortion == (0.3, 0, 0, 0) and not kept.estimated


def test_equal_frames_count_once(drive: list[Pair]) -> None:
    start = moved(9.0, -7.0)
    first, second = drive[0], drive[2]
    single = calibrate_from_scene([first], start=start)
    copies = calibrate_from_scene([first] * 6, start=start)
    assert copies.frames == 6 and copies.independent == pytest.approx(1, abs=0.01)
    assert copies.deviation == pytest.approx(single.deviation, rel=0.02)
    assert copies.reason == single.reason
    two = calibrate_from_scene([first, second], start=start)
    repeated = calibrate_from_scene([first, second] * 3, start=start)
    assert repeated.independent == pytest.approx(two.independent, rel=0.01)
    assert repeated.deviation == pytest.approx(two.deviation, rel=0.02)


def test_frames_of_a_moving_camera_are_independent_and_those_of_a_still_camera_are_not(
    drive: list[Pair],
) -> None:
    start = moved(9.0, -7.0)
    assert calibrate_from_scene(drive, start=start).independent > 3.5
    random = np.random.default_rng(0)
    still = [
        Pair(
            np.clip(drive[0].visible + random.normal(0, 2, (480, 640, 3)), 0, 255).astype(np.uint8),
            (drive[0].thermal + random.normal(0, 3, (256, 320))).astype(np.uint16),
        )
        for _ in range(4)
    ]
    assert calibrate_from_scene(still, start=start).independent < 2.5


def unrelated(drive: list[Pair]) -> list[Pair]:
    random = np.random.default_rng(5)
    return [Pair(p.visible, random.integers(7000, 7400, p.thermal.shape).astype(np.uint16))
            for p in drive]  # fmt: skip


def test_a_scene_without_mapping_is_refused_with_a_reason(drive: list[Pair]) -> None:
    blank = [Pair(p.visible, np.full_like(p.thermal, 7300)) for p in drive[:2]]
    for pairs in (unrelated(drive)[:2], blank):
        result = calibrate_from_scene(pairs, limits=NEAR)
        assert result.pair is None
        assert "record half a minute in which the robot moves" in result.reason


def test_different_sizes_and_no_pairs_are_refused(drive: list[Pair]) -> None:
    with pytest.raises(InputError, match="no pairs"):
        calibrate_from_scene([])
    with pytest.raises(InputError, match="pairs of different sizes"):
        calibrate_from_scene([drive[0], Pair(drive[0].visible[:200], drive[0].thermal)])


def test_drift_of_a_knocked_camera_is_measured(drive: list[Pair]) -> None:
    good = alignment(drive[:4], TRUE)
    assert good is not None and good.offset < 4
    off = alignment(drive[:4], moved(20.0, 0.0))
    assert off is not None and off.offset == pytest.approx(20, abs=5)
    assert alignment(unrelated(drive)[:3], TRUE) is None


@pytest.mark.slow
def test_large_drift_is_measured_by_a_search_of_the_whole_image(drive: list[Pair]) -> None:
    assert alignment(drive, moved(100.0, 0.0)) is None
    off = alignment(drive, moved(100.0, 0.0), anywhere=True)
    assert off is not None and off.offset == pytest.approx(100, abs=5)
    assert alignment(unrelated(drive)[:3], TRUE, anywhere=True) is None


@pytest.mark.slow
def test_the_command_writes_a_camera_pair_and_a_picture(drive: list[Pair], tmp_path) -> None:
    stamped = [Pair(p.visible, p.thermal, 10**9 * (n + 1), 10**9 * (n + 1))
               for n, p in enumerate(drive[:3])]  # fmt: skip
    write_pairs(tmp_path / "bag", stamped)
    out = tmp_path / "camera_pair.yaml"
    result = CliRunner().invoke(app, ["calibrate", str(tmp_path / "bag"), "--out", str(out),
                                      "--every", "1"])  # fmt: skip
    assert result.exit_code == 0, result.output
    assert error(load_camera_pair(out)) < 3
    assert yaml.safe_load(out.read_text())["made"]["method"] == "scene"
    assert out.with_suffix(".png").stat().st_size > 10_000


def test_the_command_writes_nothing_when_it_refuses(drive: list[Pair], tmp_path) -> None:
    stamped = [Pair(p.visible, p.thermal, 10**9 * (n + 1), 10**9 * (n + 1))
               for n, p in enumerate(unrelated(drive)[:1])]  # fmt: skip
    write_pairs(tmp_path / "bag", stamped)
    out = tmp_path / "camera_pair.yaml"
    result = CliRunner().invoke(app, ["calibrate", str(tmp_path / "bag"), "--out", str(out),
                                      "--every", "1"])  # fmt: skip
    assert result.exit_code == 3 and "not calibrated" in result.output
    assert not out.exists()
