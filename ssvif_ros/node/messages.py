"""Camera messages -> pairs, arrays -> outgoing messages.

`ssvif_core.recordings.decode` says what is accepted and what is wrong with the rest.
"""

from __future__ import annotations

from array import array
from typing import TypeAlias

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ssvif_core.errors import EngineError, InputError
from ssvif_core.recordings.decode import Crop, thermal_image, visible_image
from ssvif_core.recordings.pixels import BitDepth
from ssvif_core.types import AnyArray, Pair, UInt8Array, stamp_of

try:
    from cv_bridge import CvBridge
except Exception as error:
    raise EngineError(
        f"cv_bridge cannot be imported ({error}). Distributions build it for NumPy 1; if NumPy "
        f"{np.__version__} does not fit, run `pip install 'numpy<2'`. If it is not installed: "
        "`apt install ros-$ROS_DISTRO-cv-bridge`, or without ROS `make setup`"
    ) from error

_bridge = CvBridge()


CameraMessage: TypeAlias = Image | CompressedImage


def to_pair(
    visible: CameraMessage,
    thermal: CameraMessage,
    depth: BitDepth | None = None,
    crop: Crop | None = None,
) -> Pair:
    """The pair in two messages.

    Args:
        depth: of the visible stream.
        crop: the part of the thermal message that is the thermal image.

    Raises:
        InputError: a message cannot be used; says what came, what was expected, what to do.
    """
    return Pair(
        visible_array(visible, depth),
        thermal_array(thermal, crop),
        stamp_of(visible.header),
        stamp_of(thermal.header),
    )


def thermal_array(message: CameraMessage, crop: Crop | None = None) -> AnyArray:
    """A thermal image message as counts, (h, w) uint8 or uint16.

    Raises:
        InputError: the message cannot be used.
    """
    return thermal_image(message, crop)


def visible_array(message: CameraMessage, depth: BitDepth | None = None) -> UInt8Array:
    """A visible image message as BGR, (H, W, 3).

    Raises:
        InputError: the message cannot be used.
    """
    return visible_image(message, _to_colour, depth)


def _to_colour(rows: UInt8Array, width: int, encoding: str) -> UInt8Array:
    # A message without row padding: cv_bridge skews images whose step is no multiple of a pixel.
    height, step = rows.shape
    message = Image(height=height, width=width, encoding=encoding, step=step)
    message.data = array("B", rows.tobytes())
    return np.asarray(_bridge.imgmsg_to_cv2(message, "bgr8"), np.uint8)


def image_message(image: UInt8Array, encoding: str, header: Header) -> Image:
    """A contiguous image, (H, W) or (H, W, 3), as a message; one copy."""
    message = Image(
        header=header,
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        step=image.strides[0],
    )
    # rclpy takes an array of bytes as it is. It checks every element of anything else.
    data = array("B")
    data.frombytes(image.data)
    message.data = data
    return message


def compressed_message(image: AnyArray, quality: int, header: Header) -> CompressedImage:
    """A colour image as JPEG of `quality` (1 to 100).

    Raises:
        InputError: OpenCV cannot encode the image.
    """
    is_encoded, jpeg = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not is_encoded:
        raise InputError(f"image of shape {image.shape} cannot be encoded as JPEG")
    message = CompressedImage(header=header, format="bgr8; jpeg compressed bgr8")
    message.data = array("B", jpeg.tobytes())
    return message
