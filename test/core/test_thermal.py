"""Thermal gain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssvif_core.errors import InputError
from ssvif_core.thermal import NARROWEST, ThermalGain

frames = arrays(np.uint16, st.tuples(st.integers(8, 40), st.integers(8, 40)))


@given(st.lists(frames, min_size=1, max_size=4), st.floats(0, 0.99))
def test_the_range_is_finite_and_never_narrow(sequence: list[np.ndarray], smoothing: float) -> None:
    gain = ThermalGain(smoothing=smoothing)
    for frame in sequence:
        low, high = gain.update(frame)
        assert np.isfinite((low, high)).all()
        assert high - low >= 0.99 * NARROWEST[np.dtype(np.uint16)]


def test_eight_bit_frames_are_shown_as_they_are() -> None:
    assert tuple(ThermalGain().update(np.full((10, 10), 80, np.uint8))) == (0, 255)


def test_fixed_limits_are_kept() -> None:
    gain = ThermalGain(limits=(7000, 9000))
    assert tuple(gain.update(np.zeros((10, 10), np.uint16))) == (7000, 9000)


def test_a_hot_object_that_appears_moves_the_range_slowly() -> None:
    gain = ThermalGain(smoothing=0.9)
    calm = np.random.default_rng(0).integers(7000, 7400, (100, 100)).astype(np.uint16)
    before = gain.update(calm)
    hot = calm.copy()
    hot[:20] = 12000
    after = gain.update(hot)
    settled = [gain.update(hot) for _ in range(60)][-1]
    assert after[1] - before[1] < 0.15 * (settled[1] - before[1])
    assert settled[1] > 11000


def test_after_a_reset_the_next_frame_sets_the_range_alone() -> None:
    gain = ThermalGain()
    gain.update(np.full((10, 10), 1000, np.uint16))
    gain.reset()
    assert gain.update(np.full((10, 10), 9000, np.uint16))[0] > 8900


def test_a_cold_sky_does_not_make_the_street_bright() -> None:
    frame = np.full((100, 100), 7000, np.uint16)
    frame[:30], frame[90:] = 4000, 7500  # sky, street, people
    low, high = ThermalGain().update(frame)
    assert (7000 - low) / (high - low) < 0.4


@pytest.mark.parametrize(
    "arguments",
    [{"limits": (5, 5)}, {"percentiles": (0, 99)}, {"percentiles": (60, 40)}, {"smoothing": 1.0}],
)
def test_impossible_settings_are_named(arguments: dict) -> None:
    with pytest.raises(InputError, match=next(iter(arguments)).split("_")[0][:7]):
        ThermalGain(**arguments)
