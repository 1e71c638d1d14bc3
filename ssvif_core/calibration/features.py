"""What a visible and a thermal image of one scene have in common: where edges run, and which way.

Brightness has nothing to do with temperature, and an edge may be dark to bright in one image and
hot to cold in the other. So an edge is described by its orientation with the angle doubled, in
which opposite gradients are one and the same; how strong it is counts only beside its surroundings.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

SURROUNDINGS = 12.0  # pixels; standard deviation of the window in which edges are compared
STRONGEST, POWER = 3.0, 0.25
BACKGROUND = 6.0  # pixels; what varies over more than this is taken off the field


def grey_of(image: np.ndarray) -> np.ndarray:
    """A visible (H, W, 3) uint8 or a thermal (h, w) image as float32 grey levels or counts."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return image.astype(np.float32)


def edge_field(grey: np.ndarray, blur: float = 0.8) -> np.ndarray:
    """Edges of a grey image (h, w) float32 as a field (h, w, 2) float32.

    A gradient |g| (cos a, sin a) becomes r^(1/4) (cos 2a, sin 2a), where r is |g| over its root
    mean square around the pixel and in the image; then the field's mean over a few pixels is taken
    off. The power lets weak edges count nearly as much as strong ones: lamps and people, which
    only one camera sees so bright, would else decide. Without its mean the field has sharp
    correlations even where long edges run. Doubled angles are usual for orientations (Bigun and
    Granlund, ICCV 1987).

    blur: standard deviation in pixels, before the gradient.
    """
    if blur > 0:
        grey = cv2.GaussianBlur(grey, (0, 0), blur)
    x = cv2.Scharr(grey, cv2.CV_32F, 1, 0)
    y = cv2.Scharr(grey, cv2.CV_32F, 0, 1)
    square = x * x + y * y
    around = np.sqrt(cv2.GaussianBlur(square, (0, 0), SURROUNDINGS)) + np.sqrt(square.mean())
    relative = np.sqrt(square) / (around + 1e-9)
    weight = np.minimum(relative, STRONGEST) ** POWER / (square + 1e-9)
    field = cv2.merge([(x * x - y * y) * weight, 2 * x * y * weight])
    return field - cv2.GaussianBlur(field, (0, 0), BACKGROUND)


def length_squared(field: np.ndarray) -> np.ndarray:
    """(h, w, 2) -> (h, w)."""
    return field[..., 0] ** 2 + field[..., 1] ** 2


def total_length_squared(fields: Sequence[np.ndarray]) -> np.ndarray:
    """Sum over fields (h, w, 2) of their lengths squared, (h, w)."""
    return np.sum([length_squared(field) for field in fields], axis=0)


def scaled(grey: np.ndarray, factor: float) -> np.ndarray:
    """A grey image resized by a factor, without aliasing."""
    height, width = grey.shape
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(grey, size, interpolation=how)
