"""Dead and hot pixels of a thermal sensor: detected while the stream runs, replaced in each frame.

A lens spreads even a hot point over several pixels, and a moving object leaves its pixel. A pixel
is therefore a sensor fault if for seconds it differs from all its neighbours by far more than they
differ from each other.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.thermal.clock import StreamClock
from ssvif_core.thermal.gain import NARROWEST
from ssvif_core.types import AnyArray, Int64Array, UInt8Array

_RING = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)])


class DeadPixels:
    """Detects dead pixels and replaces them by the median of their neighbours.

    Detection takes about a millisecond at 640x512, so it runs only every 0.1 s. Each time, an
    outlier gains two votes and any other pixel loses one. A pixel gets `dead_votes` in two
    seconds and loses them in two seconds if it recovers. One bad neighbour does not hide a dead
    pixel. Clusters of four and more are not detected.
    """

    interval_s = 0.1  # between two detections
    dead_votes, max_votes = 40, 60
    stand_out = 4.0  # times the spread of the neighbours
    noise = 8.0  # times the mean difference between pixels and their surroundings

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all pixels."""
        self._clock = StreamClock()
        self._wait_s = 0.0
        self._votes: UInt8Array | None = None
        self._dead: Int64Array = np.zeros(0, np.intp)  # flat indices
        self._sources: Int64Array = np.zeros((0, 8), np.intp)  # their intact neighbours

    @property
    def found(self) -> Int64Array:
        """The dead pixels known now, (n, 2) int, each (x, y)."""
        if self._votes is None:
            return np.zeros((0, 2), int)
        y, x = np.divmod(self._dead, self._votes.shape[1])
        return np.stack((x, y), 1)

    def __call__(self, thermal: AnyArray, stamp_ns: int = 0, learn: bool = True) -> AnyArray:
        """The frame without its dead pixels: (h, w), contiguous. The input is never changed.

        Args:
            thermal: (h, w) uint8 or uint16; a new size starts anew.
            stamp_ns: time of the frame; 0 if unknown.
            learn: False for a repeated frame.
        """
        if self._votes is not None and self._votes.shape != thermal.shape:
            self.reset()
        if self._votes is None:
            self._votes = np.zeros(thermal.shape, np.uint8)
        self._wait_s -= self._clock.tick(stamp_ns) or 0.0
        if learn and self._wait_s <= 1e-6 and min(thermal.shape) >= 3:
            self._wait_s = self.interval_s
            self._vote(np.ascontiguousarray(thermal), self._votes)
        return _replaced(thermal, self._dead, self._sources)

    def _vote(self, thermal: AnyArray, votes: UInt8Array) -> None:
        cv2.subtract(votes, np.ones_like(votes), dst=votes)
        flat = votes.reshape(-1)
        outliers = self._outliers(thermal)
        flat[outliers] = np.minimum(flat[outliers] + 3, self.max_votes)
        dead = np.flatnonzero(flat >= self.dead_votes)
        if not np.array_equal(dead, self._dead):
            self._dead, self._sources = dead, _intact_neighbours(dead, votes.shape)

    def _outliers(self, thermal: AnyArray) -> Int64Array:
        """Flat indices of the pixels that differ from all their neighbours."""
        # The difference from the 3 x 3 median is cheap and leaves few candidates.
        difference = cv2.absdiff(thermal, cv2.medianBlur(thermal, 3))
        least = max(NARROWEST[thermal.dtype] / 2, self.noise * cv2.mean(difference)[0])
        suspects = np.flatnonzero(difference > min(least, np.iinfo(thermal.dtype).max))
        counts = thermal.reshape(-1)
        ring = np.sort(counts[_neighbours(suspects, thermal.shape)], axis=1).astype(np.float32)
        low, high, own = ring[:, 1], ring[:, 6], counts[suspects]
        beyond = np.maximum(low - own, own - high)
        outliers: Int64Array = suspects[beyond > self.stand_out * (high - low) + least]
        return outliers


def without_pixels(thermal: AnyArray, dead: Int64Array) -> AnyArray:
    """Frame (h, w) with its known dead pixels, (n, 2) int, each (x, y), replaced.

    >>> without_pixels(np.array([[1, 2, 3], [4, 99, 5], [6, 7, 8]], np.uint8), np.array([[1, 1]]))
    array([[1, 2, 3],
           [4, 5, 5],
           [6, 7, 8]], dtype=uint8)
    """
    flat = np.ravel_multi_index((dead[:, 1], dead[:, 0]), thermal.shape)
    return _replaced(thermal, flat, _intact_neighbours(flat, thermal.shape))


def _replaced(thermal: AnyArray, dead: Int64Array, sources: Int64Array) -> AnyArray:
    if not dead.size:
        return np.ascontiguousarray(thermal)
    repaired = np.array(thermal, order="C")
    flat = repaired.reshape(-1)
    # The fifth of eight sorted neighbours; a mean of the fourth and fifth might not be a count.
    flat[dead] = np.sort(flat[sources], axis=1)[:, 4]
    return repaired


def _neighbours(flat: Int64Array, shape: tuple[int, ...]) -> Int64Array:
    """Flat indices of the eight neighbours of each pixel, (n, 8); mirrored at the border."""
    height, width = shape
    y, x = (part[:, None] + _RING[:, axis] for axis, part in enumerate(np.divmod(flat, width)))
    y = height - 1 - np.abs(height - 1 - np.abs(y))
    x = width - 1 - np.abs(width - 1 - np.abs(x))
    neighbours: Int64Array = y * width + x
    return neighbours


def _intact_neighbours(dead: Int64Array, shape: tuple[int, ...]) -> Int64Array:
    """Like `_neighbours`; the intact neighbours, repeated in turn, replace the dead ones."""
    ring = _neighbours(dead, shape)
    is_dead = np.isin(ring, dead)
    for row in np.flatnonzero(is_dead.any(1) & ~is_dead.all(1)):
        ring[row] = np.resize(ring[row][~is_dead[row]], 8)
    return ring
