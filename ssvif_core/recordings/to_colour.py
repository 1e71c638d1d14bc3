"""The converter of colours for images of bags; the node has cv_bridge."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.image import message_to_cvimage

from ssvif_core.recordings.bags import IMAGE_TYPE, TYPES
from ssvif_core.types import UInt8Array


def to_colour(rows: UInt8Array, width: int, encoding: str) -> UInt8Array:
    """See `ssvif_core.recordings.decode.ToColour`."""
    height, step = rows.shape
    types = TYPES.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "")
    data = np.ascontiguousarray(rows).reshape(-1)
    message: Any = types[IMAGE_TYPE](header, height, width, encoding, 0, step, data)
    return np.asarray(message_to_cvimage(message, "bgr8"), np.uint8)
