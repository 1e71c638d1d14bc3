"""The delay between two streams: found from motion, refused where nothing tells it."""

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


@pytest.fixture(scope="module")
def drive() -> tuple[Images, Images]:
    """5.5 s of a drive at night with parallax: visible at 30 Hz, thermal at 10 Hz in between."""
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
def test_moving_camera(drive: tuple[Images, Images], delay: float) -> None:
    visible, thermal = drive
    found = time_offset(visible, late(thermal, delay))
    assert found.confident and "camera" in found.reason
    assert abs(found.seconds + delay) < 0.005
    assert 0 < found.uncertainty < 0.008


@pytest.mark.parametrize("delay", [-0.171, 0.2])
def test_standing_camera_and_people_of_a_known_mapping(
    people: tuple[Images, Images], delay: float
) -> None:
    visible, thermal = people
    found = time_offset(visible, late(thermal, delay), MAPPING)
    assert found.confident and "moves in the image" in found.reason
    assert abs(found.seconds + delay) < 0.003
    assert 0 < found.uncertainty < 0.008


def test_standing_camera_without_a_mapping(people: tuple[Images, Images]) -> None:
    visible, thermal = people
    colour = [(stamp, cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)) for stamp, image in visible]
    found = time_offset(colour, late(thermal, 0.123))
    assert found.confident
    assert abs(found.seconds + 0.123) < 0.005


def test_still_scene_is_refused() -> None:
    found = time_offset(film([], 20, 5, False), film([], 10, 5, True))
    assert not found.confident and found.uncertainty == float("inf")
    assert "stands still" in found.reason and "nothing does" in found.reason
    assert "record again" in found.reason


def test_periodic_motion_is_refused() -> None:
    found = time_offset(film([swing], 30, 5, False), film([swing], 15, 5, True), MAPPING)
    assert not found.confident
    assert "periodic" in found.reason or "contradict" in found.reason


def test_streams_of_different_scenes_are_refused(people: tuple[Images, Images]) -> None:
    other = film([walk(20), walk(21)], 9, 7, True)
    assert not time_offset(people[0], other, MAPPING).confident


def test_larger_delay_than_is_searched_is_refused(people: tuple[Images, Images]) -> None:
    visible, thermal = people
    found = time_offset(visible, late(thermal, 1.0), MAPPING)
    assert not found.confident


def test_what_cannot_be_used_is_told(people: tuple[Images, Images]) -> None:
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


def test_real_clip_follows_its_stamps(shared: Path) -> None:
    folder = shared / "m3svd"
    pairs = list(video_pairs(folder / "vi/0111_1716.mp4", folder / "ir/0111_1716.mp4"))
    visible = [(pair.visible_stamp, pair.visible) for pair in pairs]
    thermal = [(pair.thermal_stamp, pair.thermal) for pair in pairs]
    own = time_offset(visible, thermal, np.eye(3))
    assert own.confident and abs(own.seconds) < 0.04  # nearly a frame; it drifts in this clip
    tenth = late(thermal[::3], 0.087)
    found = time_offset(visible, tenth, np.eye(3))
    assert found.confident and abs(found.seconds + 0.087 - own.seconds) < 0.005
