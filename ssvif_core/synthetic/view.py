"""The pinhole camera on the robot: where each pixel's ray meets the street, and the backdrop.

Depends on the configuration only, so it is made once; a moment in time is left to `canvas`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from ssvif_core.synthetic.config import DriveConfig
from ssvif_core.synthetic.numeric import noise
from ssvif_core.synthetic.street import COL, ROOF, ROW, WALL, Street

EYE_X, EYE_Y = 1.7, 1.4  # camera position across and above the road
NEAR = 2.2  # nothing is drawn nearer than this z
HAZE = 170.0  # m after which 1/e of a colour is left
HORIZON = (226, 218, 206)  # colour of the sky there, and of haze by day


@lru_cache(maxsize=3)
def _clouds(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clouds and grass, (1024, 1024) float32 each."""
    rng = np.random.default_rng((seed, 7))
    return noise(rng, (1024, 1024), 1.6) + 0.25, noise(rng, (1024, 1024), 0.5)


class View:
    """What the canvas shows when nobody is in the street.

    The canvas covers the visible image and as much of the thermal view as lies near it; the
    planes below have a further `margin` around it.

    size, window: width and height of the canvas; the visible image's part of it.
    rows, cols: float32, place in the street's texture when the camera stands at z = 0.
    depth, clear: float32, z in metres; what the haze leaves, 0..1.
    day, night, warm: backdrop; uint8 BGR twice, float32 degC.
    lens_x, lens_y: (h, w) float32, canvas place that each thermal pixel sees.
    """

    def __init__(self, config: DriveConfig) -> None:
        w, h = config.visible_size
        self.f = 0.9 * w  # pixels
        seen = self._thermal_rays(config)
        reach = (math.ceil(abs(config.parallax) * self.f / NEAR), 0)
        most = np.array((w, h)) // 4
        low = np.clip(np.ceil(1 - seen.min((0, 1))) + reach, 0, most).astype(int)
        high = np.clip(np.ceil(seen.max((0, 1)) + 2 - (w, h)) + reach, 0, most).astype(int)
        self.left, self.top = map(int, low)
        self.size = (w + int(low[0] + high[0]), h + int(low[1] + high[1]))
        self.window = np.s_[self.top : self.top + h, self.left : self.left + w]
        self.lens_x, self.lens_y = cv2.split((seen + low).astype(np.float32))
        self.cx, self.cy = self.left + (w - 1) / 2, self.top + 0.46 * h
        self.margin = max(2, w // 50)  # room for the camera's shake
        self._rays(config.seed)

    @staticmethod
    def _thermal_rays(config: DriveConfig) -> np.ndarray:
        """(h, w, 2) visible pixel x, y under each thermal pixel."""
        w, h = config.thermal_size
        x, y = np.meshgrid(np.arange(w, dtype=float), np.arange(h, dtype=float))
        cx, cy = (w - 1) / 2, (h - 1) / 2
        bend = 1 + config.distortion * ((x - cx) ** 2 + (y - cy) ** 2) / (cx**2 + cy**2)
        ideal = np.stack((cx + (x - cx) * bend, cy + (y - cy) * bend), -1)
        return cv2.perspectiveTransform(ideal, config.mapping)

    def _rays(self, seed: int) -> None:
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
        s = np.where(on_ground, ROOF + WALL + x, on_wall)
        rows = Street.shape[0]
        step = z**2 / (self.f * np.where(on_ground, EYE_Y, gap)) * COL  # texels per pixel
        level = (step > 2.5).astype(int) + (step > 11)
        self.rows = (np.clip(s * ROW - 0.5, 0, rows - 1) + level * rows).astype(np.float32)
        self.cols = (z * COL).astype(np.float32)
        self.depth = z.astype(np.float32)
        self.clear = np.exp(-z / HAZE).astype(np.float32)
        self._backdrop(seed, dy)

    def _backdrop(self, seed: int, dy: np.ndarray) -> None:
        """Sky with clouds, distant roofs and open ground, by day and by night."""
        h, w = self.depth.shape
        # Indexed from the visible image, so that it looks the same on any canvas.
        pick = np.ix_(np.arange(h) - self.top & 1023, np.arange(w) - self.left & 1023)
        cloud, grain = (plane[pick] for plane in _clouds(seed))
        up = np.clip(-dy / 0.5, 0, 1)
        zenith, rim = np.array((205, 160, 112)), np.array(HORIZON)
        sky = rim + (zenith - rim) * (up**0.7)[..., None] * np.ones((h, w, 1))
        veil = np.clip(cloud * 0.45, 0, 0.85)[..., None] * np.minimum(up * 5, 1)[..., None]
        sky += (np.array((240, 238, 236)) - 12 * cloud[..., None] - sky) * veil
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
        warm = np.where(town, 12, np.where(grass, 14, 10 - 11 * up**0.6 + 1.5 * cloud))
        self.warm = warm.astype(np.float32)
