"""Which images belong together in time: one rule for everything that is recorded."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.recordings.time_pairing import mutual_pairs, nearest, pairs_at_visible_rate

MS = 1_000_000
stamps = st.lists(st.integers(0, 10**10), max_size=40).map(lambda s: np.array(s, np.int64))


@settings(deadline=None)
@given(stamps, stamps, st.integers(1, 10**9), st.integers(-(10**9), 10**9))
def test_a_pair_is_close_and_mutual_and_no_image_is_used_twice(
    visible: np.ndarray, thermal: np.ndarray, slop: int, offset: int
) -> None:
    pairs = mutual_pairs(visible, thermal, slop, offset)
    assert len({v for v, _ in pairs}) == len({t for _, t in pairs}) == len(pairs)
    for v, t in pairs:
        distance = abs(int(visible[v]) - int(thermal[t]) - offset)
        assert distance < slop
        assert distance == np.abs(visible[v] - thermal - offset).min()
        assert distance == np.abs(visible - thermal[t] - offset).min()


@settings(deadline=None)
@given(stamps, stamps, st.integers(0, 10**9))
def test_at_visible_rate_every_visible_image_gets_the_nearest_in_reach(
    visible: np.ndarray, thermal: np.ndarray, age: int
) -> None:
    pairs = dict(pairs_at_visible_rate(visible, thermal, age))
    for v, stamp in enumerate(visible.tolist()):
        reach = np.abs(thermal - stamp).min() if len(thermal) else age + 1
        assert (v in pairs) == (reach <= age)
        if v in pairs:
            assert abs(int(thermal[pairs[v]]) - stamp) == reach


def test_of_two_equally_near_the_earlier_one_counts() -> None:
    assert nearest(np.array([10]), np.array([15, 5])).tolist() == [1]


def test_without_images_there_are_no_pairs() -> None:
    nothing = np.zeros(0, np.int64)
    assert mutual_pairs(nothing, np.array([1])) == []
    assert pairs_at_visible_rate(np.array([1]), nothing, 5) == []


def test_every_pair_of_two_regular_cameras_is_found() -> None:
    visible = np.arange(50) * 33 * MS
    assert mutual_pairs(visible, visible + 9 * MS) == [(n, n) for n in range(50)]
