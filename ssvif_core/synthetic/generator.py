"""Frames of a drive: combines street, actors and both cameras, and labels the visible objects.

This module also fixes which part uses which random seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.synthetic.actors import create_actors
from ssvif_core.synthetic.camera import VisibleCamera, sensor_grain, smoke_layers
from ssvif_core.synthetic.canvas import OBJECT, Canvas
from ssvif_core.synthetic.config import DriveConfig
from ssvif_core.synthetic.painter import Props, grain, paint
from ssvif_core.synthetic.street import static_street
from ssvif_core.synthetic.thermal import ThermalCamera
from ssvif_core.synthetic.viewpoint import Viewpoint
from ssvif_core.types import AnyArray, Float64Array, UInt8Array

MIN_PIXELS = 12  # objects with fewer visible pixels get no label and no box


class Box(NamedTuple):
    """Bounding box of the visible pixels of one object, in visible pixels."""

    label: int  # index into CLASS_NAMES
    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True, eq=False)
class DriveFrame:
    """One moment as both cameras record it."""

    visible: UInt8Array  # (H, W, 3) uint8, BGR
    thermal: AnyArray  # (h, w) uint16 counts; uint8 for 8 bits
    labels: UInt8Array  # (H, W) uint8, index into CLASS_NAMES
    boxes: tuple[Box, ...]  # nearest object last
    homography: Float64Array  # (3, 3) float64, thermal -> visible pixels
    stamp: float  # s
    condition: str  # one of CONDITIONS


class DriveGenerator:
    """Frames of one drive.

    `frame(i)` does not depend on earlier calls. Iterating gives `config.frames` frames.
    `dead_pixels` (n, 2) int lists the stuck thermal pixels as (x, y).

    >>> drive = DriveGenerator(DriveConfig(visible_size=(64, 48), thermal_size=(32, 24)))
    >>> frame = drive.frame(30)
    >>> frame.visible.shape, frame.thermal.shape, frame.stamp
    ((48, 64, 3), (24, 32), 1.0)
    """

    def __init__(self, config: DriveConfig | None = None) -> None:
        self.config = config = config or DriveConfig()
        self._viewpoint = Viewpoint(config)
        self._actors = create_actors(config.seed)
        # These share one generator: another order would change the drive of a seed.
        rng = np.random.default_rng((config.seed, 5))
        noise = sensor_grain(rng, config.visible_size)
        cloth, metal = grain(rng, 0.9, 0.13), grain(rng, 1.2, 0.08)
        self._props = Props(*static_street(config.seed), cloth, metal)
        self._visible = VisibleCamera(self._viewpoint, noise, smoke_layers(rng))
        self._thermal = ThermalCamera(config, self._viewpoint, rng)
        self.dead_pixels = self._thermal.dead_pixels

    def __len__(self) -> int:
        return self.config.frames

    def __iter__(self) -> Iterator[DriveFrame]:
        return (self.frame(i) for i in range(len(self)))

    def frame(self, index: int) -> DriveFrame:
        """Frame at `index / fps` seconds; "drive" stays in its last condition after the end.

        Raises:
            InputError: `index` is negative or not an integer.
        """
        if not isinstance(index, int | np.integer) or index < 0:
            raise InputError(f"index={index!r}; expected an integer >= 0")
        config, t = self.config, index / self.config.fps
        condition, effects = config.effects(index)
        canvas = paint(self._viewpoint, self._props, self._actors, effects, t)
        labels, boxes = self._label(canvas)
        rng = np.random.default_rng((config.seed, 6, index))
        return DriveFrame(
            visible=self._visible.capture(canvas, t, rng),
            thermal=self._thermal.capture(canvas, t, rng),
            labels=labels,
            boxes=boxes,
            homography=config.mapping,
            stamp=t,
            condition=condition,
        )

    def _label(self, canvas: Canvas) -> tuple[UInt8Array, tuple[Box, ...]]:
        """Labels and boxes of the objects with at least MIN_PIXELS visible pixels."""
        objects = canvas.scalars[..., OBJECT][self._viewpoint.window].astype(np.uint8)
        table, boxes = np.zeros(256, np.uint8), []
        for number, label in enumerate(canvas.labels, 1):
            mask = (objects == number).view(np.uint8)
            if cv2.countNonZero(mask) >= MIN_PIXELS:
                boxes.append(Box(label, *cv2.boundingRect(mask)))
                table[number] = label
        return cv2.LUT(objects, table), tuple(boxes)
