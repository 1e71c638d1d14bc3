"""Calibration -> where in the thermal image each visible pixel looks, as the graph takes it."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.registration.camera_pair import CameraPair
from ssvif_core.types import SamplingMap

FADE = 8.0  # visible pixels over which the thermal image fades in from its border
STRIDE = 4  # visible pixels between places that are computed; between them the map is near linear


def sampling_map(
    pair: CameraPair, visible_size: tuple[int, int], thermal_size: tuple[int, int]
) -> SamplingMap:
    """The map of a calibration for images of these sizes (width, height).

    Raises:
        InputError: the sizes do not go with the calibration.
    """
    pair = pair.sending(visible_size, thermal_size)
    width, height = visible_size
    points = _thermal_places(pair, width, height)
    grid = (2 * points + 1) / thermal_size - 1
    # Half a thousandth of slack: an image that ends where the other does is covered to its edge.
    seen = np.isfinite(grid).all(2) & (np.abs(np.nan_to_num(grid, nan=9)) <= 1.0005).all(2)
    # Beyond the border the edge's pixel stands, so that no step in the image misleads the network.
    grid = np.clip(np.nan_to_num(grid, nan=9), -1.5, 1.5)
    if seen.all():
        coverage = np.ones((height, width), np.float32)
    else:
        coverage = cv2.distanceTransform(seen.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        coverage = np.minimum(coverage / FADE, 1).astype(np.float32)
    return SamplingMap(np.ascontiguousarray(grid, np.float32), coverage)


def _thermal_places(pair: CameraPair, width: int, height: int) -> np.ndarray:
    """Thermal place of every visible pixel, (height, width, 2); NaN where it has none."""
    x = np.arange(0, width + STRIDE, STRIDE, dtype=np.float64)
    y = np.arange(0, height + STRIDE, STRIDE, dtype=np.float64)
    coarse = pair.to_thermal(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    coarse = coarse.reshape(len(y), len(x), 2)
    u = np.arange(width) / STRIDE
    v = np.arange(height) / STRIDE
    across = _between(coarse, u, 1)
    return _between(across, v, 0)


def _between(values: np.ndarray, at: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation along an axis; beside a NaN, NaN."""
    index = np.floor(at).astype(int)
    share = (at - index).reshape((-1, 1) if axis == 1 else (-1, 1, 1))
    low, high = np.take(values, index, axis), np.take(values, index + 1, axis)
    return low + (high - low) * share
