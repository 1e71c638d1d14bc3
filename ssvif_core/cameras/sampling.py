"""The sampling map of a camera pair, an input of the graph."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.cameras.model import CameraPair
from ssvif_core.errors import InputError
from ssvif_core.types import Float32Array, Float64Array, SamplingMap

FADE = 8.0  # visible pixels over which coverage rises from 0 to 1 at the thermal image's border
STRIDE = 4  # visible pixels between computed points; the map is interpolated between them


def sampling_map(
    pair: CameraPair, visible_size: tuple[int, int], thermal_size: tuple[int, int]
) -> SamplingMap:
    """The sampling map for images of these sizes (width, height).

    Raises:
        InputError: the sizes do not fit the camera pair, or the images do not overlap.

    >>> from ssvif_core.cameras.model import aligned
    >>> sampling = sampling_map(aligned((16, 16), (8, 8)), (16, 16), (8, 8))
    >>> sampling.grid.shape, sampling.grid[0, 0], sampling.coverage.min()
    ((16, 16, 2), array([-0.9375, -0.9375], dtype=float32), np.float32(1.0))
    """
    pair = pair.with_image_sizes(visible_size, thermal_size)
    width, height = visible_size
    points = _thermal_points(pair, width, height)
    grid = (2 * points + 1) / thermal_size - 1
    # The slack of 0.0005 covers the last row and column of images that end at the same border.
    seen = np.isfinite(grid).all(2) & (np.abs(np.nan_to_num(grid, nan=9)) <= 1.0005).all(2)
    if not seen.any():
        raise InputError(
            f"the calibration puts the thermal image ({thermal_size[0]}x{thermal_size[1]}) outside "
            f"the visible image ({width}x{height}); expected images that overlap; calibrate again "
            "and check the picture that `ssvif calibrate` writes"
        )
    # Outside, the border pixel is repeated: a step in the image would mislead the network.
    grid = np.clip(np.nan_to_num(grid, nan=9), -1.5, 1.5)
    coverage: Float32Array = np.ones((height, width), np.float32)
    if not seen.all():
        inside = cv2.distanceTransform(seen.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        coverage = np.minimum(inside / FADE, 1).astype(np.float32)
    return SamplingMap(np.ascontiguousarray(grid, np.float32), coverage)


def _thermal_points(pair: CameraPair, width: int, height: int) -> Float64Array:
    """Thermal pixel of every visible pixel, (height, width, 2); NaN if unseen."""
    x, y = (np.append(np.arange(0.0, n - 1, STRIDE), n - 1) for n in (width, height))
    coarse = pair.to_thermal(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    return _interpolated(_interpolated(coarse.reshape(len(y), len(x), 2), x, 1), y, 0)


def _interpolated(values: Float64Array, positions: Float64Array, axis: int) -> Float64Array:
    """Values at `positions` along an axis -> at 0, 1, ... up to the last one; NaN beside a NaN."""
    target = np.arange(positions[-1] + 1)
    index = np.clip(np.searchsorted(positions, target, "right") - 1, 0, len(positions) - 2)
    share = (target - positions[index]) / (positions[index + 1] - positions[index])
    share = share.reshape((-1, 1) if axis == 1 else (-1, 1, 1))
    low, high = np.take(values, index, axis), np.take(values, index + 1, axis)
    return low + (high - low) * share
