"""The interface that all engines share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssvif_core.types import (
    AnyArray,
    Float32Array,
    FusionBuffers,
    SamplingMap,
    Shapes,
    UInt8Array,
)


@dataclass(frozen=True)
class EngineInfo:
    """How an engine describes itself.

    >>> print(EngineInfo("openvino", "2026.2.1", "int8", "CPU", "half"))
    openvino 2026.2.1 (int8, CPU, half size)
    """

    name: str
    version: str
    precision: str
    device: str
    working_size: str = "full"

    def __str__(self) -> str:
        size = "" if self.working_size == "full" else f", {self.working_size} size"
        return f"{self.name} {self.version} ({self.precision}, {self.device}{size})"


class Engine(ABC):
    """Runs the graph for one set of image sizes, in buffers that stay.

    An engine belongs to one thread.

    Attributes:
        precisions: what it offers; the first is the default.
        info: how it describes itself.
        shapes: the image sizes it is prepared for.
    """

    precisions: tuple[str, ...] = ("fp32",)
    info: EngineInfo
    shapes: Shapes

    @abstractmethod
    def __init__(self, model: Path, shapes: Shapes, precision: str, threads: int = 0) -> None:
        """Load `model` for `shapes`.

        Args:
            model: the file of this precision, see `file_of`.
            precision: one of `precisions`.
            threads: CPU threads; with 0 the engine chooses.

        Raises:
            ModelError: the model file is missing, damaged or foreign.
            EngineError: the library is missing or cannot run here.
        """

    @abstractmethod
    def register(self, sampling: SamplingMap) -> None:
        """Take another sampling map of the prepared sizes. The first pair needs one."""

    @abstractmethod
    def infer(
        self, visible: UInt8Array, thermal: AnyArray, thermal_range: Float32Array
    ) -> FusionBuffers:
        """Fuse one pair of the prepared sizes.

        Args:
            visible: (H, W, 3), BGR, contiguous.
            thermal: (h, w) uint8 or uint16, contiguous.
            thermal_range: (2,), the counts shown as black and as white.

        Returns:
            The engine's buffers. The next call overwrites them.
        """

    @classmethod
    def check_usable(cls) -> None:
        """Raise EngineError if this machine cannot run this engine, with any model."""

    @classmethod
    def is_ready(cls, model: Path, shapes: Shapes, precision: str) -> bool:
        """Whether this engine can be created within about a second, with nothing to build."""
        return True

    def accept(self) -> None:
        """Compare this engine with float32, if this was not done before.

        Raises:
            EngineError: the agreement is below the floor of the precision.
        """

    def warm_up(self) -> None:
        """Run once on black images, so that the first pair does not pay for lazy allocation."""
        shapes = self.shapes
        size = (shapes.height, shapes.width)
        self.register(SamplingMap(np.zeros((*size, 2), np.float32), np.ones(size, np.float32)))
        counts = np.uint8 if shapes.thermal_bytes == 1 else np.uint16
        self.infer(
            np.zeros((*size, 3), np.uint8),
            np.zeros((shapes.thermal_height, shapes.thermal_width), counts),
            np.array((0, 255), np.float32),
        )


def thermal_bytes(thermal: AnyArray) -> UInt8Array:
    """A contiguous thermal image (h, w) as (1, h, w, 1 or 2) bytes, without a copy.

    >>> thermal_bytes(np.array([[0x0102]], np.uint16))
    array([[[[2, 1]]]], dtype=uint8)
    """
    return thermal.view(np.uint8).reshape(1, *thermal.shape, thermal.dtype.itemsize)
