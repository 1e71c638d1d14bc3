"""The one interface all engines have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssvif_core.graph.model_file import ModelNote
from ssvif_core.types import Fusion, SamplingMap, Shapes


@dataclass(frozen=True)
class EngineInfo:
    """How an engine describes itself."""

    name: str
    version: str
    precision: str
    device: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.precision}, {self.device})"


class Engine(ABC):
    """Runs the raw-in raw-out graph for one set of shapes, in buffers that stay.

    An engine belongs to one thread. `infer` returns the same buffers every time: copy what must
    outlive the next call.
    """

    precisions: tuple[str, ...] = ("fp32",)  # the first is taken when none is asked for
    info: EngineInfo
    note: ModelNote
    shapes: Shapes

    @abstractmethod
    def __init__(self, model: Path, shapes: Shapes, precision: str, threads: int = 0) -> None:
        """Load `model` for `shapes`.

        Args:
            model: the file that has this precision, see `file_of`.
            precision: one of `precisions`.
            threads: CPU threads; 0 lets the engine choose.

        Raises:
            ModelError: the model file is missing, damaged or not ours.
            EngineError: the library is missing or cannot run here.
        """

    @abstractmethod
    def register(self, sampling: SamplingMap) -> None:
        """Take another registration, of the prepared sizes; must come before the first pair."""

    @abstractmethod
    def infer(self, visible: np.ndarray, thermal: np.ndarray, thermal_range: np.ndarray) -> Fusion:
        """Fuse one pair.

        visible (H, W, 3) uint8 and thermal (h, w) uint8 or uint16, contiguous, of the prepared
        shapes; thermal_range (2,) float32.
        """

    @classmethod
    def usable(cls) -> None:
        """Raises EngineError if this machine cannot run such an engine, whatever the model."""

    @classmethod
    def is_made(cls, model: Path, shapes: Shapes, precision: str) -> bool:
        """Whether making this one takes no longer than a second or so."""
        return True

    def accept(self) -> None:
        """Compare with float32, if that is still to do.

        Raises:
            EngineError: the agreement is below the floor of the precision.
        """

    def warm_up(self) -> None:
        """One run on black images, so that the first pair does not pay for lazy allocation."""
        shapes = self.shapes
        size = shapes.visible[1:3]
        self.register(SamplingMap(np.zeros((*size, 2), np.float32), np.ones(size, np.float32)))
        thermal_type = np.uint8 if shapes.thermal_bytes == 1 else np.uint16
        self.infer(
            np.zeros(shapes.visible[1:], np.uint8),
            np.zeros(shapes.thermal[1:3], thermal_type),
            np.array((0, 255), np.float32),
        )


def thermal_bytes(thermal: np.ndarray) -> np.ndarray:
    """A contiguous thermal image (h, w) as (1, h, w, 1 or 2) bytes, without a copy."""
    return thermal.view(np.uint8).reshape(1, *thermal.shape, thermal.dtype.itemsize)
