"""The thermal camera: its place beside the visible one, lens, drift, noise, stripes, dead pixels.

Temperatures come drawn on a canvas; of smoke it sees only a trace.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ssvif_core.synthetic.canvas import Canvas
from ssvif_core.synthetic.config import THERMAL_SCALES, DriveConfig
from ssvif_core.synthetic.view import NEAR, View


class ThermalCamera:
    """Turns a canvas into thermal counts.

    `dead_pixels` (n, 2) int lists the stuck pixels as (x, y).
    """

    def __init__(self, config: DriveConfig, view: View, rng: np.random.Generator) -> None:
        self._config, self._view = config, view
        w, h = config.thermal_size
        stripes = rng.normal(0, config.stripe_noise, (1, w))
        pixels = rng.normal(0, 0.5 * config.stripe_noise, (h, w))
        self._pattern = (stripes + pixels).astype(np.float32)
        corners = rng.normal(0, 1, (3, 4)).astype(np.float32)
        self._shading = cv2.resize(corners, (w, h), interpolation=cv2.INTER_CUBIC)
        flat = rng.choice(w * h, config.dead_pixels, replace=False)
        self.dead_pixels = np.stack((flat % w, flat // w), 1)
        self._stuck = np.where(rng.random(config.dead_pixels) < 0.5, 0, 2**config.thermal_bits - 1)

    def take(self, canvas: Canvas, t: float, rng: np.random.Generator) -> np.ndarray:
        """(h, w) uint16 counts (uint8 for 8 bits) at time t (s)."""
        config, view = self._config, self._view
        warm = np.ascontiguousarray(canvas.heat[..., 0])
        if config.parallax:
            warm = self._shifted(warm, canvas.heat[..., 2])
        haze = np.float32(0.12 * canvas.mood.smoke)
        warm = warm * (1 - haze) + haze * np.float32(canvas.air)
        ratio = math.sqrt(abs(np.linalg.det(config.mapping)))  # visible pixels per thermal one
        if ratio > 1.2:  # each thermal pixel collects from several
            warm = cv2.GaussianBlur(warm, (0, 0), 0.4 * ratio)
        border = cv2.BORDER_REPLICATE
        warm = cv2.remap(warm, view.lens_x, view.lens_y, cv2.INTER_LINEAR, borderMode=border)
        if config.thermal_blur > 0:
            warm = cv2.GaussianBlur(warm, (0, 0), config.thermal_blur)
        drift = config.thermal_drift
        warm += drift * (math.sin(2 * math.pi * t / 47) + 0.3 * math.sin(0.05 * t) * self._shading)
        warm += self._pattern
        warm += rng.standard_normal(warm.shape, np.float32) * np.float32(config.thermal_noise)
        zero, step = THERMAL_SCALES[config.thermal_bits]
        counts = np.clip(np.rint((warm - zero) / step), 0, 2**config.thermal_bits - 1)
        counts = counts.astype(np.uint8 if config.thermal_bits == 8 else np.uint16)
        counts[self.dead_pixels[:, 1], self.dead_pixels[:, 0]] = self._stuck
        return counts

    def _shifted(self, warm: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """What a camera `parallax` metres to the right sees: near things move left."""
        h, w = warm.shape
        pull = (self._config.parallax * self._view.f / np.maximum(depth, NEAR)).astype(np.float32)
        reach = max(3, 2 * math.ceil(float(np.abs(pull).max())) + 1)
        x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
        # Start from the nearest thing that could land on a pixel, so that it hides what is behind.
        spread = cv2.dilate(np.abs(pull), np.ones((1, reach), np.uint8))
        shift = spread * math.copysign(1.0, self._config.parallax)
        border = cv2.BORDER_REPLICATE
        for _ in range(3):
            shift = cv2.remap(pull, x + shift, y, cv2.INTER_NEAREST, borderMode=border)
        return cv2.remap(warm, x + shift, y, cv2.INTER_LINEAR, borderMode=border)
