"""Curves and noise that several modules draw with; knows nothing of streets or cameras."""

from __future__ import annotations

import numpy as np

Colour = tuple[float, float, float]  # blue, green, red; 0..255, or factors 0..1


def smooth(x: float) -> float:
    """From 0 at x <= 0 to 1 at x >= 1 without a kink."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def noise(rng: np.random.Generator, shape: tuple[int, int], slope: float) -> np.ndarray:
    """(rows, cols) float32 periodic noise with spectrum 1/f^slope, mean 0, deviation 1."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * (np.hypot(fy, fx) + 0.004) ** -slope
    field = np.fft.irfft2(spectrum, shape).astype(np.float32)
    return (field - field.mean()) / field.std()
