"""The thermal camera: place beside the visible one, lens, drift, noise, stripes, dead pixels.

The canvas contains the temperatures. Smoke hardly changes them.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ssvif_core.synthetic.canvas import DEPTH, TEMPERATURE, Canvas
from ssvif_core.synthetic.config import THERMAL_SCALES, DriveConfig
from ssvif_core.synthetic.viewpoint import NEAR, Viewpoint
from ssvif_core.types import AnyArray, Float32Array


class ThermalCamera:
    """Turns a canvas into thermal counts.

    `dead_pixels` (n, 2) int lists the stuck pixels as (x, y).
    """

    def __init__(self, config: DriveConfig, viewpoint: Viewpoint, rng: np.random.Generator) -> None:
        self._config, self._viewpoint = config, viewpoint
        w, h = config.thermal_size
        stripes = rng.normal(0, config.stripe_noise, (1, w))
        pixels = rng.normal(0, 0.5 * config.stripe_noise, (h, w))
        self._pattern = (stripes + pixels).astype(np.float32)
        corners = rng.normal(0, 1, (3, 4)).astype(np.float32)
        self._shading = cv2.resize(corners, (w, h), interpolation=cv2.INTER_CUBIC)
        flat = rng.choice(w * h, config.dead_pixels, replace=False)
        self.dead_pixels = np.stack((flat % w, flat // w), 1)
        self._stuck = np.where(rng.random(config.dead_pixels) < 0.5, 0, 2**config.thermal_bits - 1)

    def capture(self, canvas: Canvas, t: float, rng: np.random.Generator) -> AnyArray:
        """Thermal image (h, w) uint16 counts (uint8 for 8 bits) at time t (s)."""
        config, viewpoint = self._config, self._viewpoint
        celsius: Float32Array = np.ascontiguousarray(canvas.scalars[..., TEMPERATURE])
        if config.parallax:
            celsius = self._shift_by_parallax(celsius, canvas.scalars[..., DEPTH])
        haze = np.float32(0.12 * canvas.effects.smoke)
        celsius = celsius * (1 - haze) + haze * np.float32(canvas.air)
        ratio = math.sqrt(abs(np.linalg.det(config.mapping)))  # visible pixels per thermal pixel
        if ratio > 1.2:  # a thermal pixel averages several canvas pixels
            celsius = cv2.GaussianBlur(celsius, (0, 0), 0.4 * ratio)
        lens_x, lens_y, border = viewpoint.lens_x, viewpoint.lens_y, cv2.BORDER_REPLICATE
        celsius = cv2.remap(celsius, lens_x, lens_y, cv2.INTER_LINEAR, borderMode=border)
        if config.thermal_blur > 0:
            celsius = cv2.GaussianBlur(celsius, (0, 0), config.thermal_blur)
        wave = math.sin(2 * math.pi * t / 47) + 0.3 * math.sin(0.05 * t) * self._shading
        celsius += config.thermal_drift * wave
        celsius += self._pattern
        celsius += rng.standard_normal(celsius.shape, np.float32) * np.float32(config.thermal_noise)
        zero, step = THERMAL_SCALES[config.thermal_bits]
        full = 2**config.thermal_bits - 1
        dtype = np.uint8 if config.thermal_bits == 8 else np.uint16
        counts: AnyArray = np.clip(np.rint((celsius - zero) / step), 0, full).astype(dtype)
        counts[self.dead_pixels[:, 1], self.dead_pixels[:, 0]] = self._stuck
        return counts

    def _shift_by_parallax(self, celsius: Float32Array, depth: Float32Array) -> Float32Array:
        """Image of a camera `parallax` metres to the right: near objects move left."""
        h, w = celsius.shape
        disparity = self._config.parallax * self._viewpoint.f / np.maximum(depth, NEAR)
        disparity = disparity.astype(np.float32)
        reach = max(3, 2 * math.ceil(float(np.abs(disparity).max())) + 1)
        x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
        # Start from the nearest object that could reach a pixel, so that it hides the others.
        spread = cv2.dilate(np.abs(disparity), np.ones((1, reach), np.uint8))
        shift = spread * math.copysign(1.0, self._config.parallax)
        border = cv2.BORDER_REPLICATE
        for _ in range(3):
            shift = cv2.remap(disparity, x + shift, y, cv2.INTER_NEAREST, borderMode=border)
        celsius = cv2.remap(celsius, x + shift, y, cv2.INTER_LINEAR, borderMode=border)
        return celsius
