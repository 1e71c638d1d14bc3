"""Seconds between the frames of a stream, from stamps that may be missing."""

from __future__ import annotations

NOMINAL = 1 / 30  # s between frames that carry no stamps
LONGEST = 2.0  # s; what lay before a longer gap says nothing about what comes after it


class StreamClock:
    """Tells how long ago the frame before was."""

    def __init__(self) -> None:
        self._stamp: int | None = None

    def reset(self) -> None:
        """Forget the frame before."""
        self._stamp = None

    def tick(self, stamp_ns: int) -> float | None:
        """Seconds since the frame before; None where the stream begins, or begins anew.

        It begins anew when the stamps jump back (a bag played again) or leave a gap of more than
        `LONGEST`. A stamp of 0 is none: without stamps, frames are `NOMINAL` seconds apart. The
        same stamp again is the same moment, 0 s.
        """
        last, self._stamp = self._stamp, stamp_ns
        if last is None:
            return None
        if not last and not stamp_ns:
            return NOMINAL
        elapsed = (stamp_ns - last) * 1e-9
        return elapsed if 0 <= elapsed <= LONGEST else None
