"""One moment on image planes: colour, temperature, object number and depth.

The canvas starts with the empty street and offers drawing functions: projection, light, polygons,
shadows. `painter` decides what is drawn; `camera` and `thermal` simulate the sensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from ssvif_core.synthetic.config import Effects
from ssvif_core.synthetic.numeric import Colour
from ssvif_core.synthetic.street import COL, PERIOD, WALL, Street, lamp_light
from ssvif_core.synthetic.viewpoint import EYE_X, EYE_Y, HAZE, HORIZON, Viewpoint
from ssvif_core.types import AnyArray, Float32Array, Float64Array, UInt8Array

DETAILED = 28.0  # m; farther objects get neither texture nor shadow
TEMPERATURE, OBJECT, DEPTH = range(3)  # planes of Canvas.scalars
Part = tuple[slice, slice]  # rows, columns

_RING = np.stack([f(np.arange(16) * math.pi / 8) for f in (np.sin, np.cos)])


class Flare(NamedTuple):
    """A lamp that dazzles the visible camera; u, v in canvas pixels, depth in metres."""

    u: float
    v: float
    depth: float
    power: float
    colour: Colour


def fixed(points: AnyArray) -> AnyArray:
    """Pixels -> OpenCV's int32 fixed point with 4 fractional bits."""
    pixels: AnyArray = np.rint(points * 16).astype(np.int32)
    return pixels


