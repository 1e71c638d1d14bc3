"""The visible camera: smoke in front of it, glare in its lens, grain of its sensor.

The canvas already contains the street; its colours already include darkness.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.synthetic.canvas import DEPTH, Canvas
from ssvif_core.synthetic.config import Effects
from ssvif_core.synthetic.numeric import Colour, noise
from ssvif_core.synthetic.viewpoint import Viewpoint
from ssvif_core.types import Float32Array, UInt8Array

_SHIFTS = 64  # each frame cuts its grain from a larger plane, at one of 64 x 64 places
_GLARE_WIDTH = 160  # pixels; glare is smooth, so a small image is enough


def sensor_grain(rng: np.random.Generator, size: tuple[int, int]) -> Float32Array:
    """Plane of normal noise from which images of `size` (width, height) are cut."""
    w, h = size
    return rng.normal(0, 1, (h + _SHIFTS, w + _SHIFTS, 3)).astype(np.float32)


def smoke_layers(rng: np.random.Generator) -> list[Float32Array]:
    """Coarse and fine smoke patterns (256, 512), which drift at different speeds."""
    return [noise(rng, (256, 512), slope) for slope in (1.7, 1.4)]


def _halo() -> Float32Array:
    """Glare of a lamp in the lens: core, bloom and streaks; (257, 257) float32, peak 1."""
    y, x = np.mgrid[-128:129, -128:129].astype(np.float32)
    r = np.hypot(x, y)
    angle = np.arctan2(y, x)
    rays = (0.5 + 0.5 * np.cos(8 * angle)) ** 6 + 0.6 * (0.5 + 0.5 * np.cos(14 * angle + 1)) ** 8
    glow = np.exp(-((r / 11) ** 2)) + 0.6 * np.exp(-r / 17) + 0.3 * rays * np.exp(-r / 24)
    streak = 0.45 * np.exp(-np.abs(y) / 1.6 - np.abs(x) / 50)
    fade = np.clip((128 - r) / 40, 0, 1)
    halo: Float32Array = ((glow + streak) * fade / 1.9).astype(np.float32)
    return halo


class VisibleCamera:
    """Turns a canvas into the visible image."""

    def __init__(
        self, viewpoint: Viewpoint, grain: Float32Array, smoke: list[Float32Array]
    ) -> None:
        self._viewpoint, self._grain, self._smoke = viewpoint, grain, smoke
        self._halo = _halo()

    def capture(self, canvas: Canvas, t: float, rng: np.random.Generator) -> UInt8Array:
        """Visible image (H, W, 3) uint8 BGR at time t (s)."""
        effects, window = canvas.effects, self._viewpoint.window
        image: UInt8Array = np.ascontiguousarray(canvas.bgr[window])
        if effects.smoke > 0:
            image = self._add_smoke(image, canvas.scalars[..., DEPTH][window], t, effects)
        if effects.night > 0 or effects.glare > 0:
            image = self._add_glare(image, canvas)
        dx, dy = rng.integers(0, _SHIFTS, 2)
        h, w = image.shape[:2]
        grain = self._grain[dy : dy + h, dx : dx + w] * np.float32(2.0 + 4.5 * effects.night)
        image = cv2.add(image, grain, dtype=cv2.CV_8U)
        return image

    def _add_smoke(
        self, image: UInt8Array, depth: Float32Array, t: float, effects: Effects
    ) -> UInt8Array:
        """Add grey smoke that drifts and grows denser with distance."""
        h, w = image.shape[:2]
        small = (max(w // 4, 1), max(h // 4, 1))
        density = np.zeros(small[::-1], np.float32)
        for layer, speed, weight in zip(self._smoke, (9.0, 23.0), (0.6, 0.4), strict=True):
            x = np.arange(small[0], dtype=np.float32)[None] * (200 / small[0]) + speed * t
            y = np.arange(small[1], dtype=np.float32)[:, None] * (150 / small[1]) - 4 * t
            x, y = np.broadcast_arrays(x % layer.shape[1], y % layer.shape[0])
            x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
            pattern = cv2.remap(layer, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            density += weight * pattern
        z = cv2.resize(depth, small, interpolation=cv2.INTER_AREA)
        amount = np.clip(2.4 + 1.3 * density, 0.25, 6) * (0.12 + 1.1 * (1 - np.exp(-z / 9)))
        transmission = cv2.resize(np.exp(-effects.smoke * amount), (w, h))
        tone = cv2.resize(np.clip(172 + 16 * density, 90, 235), (w, h)) * (1 - 0.8 * effects.night)
        smoke = cv2.merge([tone.astype(np.uint8)] * 3)
        blended: UInt8Array = cv2.blendLinear(image, smoke, transmission, 1 - transmission)
        return blended

    def _add_glare(self, image: UInt8Array, canvas: Canvas) -> UInt8Array:
        """Add light of lamps that the lens scatters; it saturates the image near them."""
        h, w = image.shape[:2]
        scale = _GLARE_WIDTH / w
        size = (_GLARE_WIDTH, max(round(h * scale), 1))
        depth = canvas.scalars[..., DEPTH]
        planes: dict[Colour, Float32Array] = {}
        for flare in canvas.flares:
            u = (flare.u - self._viewpoint.left) * scale
            v = (flare.v - self._viewpoint.top) * scale
            power = flare.power * min((12 / flare.depth) ** 0.6, 1.6)
            if power < 0.02 or not (-60 < u < size[0] + 60 and -60 < v < size[1] + 60):
                continue
            iu, iv = round(flare.u), round(flare.v)
            if 0 <= iv < depth.shape[0] and 0 <= iu < depth.shape[1]:
                if depth[iv, iu] < flare.depth - 0.8:
                    power *= 0.3  # an object hides the lamp
            shift = np.array([[1, 0, u - 128], [0, 1, v - 128]])
            halo = cv2.warpAffine(self._halo, shift, size)
            plane = planes.setdefault(flare.colour, np.zeros(size[::-1], np.float32))
            cv2.scaleAdd(halo, 330 * power, plane, plane)
        light = np.full((*size[::-1], 3), 14 * canvas.effects.glare, np.float32)
        for colour, plane in planes.items():
            light += plane[..., None] * np.array(colour, np.float32)
        glare = np.clip(light, 0, 255).astype(np.uint8)
        image = cv2.add(image, cv2.resize(glare, (w, h)))
        return image
