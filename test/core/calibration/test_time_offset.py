"""The time offset between two streams: measured from motion, or refused without motion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import MAPPING, START, Images, film, late, swing, walk

from ssvif_core.calibration.time_offset import time_offset
from ssvif_core.errors import InputError
from ssvif_core.recordings.video import video_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drive() -> tuple[Images, Images]:
    """5.5 s of a drive at night with parallax: visible at 30 Hz, thermal at 10 Hz, interleaved."""
    scenes = DriveGenerator(DriveConfig(
        seed=1, fps=60, frames=330, condition="night", parallax=0.1, visible_size=(240, 180),
        thermal_size=(160, 128),
    ))  # fmt: skip

    def stream(start: int, step: int) -> Iterator[tuple[int, np.ndarray]]:
        for index in range(start, 330, step):
            scene = scenes.frame(index)
            yield START + round(1e9 * scene.stamp), scene.visible if step == 2 else scene.thermal

    return list(stream(0, 2)), list(stream(1, 6))


@pytest.mark.parametrize("delay", [-0.2, 0.0437])
def test_a_moving_camera_gives_the_delay(drive: tuple[Images, Images], delay: float) -> None:
    visible, thermal = drive
    result = time_offset(visible, late(thermal, delay))
    assert result.confident and "camera" in result.reason
    assert abs(result.seconds + delay) < 0.005
    assert 0 < result.uncertainty < 0.008


@pytest.mark.parametrize("delay", [-0.171, 0.2])
def test_moving_people_and_a_known_mapping_give_the_delay(
    people: tuple[Images, Images], delay: float
) -> None:
    visible, thermal = people
    result = time_offset(visible, late(thermal, delay), MAPPING)
    assert result.confident and "move in the image" in result.reason
    assert abs(result.seconds + delay) < 0.003
    assert 0 < result.uncertainty < 0.008


def test_moving_people_without_a_mapping_give_the_delay(people: tuple[Images, Images]) -> None:
    visible, thermal = people
    colour = [(stamp, cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)) for stamp, image in visible]
    result = time_offset(colour, late(thermal, 0.123))
    assert result.confident
    assert abs(result.seconds + 0.123) < 0.005


def test_a_still_scene_is_refused() -> None:
    result = time_offset(film([], 20, 5, False), film([], 10, 5, True))
    assert not result.confident and result.uncertainty == float("inf")
    assert "stands still" in result.reason and "nothing moves" in result.reason
    assert "record again" in result.reason


def test_periodic_motion_is_refused() -> None:
    result = time_offset(film([swing], 30, 5, False), film([swing], 15, 5, True), MAPPING)
    assert not result.confident
    assert "periodic" in result.reason or "contradict" in result.reason


def test_streams_of_different_scenes_are_refused(people: tuple[Images, Images]) -> None:
    other = film([walk(20), walk(21)], 9, 7, True)
    assert not time_offset(people[0], other, MAPPING).confident


def test_a_delay_above_the_limit_is_refused(people: tuple[Images, Images]) -> None:
    visible, thermal = people
    result = time_offset(visible, late(thermal, 1.0), MAPPING)
    assert not result.confident


def test_an_invalid_stream_is_refused_with_its_mistake(people: tuple[Images, Images]) -> None:
    visible, thermal = people
    with pytest.raises(InputError, match=r"12 thermal images; expected at least 20"):
        time_offset(visible, thermal[:12])
    with pytest.raises(InputError, match=r"0 visible images"):
        time_offset([], thermal)
    with pytest.raises(InputError, match=r"in common.*same clock"):
        time_offset(visible, late(thermal, 100))
    with pytest.raises(InputError, match="rising"):
        time_offset(visible[::-1], thermal)
    with pytest.raises(InputError, match="160x120 pixels like the first"):
        time_offset(visible, [*thermal[:-1], (thermal[-1][0], thermal[-1][1][:100])])
    with pytest.raises(InputError, match="float64"):
        time_offset(visible, [(stamp, image * 1.0) for stamp, image in thermal])
    slow = [(START + index * 10**9, image) for index, (_, image) in enumerate(thermal)]
    with pytest.raises(InputError, match=r"1\.0 Hz"):
        time_offset(visible, slow)


def test_the_result_of_a_real_clip_follows_its_stamps(shared: Path) -> None:
    folder = shared / "m3svd"
    pairs = list(video_pairs(folder / "vi/0111_1716.mp4", folder / "ir/0111_1716.mp4"))
    visible = [(pair.visible_stamp, pair.visible) for pair in pairs]
    thermal = [(pair.thermal_stamp, pair.thermal) for pair in pairs]
    original = time_offset(visible, thermal, np.eye(3))
    # Nearly one frame; it varies in this clip.
    assert original.confident and abs(original.seconds) < 0.04
    delayed = late(thermal[::3], 0.087)
    result = time_offset(visible, delayed, np.eye(3))
    assert result.confident and abs(result.seconds + 0.087 - original.seconds) < 0.005
