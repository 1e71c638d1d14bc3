"""Input checks that the metrics share.

Luma is the Y of OpenCV's BGR to YCrCb conversion, in 0..255. Map 16-bit thermal images to 8 bits
with the thermal gain first.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ssvif_core.types import AnyArray, Float32Array

Luma = Float32Array
"""(H, W) float32 in 0..255, contiguous."""

SMALLEST_SIDE = 2  # pixels
_ROUNDING = 1e-3  # OpenCV's float Y of white can be slightly above 255


def large_enough(image: AnyArray, name: str, smallest_side: int) -> None:
    """Raise ValueError if a side of `image` has fewer than `smallest_side` pixels."""
    if min(image.shape[:2]) < smallest_side:
        raise ValueError(
            f"{name} has shape {image.shape}, expected at least {smallest_side} pixels a side; "
            "pass a larger image"
        )


def luma(image: AnyArray, name: str, smallest_side: int = SMALLEST_SIDE) -> Luma:
    """Return `image`, (H, W) uint8 or float in 0..255, as float32.

    Raises:
        ValueError: the image is not two-dimensional, has a side below `smallest_side` or another
            dtype, or has values that are not finite or not in 0..255.
    """
    image = np.asarray(image)
    if image.ndim != 2:
        raise ValueError(
            f"{name} has shape {image.shape}, expected (H, W); "
            "pass its luma, see ssvif_core.metrics.luma_of_bgr"
        )
    large_enough(image, name, smallest_side)
    if image.dtype != np.uint8:
        if not np.issubdtype(image.dtype, np.floating):
            raise ValueError(
                f"{name} has dtype {image.dtype}, expected uint8 or float in 0..255; "
                "map 16-bit thermal images to 8 bits first"
            )
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 255 + _ROUNDING):  # also true for NaN
            raise ValueError(
                f"{name} spans {low:g}..{high:g}, expected finite values in 0..255; "
                "scale or clip it first"
            )
    return np.ascontiguousarray(image, dtype=np.float32)


def lumas(smallest_side: int = SMALLEST_SIDE, **images: AnyArray) -> tuple[Luma, ...]:
    """Check images with :func:`luma` and :func:`same_shape`; return them as float32, in order."""
    checked = tuple(luma(image, name, smallest_side) for name, image in images.items())
    same_shape(**images)
    return checked


def same_shape(**images: AnyArray) -> None:
    """Raise ValueError unless all `images` agree in their first two dimensions."""
    shapes = {name: np.shape(image)[:2] for name, image in images.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"image sizes differ: {listed}; expected one size, resize or register")


def classes(labels: AnyArray, name: str) -> NDArray[np.integer]:
    """Return `labels` if it is an (H, W) integer map of class ids, else raise ValueError."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{name} has shape {labels.shape} and dtype {labels.dtype}, expected (H, W) integer "
            "class ids; pass the label map itself, not its colours or scores"
        )
    return labels


def luma_of_bgr(image: AnyArray, name: str = "image") -> AnyArray:
    """Y of OpenCV's BGR to YCrCb conversion.

    Args:
        image: (H, W, 3) BGR, uint8 or float in 0..255.

    Returns:
        (H, W) uint8 (rounded by OpenCV) for uint8, else float32.

    Raises:
        ValueError: another shape or dtype.

    >>> blue_green_red = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    >>> luma_of_bgr(blue_green_red).tolist()
    [[29, 150, 76]]
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"{name} has shape {image.shape}, expected (H, W, 3) in BGR order")
    if image.dtype != np.uint8:
        if not np.issubdtype(image.dtype, np.floating):
            raise ValueError(f"{name} has dtype {image.dtype}, expected uint8 or float in 0..255")
        image = image.astype(np.float32)
    y: AnyArray = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)[..., 0]
    return y
