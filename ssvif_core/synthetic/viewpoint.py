"""The pinhole camera on the robot: where each pixel's ray meets the street, and the backdrop.

All of it depends on the configuration alone and is computed once.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from ssvif_core.synthetic.config import DriveConfig
from ssvif_core.synthetic.numeric import noise
from ssvif_core.synthetic.street import COL, ROOF, ROW, WALL, Street
from ssvif_core.types import AnyArray, Float32Array, Float64Array

EYE_X, EYE_Y = 1.7, 1.4  # m, camera position across and above the road
NEAR = 2.2  # m, smallest z that is drawn
HAZE = 170.0  # m after which 1/e of a colour is left
HORIZON = (226, 218, 206)  # colour of the sky at the horizon, and of haze by day


@lru_cache(maxsize=3)
def _clouds(seed: int) -> tuple[Float32Array, Float32Array]:
    """Clouds and grass, (1024, 1024) float32 each."""
    rng = np.random.default_rng((seed, 7))
    return noise(rng, (1024, 1024), 1.6) + 0.25, noise(rng, (1024, 1024), 0.5)


class Viewpoint:
    """Geometry of the empty street as the canvas shows it.

    The canvas covers the visible image and the nearby part of the thermal image. The planes below
    have a further `margin` around it.

    size, window: width and height of the canvas; slices of the visible image in it.
    rows, cols: float32, place in the street's texture when the camera stands at z = 0.
    depth, transmission: float32, z in metres; share of a colour that the haze leaves, 0..1.
    day, night, temperature: backdrop; uint8 BGR twice, float32 degC.
    lens_x, lens_y: (h, w) float32, canvas position under each thermal pixel.
    """

    def __init__(self, config: DriveConfig) -> None:
        w, h = config.visible_size
        self.f = 0.9 * w  # focal length in pixels
        rays = self._thermal_rays(config)
        reach = (math.ceil(abs(config.parallax) * self.f / NEAR), 0)
        largest = np.array((w, h)) // 4
        before = np.clip(np.ceil(1 - rays.min((0, 1))) + reach, 0, largest).astype(int)
        after = np.clip(np.ceil(rays.max((0, 1)) + 2 - (w, h)) + reach, 0, largest).astype(int)
        self.left, self.top = map(int, before)
        self.size = (w + int(before[0] + after[0]), h + int(before[1] + after[1]))
        self.window = np.s_[self.top : self.top + h, self.left : self.left + w]
        self.lens_x, self.lens_y = cv2.split((rays + before).astype(np.float32))
        self.cx, self.cy = self.left + (w - 1) / 2, self.top + 0.46 * h
        self.margin = max(2, w // 50)  # pixels, for the camera's shake
        self._trace_rays(config.seed)

    @staticmethod
    def _thermal_rays(config: DriveConfig) -> Float64Array:
        """Visible pixel x, y under each thermal pixel, (h, w, 2)."""
        w, h = config.thermal_size
        x, y = np.meshgrid(np.arange(w, dtype=float), np.arange(h, dtype=float))
        cx, cy = (w - 1) / 2, (h - 1) / 2
        bend = 1 + config.distortion * ((x - cx) ** 2 + (y - cy) ** 2) / (cx**2 + cy**2)
        undistorted = np.stack((cx + (x - cx) * bend, cy + (y - cy) * bend), -1)
        rays: Float64Array = cv2.perspectiveTransform(undistorted, config.mapping)
        return rays

    def _trace_rays(self, seed: int) -> None:
        m = self.margin
        dx = ((np.arange(self.size[0] + 2 * m) - m - self.cx) / self.f)[None]
        dy = ((np.arange(self.size[1] + 2 * m) - m - self.cy) / self.f)[:, None]
        left = dx < 0
        gap = np.where(left, WALL + EYE_X, WALL - EYE_X)
        wall = gap / np.maximum(np.abs(dx), 1e-4)
        ground = EYE_Y / np.maximum(dy, 1e-4)
        z = np.minimum(np.minimum(wall, ground), 300.0)
        on_ground = ground < wall
        x, y = EYE_X + dx * z, np.clip(EYE_Y - dy * z, 0, ROOF - 0.1)
        on_wall = ROOF + WALL + np.where(left, -1, 1) * (WALL + y)
        across = np.where(on_ground, ROOF + WALL + x, on_wall)
        rows = Street.shape[0]
        step = z**2 / (self.f * np.where(on_ground, EYE_Y, gap)) * COL  # texels per pixel
        level = (step > 2.5).astype(int) + (step > 11)
        self.rows = (np.clip(across * ROW - 0.5, 0, rows - 1) + level * rows).astype(np.float32)
        self.cols = (z * COL).astype(np.float32)
        self.depth = z.astype(np.float32)
        self.transmission = np.exp(-z / HAZE).astype(np.float32)
        self._draw_backdrop(seed, dy)

    def _draw_backdrop(self, seed: int, dy: AnyArray) -> None:
        """Draw sky with clouds, distant roofs and open ground, by day and by night."""
        h, w = self.depth.shape
        # Indices start at the visible image, so that the backdrop is the same on any canvas.
        pick = np.ix_(np.arange(h) - self.top & 1023, np.arange(w) - self.left & 1023)
        cloud, grain = (plane[pick] for plane in _clouds(seed))
        up = np.clip(-dy / 0.5, 0, 1)
        zenith, rim = np.array((205, 160, 112)), np.array(HORIZON)
        sky = rim + (zenith - rim) * (up**0.7)[..., None] * np.ones((h, w, 1))
        cover = np.clip(cloud * 0.45, 0, 0.85)[..., None] * np.minimum(up * 5, 1)[..., None]
        sky += (np.array((240, 238, 236)) - 12 * cloud[..., None] - sky) * cover
        heights = np.random.default_rng((seed, 4)).uniform(0.015, 0.075, 171)
        roofs = np.repeat(heights, 6)[pick[1][0]]
        town = (-dy < roofs) & (dy < 0)
        grass = dy >= 0
        meadow = np.array((70, 112, 104)) * (1 + 0.15 * grain[..., None])
        day = np.where(town[..., None], (176, 170, 160), sky)
        day = np.where(grass[..., None], meadow, day)
        night = np.where(town[..., None], (20, 17, 16), (44, 30, 24) + 10 * (1 - up[..., None]))
        night = np.where(grass[..., None], (8, 9, 8), night)
        self.day = np.clip(day, 0, 255).astype(np.uint8)
        self.night = np.clip(night, 0, 255).astype(np.uint8)
        celsius = np.where(town, 12, np.where(grass, 14, 10 - 11 * up**0.6 + 1.5 * cloud))
        self.temperature = celsius.astype(np.float32)
