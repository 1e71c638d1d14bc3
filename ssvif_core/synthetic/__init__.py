"""Labelled visible + thermal street scenes, drawn with numpy and OpenCV.

A robot drives down an endless street; two cameras watch it. Every frame is a pure function of the
configuration and the frame index, so frames may be asked for in any order.

Conventions
    World: metres, x right (0 is the road's centre line), y up, z forward from the camera.
    Pixels: the centre of the top-left pixel is (0, 0). A homography maps thermal (x, y, 1) to
    visible (x, y, 1); "pure resize" by s is therefore x' = s * x + (s - 1) / 2.
    Thermal counts: temperature = offset + step * count, see `THERMAL_SCALES`. With 14 bits a
    count is 0.04 K above absolute zero (20 degC is 7329); people and streets lie in 6500..8000.

The modules follow the data: `config` -> `street`, `shapes`, `actors` (what is there) -> `view`,
`canvas`, `painter` (one moment, drawn) -> `camera`, `thermal` (what each sensor makes of it) ->
`generator` (a `DriveFrame`). This file only names what others may use.
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
