"""Calibration from a scene: right, or refused. Statistics over many are in docs/results.md."""

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
from ssvif_core.cameras.model import Camera, CameraPair, load_camera_pair
from ssvif_core.cli import app
from ssvif_core.errors import InputError
from ssvif_core.recordings.bags import write_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair

VISIBLE, THERMAL = (640, 480), (320, 256)
# The thermal camera sees four fifths of the visible field, turned by 4 degrees, off centre.
TRUE = CameraPair(
    Camera(*VISIBLE), Camera(*THERMAL),
    np.array([[1.596, -0.1116, 90.0], [0.1116, 1.596, 20.0], [0, 0, 1]]),
)  # fmt: skip

NEAR = SearchLimits(scale=(0.5, 1.3), rotation=6.0)  # what suffices here, to save time


@pytest.fixture(scope="module")
def drive() -> list[Pair]:
    """Four pairs of a drive by day, through unlike lenses from unlike places."""
    scenes = DriveGenerator(
        DriveConfig(seed=3, visible_size=VISIBLE, thermal_size=THERMAL, condition="day",
                    frames=120, homography=TRUE.homography, parallax=0.01)
    )  # fmt: skip
    return [Pair(s.visible, s.thermal) for s in map(scenes.frame, range(0, 120, 30))]


def error(pair: CameraPair) -> float:
    corners = overlap(TRUE)
    return float(np.linalg.norm(pair.to_visible(TRUE.to_thermal(corners)) - corners, axis=1).mean())


def moved(x: float, y: float) -> CameraPair:
    """The true calibration, but for a shift in visible pixels."""
    shift = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
    return CameraPair(TRUE.visible, TRUE.thermal, shift @ TRUE.homography)


def test_edges_of_either_polarity_are_the_same() -> None:
    image = np.random.default_rng(0).normal(size=(60, 80)).astype(np.float32)
    assert edge_field(image) == pytest.approx(edge_field(-image), abs=1e-4)


def test_a_drive_by_day_gives_the_mapping(drive: list[Pair]) -> None:
    found = calibrate_from_scene(drive, limits=NEAR)
    assert found.pair is not None
    assert error(found.pair) < 3
    assert found.deviation < 4.5 and found.beyond > 1.5 and found.frames == 4


def test_from_a_start_that_is_about_right_no_search_is_needed(drive: list[Pair]) -> None:
    beside = moved(9.0, -7.0)
    found = calibrate_from_scene(drive, start=beside)
    assert found.pair is not None and error(found.pair) < 3


WINDOWS = {
    "part of the visible image": (Camera(1280, 960, roi=(320, 240, 640, 480)), TRUE.thermal),
    "binned visible": (Camera(1280, 960, binning=(2, 2)), TRUE.thermal),
    "binned thermal": (TRUE.visible, Camera(640, 512, binning=(2, 2))),
    "part of the thermal image": (TRUE.visible, Camera(640, 512, roi=(200, 100, 320, 256))),
}


@pytest.fixture(params=WINDOWS)
def windowed(request: pytest.FixtureRequest) -> CameraPair:
    """The same images, sent by cameras of which they are only a part, or which bin pixels."""
    return CameraPair(*WINDOWS[request.param], np.eye(3)).with_sent(TRUE)


def test_parts_and_binned_images_give_the_mapping_of_the_full_ones(
    drive: list[Pair], windowed: CameraPair
) -> None:
    assert error(windowed) < 1e-6
    found = calibrate_from_scene(drive, windowed.visible, windowed.thermal, start=windowed)
    assert found.pair is not None and error(found.pair) < 3
    assert (found.pair.visible.roi, found.pair.thermal.binning) == (
        windowed.visible.roi, windowed.thermal.binning,
    )  # fmt: skip


def test_a_knock_is_measured_in_pixels_of_the_images_that_are_sent(
    drive: list[Pair], windowed: CameraPair
) -> None:
    good, off = (alignment(drive, windowed.with_sent(one)) for one in (TRUE, moved(20.0, 0.0)))
    assert good is not None and good.offset < 4
    assert off is not None and off.offset == pytest.approx(20, abs=5)


