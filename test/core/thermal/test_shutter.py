"""Detection of frozen streams and of the closed shutter of a thermal camera."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.thermal import ShutterWatch, StreamState, ThermalConfig, ThermalStream

SECOND = 1_000_000_000
SHAPE = (48, 64)
LIVE, FROZEN, SHUTTER = StreamState.LIVE, StreamState.FROZEN, StreamState.SHUTTER


def street(number: int, contrast: float = 200) -> np.ndarray:
    """New frame `number`, 14 bits."""
    scene = np.random.default_rng(0).normal(7200, contrast / 4, SHAPE)
    noise = np.random.default_rng(number + 1).normal(0, 1.5, SHAPE)
    return np.rint(scene + noise).astype(np.uint16)


def closed(number: int) -> np.ndarray:
    return street(number, contrast=0)


def states(
    frames: Iterable[np.ndarray], rate: float = 30, watch: ShutterWatch | None = None
) -> list[StreamState]:
    watch = watch or ShutterWatch()
    return [watch(f, round((1 + n / rate) * SECOND)) for n, f in enumerate(frames)]


def test_a_state_is_a_word() -> None:
    assert [str(s) for s in StreamState] == ["live", "frozen", "shutter"]


@pytest.mark.parametrize("rate", [9, 30, 60])
def test_a_running_camera_is_live(rate: float) -> None:
    assert set(states((street(n) for n in range(90)), rate)) == {LIVE}


@pytest.mark.parametrize("rate", [1, 2.5, 9, 15])
def test_regular_repeats_of_a_slow_camera_at_thirty_hertz_are_live(rate: float) -> None:
    """Below 4 Hz, a few new frames are needed first."""
    observed = states(street(int(n * rate / 30)) for n in range(300))
    assert set(observed[120:]) == {LIVE}
    if rate >= 4:
        assert set(observed) == {LIVE}


@pytest.mark.parametrize("rate", [9, 30])
def test_a_freeze_is_reported_within_a_third_of_a_second_and_cleared_at_once(rate: int) -> None:
    numbers = [int(n * rate / 30) for n in range(120)]
    numbers[60:75] = [numbers[60]] * 15  # half a second
    observed = states(street(number) for number in numbers)
    first = observed.index(FROZEN)
    assert 60 < first <= 70
    end = next(n for n in range(61, 120) if numbers[n] != numbers[60])
    assert set(observed[first:end]) == {FROZEN}
    assert set(observed[:first] + observed[end:]) == {LIVE}


@pytest.mark.parametrize("rate", [9, 30, 60])
def test_the_second_repeat_is_a_freeze_if_frames_are_not_repeated(rate: float) -> None:
    """A single repeat is a hiccup of the driver."""
    numbers = list(range(90))
    numbers[40] = 39
    numbers[60:66] = [60] * 6
    observed = states((street(number) for number in numbers), rate)
    assert [n for n, state in enumerate(observed) if state is FROZEN] == [62, 63, 64, 65]


def test_freezes_do_not_change_the_usual_rate() -> None:
    numbers = np.arange(900)
    for start in range(100, 900, 100):
        numbers[start : start + 30] = start
    observed = states(street(int(number)) for number in numbers)
    assert all(FROZEN in observed[start : start + 30] for start in range(100, 900, 100))


def test_frames_without_stamps_count_as_thirty_per_second() -> None:
    watch = ShutterWatch()
    observed = [watch(street(min(n, 30))) for n in range(60)]
    assert set(observed[:31]) == {LIVE} and observed.index(FROZEN) == 32


def test_a_repeated_stamp_is_not_a_freeze() -> None:
    """One thermal image may be in pairs with several visible images."""
    watch = ShutterWatch()
    assert {watch(street(0), SECOND) for _ in range(60)} == {LIVE}


@pytest.mark.parametrize("rate", [9, 30])
def test_closing_and_opening_of_the_shutter_are_reported_at_the_first_frame(rate: int) -> None:
    shut = range(rate, rate + rate // 2)
    observed = states(((closed if n in shut else street)(n) for n in range(3 * rate)), rate)
    assert [n for n, state in enumerate(observed) if state is SHUTTER] == list(shut)
    assert set(observed) == {LIVE, SHUTTER}


def test_a_repeated_image_of_the_shutter_is_still_the_shutter() -> None:
    frames = [street(n) for n in range(30)] + [closed(0)] * 20 + [street(n) for n in range(9)]
    observed = states(frames)
    assert set(observed[30:50]) == {SHUTTER} and set(observed[50:]) == {LIVE}


def test_a_wall_in_front_of_the_camera_soon_counts_as_live() -> None:
    observed = states((street if n < 30 else closed)(n) for n in range(150))
    assert set(observed[30:80]) == {SHUTTER} and set(observed[100:]) == {LIVE}


def test_a_hot_object_that_leaves_is_not_a_shutter() -> None:
    """Most of the contrast disappears with it, but the rest of the image keeps its contrast."""

    def frame(n: int) -> np.ndarray:
        image = street(n)
        image[:10, :20] = 12_000 if n < 30 else image[:10, :20]
        return image

    assert set(states(frame(n) for n in range(60))) == {LIVE}


def test_a_scene_that_fades_within_a_second_is_not_a_shutter() -> None:
    """Smoke, or an approaching wall."""
    fading = (street(n, 400 * max(0.0, 1 - max(0, n - 15) / 30)) for n in range(90))
    assert set(states(fading)) == {LIVE}


def test_a_generated_drive_is_live() -> None:
    size = (160, 128)
    config = DriveConfig(frames=40, fps=9, visible_size=size, thermal_size=size)
    stream = ThermalStream(ThermalConfig("plateau"))
    drive = DriveGenerator(config)
    observed = {stream(f.thermal, 1 + round(f.stamp * SECOND)).state for f in drive}
    assert observed == {LIVE}


def test_a_bag_that_is_played_again_starts_live() -> None:
    watch = ShutterWatch()
    assert states([street(0)] * 30, watch=watch)[-1] is FROZEN
    assert watch(street(0), SECOND) is LIVE
