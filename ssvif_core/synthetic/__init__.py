"""Synthetic drives: labelled visible and thermal images of a street, drawn with numpy and OpenCV.

A robot with two cameras drives down an endless street. Each frame depends only on the
configuration and the frame index, so frames can be requested in any order.

Conventions
    World: metres, x right (0 is the road's centre line), y up, z forward from the camera.
    Pixels: the centre of the top-left pixel is (0, 0). A homography maps thermal (x, y, 1) to
    visible (x, y, 1). A pure resize by s is therefore x' = s * x + (s - 1) / 2.
    Thermal counts: temperature = offset + step * count, see `THERMAL_SCALES`. With 14 bits a
    count is 0.04 K above absolute zero (20 degC is 7329). People and streets lie in 6500..8000.

Data flow: `config` -> `street`, `shapes`, `actors` (the content of the world) -> `viewpoint`,
`canvas`, `painter` (draw one moment) -> `camera`, `thermal` (simulate the sensors) -> `generator`
(a `DriveFrame`). `numeric` has small helpers. This file only lists the public names.
"""

from ssvif_core.synthetic.config import (
    BICYCLE,
    CAR,
    CLASS_NAMES,
    CONDITIONS,
    PERSON,
    THERMAL_SCALES,
    DriveConfig,
    thermal_to_visible,
)
from ssvif_core.synthetic.generator import Box, DriveFrame, DriveGenerator

__all__ = [
    "BICYCLE",
    "CAR",
    "CLASS_NAMES",
    "CONDITIONS",
    "PERSON",
    "THERMAL_SCALES",
    "Box",
    "DriveFrame",
    "DriveConfig",
    "DriveGenerator",
    "thermal_to_visible",
]
