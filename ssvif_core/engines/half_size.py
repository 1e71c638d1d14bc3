"""An engine at half of the visible image's size, for machines that are too slow for all of it."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ssvif_core.engines.base import Engine
from ssvif_core.graph.contract import new_outputs
from ssvif_core.types import (
    AnyArray,
    Float32Array,
    FusionBuffers,
    SamplingMap,
    Shapes,
    UInt8Array,
)

WORKING_SIZES = ("full", "half")


def half_of(shapes: Shapes) -> Shapes:
    """The same cameras with half of the visible width and height, rounded up.

    >>> str(half_of(Shapes(481, 640, 256, 320, 2)))
    'visible 320x241, thermal 320x256 16 bit'
    """
    return dataclasses.replace(
        shapes, height=(shapes.height + 1) // 2, width=(shapes.width + 1) // 2
    )


class HalfSizeEngine(Engine):
    """Fuses small images with another engine, and adds what it changed to the whole image.

    The fused image keeps all fine structure of the visible image. It has thermal structure down to
    two pixels, which most thermal cameras do not resolve. Labels have borders of twice the size.

    Args:
        engine: an engine for `half_of` these shapes.
        shapes: the sizes of the whole images.
    """

    def __init__(self, engine: Engine, shapes: Shapes) -> None:
        self._engine = engine
        self.shapes = shapes
        self.info = dataclasses.replace(engine.info, working_size="half")
        self._small_size = (engine.shapes.width, engine.shapes.height)
        self._outputs = new_outputs(shapes)
        small, full = (engine.shapes.height, engine.shapes.width), (shapes.height, shapes.width)
        self._small = np.empty((*small, 3), np.uint8)
        self._small_change = np.empty((*small, 3), np.int16)
        self._change = np.empty((*full, 3), np.int16)

    def register(self, sampling: SamplingMap) -> None:
        grid, coverage = (
            cv2.resize(each, self._small_size, interpolation=cv2.INTER_AREA)
            for each in (sampling.grid, sampling.coverage)
        )
        self._engine.register(SamplingMap(grid, coverage))

    def infer(
        self, visible: UInt8Array, thermal: AnyArray, thermal_range: Float32Array
    ) -> FusionBuffers:
        small, small_change, change = self._small, self._small_change, self._change
        cv2.resize(visible, self._small_size, dst=small, interpolation=cv2.INTER_AREA)
        fusion = self._engine.infer(small, thermal, thermal_range)
        outputs, size = self._outputs, (self.shapes.width, self.shapes.height)
        cv2.subtract(fusion.fused, small, dst=small_change, dtype=cv2.CV_16S)
        cv2.resize(small_change, size, dst=change, interpolation=cv2.INTER_LINEAR)
        cv2.add(visible, change, dst=outputs.fused, dtype=cv2.CV_8U)
        cv2.resize(fusion.labels, size, dst=outputs.labels, interpolation=cv2.INTER_NEAREST)
        cv2.resize(fusion.confidence, size, dst=outputs.confidence, interpolation=cv2.INTER_NEAREST)
        return outputs
