"""Curves and noise that several modules use for drawing."""

from __future__ import annotations

import numpy as np

from ssvif_core.types import Float32Array

Colour = tuple[float, float, float]  # blue, green, red; 0..255, or factors 0..1


def smooth(x: float) -> float:
    """Smoothstep: 0 for x <= 0, 1 for x >= 1, slope 0 at both ends."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def noise(rng: np.random.Generator, shape: tuple[int, int], slope: float) -> Float32Array:
    """Periodic noise with spectrum 1/f^slope, mean 0, deviation 1: (rows, cols) float32."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * (np.hypot(fy, fx) + 0.004) ** -slope
    field: Float32Array = np.fft.irfft2(spectrum, shape).astype(np.float32)
    field = (field - field.mean()) / field.std()
    return field
