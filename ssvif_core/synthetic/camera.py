"""The visible camera: smoke before it, glare in its lens, grain of its sensor.

The scene itself comes drawn on a canvas; darkness is already in its colours.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.synthetic.canvas import Canvas
from ssvif_core.synthetic.config import Mood
from ssvif_core.synthetic.numeric import Colour, noise
from ssvif_core.synthetic.view import View

_SHIFTS = 64  # grain is one larger plane; each frame takes its part at 64 x 64 places
_HALO_WIDTH = 160  # of the image on which glare is drawn; it is smooth, so a small one will do


def sensor_grain(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Plane of normal noise for images of `size` (width, height)."""
    w, h = size
    return rng.normal(0, 1, (h + _SHIFTS, w + _SHIFTS, 3)).astype(np.float32)


def smoke_layers(rng: np.random.Generator) -> list[np.ndarray]:
    """Two planes (256, 512) of swathes, coarse and fine, that drift at different speeds."""
    return [noise(rng, (256, 512), slope) for slope in (1.7, 1.4)]


def _halo() -> np.ndarray:
    """(257, 257) float32 glare of a lamp in the lens: core, bloom, streaks; peak 1."""
    y, x = np.mgrid[-128:129, -128:129].astype(np.float32)
    r = np.hypot(x, y)
    angle = np.arctan2(y, x)
    rays = (0.5 + 0.5 * np.cos(8 * angle)) ** 6 + 0.6 * (0.5 + 0.5 * np.cos(14 * angle + 1)) ** 8
    glow = np.exp(-((r / 11) ** 2)) + 0.6 * np.exp(-r / 17) + 0.3 * rays * np.exp(-r / 24)
    streak = 0.45 * np.exp(-np.abs(y) / 1.6 - np.abs(x) / 50)
    fade = np.clip((128 - r) / 40, 0, 1)
    return ((glow + streak) * fade / 1.9).astype(np.float32)


class VisibleCamera:
    """Turns a canvas into the visible image."""

    def __init__(self, view: View, grain: np.ndarray, smoke: list[np.ndarray]) -> None:
        self._view, self._grain, self._smoke = view, grain, smoke
        self._halo = _halo()

    def take(self, canvas: Canvas, t: float, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 BGR at time t (s)."""
        mood, window = canvas.mood, self._view.window
        image = np.ascontiguousarray(canvas.bgr[window])
        if mood.smoke > 0:
            image = self._smoked(image, canvas.heat[..., 2][window], t, mood)
        if mood.night > 0 or mood.glare > 0:
            image = self._glare(image, canvas)
        dx, dy = rng.integers(0, _SHIFTS, 2)
        h, w = image.shape[:2]
        grain = self._grain[dy : dy + h, dx : dx + w] * np.float32(2.0 + 4.5 * mood.night)
        return cv2.add(image, grain, dtype=cv2.CV_8U)

    def _smoked(self, image: np.ndarray, depth: np.ndarray, t: float, mood: Mood) -> np.ndarray:
        """Grey veil: thicker with distance, in drifting swathes."""
        h, w = image.shape[:2]
        small = (max(w // 4, 1), max(h // 4, 1))
        thick = np.zeros(small[::-1], np.float32)
        for layer, speed, weight in zip(self._smoke, (9.0, 23.0), (0.6, 0.4), strict=True):
            x = np.arange(small[0], dtype=np.float32)[None] * (200 / small[0]) + speed * t
            y = np.arange(small[1], dtype=np.float32)[:, None] * (150 / small[1]) - 4 * t
            x, y = np.broadcast_arrays(x % layer.shape[1], y % layer.shape[0])
            x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
            swathes = cv2.remap(layer, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            thick += weight * swathes
        near = cv2.resize(depth, small, interpolation=cv2.INTER_AREA)
        amount = np.clip(2.4 + 1.3 * thick, 0.25, 6) * (0.12 + 1.1 * (1 - np.exp(-near / 9)))
        clear = cv2.resize(np.exp(-mood.smoke * amount), (w, h))
        tone = cv2.resize(np.clip(172 + 16 * thick, 90, 235), (w, h)) * (1 - 0.8 * mood.night)
        veil = cv2.merge([tone.astype(np.uint8)] * 3)
        return cv2.blendLinear(image, veil, clear, 1 - clear)

    def _glare(self, image: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Light scattered in the lens by head lamps and street lamps; saturates near them."""
        h, w = image.shape[:2]
        scale = _HALO_WIDTH / w
        size = (_HALO_WIDTH, max(round(h * scale), 1))
        lights: dict[Colour, np.ndarray] = {}
        for flare in canvas.flares:
            u, v = (flare.u - self._view.left) * scale, (flare.v - self._view.top) * scale
            power = flare.power * min((12 / flare.depth) ** 0.6, 1.6)
            if power < 0.02 or not (-60 < u < size[0] + 60 and -60 < v < size[1] + 60):
                continue
            iu, iv = round(flare.u), round(flare.v)
            if 0 <= iv < canvas.heat.shape[0] and 0 <= iu < canvas.heat.shape[1]:
                if canvas.heat[iv, iu, 2] < flare.depth - 0.8:
                    power *= 0.3  # somebody stands before it
            place = np.array([[1, 0, u - 128], [0, 1, v - 128]])
            halo = cv2.warpAffine(self._halo, place, size)
            plane = lights.setdefault(flare.colour, np.zeros(size[::-1], np.float32))
            cv2.scaleAdd(halo, 330 * power, plane, plane)
        light = np.full((*size[::-1], 3), 14 * canvas.mood.glare, np.float32)
        for colour, plane in lights.items():
            light += plane[..., None] * np.array(colour, np.float32)
        light = np.clip(light, 0, 255).astype(np.uint8)
        return cv2.add(image, cv2.resize(light, (w, h)))
