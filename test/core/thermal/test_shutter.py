"""Freezes and the closed shutter of a thermal camera that calibrates itself."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.thermal import ShutterWatch, StreamState, ThermalConfig, ThermalStream

SECOND = 1_000_000_000
SHAPE = (48, 64)
LIVE, FROZEN, SHUTTER = StreamState.LIVE, StreamState.FROZEN, StreamState.SHUTTER


def street(picture: int, contrast: float = 200) -> np.ndarray:
    """Picture number `picture`, 14 bits."""
    scene = np.random.default_rng(0).normal(7200, contrast / 4, SHAPE)
    noise = np.random.default_rng(picture + 1).normal(0, 1.5, SHAPE)
    return np.rint(scene + noise).astype(np.uint16)


def closed(picture: int) -> np.ndarray:
    return street(picture, contrast=0)


def states(
    frames: Iterable[np.ndarray], rate: float = 30, watch: ShutterWatch | None = None
) -> list[StreamState]:
    watch = watch or ShutterWatch()
    return [watch(f, round((1 + n / rate) * SECOND)) for n, f in enumerate(frames)]


def test_a_state_is_a_word() -> None:
    assert [str(s) for s in StreamState] == ["live", "frozen", "shutter"]


@pytest.mark.parametrize("rate", [9, 30, 60])
def test_a_camera_that_runs_is_live(rate: float) -> None:
    assert set(states((street(n) for n in range(90)), rate)) == {LIVE}


@pytest.mark.parametrize("camera", [1, 2.5, 9, 15])
def test_repeats_of_a_slow_camera_sent_at_thirty_hertz_are_no_freeze(camera: float) -> None:
    """Once a few of its pictures were seen, which only one of less than 4 Hz needs."""
    seen = states(street(int(n * camera / 30)) for n in range(300))
    assert set(seen[120:]) == {LIVE}
    if camera >= 4:
        assert set(seen) == {LIVE}


@pytest.mark.parametrize("camera", [9, 30])
def test_a_freeze_is_noticed_within_a_third_of_a_second_and_cleared_at_once(camera: int) -> None:
    pictures = [int(n * camera / 30) for n in range(120)]
    pictures[60:75] = [pictures[60]] * 15  # half a second
    seen = states(street(p) for p in pictures)
    first = seen.index(FROZEN)
    assert 60 < first <= 70
    thawed = next(n for n in range(61, 120) if pictures[n] != pictures[60])
    assert set(seen[first:thawed]) == {FROZEN}
    assert set(seen[:first] + seen[thawed:]) == {LIVE}


@pytest.mark.parametrize("rate", [9, 30, 60])
def test_the_second_repeat_is_a_freeze_where_pictures_come_once(rate: float) -> None:
    """One repeat is a driver's hiccup; and a camera that was frozen is believed less at once."""
    pictures = list(range(90))
    pictures[40] = 39
    pictures[60:66] = [60] * 6
    seen = states((street(p) for p in pictures), rate)
    assert [n for n, state in enumerate(seen) if state is FROZEN] == [62, 63, 64, 65]


def test_freezes_are_not_taken_for_the_usual_rate() -> None:
    pictures = np.arange(900)
    for start in range(100, 900, 100):
        pictures[start : start + 30] = start
    seen = states(street(int(p)) for p in pictures)
    assert all(FROZEN in seen[start : start + 30] for start in range(100, 900, 100))


def test_without_stamps_frames_count_as_thirty_a_second() -> None:
    watch = ShutterWatch()
    seen = [watch(street(min(n, 30))) for n in range(60)]
    assert set(seen[:31]) == {LIVE} and seen.index(FROZEN) == 32


def test_the_same_stamp_again_is_no_freeze() -> None:
    """As when one thermal frame is paired with several visible ones."""
    watch = ShutterWatch()
    assert {watch(street(0), SECOND) for _ in range(60)} == {LIVE}


@pytest.mark.parametrize("rate", [9, 30])
def test_a_closed_shutter_is_noticed_in_its_first_picture_and_its_opening_too(rate: int) -> None:
    shut = range(rate, rate + rate // 2)
    seen = states(((closed if n in shut else street)(n) for n in range(3 * rate)), rate)
    assert [n for n, state in enumerate(seen) if state is SHUTTER] == list(shut)
    assert set(seen) == {LIVE, SHUTTER}


def test_a_shutter_picture_that_is_repeated_is_still_the_shutter() -> None:
    pictures = [street(n) for n in range(30)] + [closed(0)] * 20 + [street(n) for n in range(9)]
    seen = states(pictures)
    assert set(seen[30:50]) == {SHUTTER} and set(seen[50:]) == {LIVE}


def test_a_wall_before_the_camera_is_no_shutter_for_long() -> None:
    seen = states((street if n < 30 else closed)(n) for n in range(150))
    assert set(seen[30:80]) == {SHUTTER} and set(seen[100:]) == {LIVE}


def test_something_hot_that_leaves_is_no_shutter() -> None:
    """It takes most of the contrast with it, but not that of the rest."""

    def frame(n: int) -> np.ndarray:
        picture = street(n)
        picture[:10, :20] = 12_000 if n < 30 else picture[:10, :20]
        return picture

    assert set(states(frame(n) for n in range(60))) == {LIVE}


def test_a_scene_that_fades_within_a_second_is_no_shutter() -> None:
    """Smoke, or a wall that comes nearer."""
    fading = (street(n, 400 * max(0.0, 1 - max(0, n - 15) / 30)) for n in range(90))
    assert set(states(fading)) == {LIVE}


def test_a_generated_drive_is_live() -> None:
    size = (160, 128)
    config = DriveConfig(frames=40, fps=9, visible_size=size, thermal_size=size)
    stream = ThermalStream(ThermalConfig("plateau"))
    seen = {stream(s.thermal, 1 + round(s.stamp * SECOND)).state for s in DriveGenerator(config)}
    assert seen == {LIVE}


def test_a_bag_that_is_played_again_starts_live() -> None:
    watch = ShutterWatch()
    assert states([street(0)] * 30, watch=watch)[-1] is FROZEN
    assert watch(street(0), SECOND) is LIVE