def test_a_lens_that_was_only_estimated_is_estimated_anew(drive: list[Pair]) -> None:
    """Kept, it would bend the next mapping, and be told from a measured one by nobody."""
    first = calibrate_from_scene(drive, start=TRUE).pair
    assert first is not None and first.thermal.estimated
    bent = replace(first, thermal=replace(first.thermal, distortion=(0.3, 0, 0, 0)))
    again = calibrate_from_scene(drive, bent.visible, bent.thermal, limits=NEAR)
    assert again.pair is not None and error(again.pair) < 3
    measured = replace(bent.thermal, estimated=False)
    kept = calibrate_from_scene(drive, bent.visible, measured, limits=NEAR).best.thermal
    assert kept.distortion == (0.3, 0, 0, 0) and not kept.estimated


def test_frames_that_show_the_same_count_once(drive: list[Pair]) -> None:
    beside = moved(9.0, -7.0)
    one, other = drive[0], drive[2]
    alone = calibrate_from_scene([one], start=beside)
    copies = calibrate_from_scene([one] * 6, start=beside)
    assert copies.frames == 6 and copies.independent == pytest.approx(1, abs=0.01)
    assert copies.deviation == pytest.approx(alone.deviation, rel=0.02)
    assert copies.reason == alone.reason
    two = calibrate_from_scene([one, other], start=beside)
    repeated = calibrate_from_scene([one, other] * 3, start=beside)
    assert repeated.independent == pytest.approx(two.independent, rel=0.01)
    assert repeated.deviation == pytest.approx(two.deviation, rel=0.02)


def test_frames_of_a_moving_camera_count_each_and_those_of_a_still_one_do_not(
    drive: list[Pair],
) -> None:
    beside = moved(9.0, -7.0)
    assert calibrate_from_scene(drive, start=beside).independent > 3.5
    random = np.random.default_rng(0)
    still = [
        Pair(
            np.clip(drive[0].visible + random.normal(0, 2, (480, 640, 3)), 0, 255).astype(np.uint8),
            (drive[0].thermal + random.normal(0, 3, (256, 320))).astype(np.uint16),
        )
        for _ in range(4)
    ]
    assert calibrate_from_scene(still, start=beside).independent < 2.5


def unrelated(drive: list[Pair]) -> list[Pair]:
    random = np.random.default_rng(5)
    return [Pair(p.visible, random.integers(7000, 7400, p.thermal.shape).astype(np.uint16))
            for p in drive]  # fmt: skip


def test_what_cannot_be_told_is_refused_with_its_reason(drive: list[Pair]) -> None:
    blank = [Pair(p.visible, np.full_like(p.thermal, 7300)) for p in drive[:2]]
    for pairs in (unrelated(drive)[:2], blank):
        found = calibrate_from_scene(pairs, limits=NEAR)
        assert found.pair is None
        assert "record half a minute in which the robot moves" in found.reason


def test_pairs_of_unlike_sizes_and_none_are_refused(drive: list[Pair]) -> None:
    with pytest.raises(InputError, match="no pairs"):
        calibrate_from_scene([])
    with pytest.raises(InputError, match="pairs of different sizes"):
        calibrate_from_scene([drive[0], Pair(drive[0].visible[:200], drive[0].thermal)])


def test_a_knocked_camera_is_seen_and_a_good_one_is_not(drive: list[Pair]) -> None:
    good = alignment(drive[:4], TRUE)
    assert good is not None and good.offset < 4
    off = alignment(drive[:4], moved(20.0, 0.0))
    assert off is not None and off.offset == pytest.approx(20, abs=5)
    assert alignment(unrelated(drive)[:3], TRUE) is None


def test_a_hard_knock_is_found_by_a_search_of_the_whole_image(drive: list[Pair]) -> None:
    assert alignment(drive, moved(100.0, 0.0)) is None
    off = alignment(drive, moved(100.0, 0.0), anywhere=True)
    assert off is not None and off.offset == pytest.approx(100, abs=5)
    assert alignment(unrelated(drive)[:3], TRUE, anywhere=True) is None


def test_the_command_writes_a_calibration_and_a_picture(drive: list[Pair], tmp_path) -> None:
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
