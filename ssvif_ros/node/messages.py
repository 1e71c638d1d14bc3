"""Camera messages -> arrays, arrays -> outgoing messages.

Says what is wrong with a message that cannot be used; leaves what pixels mean to ssvif_core.
"""

from __future__ import annotations

from array import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ssvif_core.errors import EngineError, InputError
from ssvif_core.types import Pair, stamp_of

try:
    from cv_bridge import CvBridge
except Exception as error:
    raise EngineError(
        f"cv_bridge cannot be imported ({error}). Distributions build it for NumPy 1; with NumPy "
        f"{np.__version__} in the way run `pip install 'numpy<2'`. If it is not installed: "
        "`apt install ros-$ROS_DISTRO-cv-bridge`, or without ROS `make setup`"
    ) from error

# Bytes a pixel of the encodings that are taken. The yuv names are those of several ROS releases.
VISIBLE_ENCODINGS = {
    "bgr8": 3, "rgb8": 3, "bgra8": 4, "rgba8": 4, "mono8": 1, "8UC3": 3,
    "bayer_rggb8": 1, "bayer_bggr8": 1, "bayer_gbrg8": 1, "bayer_grbg8": 1,
    "yuv422": 2, "uyvy": 2, "yuv422_yuy2": 2, "yuyv": 2,
}  # fmt: skip
THERMAL_ENCODINGS = {"mono8": 1, "8UC1": 1, "mono16": 2, "16UC1": 2}
_BRIDGE_NAMES = {"uyvy": "yuv422", "yuyv": "yuv422_yuy2", "8UC3": "bgr8"}

_bridge = CvBridge()


def to_pair(visible: Image, thermal: Image) -> Pair:
    """The pair in two messages.

    Raises:
        InputError: a message cannot be used; says what came, what was expected, what to do.
    """
    return Pair(
        visible_array(visible),
        thermal_array(thermal),
        stamp_of(visible.header),
        stamp_of(thermal.header),
    )


def visible_array(message: Image) -> np.ndarray:
    """A visible image message as BGR, (H, W, 3) uint8."""
    rows = _rows(message, "visible", VISIBLE_ENCODINGS)
    if message.encoding in ("bgr8", "8UC3"):
        return rows.reshape(message.height, message.width, 3)
    # Row padding is cut off before: cv_bridge skews images whose step is no whole pixel number.
    plain = Image(
        height=message.height,
        width=message.width,
        encoding=_BRIDGE_NAMES.get(message.encoding, message.encoding),
        step=rows.shape[1],
    )
    plain.data = array("B", rows.tobytes())
    return np.ascontiguousarray(_bridge.imgmsg_to_cv2(plain, "bgr8"))


def thermal_array(message: Image) -> np.ndarray:
    """A thermal image message as counts, (h, w) uint8 or uint16 of this machine's byte order.

    Not by cv_bridge: its 16-bit conversions rescale counts, and big-endian images raise under
    NumPy 2.
    """
    rows = _rows(message, "thermal", THERMAL_ENCODINGS)
    if THERMAL_ENCODINGS[message.encoding] == 1:
        return rows
    order = ">" if message.is_bigendian else "<"
    return np.ascontiguousarray(rows).view(f"{order}u2").astype(np.uint16, copy=False)


def _rows(message: Image, camera: str, encodings: dict[str, int]) -> np.ndarray:
    """The bytes of a message without row padding, (height, width * bytes a pixel) uint8."""
    if message.encoding not in encodings:
        swapped = (
            " Are the visible and the thermal topic swapped?"
            if (message.encoding in VISIBLE_ENCODINGS or message.encoding in THERMAL_ENCODINGS)
            else ""
        )
        raise InputError(
            f"{camera} image with encoding '{message.encoding[:40]}'; expected one of "
            f"{', '.join(encodings)}.{swapped} Set the camera driver's pixel format"
        )
    if message.height == 0 or message.width == 0:
        raise InputError(
            f"{camera} image of {message.width}x{message.height} pixels; expected a size above "
            "zero; the driver sends empty images: is the camera plugged in?"
        )
    needed = message.width * encodings[message.encoding]
    if message.step < needed:
        raise InputError(
            f"{camera} image with step {message.step}; a row of {message.width} pixels "
            f"{message.encoding} has {needed} bytes; the driver fills the message wrongly"
        )
    if len(message.data) != message.step * message.height:
        raise InputError(
            f"{camera} image with {len(message.data)} bytes of data; expected step * height = "
            f"{message.step} * {message.height} = {message.step * message.height}; the driver "
            "fills the message wrongly, or it was cut off on the way"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, :needed]


def image_message(image: np.ndarray, encoding: str, header: Header) -> Image:
    """An image (H, W) or (H, W, 3) uint8, contiguous, as a message; one copy."""
    message = Image(
        header=header,
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        step=image.strides[0],
    )
    # rclpy takes an array of bytes as it is, but checks every element of anything else.
    data = array("B")
    data.frombytes(image.data)
    message.data = data
    return message


def compressed_message(image: np.ndarray, quality: int, header: Header) -> CompressedImage:
    """A colour image as JPEG of `quality` (1 to 100)."""
    done, jpeg = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not done:
        raise InputError(f"image of shape {image.shape} cannot be encoded as JPEG")
    message = CompressedImage(header=header, format="bgr8; jpeg compressed bgr8")
    message.data = array("B", jpeg.tobytes())
    return message
