"""Thermal gain: which counts are shown as black and as white, steady over time."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.errors import InputError

# The narrowest range, in counts: a constant frame must not become amplified noise.
NARROWEST = {np.dtype(np.uint8): 8.0, np.dtype(np.uint16): 64.0}


class ThermalGain:
    """The thermal range of a stream of frames.

    8-bit frames come from a camera that has made its own gain, so all 256 grey levels are shown.
    Of 16-bit counts, the range between two percentiles is shown, smoothed over time; but black
    lies at most `depth` times as far below the median as white above it. Otherwise a cold sky
    would make the road bright grey, and the fusion, which takes what is bright, would wash it out.

    Args:
        limits: fixed range in counts (black, white); None chooses as above.
        percentiles: lower and upper percentile of the counts, in (0, 100).
        smoothing: share of the old range that stays with each frame, in [0, 1).
    """

    samples = 20_000
    depth = 0.6

    def __init__(
        self,
        limits: tuple[float, float] | None = None,
        percentiles: tuple[float, float] = (0.5, 99.5),
        smoothing: float = 0.9,
    ) -> None:
        if limits is not None and not limits[0] < limits[1]:
            raise InputError(f"thermal limits {limits}; expected black below white")
        if not 0 < percentiles[0] < percentiles[1] < 100:
            raise InputError(f"thermal percentiles {percentiles}; expected 0 < lower < upper < 100")
        if not 0 <= smoothing < 1:
            raise InputError(f"thermal smoothing {smoothing}; expected 0 <= smoothing < 1")
        self.limits, self.percentiles, self.smoothing = limits, percentiles, smoothing
        self._range: np.ndarray | None = None

    def reset(self) -> None:
        """Forget the past: the next frame sets the range alone."""
        self._range = None

    def update(self, thermal: np.ndarray) -> np.ndarray:
        """Range for this frame: (2,) float32, counts shown as black and as white.

        thermal: (h, w) uint8 or uint16.
        """
        if self.limits is not None:
            return np.array(self.limits, np.float32)
        if thermal.dtype == np.uint8:
            return np.array((0, 255), np.float32)
        step = max(1, int((thermal.size / self.samples) ** 0.5))
        lower, upper = self.percentiles
        low, middle, high = np.percentile(thermal[::step, ::step], (lower, 50, upper))
        low = max(low, middle - self.depth * (high - middle))
        narrow = max(0.0, NARROWEST[thermal.dtype] - (high - low)) / 2
        fresh = np.array((low - narrow, high + narrow), np.float32)
        if self._range is None:
            self._range = fresh
        else:
            self._range = self.smoothing * self._range + (1 - self.smoothing) * fresh
        return self._range.astype(np.float32)


def to_grey(thermal: np.ndarray, thermal_range: np.ndarray, height: int, width: int) -> np.ndarray:
    """Counts as the grey levels they are shown in, (height, width) uint8.

    Args:
        thermal: (h, w) uint8 or uint16.
        thermal_range: (2,) counts shown as black and as white.
    """
    black, white = (float(count) for count in thermal_range)
    grey = np.clip((thermal.astype(np.float32) - black) * (255 / (white - black)), 0, 255)
    return cv2.resize(np.rint(grey).astype(np.uint8), (width, height))
