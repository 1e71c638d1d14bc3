"""Calibration -> where in the thermal image each visible pixel looks, as the graph takes it."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.cameras.model import CameraPair
from ssvif_core.errors import InputError
from ssvif_core.types import SamplingMap

FADE = 8.0  # visible pixels over which the thermal image fades in from its border
STRIDE = 4  # visible pixels between places that are computed; between them the map is near linear


def sampling_map(
    pair: CameraPair, visible_size: tuple[int, int], thermal_size: tuple[int, int]
) -> SamplingMap:
    """The map of a calibration for images of these sizes (width, height).

    Raises:
        InputError: the sizes do not go with the calibration, or it puts the thermal image nowhere
            into the visible one.
    """
    pair = pair.sending(visible_size, thermal_size)
    width, height = visible_size
    points = _thermal_places(pair, width, height)
    grid = (2 * points + 1) / thermal_size - 1
    # Half a thousandth of slack: an image that ends where the other does is covered to its edge.
    seen = np.isfinite(grid).all(2) & (np.abs(np.nan_to_num(grid, nan=9)) <= 1.0005).all(2)
    if not seen.any():
        raise InputError(
            f"the calibration puts the thermal image ({thermal_size[0]}x{thermal_size[1]}) nowhere "
            f"into the visible one ({width}x{height}), so there is nothing to fuse; calibrate "
            "again, and look at the picture that `ssvif calibrate` leaves"
        )
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
    x, y = (np.append(np.arange(0.0, n - 1, STRIDE), n - 1) for n in (width, height))
    coarse = pair.to_thermal(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    coarse = coarse.reshape(len(y), len(x), 2)
    return _between(_between(coarse, x, 1), y, 0)


def _between(values: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Values at `places` along an axis -> at 0, 1, ... to the last place; beside a NaN, NaN."""
    at = np.arange(places[-1] + 1)
    index = np.clip(np.searchsorted(places, at, "right") - 1, 0, len(places) - 2)
    share = (at - places[index]) / (places[index + 1] - places[index])
    share = share.reshape((-1, 1) if axis == 1 else (-1, 1, 1))
    low, high = np.take(values, index, axis), np.take(values, index + 1, axis)
    return low + (high - low) * share
