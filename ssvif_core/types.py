"""What flows through the package: a `Pair` in, a `Fusion` out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssvif_core.errors import InputError

AnyArray = NDArray[Any]
BoolArray = NDArray[np.bool_]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """One visible and one thermal image of the same moment.

    visible: (H, W, 3) uint8, BGR.
    thermal: (h, w) uint8 or uint16 counts, of any size.
    visible_stamp, thermal_stamp: nanoseconds.
    """

    visible: np.ndarray
    thermal: np.ndarray
    visible_stamp: int = 0
    thermal_stamp: int = 0

    def __post_init__(self) -> None:
        visible, thermal = self.visible, self.thermal
        if visible.ndim != 3 or visible.shape[2] != 3 or visible.dtype != np.uint8:
            raise InputError(
                f"visible image of shape {visible.shape}, {visible.dtype}; "
                "expected (H, W, 3) uint8 BGR"
            )
        if thermal.ndim != 2 or thermal.dtype not in (np.uint8, np.uint16):
            raise InputError(
                f"thermal image of shape {thermal.shape}, {thermal.dtype}; expected (h, w) uint8 "
                "or uint16; are the visible and the thermal input swapped?"
            )
        if min(visible.shape[:2]) < 16 or min(thermal.shape) < 8:
            raise InputError(
                f"visible {visible.shape[1]}x{visible.shape[0]} and thermal {thermal.shape[1]}x"
                f"{thermal.shape[0]} pixels; expected at least 16x16 and 8x8"
            )


@dataclass(frozen=True)
class Shapes:
    """The sizes an engine is prepared for."""

    height: int
    width: int
    thermal_height: int
    thermal_width: int
    thermal_bytes: int

    @classmethod
    def of(cls, pair: Pair) -> Shapes:
        height, width = pair.visible.shape[:2]
        thermal_height, thermal_width = pair.thermal.shape
        return cls(height, width, thermal_height, thermal_width, pair.thermal.dtype.itemsize)

    @property
    def visible(self) -> tuple[int, int, int, int]:
        return (1, self.height, self.width, 3)

    @property
    def thermal(self) -> tuple[int, int, int, int]:
        return (1, self.thermal_height, self.thermal_width, self.thermal_bytes)

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the graph's inputs that depend on them, by name."""
        grid = (1, self.height, self.width, 2)
        return {
            "visible": self.visible, "thermal": self.thermal, "grid": grid, "coverage": grid[:3],
        }  # fmt: skip

    def __str__(self) -> str:
        return (
            f"visible {self.width}x{self.height}, thermal {self.thermal_width}x"
            f"{self.thermal_height} {8 * self.thermal_bytes} bit"
        )


@dataclass(frozen=True)
class SamplingMap:
    """Registration as the graph takes it: for every pixel of a visible image (H, W),

    grid: (H, W, 2) float32, x and y in the thermal image, -1 and 1 at its outer edges (GridSample
        with align_corners false).
    coverage: (H, W) float32 in [0, 1]: 0 where the thermal camera does not see, rising to 1 a few
        pixels inside.
    """

    grid: np.ndarray
    coverage: np.ndarray


@dataclass(frozen=True)
class Fusion:
    """What a pair becomes. The arrays are the engine's buffers: valid until the next pair.

    fused: (H, W, 3) uint8, BGR.
    labels: (H, W) uint8, class ids.
    confidence: (H, W) uint8, probability of the class times 255.
    """

    fused: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray


def stamp_of(header: Any) -> int:
    """Nanoseconds of a message header's stamp."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
