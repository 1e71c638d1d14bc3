"""Input checks shared by the metrics: what came, what was expected, what to do.

The metrics themselves then need no defensive code. Luma is the Y of OpenCV's BGR to YCrCb on the
scale 0..255; a 16-bit thermal image has to pass the thermal gain first.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Luma = NDArray
"""(H, W) float32 in 0..255, contiguous."""

SMALLEST_SIDE = 2
_ROUNDING = 1e-3  # OpenCV's float Y of white may lie a little above 255


def large_enough(image: NDArray, name: str, smallest_side: int) -> None:
    """Raise ValueError if a side of `image` has fewer than `smallest_side` pixels."""
    if min(image.shape[:2]) < smallest_side:
        raise ValueError(
            f"{name} has shape {image.shape}, expected at least {smallest_side} pixels a side; "
            "pass a larger image"
        )


def luma(image: NDArray, name: str, smallest_side: int = SMALLEST_SIDE) -> Luma:
    """Return `image`, (H, W) uint8 or float in 0..255, as float32.

    Raises:
        ValueError: not two-dimensional, sides below `smallest_side`, another dtype, or values
            that are not finite or not in 0..255.
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
        if not (low >= 0 and high <= 255 + _ROUNDING):  # written so that NaN fails
            raise ValueError(
                f"{name} spans {low:g}..{high:g}, expected finite values in 0..255; "
                "scale or clip it first"
            )
    return np.ascontiguousarray(image, dtype=np.float32)


def lumas(smallest_side: int = SMALLEST_SIDE, **images: NDArray) -> tuple[Luma, ...]:
    """Check several images with :func:`luma` and that all share one shape; keep their order."""
    checked = tuple(luma(image, name, smallest_side) for name, image in images.items())
    same_shape(**images)
    return checked


def same_shape(**images: NDArray) -> None:
    """Raise ValueError unless all `images` agree in their first two dimensions."""
    shapes = {name: np.shape(image)[:2] for name, image in images.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"image sizes differ: {listed}; expected one size, resize or register")


def classes(labels: NDArray, name: str) -> NDArray[np.integer]:
    """Return `labels` if it is an (H, W) integer map of class ids, else raise ValueError."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{name} has shape {labels.shape} and dtype {labels.dtype}, expected (H, W) integer "
            "class ids; pass the label map itself, not its colours or scores"
        )
    return labels


def luma_of_bgr(image: NDArray, name: str = "image") -> NDArray:
    """Y of OpenCV's BGR to YCrCb, (H, W); uint8 stays uint8 (rounded as OpenCV rounds).

    Args:
        image: (H, W, 3) BGR, uint8 or float in 0..255.

    Raises:
        ValueError: another shape or dtype.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"{name} has shape {image.shape}, expected (H, W, 3) in BGR order")
    if image.dtype != np.uint8:
        if not np.issubdtype(image.dtype, np.floating):
            raise ValueError(f"{name} has dtype {image.dtype}, expected uint8 or float in 0..255")
        image = image.astype(np.float32)
    return cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)[..., 0]
