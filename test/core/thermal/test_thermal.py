"""Thermal gain: its modes, and how the range follows a stream."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssvif_core.errors import InputError
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.synthetic.config import THERMAL_SCALES
from ssvif_core.thermal import (
    MODES,
    NARROWEST,
    PlateauTone,
    StreamState,
    ThermalConfig,
    ThermalGain,
    ThermalStream,
    to_grey,
)

SECOND = 1_000_000_000
SHAPE = (100, 120)
RATES = pytest.mark.parametrize("rate", [9, 30])

wild_frames = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: arrays(dtype, st.tuples(st.integers(1, 40), st.integers(1, 40)))
)
even_frames = st.builds(
    np.full,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([0, 1, 7300, 65535]),
    st.just(np.uint16),
)
stamps = st.one_of(st.just(0), st.integers(0, 2**62))


def street(seed: int = 0) -> np.ndarray:
    """Cold sky, road, a person; 14 bits of 0.04 K."""
    rng = np.random.default_rng(seed)
    frame = rng.normal(7100, 60, SHAPE)
    frame[:25] -= 500
    frame[60:90, 20:28] = 7650
    return np.rint(frame + rng.normal(0, 1.5, SHAPE)).astype(np.uint16)


def hall(seed: int = 0) -> np.ndarray:
    """A warm indoor scene with little contrast."""
    return np.rint(np.random.default_rng(seed).normal(7420, 10, SHAPE)).astype(np.uint16)


def shown(range_: np.ndarray, counts: np.ndarray | float) -> np.ndarray:
    """Grey levels on the scale 0..255, not clipped."""
    return (np.asarray(counts, float) - range_[0]) / (range_[1] - range_[0]) * 255


def times(rate: float, start: float, seconds: float) -> Iterator[int]:
    """Stamps in nanoseconds over `seconds` after `start` (s)."""
    return (round((start + n / rate) * SECOND) for n in range(1, int(seconds * rate) + 1))


# --- the range of one frame


@given(st.lists(st.one_of(wild_frames, even_frames), max_size=4), st.floats(0, 0.99), stamps)
@settings(max_examples=60)
def test_the_range_is_finite_and_never_narrow(sequence, smoothing: float, stamp: int) -> None:
    gain = ThermalGain(smoothing=smoothing, stretch_8_bit=True)
    for frame in sequence:
        low, high = gain.update(frame, stamp)
        assert np.isfinite((low, high)).all()
        assert high - low >= 0.99 * NARROWEST[frame.dtype]


def test_eight_bit_frames_are_shown_unchanged() -> None:
    assert tuple(ThermalGain().update(np.full((10, 10), 80, np.uint8))) == (0, 255)


def test_fixed_limits_are_kept() -> None:
    gain = ThermalGain(limits=(7000, 9000))
    assert tuple(gain.update(np.zeros((10, 10), np.uint16))) == (7000, 9000)


def test_a_cold_sky_does_not_make_the_street_bright() -> None:
    frame = np.full((100, 100), 7000, np.uint16)
    frame[:30], frame[90:] = 4000, 7500  # sky, street, people
    low, high = ThermalGain().update(frame)
    assert (7000 - low) / (high - low) < 0.4


def test_without_smoothing_each_frame_is_treated_alone() -> None:
    gain = ThermalGain(smoothing=0.0)
    for frame in (street(), hall(), street(1)):
        assert tuple(gain.update(frame)) == tuple(ThermalGain().update(frame))


@pytest.mark.parametrize(
    "arguments",
    [
        {"limits": (5, 5)}, {"limits": (5, float("nan"))}, {"percentiles": (0, 99)},
        {"percentiles": (60, 40)}, {"smoothing": 1.0}, {"depth": 0.0},
    ],
)  # fmt: skip
def test_an_invalid_setting_is_named_in_the_error(arguments: dict) -> None:
    with pytest.raises(InputError, match=next(iter(arguments)).split("_")[0][:7]):
        ThermalGain(**arguments)


# --- over time


@RATES
@pytest.mark.parametrize("before,after", [(hall, street), (street, hall)], ids=["out", "in"])
def test_the_range_follows_a_new_scene_within_half_a_second(before, after, rate: int) -> None:
    gain = ThermalGain()
    for stamp in times(rate, 1, 2):
        gain.update(before(stamp), stamp)
    for stamp in times(rate, 3, 0.5):
        reached = gain.update(after(stamp), stamp)
    aim = ThermalGain().update(after())
    assert np.abs(reached - aim).max() < 0.05 * (aim[1] - aim[0])


def with_car(frame: np.ndarray, position: float) -> np.ndarray:
    """A hot engine that covers 8 % of the image; `position` 0..1 is from left to right."""
    frame = frame.copy()
    left = round(position * (SHAPE[1] - 32))
    frame[60:90, left : left + 32] = 11_000  # 167 degC
    return frame


def background_change(stream: ThermalStream, rate: int) -> float:
    """Largest change of sky and road in grey levels while a hot object passes for a second."""
    levels = []
    for stamp in times(rate, 1, 4):
        position = stamp / SECOND - 2.5
        frame = with_car(street(stamp), position) if 0 <= position <= 1 else street(stamp)
        output = stream(frame, stamp)
        grey = to_grey(output.thermal, output.range, *SHAPE)
        levels.append((grey[:25].mean(), grey[30:55].mean(), np.percentile(grey[30:55], 95)))
    return float(np.abs(np.array(levels) - levels[0]).max())


@RATES
def test_a_passing_hot_object_changes_the_background_by_less_than_six_levels(rate: int) -> None:
    assert background_change(ThermalStream(), rate) < 6
    # Without smoothing the background changes by much more.
    assert background_change(ThermalStream(ThermalConfig(smoothing=0)), rate) > 20


@RATES
def test_a_passing_hot_object_changes_the_tone_curve_by_less_than_eight_levels(rate: int) -> None:
    assert background_change(ThermalStream(ThermalConfig("plateau")), rate) < 8
    assert background_change(ThermalStream(ThermalConfig("plateau", smoothing=0)), rate) > 20


@RATES
def test_the_range_adapts_to_a_hot_object_that_stays(rate: int) -> None:
    gain = ThermalGain()
    for stamp in times(rate, 1, 45):
        low, high = gain.update(with_car(street(), 0.5) if stamp > 2 * SECOND else street(), stamp)
    assert high > 10_000


@RATES
def test_contrast_returns_within_eight_seconds_after_a_hot_object_has_left(rate: int) -> None:
    gain = ThermalGain()
    gain.update(with_car(street(), 0.5), SECOND)
    for stamp in times(rate, 1, 8):
        low, high = gain.update(street(), stamp)
    aim = ThermalGain().update(street())
    assert high - low < 1.3 * (aim[1] - aim[0])


@RATES
@pytest.mark.parametrize("jump", [-80, 25, 400])
def test_a_jump_of_all_counts_does_not_change_the_shown_image(rate: int, jump: int) -> None:
    gain = ThermalGain()
    for stamp in times(rate, 1, 2):
        before = gain.update(street(stamp), stamp)
    for stamp in times(rate, 3, 1):
        after = gain.update(street(stamp) + np.uint16(jump + 1000) - np.uint16(1000), stamp)
        assert shown(after, 7100 + jump) == pytest.approx(shown(before, 7100), abs=1)


@pytest.mark.parametrize("mode", ["percentile", "plateau"])
def test_a_jump_after_a_correction_during_the_drive_is_compensated(mode: str) -> None:
    """Frozen for half a second; then a new person, a changed sky, and all counts 40 higher."""
    stream = ThermalStream(ThermalConfig(mode))
    for stamp in times(30, 1, 1):
        before = stream(street(stamp), stamp)
    frozen = street()
    for stamp in times(30, 2, 0.5):
        state = stream(frozen, stamp).state
    assert state is StreamState.FROZEN
    after_frame = street(7)
    after_frame[:15] -= 100
    after_frame[60:90, 40:60] = 7600
    output = stream(after_frame + np.uint16(40), 2 * SECOND + SECOND * 17 // 30)
    greys = [to_grey(v.thermal, v.range, *SHAPE)[30:55].mean() for v in (before, output)]
    assert greys[0] == pytest.approx(greys[1], abs=4)


def test_the_range_does_not_depend_on_the_frame_rate() -> None:
    ranges = []
    for rate in (9, 30):
        gain = ThermalGain()
        gain.update(street(), SECOND)
        for stamp in times(rate, 1, 3):
            range_ = gain.update(with_car(street(), 0.5), stamp)
        ranges.append(range_)
    assert np.abs(ranges[0] - ranges[1]).max() < 0.02 * (ranges[0][1] - ranges[0][0])


def test_without_stamps_thirty_frames_count_as_one_second() -> None:
    stamped, bare = ThermalGain(), ThermalGain()
    stamped.update(street(), SECOND)
    bare.update(street())
    for stamp in times(30, 1, 1):
        frame = with_car(street(), 0.5)
        expected, range_ = stamped.update(frame, stamp), bare.update(frame)
    assert range_ == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize("stamp", [SECOND, 99 * SECOND], ids=["jump back", "long gap"])
def test_a_stream_that_starts_anew_gets_a_new_range(stamp: int) -> None:
    gain = ThermalGain()
    gain.update(with_car(street(), 0.5), 50 * SECOND)
    assert tuple(gain.update(street(), stamp)) == tuple(ThermalGain().update(street()))


def test_after_a_reset_the_next_frame_alone_sets_the_range() -> None:
    gain = ThermalGain()
    gain.update(np.full((10, 10), 1000, np.uint16))
    gain.reset()
    assert gain.update(np.full((10, 10), 9000, np.uint16))[0] > 8900


@pytest.mark.slow
@pytest.mark.parametrize("bits", [12, 14])
def test_the_range_is_steady_in_a_generated_drive(bits: int) -> None:
    """A count changes by less than three grey levels between frames, even at 9 Hz."""
    config = DriveConfig(
        condition="day", frames=24, fps=9, visible_size=(160, 128), thermal_size=(160, 128),
        thermal_bits=bits,
    )  # fmt: skip
    frames = [(f.thermal, round(f.stamp * SECOND) + 1) for f in DriveGenerator(config)]

    def largest_step(gain: ThermalGain) -> float:
        ranges = [gain.update(*frame) for frame in frames]
        return max(np.abs(shown(b, a) - (0, 255)).max() for a, b in pairwise(ranges))

    assert largest_step(ThermalGain()) < 3
    assert largest_step(ThermalGain(smoothing=0)) > 8  # without smoothing, frames flicker


@pytest.mark.slow
@pytest.mark.parametrize("bits", THERMAL_SCALES)
@pytest.mark.parametrize("mode", ["percentile", "plateau", "temperature"])
def test_a_constant_temperature_keeps_its_brightness(mode: str, bits: int) -> None:
    """In a generated drive at 9 Hz a count keeps its grey level from frame to frame."""
    config = DriveConfig(
        condition="day", frames=24, fps=9, visible_size=(160, 128), thermal_size=(160, 128),
        thermal_bits=bits,
    )  # fmt: skip
    zero, step = THERMAL_SCALES[bits]
    stream = ThermalStream(ThermalConfig(mode, scale=step, offset=zero, repair=False))
    grey: dict[int, float] = {}
    largest = 0.0
    for drive_frame in DriveGenerator(config):
        counts = drive_frame.thermal
        output = stream(counts, round(drive_frame.stamp * SECOND) + 1)
        levels = to_grey(output.thermal, output.range, *counts.shape)
        current = {int(c): float(levels[counts == c].mean()) for c in np.unique(counts)}
        common = current.keys() & grey.keys()
        largest = max([largest, *(abs(current[c] - grey[c]) for c in common)])
        grey = current
    assert largest < {"percentile": 3.5, "plateau": 8, "temperature": 0.01}[mode]


# --- plateau


def test_the_tone_curve_keeps_the_order_of_the_counts() -> None:
    tone = PlateauTone(ThermalGain(depth=None))
    tone.update(street())
    levels = tone.apply(np.arange(65536, dtype=np.uint16)[None])[0].astype(int)
    assert (levels[0], levels[-1]) == (0, 65535)
    assert (np.diff(levels) >= 0).all()


def test_the_tone_curve_gives_more_contrast_to_frequent_counts() -> None:
    """Two halves with faint texture and very different counts; a straight line shows little."""
    rng = np.random.default_rng(0)
    frame = np.rint(rng.normal(6000, 20, SHAPE)).astype(np.uint16)
    frame[50:] += 3000
    plain, toned = (ThermalStream(ThermalConfig(mode)) for mode in ("percentile", "plateau"))
    faint, clear = (
        to_grey(output.thermal, output.range, *SHAPE)[50:].std()
        for output in (plain(frame), toned(frame))
    )
    assert clear > 1.8 * faint


def test_the_tone_curve_hardly_amplifies_noise() -> None:
    noise = np.rint(np.random.default_rng(0).normal(7300, 1.5, SHAPE)).astype(np.uint16)
    output = ThermalStream(ThermalConfig("plateau"))(noise)
    plain = ThermalStream(ThermalConfig("percentile"))(noise)
    stds = [to_grey(v.thermal, v.range, *SHAPE).std() for v in (output, plain)]
    assert stds[0] < 1.4 * stds[1] < 10


def test_the_tone_curve_keeps_the_road_darker_than_people() -> None:
    output = ThermalStream(ThermalConfig("plateau"))(street())
    grey = to_grey(output.thermal, output.range, *SHAPE)
    assert np.median(grey) <= 0.4 * 255
    assert grey[60:90, 20:28].min() > 1.8 * np.median(grey)


@RATES
def test_the_tone_curve_follows_a_new_scene_within_half_a_second(rate: int) -> None:
    stream = ThermalStream(ThermalConfig("plateau"))
    for stamp in times(rate, 1, 2):
        stream(hall(stamp), stamp)
    scene = street()
    for stamp in times(rate, 3, 0.5):
        scene[0, 0] += 1  # otherwise it would count as frozen
        output = stream(scene, stamp)
    alone = ThermalStream(ThermalConfig("plateau"))(scene)
    grey, aim = (to_grey(v.thermal, v.range, *SHAPE).astype(float) for v in (output, alone))
    assert np.abs(grey - aim).mean() < 0.05 * 255


@RATES
def test_a_jump_of_all_counts_does_not_change_the_tone(rate: int) -> None:
    stream = ThermalStream(ThermalConfig("plateau"))
    for stamp in times(rate, 1, 2):
        before = stream(street(stamp), stamp)
    for stamp in times(rate, 3, 1):
        after = stream(street(stamp) + np.uint16(60), stamp)
        greys = [to_grey(v.thermal, v.range, *SHAPE)[30:55].mean() for v in (before, after)]
        assert greys[0] == pytest.approx(greys[1], abs=4)  # more than 30 without compensation


# --- temperature


@pytest.mark.parametrize("bits,scale", [(12, 0.16), (14, 0.04), (16, 0.01)])
def test_a_temperature_has_the_same_grey_level_with_any_camera(bits: int, scale: float) -> None:
    stream = ThermalStream(ThermalConfig("temperature", temperatures=(0, 40), scale=scale))
    warm = np.full(SHAPE, round((20 + 273.15) / scale), np.uint16)
    output = stream(warm)
    assert to_grey(output.thermal, output.range, *SHAPE).mean() == pytest.approx(127.5, abs=1)


def test_temperatures_outside_the_counts_are_refused() -> None:
    with pytest.raises(InputError, match="0 to 255.*set scale and offset"):
        ThermalStream(ThermalConfig("temperature"))(np.zeros(SHAPE, np.uint8))


# --- the stream


@given(
    st.lists(st.tuples(st.one_of(wild_frames, even_frames), stamps), max_size=5),
    st.sampled_from(MODES),
    st.sampled_from([0.0, 0.9]),
)
@settings(max_examples=80)
def test_any_frame_can_be_shown(sequence, mode: str, smoothing: float) -> None:
    config = ThermalConfig(mode, smoothing=smoothing, scale=1.0, temperatures=(-273, -100))
    stream = ThermalStream(config)
    for frame, stamp in sequence:
        before = frame.copy()
        frame.flags.writeable = False
        output = stream(frame, stamp)
        assert (output.thermal.shape, output.thermal.dtype) == (frame.shape, frame.dtype)
        assert output.thermal.flags.c_contiguous
        assert (output.range.shape, output.range.dtype) == ((2,), np.float32)
        assert np.isfinite(output.range).all() and output.range[0] < output.range[1]
        assert np.array_equal(frame, before)


@given(wild_frames)
@settings(max_examples=30)
def test_unrelated_images_do_not_influence_each_other(frame: np.ndarray) -> None:
    """With smoothing 0 the result does not depend on earlier images or on their order."""
    for mode in ("percentile", "plateau"):
        config = ThermalConfig(mode, smoothing=0)
        used, fresh = ThermalStream(config), ThermalStream(config)
        for _ in range(60):
            used(np.roll(frame, 1))
        first, second = used(frame), fresh(frame)
        assert np.array_equal(first.thermal, second.thermal)
        assert np.array_equal(first.range, second.range)


@pytest.mark.parametrize("other", [hall()[:50], (hall() >> 6).astype(np.uint8)])
def test_a_new_size_or_type_starts_anew(other: np.ndarray) -> None:
    stream = ThermalStream(ThermalConfig("percentile"))
    for stamp in times(30, 1, 1):
        stream(street(), stamp)
    fresh = ThermalStream(ThermalConfig("percentile"))(other)
    assert np.array_equal(stream(other, 3 * SECOND).range, fresh.range)


def test_the_range_does_not_change_while_the_shutter_is_closed() -> None:
    stream = ThermalStream()
    for stamp in times(30, 1, 1):
        before = stream(street(stamp), stamp)
    closed = stream(np.full(SHAPE, 7350, np.uint16), 2 * SECOND + 1)
    assert closed.state is StreamState.SHUTTER
    assert np.array_equal(closed.range, before.range)


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint16)],
)
def test_an_array_that_is_not_a_thermal_image_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected .h, w. uint8 or uint16"):
        ThermalStream()(frame)


@pytest.mark.parametrize(
    "name,value",
    [
        ("mode", "rainbow"), ("limits", (9, 3)), ("percentiles", (1, 101)), ("depth", -1),
        ("smoothing", 1), ("plateau", 0), ("plateau", 1.5), ("temperatures", (40, 0)),
        ("temperatures", (0, float("inf"))), ("scale", 0), ("offset", float("nan")),
    ],
)  # fmt: skip
def test_an_invalid_configuration_is_named_in_the_error(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name}.*expected"):
        ThermalConfig(**{name: value})


def test_limits_contradict_a_mode_that_sets_its_own_range() -> None:
    with pytest.raises(InputError, match="remove the limits"):
        ThermalConfig("plateau", limits=(7000, 8000))
