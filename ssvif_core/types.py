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
UInt16Array = NDArray[np.uint16]


@dataclass(frozen=True)
class Pair:
    """One visible and one thermal image of the same moment.

    Attributes:
        visible: (H, W, 3) uint8, BGR.
        thermal: (h, w) uint8 or uint16 counts, of any size.
        visible_stamp, thermal_stamp: nanoseconds.

    Raises:
        InputError: an image has another shape or type, or is too small.
    """

    visible: UInt8Array
    thermal: AnyArray
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
    """The image sizes an engine is prepared for, pixels; `thermal_bytes` is 1 or 2 a pixel.

    >>> str(Shapes(height=480, width=640, thermal_height=256, thermal_width=320, thermal_bytes=2))
    'visible 640x480, thermal 320x256 16 bit'
    """

    height: int
    width: int
    thermal_height: int
    thermal_width: int
    thermal_bytes: int

    @classmethod
    def of(cls, pair: Pair) -> Shapes:
        """The sizes of a pair."""
        height, width = pair.visible.shape[:2]
        thermal_height, thermal_width = pair.thermal.shape
        return cls(height, width, thermal_height, thermal_width, pair.thermal.dtype.itemsize)

    @property
    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(width, height) of the visible and of the thermal image."""
        return (self.width, self.height), (self.thermal_width, self.thermal_height)

    @property
    def by_axis(self) -> dict[str, int]:
        """The sizes by the names of axes in `graph.contract`."""
        return {
            "H": self.height, "W": self.width, "h": self.thermal_height, "w": self.thermal_width,
            "bytes": self.thermal_bytes,
        }  # fmt: skip

    def __str__(self) -> str:
        return (
            f"visible {self.width}x{self.height}, thermal {self.thermal_width}x"
            f"{self.thermal_height} {8 * self.thermal_bytes} bit"
        )


@dataclass(frozen=True)
class SamplingMap:
    """Registration as the graph takes it, for every pixel of a visible image (H, W).

    Attributes:
        grid: (H, W, 2), x and y in the thermal image. -1 and 1 are its outer edges (GridSample
            with align_corners false).
        coverage: (H, W) in [0, 1]. It is 0 where the thermal camera does not see, and rises to 1 a
            few pixels inside.
    """

    grid: Float32Array
    coverage: Float32Array


@dataclass(frozen=True)
class Fusion:
    """What a pair becomes. The arrays belong to whoever holds this object.

    Attributes:
        fused: (H, W, 3), BGR.
        labels: (H, W), class ids.
        confidence: (H, W), probability of the class times 255.
    """

    fused: UInt8Array
    labels: UInt8Array
    confidence: UInt8Array


class FusionBuffers(Fusion):
    """A `Fusion` whose arrays belong to an engine. The engine's next pair overwrites them."""

    def copy(self) -> Fusion:
        """A fusion of its own, for whoever needs it longer."""
        return Fusion(self.fused.copy(), self.labels.copy(), self.confidence.copy())


def stamp_of(header: Any) -> int:
    """Nanoseconds of a message header's stamp."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
