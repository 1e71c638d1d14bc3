"""What both cameras of a calibrated pair see, on the grid of the visible image.

Training and scores need images of one size that show the same. So a pair is cut to the largest
rectangle that the thermal camera covers. Nothing outside it is learned from or scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.cameras.model import CameraPair
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.errors import InputError
from ssvif_core.types import AnyArray, BoolArray, Float32Array, Pair, Shapes, UInt8Array

BLOCK = 4  # visible pixels; the edges of a rectangle are multiples of it
SMALLEST = 64  # pixels; a smaller overlap is of no use


@dataclass(frozen=True, eq=False)
class Overlap:
    """The rectangle of the visible image that the thermal camera covers, and how to fill it.

    Attributes:
        rows, columns: of the rectangle.
        x, y: (rows, columns), where each of its pixels lies in the thermal image.
    """

    rows: slice
    columns: slice
    x: Float32Array
    y: Float32Array

    @classmethod
    def of(
        cls, calibration: CameraPair, visible_size: tuple[int, int], thermal_size: tuple[int, int]
    ) -> Overlap:
        """The overlap for images of these sizes (width, height).

        Raises:
            InputError: the sizes do not fit the calibration, or the overlap is too small.
        """
        sampling = sampling_map(calibration, visible_size, thermal_size)
        rows, columns = largest_rectangle(sampling.coverage >= 1)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if min(height, width) < SMALLEST:
            raise InputError(
                f"both cameras see only {width}x{height} pixels of the visible image in common; "
                f"expected at least {SMALLEST}x{SMALLEST}; check the calibration"
            )
        grid = sampling.grid[rows, columns]
        x, y = (((grid[..., axis] + 1) * thermal_size[axis] - 1) / 2 for axis in range(2))
        return cls(rows, columns, np.ascontiguousarray(x), np.ascontiguousarray(y))

    def cut(self, image: AnyArray) -> AnyArray:
        """The rectangle of an image on the visible image's grid, such as a mask."""
        return np.ascontiguousarray(image[self.rows, self.columns])

    def warp(self, thermal: AnyArray) -> AnyArray:
        """The thermal image in the rectangle. Its type stays, so counts of 16 bits are kept."""
        return np.asarray(
            cv2.remap(thermal, self.x, self.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )

    def pair(self, pair: Pair) -> Pair:
        """The part of a pair that both cameras see, both images of one size."""
        visible: UInt8Array = self.cut(pair.visible)
        return Pair(visible, self.warp(pair.thermal), pair.visible_stamp, pair.thermal_stamp)


class Overlaps:
    """The overlaps of a calibrated camera pair for the sizes that come."""

    def __init__(self, calibration: CameraPair) -> None:
        self.calibration = calibration
        self._overlaps: dict[Shapes, Overlap] = {}

    def of(self, pair: Pair) -> Overlap:
        """The overlap for the sizes of a pair.

        Raises:
            InputError: see `Overlap.of`.
        """
        return self.of_shapes(Shapes.of(pair))

    def of_shapes(self, shapes: Shapes) -> Overlap:
        """The overlap for these sizes.

        Raises:
            InputError: see `Overlap.of`.
        """
        if shapes not in self._overlaps:
            self._overlaps[shapes] = Overlap.of(self.calibration, *shapes.sizes)
        return self._overlaps[shapes]


def largest_rectangle(is_inside: BoolArray) -> tuple[slice, slice]:
    """Rows and columns of the largest rectangle of true pixels, to multiples of `BLOCK`.

    Both slices are empty if there is none. The search goes through the rows and keeps a stack of
    rising heights, as for the largest rectangle below a histogram.

    >>> is_inside = np.zeros((40, 60), bool)
    >>> is_inside[8:32, 12:52] = True
    >>> largest_rectangle(is_inside)
    (slice(8, 32, None), slice(12, 52, None))
    """
    height, width = (side // BLOCK for side in is_inside.shape)
    blocks = is_inside[: height * BLOCK, : width * BLOCK]
    is_whole = np.asarray(blocks.reshape(height, BLOCK, width, BLOCK).all((1, 3)))
    best = (0, 0, 0, 0, 0)  # area, then the edges: top, bottom, left, right
    heights = np.zeros(width + 1, int)  # of the columns of true blocks above; the last stays 0
    for row in range(height):
        heights[:-1] = np.where(is_whole[row], heights[:-1] + 1, 0)
        stack: list[tuple[int, int]] = []  # leftmost column that has a height, and the height
        for column, tall in enumerate(heights.tolist()):
            start = column
            while stack and stack[-1][1] >= tall:
                start, taller = stack.pop()
                best = max(
                    best, (taller * (column - start), row + 1 - taller, row + 1, start, column)
                )
            stack.append((start, tall))
    _, top, bottom, left, right = (edge * BLOCK for edge in best)
    return slice(top, bottom), slice(left, right)
