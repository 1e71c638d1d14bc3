"""The contract of the graph: names, types and shapes of its inputs and outputs.

The exporter writes files that follow it, and every engine reads it. An axis is a number, or one of
the names that `Shapes` gives: ``H``, ``W`` of the visible image, ``h``, ``w`` and ``bytes`` of the
thermal one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssvif_core.types import FusionBuffers, Shapes


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the graph.

    Attributes:
        name: in the ONNX file.
        dtype: of its elements.
        axes: its shape; names stand for sizes that depend on the cameras.
    """

    name: str
    dtype: np.dtype[np.uint8] | np.dtype[np.float32]
    axes: tuple[int | str, ...]

    @property
    def is_fixed(self) -> bool:
        """Whether its shape is the same for all cameras."""
        return all(isinstance(axis, int) for axis in self.axes)

    def shape(self, shapes: Shapes) -> tuple[int, ...]:
        """Its shape for the image sizes of two cameras.

        >>> INPUTS[1].shape(Shapes(480, 640, 256, 320, 2))
        (1, 256, 320, 2)
        """
        sizes = shapes.by_axis
        return tuple(axis if isinstance(axis, int) else sizes[axis] for axis in self.axes)


_BYTES, _FLOATS = np.dtype(np.uint8), np.dtype(np.float32)

INPUTS = (
    TensorSpec("visible", _BYTES, (1, "H", "W", 3)),
    TensorSpec("thermal", _BYTES, (1, "h", "w", "bytes")),
    TensorSpec("thermal_range", _FLOATS, (2,)),
    TensorSpec("grid", _FLOATS, (1, "H", "W", 2)),
    TensorSpec("coverage", _FLOATS, (1, "H", "W")),
)
OUTPUTS = (
    TensorSpec("fused", _BYTES, (1, "H", "W", 3)),
    TensorSpec("labels", _BYTES, (1, "H", "W")),
    TensorSpec("confidence", _BYTES, (1, "H", "W")),
)
INPUT_NAMES = tuple(spec.name for spec in INPUTS)
OUTPUT_NAMES = tuple(spec.name for spec in OUTPUTS)


def input_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """By name, the shapes of the inputs that depend on the cameras."""
    return {spec.name: spec.shape(shapes) for spec in INPUTS if not spec.is_fixed}


def new_outputs(shapes: Shapes) -> FusionBuffers:
    """Memory for the outputs, for engines that write into arrays they are given."""
    return FusionBuffers(*(np.empty(spec.shape(shapes)[1:], spec.dtype) for spec in OUTPUTS))