class Canvas:
    """Image planes that are drawn from far to near: later objects hide earlier ones.

    bgr: (h, w, 3) uint8.
    scalars: (h, w, 3) float32: degC, object number (0: none), z in metres.
    flares: the dazzling lamps drawn so far.
    labels: class of each object drawn so far; the first is object 1.
    air: air temperature, degC.
    """

    def __init__(
        self,
        viewpoint: Viewpoint,
        street: Street,
        effects: Effects,
        camera_z: float,
        shake: tuple[int, int],
    ) -> None:
        self.viewpoint, self.street = viewpoint, street
        self.effects, self.camera_z = effects, camera_z
        self.cx, self.cy = viewpoint.cx + shake[0], viewpoint.cy + shake[1]
        self.air = 17.0 - 8.0 * effects.night
        self.flares: list[Flare] = []
        self.labels: list[int] = []
        x, y = viewpoint.margin - shake[0], viewpoint.margin - shake[1]
        self.crop = np.s_[y : y + viewpoint.size[1], x : x + viewpoint.size[0]]
        dark = np.array((52, 38, 32)) * effects.night
        self.haze = np.array(HORIZON) * (1 - effects.night) + dark
        self._draw_street()

    def _draw_street(self) -> None:
        viewpoint, street, night = self.viewpoint, self.street, self.effects.night
        rows, depth = viewpoint.rows[self.crop], viewpoint.depth[self.crop]
        width = street.shape[1]
        cols = viewpoint.cols[self.crop] + np.float32((self.camera_z % PERIOD) * COL - 0.5)
        cols -= np.floor(cols * np.float32(1 / width)) * width

        def sample(layer: AnyArray) -> AnyArray:
            texels: AnyArray = cv2.remap(
                layer, cols, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
            )
            return texels

        def mix(
            day: UInt8Array, dark: UInt8Array, pick: Callable[[UInt8Array], UInt8Array]
        ) -> UInt8Array:
            if night in (0, 1):
                return pick(dark if night else day)
            mixed: UInt8Array = cv2.addWeighted(pick(day), 1 - night, pick(dark), night, 0)
            return mixed

        cover = sample(street.cover).astype(np.float32) * np.float32(1 / 255)
        fronts = sample(street.temperature).astype(np.float32) * np.float32(0.01) - np.float32(100)
        self.bgr = mix(viewpoint.day, viewpoint.night, lambda plane: plane[self.crop].copy())
        backdrop = viewpoint.temperature[self.crop].copy()
        self._draw_gables(backdrop)
        celsius = backdrop + (fronts - backdrop) * cover - np.float32(8 * night)
        planes = [celsius, np.zeros_like(celsius), depth + (1 - cover) * 100]
        self.scalars: Float32Array = cv2.merge(planes)
        cover *= viewpoint.transmission[self.crop]
        front = mix(street.day, street.night, sample)
        self.bgr = cv2.blendLinear(front, self.bgr, cover, 1 - cover)

    def _draw_gables(self, celsius: Float32Array) -> None:
        """Draw the side of each house that faces the camera; the fronts are blended over it."""
        houses = [((house.z - self.camera_z) % PERIOD, house) for house in self.street.houses]
        for z, house in sorted(houses, key=lambda pair: -pair[0]):
            x = house.side * WALL
            corners = np.array([(x, house.height, z), (x + house.side * 12, 0, z)])
            u, v = self.project(corners).T
            part = self.part(u.min(), u.max() + 1, v.min(), v.max() + 1)
            if z > 6 and self.bgr[part].size:
                gain, haze = self.light(x, z, 3)
                grain = self._stretch(self.street.wall, (u.min(), u.max()), (v[0], v[1]), part)
                tone = house.colour * gain * (0.75 if house.side < 0 else 0.95) / 128
                self.bgr[part] = cv2.transform(grain, np.stack((tone, haze), 1))
                celsius[part] = grain * np.float32(1 / 128) + 15

    def part(self, u0: float, u1: float, v0: float, v1: float) -> Part:
        """Slices of the pixels of a rectangle that lie on the canvas."""
        w, h = self.viewpoint.size
        left, right = (int(min(max(u, 0), w)) for u in (u0, u1))
        top, bottom = (int(min(max(v, 0), h)) for v in (v0, v1))
        return slice(top, bottom), slice(left, right)

    def project(self, points: Float64Array) -> Float64Array:
        """(n, 3) world points -> (n, 2) canvas pixels."""
        scale = self.viewpoint.f / np.maximum(points[:, 2], 0.5)
        uv = np.empty((len(points), 2))
        uv[:, 0] = (points[:, 0] - EYE_X) * scale + self.cx
        uv[:, 1] = (EYE_Y - points[:, 1]) * scale + self.cy
        return uv

    def light(self, x: float, z: float, y: float = 1.0) -> tuple[Float64Array, Float64Array]:
        """Factor (3,) of a surface's colour under sun or lamps, and the haze to add (3,)."""
        night = self.effects.night
        lamps = 0.7 * float(lamp_light(x, y, z + self.camera_z))
        dark = lamps * np.array((0.55, 0.78, 1.0)) + (0.085, 0.07, 0.06)
        transmission = math.exp(-z / HAZE)
        sun = 0.72 if x < -4 else 1.0  # the left houses cast a shadow
        gain = ((1 - night) * sun + night * dark) * transmission
        return gain, self.haze * (1 - transmission)

    @staticmethod
    def _stretch(
        texture: AnyArray, u: tuple[float, float], v: tuple[float, float], part: Part
    ) -> AnyArray:
        """Stretch the texture over the rectangle u, v and cut it to `part` of the canvas."""
        (rows, cols), (u0, u1), (v0, v1) = part, u, v
        sx, sy = (u1 - u0) / texture.shape[1], (v1 - v0) / texture.shape[0]
        affine = np.array(
            [[1 / sx, 0, (cols.start - u0) / sx], [0, 1 / sy, (rows.start - v0) / sy]]
        )
        size = (cols.stop - cols.start, rows.stop - rows.start)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        stretched: AnyArray = cv2.warpAffine(
            texture, affine, size, flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        return stretched

    def begin_object(self, label: int, x: float, z: float) -> None:
        """Draw at x, z from now on; a label other than 0 starts a new object."""
        if label:
            self.labels.append(label)
        self.object_number, self.z = len(self.labels) if label else 0, z
        self.gain, self.added_haze = self.light(x, z)

    def shade(self, colours: AnyArray) -> AnyArray:
        """Colours (..., 3) as they appear at the place of the object, in light and haze."""
        return colours * self.gain + self.added_haze

    def fill(self, points: AnyArray, colour: Any, warmth: float) -> None:
        """Paint one polygon, (n, 2) int32 in 1/16 pixel; `warmth` in K above the air."""
        scalars = (self.air + warmth, self.object_number, self.z)
        cv2.fillPoly(self.bgr, [points], colour, cv2.LINE_AA, 4)
        cv2.fillPoly(self.scalars, [points], scalars, cv2.LINE_8, 4)

    def end_object(self, outline: Float64Array, grain: Float32Array) -> None:
        """Texture the object drawn since `begin_object`; the texture moves with its outline."""
        (u0, v0), (u1, v1) = outline.min(0) - 2, outline.max(0) + 3
        part = self.part(u0, u1, v0, v1)
        roi = self.bgr[part]
        if roi.size and self.z < DETAILED:
            mask = (self.scalars[part][..., OBJECT] == self.object_number).view(np.uint8)
            texture = self._stretch(grain, (u0, u1), (v0, v1), part)
            cv2.copyTo(cv2.multiply(roi, texture, dtype=cv2.CV_8U), mask, roi)

    def shadow(self, x: float, z: float, half_x: float, half_z: float) -> None:
        """Draw a dark ellipse on the ground."""
        if z > DETAILED:
            return
        ring = np.stack((x + half_x * _RING[0], 0 * _RING[0], z + half_z * _RING[1]), 1)
        uv = self.project(ring)
        (u0, v0), (u1, v1) = uv.min(0), uv.max(0) + 1
        part = self.part(u0, u1, v0, v1)
        roi = self.bgr[part]
        if roi.size:
            mask = np.zeros(roi.shape[:2], np.uint8)
            inside = fixed(uv - (part[1].start, part[0].start))
            cv2.fillConvexPoly(mask, inside, (1,), cv2.LINE_8, 4)
            cv2.copyTo(cv2.multiply(roi, (0.6, 0.6, 0.62, 0), dtype=cv2.CV_8U), mask, roi)
