"""Turns the counts of a thermal camera into the input of the network.

Data flow: `shutter` (does the frame show the present?) -> `repair` (dead pixels) -> `gain` (thermal
range or tone curve). `stream` combines them; `doubt` says when images cannot be right; `clock`
measures time. This file only lists the
public names.
"""

from ssvif_core.thermal.gain import NARROWEST, PlateauTone, ThermalGain, to_grey
from ssvif_core.thermal.repair import DeadPixels, without_pixels
from ssvif_core.thermal.shutter import ShutterWatch, StreamState
from ssvif_core.thermal.stream import MODES, ThermalConfig, ThermalFrame, ThermalStream

__all__ = [
    "MODES",
    "NARROWEST",
    "DeadPixels",
    "PlateauTone",
    "ShutterWatch",
    "StreamState",
    "ThermalConfig",
    "ThermalGain",
    "ThermalStream",
    "ThermalFrame",
    "to_grey",
    "without_pixels",
]
