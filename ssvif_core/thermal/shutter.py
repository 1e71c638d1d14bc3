"""What a thermal stream does while the camera calibrates itself.

For a flat-field correction an uncooled camera closes its shutter for some tenths of a second, up
to several times a minute. Some send the shutter's picture meanwhile, others the last one again.
Neither shows what is before the robot now. What to do about it is left to the caller.
"""

from __future__ import annotations

import statistics
from collections import deque
from enum import Enum

import numpy as np

from ssvif_core.thermal.clock import StreamClock
from ssvif_core.thermal.gain import NARROWEST, sorted_sample


class StreamState(str, Enum):
    """Whether the last frame shows the scene of now.

    live: it does.
    frozen: it is the same as an earlier one, for longer than the camera usually repeats frames.
    shutter: it suddenly is almost uniform.
    """

    LIVE = "live"
    FROZEN = "frozen"
    SHUTTER = "shutter"

    def __str__(self) -> str:
        return self.value


class ShutterWatch:
    """Tells live frames from frozen ones and from pictures of the shutter.

    A camera of 9 Hz that is sent at 30 Hz repeats frames as a rule, so repeats are called a
    freeze only after `patience`, and after `repeats` times the usual time from one new picture to
    the next. Where the last pictures came once each, the second repeat is one. Noise makes any two
    pictures of a real sensor differ.
    """

    patience = 0.25  # s
    repeats = 2.5
    never = 1.5  # times the usual time, where no picture was repeated
    remembered = 9  # pictures
    samples = 5_000
    # Percent of the counts between which contrast is measured; something hot that leaves takes
    # only the widest with it, a shutter all.
    spans = ((2, 98), (10, 90), (25, 75))
    collapse = 4.0  # times less contrast than in the frame before: no scene changes so quickly
    longest = 2.0  # s; a shutter is open again by then, a wall before the camera is not

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._clock = StreamClock()
        # Of the last pictures: s from each to the next, and how often it came again.
        self._intervals: deque[float] = deque(maxlen=self.remembered)
        self._repeats: deque[int] = deque(maxlen=self.remembered)
        self._again = 0  # how often the last picture has come again
        self._picture: np.ndarray | None = None
        self._idle = 0.0  # s since a new picture came
        self._contrast = np.zeros(len(self.spans))  # counts, of the last live picture
        self._closed: float | None = None  # s since the shutter closed

    def __call__(self, thermal: np.ndarray, stamp_ns: int = 0) -> StreamState:
        """State of the stream with this frame.

        Args:
            thermal: (h, w) uint8 or uint16.
            stamp_ns: when it was taken; 0 where that is not known.
        """
        elapsed = self._clock.tick(stamp_ns)
        if elapsed is None:
            self._picture, self._closed, self._idle, elapsed = None, None, 0.0, 0.0
            self._again = 0
        self._idle += elapsed
        if self._closed is not None:
            self._closed += elapsed
        if self._picture is None or not np.array_equal(thermal, self._picture):
            self._look(thermal)
        elif elapsed:  # and not the same frame, paired once more
            self._again += 1
        if self._closed is not None:
            return StreamState.SHUTTER
        return StreamState.FROZEN if self._idle > self._limit() else StreamState.LIVE

    def _limit(self) -> float:
        """Seconds after which repeats are called a freeze."""
        if len(self._repeats) == self.remembered and not any(self._repeats):
            return self.never * statistics.median(self._intervals)
        usual = statistics.median(self._intervals) if len(self._intervals) > 2 else 0.0
        return max(self.patience, self.repeats * usual)

    def _look(self, thermal: np.ndarray) -> None:
        """A new picture has come."""
        if self._picture is not None:
            self._intervals.append(self._idle)
            self._repeats.append(self._again)
        ordered = sorted_sample(thermal, self.samples).astype(np.float32)
        low, high = (np.array(self.spans).T * (ordered.size - 1) // 100).tolist()
        contrast = ordered[high] - ordered[low]
        if self._closed is None:
            before = self._picture is not None and self._contrast[0] >= NARROWEST[thermal.dtype]
            if before and np.all(self.collapse * contrast < self._contrast):
                self._closed = 0.0
        elif np.any(2 * contrast > self._contrast) or self._closed > self.longest:
            self._closed = None
        if self._closed is None:
            self._contrast = contrast
        self._picture, self._idle, self._again = thermal.copy(), 0.0, 0
