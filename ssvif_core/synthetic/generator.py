"""Frames: puts the street, its actors and both cameras together, and labels what is visible.

All drawing and sensing is left to the other modules; this one fixes what draws from which seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.synthetic.actors import cast
from ssvif_core.synthetic.camera import VisibleCamera, sensor_grain, smoke_layers
from ssvif_core.synthetic.canvas import Canvas
from ssvif_core.synthetic.config import DriveConfig
from ssvif_core.synthetic.painter import Props, grain, paint
from ssvif_core.synthetic.street import static_street
from ssvif_core.synthetic.thermal import ThermalCamera
from ssvif_core.synthetic.view import View

MIN_PIXELS = 12  # objects with fewer visible pixels are neither labelled nor boxed


class Box(NamedTuple):
    """Bounding box of the visible pixels of one object, in visible pixels."""

    label: int  # index into CLASS_NAMES
    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True, eq=False)
class DriveFrame:
    """One moment seen by both cameras."""

    visible: np.ndarray  # (H, W, 3) uint8, BGR
    thermal: np.ndarray  # (h, w) uint16 counts; uint8 for 8 bits
    labels: np.ndarray  # (H, W) uint8, index into CLASS_NAMES
    boxes: tuple[Box, ...]  # nearest object last
    homography: np.ndarray  # (3, 3) float64, thermal -> visible pixels
    stamp: float  # s
    condition: str  # one of CONDITIONS


class DriveGenerator:
    """Frames of one street scene.

    `frame(i)` is the same whatever was asked before. Iterating gives `config.frames` frames.
    `dead_pixels` (n, 2) int lists the stuck thermal pixels as (x, y).
    """

    def __init__(self, config: DriveConfig | None = None) -> None:
        self.config = config = config or DriveConfig()
        self._view = View(config)
        self._actors = cast(config.seed)
        # These share one stream, so their order is part of what a seed means.
        rng = np.random.default_rng((config.seed, 5))
        film = sensor_grain(rng, config.visible_size)
        cloth, metal = grain(rng, 0.9, 0.13), grain(rng, 1.2, 0.08)
        self._props = Props(*static_street(config.seed), cloth, metal)
        self._visible = VisibleCamera(self._view, film, smoke_layers(rng))
        self._thermal = ThermalCamera(config, self._view, rng)
        self.dead_pixels = self._thermal.dead_pixels

    def __len__(self) -> int:
        return self.config.frames

    def __iter__(self) -> Iterator[DriveFrame]:
        return (self.frame(i) for i in range(len(self)))

    def frame(self, index: int) -> DriveFrame:
        """Frame at `index / fps` seconds; "drive" stays in its last condition after the end.

        Raises:
            InputError: `index` is negative or no integer.
        """
        if not isinstance(index, int | np.integer) or index < 0:
            raise InputError(f"index={index!r}: expected an integer >= 0")
        config, t = self.config, index / self.config.fps
        condition, mood = config.mood(index)
        canvas = paint(self._view, self._props, self._actors, mood, t)
        labels, boxes = self._label(canvas)
        rng = np.random.default_rng((config.seed, 6, index))
        return DriveFrame(
            visible=self._visible.take(canvas, t, rng),
            thermal=self._thermal.take(canvas, t, rng),
            labels=labels,
            boxes=boxes,
            homography=config.mapping,
            stamp=t,
            condition=condition,
        )

    def _label(self, canvas: Canvas) -> tuple[np.ndarray, tuple[Box, ...]]:
        """What of each object is seen in the visible image, unless it is too little."""
        objects = canvas.heat[..., 1][self._view.window].astype(np.uint8)
        table, boxes = np.zeros(256, np.uint8), []
        for tag, label in enumerate(canvas.labels, 1):
            mask = (objects == tag).view(np.uint8)
            if cv2.countNonZero(mask) >= MIN_PIXELS:
                boxes.append(Box(label, *cv2.boundingRect(mask)))
                table[tag] = label
        return cv2.LUT(objects, table), tuple(boxes)
