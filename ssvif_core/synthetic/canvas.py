"""One moment as three planes - colour; temperature, object and depth - with the street on them.

Gives the means to draw on them: projection, light, polygons, shadows, object numbers. Which
shapes are drawn is left to `painter`, what sensors make of the planes to `camera` and `thermal`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from ssvif_core.synthetic.config import Mood
from ssvif_core.synthetic.numeric import Colour
from ssvif_core.synthetic.street import COL, PERIOD, WALL, Street, lamp_light
from ssvif_core.synthetic.view import EYE_X, EYE_Y, HAZE, HORIZON, View

DETAILED = 28.0  # m; things farther away get neither texture nor shadow
Part = tuple[slice, slice]  # rows, columns

_RING = np.stack([f(np.arange(16) * math.pi / 8) for f in (np.sin, np.cos)])


class Flare(NamedTuple):
    """A lamp that dazzles the visible camera; u, v in canvas pixels."""

    u: float
    v: float
    depth: float
    power: float
    colour: Colour


def fixed(points: np.ndarray) -> np.ndarray:
    """Pixels to OpenCV's fixed point with 4 fractional bits."""
    return np.rint(points * 16).astype(np.int32)


class Canvas:
    """Must be drawn on from far to near: what comes later hides what is there.

    bgr: (h, w, 3) uint8.
    heat: (h, w, 3) float32: degC, object number (0: none), z in metres.
    flares: the dazzling lamps drawn so far.
    labels: class of each object drawn so far; the first is object 1.
    air: its temperature, degC.
    """

    def __init__(
        self, view: View, street: Street, mood: Mood, at: float, shake: tuple[int, int]
    ) -> None:
        self.view, self.street, self.mood, self.at = view, street, mood, at
        self.cx, self.cy = view.cx + shake[0], view.cy + shake[1]
        self.air = 17.0 - 8.0 * mood.night
        self.flares: list[Flare] = []
        self.labels: list[int] = []
        x, y = view.margin - shake[0], view.margin - shake[1]
        self.crop = np.s_[y : y + view.size[1], x : x + view.size[0]]
        dark = np.array((52, 38, 32)) * mood.night
        self.haze = np.array(HORIZON) * (1 - mood.night) + dark
        self._lay_street()

    def _lay_street(self) -> None:
        view, street, night = self.view, self.street, self.mood.night
        rows, depth = view.rows[self.crop], view.depth[self.crop]
        width = street.shape[1]
        cols = view.cols[self.crop] + np.float32((self.at % PERIOD) * COL - 0.5)
        cols -= np.floor(cols * np.float32(1 / width)) * width

        def sample(layer: np.ndarray) -> np.ndarray:
            return cv2.remap(layer, cols, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)

        def mix(
            day: np.ndarray, dark: np.ndarray, pick: Callable[[np.ndarray], np.ndarray]
        ) -> np.ndarray:
            if night in (0, 1):
                return pick(dark if night else day)
            return cv2.addWeighted(pick(day), 1 - night, pick(dark), night, 0)

        cover = sample(street.cover).astype(np.float32) * np.float32(1 / 255)
        warm = sample(street.matter).astype(np.float32) * np.float32(0.01) - np.float32(100)
        self.bgr = mix(view.day, view.night, lambda a: a[self.crop].copy())
        behind = view.warm[self.crop].copy()
        self._gables(behind)
        warm = behind + (warm - behind) * cover - np.float32(8 * night)
        self.heat = cv2.merge([warm, np.zeros_like(warm), depth + (1 - cover) * 100])
        cover *= view.clear[self.crop]
        front = mix(street.day, street.night, sample)
        self.bgr = cv2.blendLinear(front, self.bgr, cover, 1 - cover)

    def _gables(self, warm: np.ndarray) -> None:
        """The side of each house that faces the camera; the street's fronts are laid over it."""
        ahead = [((house.z - self.at) % PERIOD, house) for house in self.street.houses]
        for z, house in sorted(ahead, key=lambda pair: -pair[0]):
            x = house.side * WALL
            corners = np.array([(x, house.height, z), (x + house.side * 12, 0, z)])
            u, v = self.project(corners).T
            part = self.part(u.min(), u.max() + 1, v.min(), v.max() + 1)
            if z > 6 and self.bgr[part].size:
                gain, veil = self.light(x, z, 3)
                grain = self._laid(self.street.wall, (u.min(), u.max()), (v[0], v[1]), part)
                tone = house.colour * gain * (0.75 if house.side < 0 else 0.95) / 128
                self.bgr[part] = cv2.transform(grain, np.stack((tone, veil), 1))
                warm[part] = grain * np.float32(1 / 128) + 15

    def part(self, u0: float, u1: float, v0: float, v1: float) -> Part:
        """Pixels of a rectangle that lie on the canvas."""
        w, h = self.view.size
        a, b = (int(min(max(u, 0), w)) for u in (u0, u1))
        c, d = (int(min(max(v, 0), h)) for v in (v0, v1))
        return np.s_[c:d, a:b]

    def project(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) world points -> (n, 2) canvas pixels."""
        scale = self.view.f / np.maximum(points[:, 2], 0.5)
        uv = np.empty((len(points), 2))
        uv[:, 0] = (points[:, 0] - EYE_X) * scale + self.cx
        uv[:, 1] = (EYE_Y - points[:, 1]) * scale + self.cy
        return uv

    def light(self, x: float, z: float, y: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Gain (3,) of a surface's colour there under sun or lamps, and the haze to add (3,)."""
        night = self.mood.night
        lamps = 0.7 * float(lamp_light(x, y, z + self.at))
        dark = lamps * np.array((0.55, 0.78, 1.0)) + (0.085, 0.07, 0.06)
        clear = math.exp(-z / HAZE)
        sun = 0.72 if x < -4 else 1.0  # the left houses throw a shadow
        return ((1 - night) * sun + night * dark) * clear, self.haze * (1 - clear)

    @staticmethod
    def _laid(
        texture: np.ndarray, u: tuple[float, float], v: tuple[float, float], part: Part
    ) -> np.ndarray:
        """The texture spread over a rectangle, cut to `part` of the canvas."""
        (rows, cols), (u0, u1), (v0, v1) = part, u, v
        sx, sy = (u1 - u0) / texture.shape[1], (v1 - v0) / texture.shape[0]
        place = np.array([[1 / sx, 0, (cols.start - u0) / sx], [0, 1 / sy, (rows.start - v0) / sy]])
        size = (cols.stop - cols.start, rows.stop - rows.start)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(texture, place, size, flags=flags, borderMode=cv2.BORDER_REFLECT)

    def begin(self, label: int, x: float, z: float) -> None:
        """What follows is drawn at x, z and, unless the label is 0, as a new object."""
        if label:
            self.labels.append(label)
        self.tag, self.z = len(self.labels) if label else 0, z
        self.gain, self.veil = self.light(x, z)

    def fill(self, points: np.ndarray, colour: Any, warmth: float) -> None:
        """Paint one polygon, (n, 2) int32 in 1/16 pixel; `warmth` in K above the air."""
        cv2.fillPoly(self.bgr, [points], colour, cv2.LINE_AA, 4)
        cv2.fillPoly(self.heat, [points], (self.air + warmth, self.tag, self.z), cv2.LINE_8, 4)

    def end(self, outline: np.ndarray, grain: np.ndarray) -> None:
        """Give what was drawn since `begin` a texture that moves with it."""
        (u0, v0), (u1, v1) = outline.min(0) - 2, outline.max(0) + 3
        part = self.part(u0, u1, v0, v1)
        roi = self.bgr[part]
        if roi.size and self.z < DETAILED:
            mask = (self.heat[part][..., 1] == self.tag).view(np.uint8)
            grain = self._laid(grain, (u0, u1), (v0, v1), part)
            cv2.copyTo(cv2.multiply(roi, grain, dtype=cv2.CV_8U), mask, roi)

    def shadow(self, x: float, z: float, half_x: float, half_z: float) -> None:
        """Dark ellipse on the ground."""
        if z > DETAILED:
            return
        ring = np.stack((x + half_x * _RING[0], 0 * _RING[0], z + half_z * _RING[1]), 1)
        p = self.project(ring)
        part = self.part(p[:, 0].min(), p[:, 0].max() + 1, p[:, 1].min(), p[:, 1].max() + 1)
        roi = self.bgr[part]
        if roi.size:
            mask = np.zeros(roi.shape[:2], np.uint8)
            inside = fixed(p - (part[1].start, part[0].start))
            cv2.fillConvexPoly(mask, inside, (1,), cv2.LINE_8, 4)
            cv2.copyTo(cv2.multiply(roi, (0.6, 0.6, 0.62, 0), dtype=cv2.CV_8U), mask, roi)
