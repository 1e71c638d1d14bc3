"""Calibration -> where in the thermal image each visible pixel looks, as the graph takes it."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.registration.camera_pair import CameraPair
from ssvif_core.types import SamplingMap

FADE = 8.0  # visible pixels over which the thermal image fades in from its border


def sampling_map(
    pair: CameraPair, visible_size: tuple[int, int], thermal_size: tuple[int, int]
) -> SamplingMap:
    """The map of a calibration for images of these sizes (width, height).

    Raises:
        InputError: the sizes do not go with the calibration.
    """
    pair = pair.sending(visible_size, thermal_size)
    width, height = visible_size
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    points = pair.to_thermal(np.stack([x, y], -1).reshape(-1, 2)).reshape(height, width, 2)
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
