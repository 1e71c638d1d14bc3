"""The live synchroniser and the rule for recordings give the same pairs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from message_filters import ApproximateTimeSynchronizer, SimpleFilter
from rclpy.time import Time
from sensor_msgs.msg import Image

from ssvif_core.recordings.time_pairing import mutual_pairs

MS = 1_000_000


def message_filters_pairs(
    visible: list[int], thermal: list[int], slop_ns: int
) -> list[tuple[int, int]]:
    """The pairs of the live synchroniser for stamps (ns) that arrive in order of time."""
    filters = [SimpleFilter(), SimpleFilter()]
    synchroniser = ApproximateTimeSynchronizer(filters, 10, slop_ns * 1e-9)
    pairs: list[tuple[int, int]] = []

    def note(first: Image, second: Image) -> None:
        pairs.append((int(first.header.frame_id), int(second.header.frame_id)))

    synchroniser.registerCallback(note)
    arrivals = [(stamp, 0, number) for number, stamp in enumerate(visible)]
    arrivals += [(stamp, 1, number) for number, stamp in enumerate(thermal)]
    for stamp, camera, number in sorted(arrivals):
        message = Image()
        message.header.stamp = Time(nanoseconds=stamp).to_msg()
        message.header.frame_id = str(number)
        filters[camera].signalMessage(message)
    return pairs


@settings(max_examples=40)
@given(
    st.integers(1, 12),
    st.integers(0, 12 * MS),
    st.lists(st.integers(-2 * MS, 2 * MS), min_size=60, max_size=60),
    st.sets(st.integers(0, 29), max_size=10),
)
def test_live_and_recorded_images_give_the_same_pairs(
    ratio: int, delay: int, jitter: list[int], lost: set[int]
) -> None:
    """The visible camera runs at 30 Hz, the thermal one slower, with delay, jitter and losses."""
    start, period = 10**9, 33 * MS
    visible = [start + n * period + jitter[n] for n in range(30) if n not in lost]
    thermal = [
        start + n * period + delay + jitter[30 + n]
        for n in range(0, 30, ratio)
        if n % 7 or ratio > 3
    ]
    expected = mutual_pairs(np.array(visible, np.int64), np.array(thermal, np.int64), 16 * MS)
    assert message_filters_pairs(visible, thermal, 16 * MS) == expected
