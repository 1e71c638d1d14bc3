"""Seconds between the frames of a stream; stamps may be missing."""

from __future__ import annotations

NOMINAL_S = 1 / 30  # between frames without stamps
LONGEST_S = 2.0  # after a longer gap the stream starts anew


class StreamClock:
    """Measures the time from frame to frame.

    >>> clock = StreamClock()
    >>> clock.tick(1_000_000_000)  # None: the stream starts
    >>> clock.tick(1_250_000_000)
    0.25
    """

    def __init__(self) -> None:
        self._stamp_ns: int | None = None

    def reset(self) -> None:
        """Forget the previous frame."""
        self._stamp_ns = None

    def tick(self, stamp_ns: int) -> float | None:
        """Seconds since the previous frame; None if the stream starts or starts anew.

        It starts anew if the stamps jump back (a bag is played again) or leave a gap of more than
        `LONGEST_S`. A stamp of 0 means no stamp: two such frames are `NOMINAL_S` apart. Two equal
        stamps are the same moment: 0 s.
        """
        previous_ns, self._stamp_ns = self._stamp_ns, stamp_ns
        if previous_ns is None:
            return None
        if not previous_ns and not stamp_ns:
            return NOMINAL_S
        elapsed_s = (stamp_ns - previous_ns) * 1e-9
        return elapsed_s if 0 <= elapsed_s <= LONGEST_S else None
