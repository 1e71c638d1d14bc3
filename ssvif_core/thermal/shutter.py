"""The state of a thermal stream while the camera corrects itself.

For a flat-field correction an uncooled camera closes its shutter for some tenths of a second, up
to several times a minute. Meanwhile some cameras send the image of the shutter, others repeat the
last frame. Neither shows what is in front of the robot. The caller decides how to react.
"""

from __future__ import annotations

import statistics
from collections import deque
from enum import Enum

import numpy as np

from ssvif_core.thermal.clock import StreamClock
from ssvif_core.thermal.gain import NARROWEST, sorted_sample
from ssvif_core.types import AnyArray


class StreamState(str, Enum):
    """Whether the last frame shows the present.

    live: it does.
    frozen: frames have been repeated for longer than usual for this camera.
    shutter: the image suddenly became almost uniform.
    """

    LIVE = "live"
    FROZEN = "frozen"
    SHUTTER = "shutter"

    def __str__(self) -> str:
        return self.value


class ShutterWatch:
    """Distinguishes live frames, frozen frames and images of the shutter.

    A 9 Hz camera whose driver sends 30 Hz repeats frames regularly. Its stream counts as frozen
    after `patience_s`, and after `usual_factor` times the usual interval between new frames. If
    none of the last frames was repeated, the stream counts as frozen at the second repeat. Noise
    makes any two new frames of a real sensor differ.

    >>> watch, frame = ShutterWatch(), np.arange(64, dtype=np.uint16).reshape(8, 8)
    >>> [str(watch(frame, stamp_ns)) for stamp_ns in (1, 200_000_000, 400_000_000)]
    ['live', 'live', 'frozen']
    """

    patience_s = 0.25
    usual_factor = 2.5
    no_repeat_factor = 1.5  # times the usual interval, if no frame was repeated
    remembered = 9  # new frames
    samples = 5_000
    # Percentiles between which contrast is measured. A hot object that leaves reduces only the
    # widest contrast; a shutter reduces all of them.
    spans = ((2, 98), (10, 90), (25, 75))
    collapse = 4.0  # factor by which contrast drops at once; no scene changes so quickly
    longest_s = 2.0  # a shutter opens sooner; a wall in front of the camera stays

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._clock = StreamClock()
        # For the last new frames: seconds until the next new frame, and number of repeats.
        self._intervals_s: deque[float] = deque(maxlen=self.remembered)
        self._repeats: deque[int] = deque(maxlen=self.remembered)
        self._current_repeats = 0
        self._frame: AnyArray | None = None
        self._idle_s = 0.0  # since the last new frame
        self._contrast = np.zeros(len(self.spans))  # counts, of the last live frame
        self._closed_s: float | None = None  # since the shutter closed

    def __call__(self, thermal: AnyArray, stamp_ns: int = 0) -> StreamState:
        """State of the stream at this frame.

        Args:
            thermal: (h, w) uint8 or uint16.
            stamp_ns: time of the frame; 0 if unknown.
        """
        elapsed_s = self._clock.tick(stamp_ns)
        if elapsed_s is None:
            self._frame, self._closed_s, self._idle_s, elapsed_s = None, None, 0.0, 0.0
            self._current_repeats = 0
        self._idle_s += elapsed_s
        if self._closed_s is not None:
            self._closed_s += elapsed_s
        if self._frame is None or not np.array_equal(thermal, self._frame):
            self._take(thermal)
        elif elapsed_s:  # an equal stamp means the same frame in another pair, not a repeat
            self._current_repeats += 1
        if self._closed_s is not None:
            return StreamState.SHUTTER
        return StreamState.FROZEN if self._idle_s > self._limit_s() else StreamState.LIVE

    def _limit_s(self) -> float:
        """Seconds without a new frame after which the stream counts as frozen."""
        if len(self._repeats) == self.remembered and not any(self._repeats):
            return self.no_repeat_factor * statistics.median(self._intervals_s)
        usual_s = statistics.median(self._intervals_s) if len(self._intervals_s) > 2 else 0.0
        return max(self.patience_s, self.usual_factor * usual_s)

    def _take(self, thermal: AnyArray) -> None:
        """Record a new frame and decide whether the shutter is closed."""
        if self._frame is not None:
            self._intervals_s.append(self._idle_s)
            self._repeats.append(self._current_repeats)
        ordered = sorted_sample(thermal, self.samples).astype(np.float32)
        low, high = (np.array(self.spans).T * (ordered.size - 1) // 100).tolist()
        contrast = ordered[high] - ordered[low]
        if self._closed_s is None:
            textured = self._contrast[0] >= NARROWEST[thermal.dtype]
            comparable = self._frame is not None and textured
            if comparable and np.all(self.collapse * contrast < self._contrast):
                self._closed_s = 0.0
        elif np.any(2 * contrast > self._contrast) or self._closed_s > self.longest_s:
            self._closed_s = None
        if self._closed_s is None:
            self._contrast = contrast
        self._frame, self._idle_s, self._current_repeats = thermal.copy(), 0.0, 0
