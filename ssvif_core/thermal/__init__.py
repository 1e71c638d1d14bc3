"""From a thermal camera's counts to what the network sees.

The modules follow the data: `shutter` (is this frame of now?) -> `repair` (dead pixels) -> `gain`
(which counts are black and white, or a tone curve). `stream` puts them together; `clock` tells
them the time. This file only names what others may use.
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
