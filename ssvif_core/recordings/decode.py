"""Image messages -> arrays, the same for the node and for bags.

A message may come from rclpy or from a bag: both have the fields of `sensor_msgs/Image`. The
tables below are all that is accepted. What is wrong with a message is said here, once. Changing
colours is left to a library: cv_bridge in the node, rosbags-image for bags.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.types import AnyArray, UInt8Array

# Bytes of a pixel in the accepted encodings. ROS releases have different names for yuv formats.
VISIBLE_ENCODINGS = {
    "bgr8": 3, "rgb8": 3, "bgra8": 4, "rgba8": 4, "mono8": 1, "8UC3": 3,
    "bayer_rggb8": 1, "bayer_bggr8": 1, "bayer_gbrg8": 1, "bayer_grbg8": 1,
    "yuv422": 2, "uyvy": 2, "yuv422_yuy2": 2, "yuyv": 2,
}  # fmt: skip
THERMAL_ENCODINGS = {"mono8": 1, "8UC1": 1, "mono16": 2, "16UC1": 2}
# Names by which the converters know encodings that have several names.
CONVERTER_NAMES = {"uyvy": "yuv422", "yuyv": "yuv422_yuy2", "8UC3": "bgr8"}


class ImageMessage(Protocol):
    """The fields of `sensor_msgs/Image` that are read."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


# Rows without padding (height, width * bytes of a pixel), width, name of the encoding -> BGR.
ToColour = Callable[[UInt8Array, int, str], UInt8Array]


def visible_image(message: ImageMessage, to_colour: ToColour) -> UInt8Array:
    """A visible image message as BGR, (H, W, 3).

    Args:
        to_colour: changes other encodings than bgr8 to BGR.

    Raises:
        InputError: the message cannot be used; says what came, what was expected, what to do.
    """
    rows = _rows(message, "visible", VISIBLE_ENCODINGS)
    if message.encoding in ("bgr8", "8UC3"):
        return rows.reshape(message.height, message.width, 3)
    name = CONVERTER_NAMES.get(message.encoding, message.encoding)
    return np.ascontiguousarray(to_colour(rows, message.width, name))


def thermal_image(message: ImageMessage) -> AnyArray:
    """A thermal image message as counts, (h, w) uint8 or uint16 of this machine's byte order.

    No library converts here: cv_bridge scales 16-bit counts, and fails on big-endian images with
    NumPy 2.

    Raises:
        InputError: the message cannot be used.
    """
    rows = _rows(message, "thermal", THERMAL_ENCODINGS)
    if THERMAL_ENCODINGS[message.encoding] == 1:
        return rows
    order = ">" if message.is_bigendian else "<"
    return np.ascontiguousarray(rows).view(f"{order}u2").astype(np.uint16, copy=False)


def compressed_image(data: Any, format: str, thermal: bool) -> AnyArray:
    """The content of a `sensor_msgs/CompressedImage` as `visible_image` or `thermal_image` give it.

    Raises:
        ValueError: it is no image that OpenCV can read.
    """
    grey = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), grey if thermal else cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"format '{format}' cannot be decoded")
    return np.asarray(pixels)


def _rows(message: ImageMessage, camera: str, encodings: dict[str, int]) -> UInt8Array:
    """The bytes of a message without row padding, (height, width * bytes of a pixel)."""
    if message.encoding not in encodings:
        is_other = message.encoding in VISIBLE_ENCODINGS or message.encoding in THERMAL_ENCODINGS
        swapped = " Are the visible and the thermal topic swapped?" if is_other else ""
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
