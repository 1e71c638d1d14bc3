"""Calibration -> where in the thermal image each visible pixel looks, as the graph takes it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.registration.camera_pair import CameraPair

FADE = 8.0  # visible pixels over which the thermal image fades in from its border


@dataclass(frozen=True)
class SamplingMap:
    """For every pixel of a visible image (H, W):

    grid: (H, W, 2) float32, x and y in the thermal image, -1 and 1 at its outer edges (GridSample
        with align_corners false).
    coverage: (H, W) float32 in [0, 1]: 0 where the thermal camera does not see, rising to 1 over
        `FADE` pixels inside.
    """

    grid: np.ndarray
    coverage: np.ndarray


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
