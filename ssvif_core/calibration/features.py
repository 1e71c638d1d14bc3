"""Edge fields: what a visible and a thermal image of one scene have in common.

Brightness and temperature are unrelated: an edge from dark to bright may run from hot to cold. Both
images show where edges lie and how they are oriented. The field therefore doubles the gradient's
angle, which makes opposite gradients equal, and compares edge strength with the surroundings only.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ssvif_core.types import AnyArray, Float32Array

SURROUNDINGS = 12.0  # pixels; standard deviation of the window for relative edge strength
MAX_STRENGTH, POWER = 3.0, 0.25
BACKGROUND = 6.0  # pixels; standard deviation of the local mean that is subtracted from the field


def grey_of(image: AnyArray) -> Float32Array:
    """A visible (H, W, 3) uint8 BGR or thermal (h, w) image as float32 grey levels or counts."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return image.astype(np.float32)


def edge_field(grey: Float32Array, blur: float = 0.8) -> Float32Array:
    """Edges of a grey image (h, w) float32 as a field (h, w, 2) float32.

    A gradient |g| (cos a, sin a) becomes r^(1/4) (cos 2a, sin 2a). r is |g| divided by the sum of
    its root mean squares around the pixel and in the image. Then the field's local mean is
    subtracted. The power gives weak edges nearly the weight of strong ones. Otherwise lamps and
    people, which are bright for one camera only, would dominate. Subtracting the mean keeps the
    correlation sharp along long edges. Doubled angles are usual for orientations (Bigun and
    Granlund, ICCV 1987).

    blur: standard deviation in pixels of the blur before the gradient.

    >>> image = np.random.default_rng(0).normal(size=(60, 80)).astype(np.float32)
    >>> np.allclose(edge_field(image), edge_field(-image), atol=1e-4)
    True
    """
    if blur > 0:
        grey = cv2.GaussianBlur(grey, (0, 0), blur)
    x = cv2.Scharr(grey, cv2.CV_32F, 1, 0)
    y = cv2.Scharr(grey, cv2.CV_32F, 0, 1)
    square = x * x + y * y
    surroundings = np.sqrt(cv2.GaussianBlur(square, (0, 0), SURROUNDINGS)) + np.sqrt(square.mean())
    relative = np.sqrt(square) / (surroundings + 1e-9)
    weight = np.minimum(relative, MAX_STRENGTH) ** POWER / (square + 1e-9)
    field: Float32Array = cv2.merge([(x * x - y * y) * weight, 2 * x * y * weight])
    field = field - cv2.GaussianBlur(field, (0, 0), BACKGROUND)
    return field


def length_squared(field: Float32Array) -> Float32Array:
    """(h, w, 2) -> (h, w)."""
    squares: Float32Array = field[..., 0] ** 2 + field[..., 1] ** 2
    return squares


def total_length_squared(fields: Sequence[Float32Array]) -> Float32Array:
    """Sum of the squared lengths of fields (h, w, 2), (h, w)."""
    total: Float32Array = np.sum([length_squared(field) for field in fields], axis=0)
    return total


def scaled(grey: Float32Array, factor: float) -> Float32Array:
    """A grey image resized by a factor, without aliasing."""
    height, width = grey.shape
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized: Float32Array = cv2.resize(grey, size, interpolation=interpolation)
    return resized
