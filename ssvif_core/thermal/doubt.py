"""What makes thermal images doubtful: byte order, temperature scale, saturation."""

from __future__ import annotations

import numpy as np

from ssvif_core.types import AnyArray

SMOOTHER = 0.25  # with its bytes swapped, an image of wrong byte order has this much less change
# Scales in use: kelvin per count, and degC at count 0.
SCALES = ((0.01, -273.15), (0.04, -273.15), (0.1, -273.15), (0.1, -100.0), (1 / 64, -273.15))
POSSIBLE_C = (-100.0, 500.0)  # the median of a scene, degC
USUAL_C = (-40.0, 60.0)
BITS = (8, 10, 12, 14, 16)  # of thermal cameras
SATURATED = 0.2  # a larger share of the image is told


def has_swapped_bytes(thermal: AnyArray) -> bool:
    """Whether a thermal image of 16 bits is smooth only with its bytes swapped.

    >>> ramp = np.arange(7000, 7512, dtype=np.uint16).reshape(16, 32)
    >>> has_swapped_bytes(ramp), has_swapped_bytes(ramp.byteswap())
    (False, True)
    """
    if thermal.dtype != np.uint16 or not (thermal & 0xFF).any():  # 8 bits, shifted up
        return False
    rough, swapped = (
        float(np.abs(np.diff(image.astype(np.float32), axis=1)).mean())
        for image in (thermal, thermal.byteswap())
    )
    return swapped < SMOOTHER * rough


def impossible_scale(thermal: AnyArray, scale: float, offset: float) -> str:
    """A sentence about a temperature scale that cannot be right; empty if it can.

    Args:
        thermal: counts, (h, w).
        scale: kelvin per count. offset: degC at count 0.

    >>> impossible_scale(np.full((8, 8), 29315, np.uint16), 0.04, -273.15)
    'by thermal_scale 0.04 and thermal_offset -273.15 the scene has 899 degC (count 29315); \
likely is 0.01 and -273.15 (20 degC)'
    """
    count = float(np.median(thermal[4::8, 4::8]))
    celsius = offset + scale * count
    if POSSIBLE_C[0] <= celsius <= POSSIBLE_C[1]:
        return ""
    likely = [
        f"{other:g} and {zero:g} ({zero + other * count:.0f} degC)"
        for other, zero in SCALES
        if USUAL_C[0] <= zero + other * count <= USUAL_C[1]
    ]
    advice = f"likely is {' or '.join(likely)}" if likely else "look them up in the camera's manual"
    return (
        f"by thermal_scale {scale:g} and thermal_offset {offset:g} the scene has {celsius:.0f} "
        f"degC (count {count:.0f}); {advice}"
    )


def saturation(thermal: AnyArray) -> tuple[float, int]:
    """Share of the pixels at the largest count that the camera has, and this count.

    Cameras have 8, 10, 12, 14 or 16 bits. Only an image that reaches the largest count of one of
    these is saturated.

    Args:
        thermal: counts, (h, w).

    >>> image = np.full((10, 10), 9000, np.uint16)
    >>> image[:3] = 2**14 - 1
    >>> saturation(image)
    (0.3, 16383)
    >>> saturation(image // 2)
    (0.0, 8191)
    """
    largest = int(thermal.max())
    if largest + 1 not in (1 << bits for bits in BITS if bits <= 8 * thermal.itemsize):
        return 0.0, largest
    return float((thermal == largest).mean()), largest
