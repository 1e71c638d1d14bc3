"""Images of recordings are paired by their stamps."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.recordings.time_pairing import mutual_pairs, nearest, pairs_at_visible_rate
from ssvif_core.types import Int64Array

MS = 1_000_000
stamps = st.lists(st.integers(0, 10**10), max_size=40).map(lambda s: np.array(s, np.int64))


@settings(deadline=None)
@given(stamps, stamps, st.integers(1, 10**9), st.integers(-(10**9), 10**9))
def test_pairs_are_close_and_mutual_and_use_each_image_once(
    visible: Int64Array, thermal: Int64Array, slop_ns: int, offset_ns: int
) -> None:
    pairs = mutual_pairs(visible, thermal, slop_ns, offset_ns)
    assert len({v for v, _ in pairs}) == len({t for _, t in pairs}) == len(pairs)
    for v, t in pairs:
        distance = abs(int(visible[v]) - int(thermal[t]) - offset_ns)
        assert distance < slop_ns
        assert distance == np.abs(visible[v] - thermal - offset_ns).min()
        assert distance == np.abs(visible - thermal[t] - offset_ns).min()


@settings(deadline=None)
@given(stamps, stamps, st.integers(0, 10**9))
def test_visible_rate_gives_every_visible_image_the_nearest_thermal_one(
    visible: Int64Array, thermal: Int64Array, max_age_ns: int
) -> None:
    pairs = dict(pairs_at_visible_rate(visible, thermal, max_age_ns))
    for v, stamp in enumerate(visible.tolist()):
        shortest = np.abs(thermal - stamp).min() if len(thermal) else max_age_ns + 1
        assert (v in pairs) == (shortest <= max_age_ns)
        if v in pairs:
            assert abs(int(thermal[pairs[v]]) - stamp) == shortest


def test_the_earlier_of_two_equally_near_images_is_taken() -> None:
    assert nearest(np.array([10]), np.array([15, 5])).tolist() == [1]


def test_no_images_give_no_pairs() -> None:
    no_stamps = np.zeros(0, np.int64)
    assert mutual_pairs(no_stamps, np.array([1])) == []
    assert pairs_at_visible_rate(np.array([1]), no_stamps, 5) == []


def test_all_images_of_two_regular_cameras_are_paired() -> None:
    visible = np.arange(50) * 33 * MS
    assert mutual_pairs(visible, visible + 9 * MS) == [(n, n) for n in range(50)]
