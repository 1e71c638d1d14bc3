"""Dead and hot pixels of a thermal sensor: found while the stream runs, replaced in each frame.

A lens spreads even a point of heat over neighbouring pixels, and what moves does not stay on one
pixel. So a pixel that stands out from all its neighbours by far more than they differ among
themselves, at the same place for seconds, shows the sensor and not the scene.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.thermal.clock import StreamClock
from ssvif_core.thermal.gain import NARROWEST

_RING = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)])


class DeadPixels:
    """Finds dead pixels and replaces them by the median of their neighbours.

    A look at the whole frame takes about a millisecond at 640x512, so one is taken every 0.1 s
    only. A pixel that is caught gains two votes, any other loses one; `enough` are reached
    in two seconds, and lost again in as many if the pixel recovers. One bad neighbour does not
    hide a dead pixel; clusters of four and more are not found.
    """

    interval = 0.1  # s between two looks
    enough, most = 40, 60  # votes
    stand_out = 4.0  # times the difference among the neighbours
    noise = 8.0  # times the mean difference of a pixel from its surroundings

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all pixels."""
        self._clock = StreamClock()
        self._wait = 0.0
        self._votes: np.ndarray | None = None
        self._found: np.ndarray = np.zeros(0, np.intp)  # flat indices
        self._sources: np.ndarray = np.zeros((0, 8), np.intp)  # their living neighbours

    @property
    def found(self) -> np.ndarray:
        """The dead pixels known now, (n, 2) int, each (x, y)."""
        if self._votes is None:
            return np.zeros((0, 2), int)
        y, x = np.divmod(self._found, self._votes.shape[1])
        return np.stack((x, y), 1)

    def __call__(self, thermal: np.ndarray, stamp_ns: int = 0, learn: bool = True) -> np.ndarray:
        """The frame without its dead pixels, (h, w), contiguous; what came is never written to.

        Args:
            thermal: (h, w) uint8 or uint16; another size or type than before starts anew.
            stamp_ns: when it was taken; 0 where that is not known.
            learn: False for a frame that was seen already.
        """
        if self._votes is not None and self._votes.shape != thermal.shape:
            self.reset()
        if self._votes is None:
            self._votes = np.zeros(thermal.shape, np.uint8)
        self._wait -= self._clock.tick(stamp_ns) or 0.0
        if learn and self._wait <= 1e-6 and min(thermal.shape) >= 3:
            self._wait = self.interval
            self._look(np.ascontiguousarray(thermal), self._votes)
        return _replaced(thermal, self._found, self._sources)

    def _look(self, thermal: np.ndarray, votes: np.ndarray) -> None:
        cv2.subtract(votes, np.ones_like(votes), dst=votes)
        flat = votes.reshape(-1)
        caught = self._caught(thermal)
        flat[caught] = np.minimum(flat[caught] + 3, self.most)
        found = np.flatnonzero(flat >= self.enough)
        if not np.array_equal(found, self._found):
            self._found, self._sources = found, _living(found, votes.shape)

    def _caught(self, thermal: np.ndarray) -> np.ndarray:
        """Flat indices of the pixels that stand out from their neighbours now."""
        # The difference from the median of 3 x 3 is cheap and leaves few to look at closely.
        apart = cv2.absdiff(thermal, cv2.medianBlur(thermal, 3))
        least = max(NARROWEST[thermal.dtype] / 2, self.noise * cv2.mean(apart)[0])
        suspects = np.flatnonzero(apart > min(least, np.iinfo(thermal.dtype).max))
        counts = thermal.reshape(-1)
        ring = np.sort(counts[_neighbours(suspects, thermal.shape)], axis=1).astype(np.float32)
        low, high, own = ring[:, 1], ring[:, 6], counts[suspects]
        beyond = np.maximum(low - own, own - high)
        return suspects[beyond > self.stand_out * (high - low) + least]


def without_pixels(thermal: np.ndarray, dead: np.ndarray) -> np.ndarray:
    """A frame (h, w) whose dead pixels, (n, 2) int, each (x, y), are known: without them."""
    found = np.ravel_multi_index((dead[:, 1], dead[:, 0]), thermal.shape)
    return _replaced(thermal, found, _living(found, thermal.shape))


def _replaced(thermal: np.ndarray, found: np.ndarray, sources: np.ndarray) -> np.ndarray:
    if not found.size:
        return np.ascontiguousarray(thermal)
    repaired = np.array(thermal, order="C")
    flat = repaired.reshape(-1)
    # Of eight neighbours the fifth: unlike the mean of fourth and fifth it is a count.
    flat[found] = np.sort(flat[sources], axis=1)[:, 4]
    return repaired


def _neighbours(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Flat indices of the eight neighbours of each pixel, (n, 8); mirrored at the border."""
    height, width = shape
    y, x = (part[:, None] + _RING[:, axis] for axis, part in enumerate(np.divmod(flat, width)))
    y = height - 1 - np.abs(height - 1 - np.abs(y))
    x = width - 1 - np.abs(width - 1 - np.abs(x))
    return y * width + x


def _living(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Like `_neighbours`, with the dead among them replaced by the others in turn."""
    ring = _neighbours(found, shape)
    dead = np.isin(ring, found)
    for row in np.flatnonzero(dead.any(1) & ~dead.all(1)):
        ring[row] = np.resize(ring[row][~dead[row]], 8)
    return ring
