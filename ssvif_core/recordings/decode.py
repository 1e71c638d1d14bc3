"""Image messages -> arrays, the same for the node and for bags.

A message may come from rclpy or from a bag: both have the fields of `sensor_msgs/Image` or
`sensor_msgs/CompressedImage`. What is wrong with a message is said here, once. `encodings` holds
what is accepted. Changing colours is left to a library: cv_bridge in the node, rosbags-image for
bags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.recordings.encodings import (
    THERMAL_ENCODINGS,
    THERMAL_IN_WORDS,
    VISIBLE_ENCODINGS,
    VISIBLE_IN_WORDS,
    Encoding,
    encoding_of,
)
from ssvif_core.recordings.picture_headers import PNG_START, size_of_picture
from ssvif_core.recordings.pixels import (
    BitDepth,
    is_grey_chroma,
    require_grey_chroma,
    thermal_pixels,
    visible_pixels,
)
from ssvif_core.types import AnyArray, UInt8Array, UInt16Array

# From Y, U, V in the range of BT.601 (16 to 235, 16 to 240) to B, G, R.
YUV_TO_BGR = np.array([
    [1.164, 2.017, 0.0, -276.8],
    [1.164, -0.392, -0.813, 135.6],
    [1.164, 0.0, 1.596, -222.9],
])  # fmt: skip


class ImageMessage(Protocol):
    """The fields of `sensor_msgs/Image` that are read."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


class CompressedMessage(Protocol):
    """The fields of `sensor_msgs/CompressedImage` that are read."""

    format: str
    data: Any


AnyImageMessage: TypeAlias = Any  # ImageMessage or CompressedMessage, of rclpy or of rosbags
# Rows of 8-bit values without padding (height, width * samples), width, encoding -> BGR.
ToColour = Callable[[UInt8Array, int, str], UInt8Array]


def visible_image(
    message: AnyImageMessage, to_colour: ToColour, depth: BitDepth | None = None
) -> UInt8Array:
    """A visible image message as BGR, (H, W, 3).

    Args:
        message: raw or compressed.
        to_colour: changes colours to BGR.
        depth: of the camera's stream, for images of 16 bits; None judges this image alone.

    Raises:
        InputError: the message cannot be used; says what came, what was expected, what to do.
    """
    if _is_compressed(message):
        return _decoded_visible(message, depth)
    encoding, values = _values(message, "visible")
    width = message.width
    if encoding.kind == "u2":
        values = (depth or BitDepth()).reduced(values, encoding.bits)
    if encoding.rows > 1:
        return _from_planes(values, encoding.colours)
    if encoding.colours == "bgr8":
        return values.reshape(-1, width, 3)
    if encoding.colours == "rgb8":
        return np.asarray(cv2.cvtColor(values.reshape(-1, width, 3), cv2.COLOR_RGB2BGR), np.uint8)
    if encoding.colours == "mono8":
        return np.asarray(cv2.cvtColor(values, cv2.COLOR_GRAY2BGR), np.uint8)
    return np.ascontiguousarray(to_colour(values, width, encoding.colours))


@dataclass(frozen=True)
class Crop:
    """A part of an image, pixels.

    Raises:
        InputError: it is empty, or begins outside.
    """

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.x < 0 or self.y < 0 or self.width < 1 or self.height < 1:
            raise InputError(f"crop {self}; expected x,y,width,height inside the image")

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"

    @classmethod
    def parse(cls, text: str) -> Crop | None:
        """The crop that `x,y,width,height` names; None for an empty text.

        >>> Crop.parse("0,192,256,192").height
        192
        """
        if not text.strip():
            return None
        try:
            return cls(*[int(part) for part in text.split(",")])
        except (TypeError, ValueError) as error:
            raise InputError(
                f"crop '{text[:40]}'; expected x,y,width,height in pixels, or nothing"
            ) from error

    def of(self, values: AnyArray, samples: int = 1) -> AnyArray:
        """The part of an image whose rows have `samples` values for a pixel.

        Raises:
            InputError: it does not lie inside the image.
        """
        height, width = values.shape[0], values.shape[1] // samples
        if self.x + self.width > width or self.y + self.height > height:
            raise InputError(f"crop {self} of an image of {width}x{height}; expected it inside")
        columns = slice(self.x * samples, (self.x + self.width) * samples)
        return np.ascontiguousarray(values[self.y : self.y + self.height, columns])


@dataclass(frozen=True)
class Reading:
    """What must be known to read the messages of two cameras right.

    Attributes:
        visible_bits: that a visible camera of 16-bit images uses; 0 finds them. See `BitDepth`.
        thermal_crop: the part of thermal messages that is the thermal image; None takes all.

    Raises:
        InputError: the bits are impossible.
    """

    visible_bits: int = 0
    thermal_crop: Crop | None = None

    def __post_init__(self) -> None:
        BitDepth(self.visible_bits)


def thermal_image(message: AnyImageMessage, crop: Crop | None = None) -> AnyArray:
    """A thermal image message as counts, (h, w) uint8 or uint16 of this machine's byte order.

    Temperatures become hundredths of a kelvin. Where a driver marks a pixel as unknown (NaN), the
    image's lowest temperature stands.

    Args:
        message: raw or compressed.
        crop: the part that is the thermal image. Some cameras (P2 Pro) send a picture in yuv and
            raw counts below it; a part of them that is no grey picture is taken for counts.

    Raises:
        InputError: the message cannot be used, or it is a painted picture.
    """
    if _is_compressed(message):
        counts = _decoded_thermal(message)
        return counts if crop is None else crop.of(counts)
    encoding, values = _values(message, "thermal")
    if crop is not None:
        if encoding.rows > 1:
            raise InputError(f"a crop of a thermal image in {message.encoding}; expected none")
        values, width = crop.of(values, encoding.samples), crop.width
        if encoding.colours.startswith("yuv") and not is_grey_chroma(values[:, ::2]):
            if not is_grey_chroma(values[:, 1::2]):
                return values.view("<u2").astype(np.uint16, copy=False)
    else:
        width = message.width
    if encoding.colours == "temperature":
        return thermal_pixels(values)
    if encoding.colours == "mono8":
        return values
    if encoding.rows > 1:
        luma, chroma = np.split(values, [round(len(values) / encoding.rows)])
        require_grey_chroma(chroma)
        return luma
    pixels = values.reshape(len(values), width, encoding.samples)
    if encoding.colours.startswith("yuv"):
        first = encoding.colours == "yuv422_yuy2"
        require_grey_chroma(pixels[..., int(first)])
        return np.ascontiguousarray(pixels[..., 1 - int(first)])
    return thermal_pixels(pixels, encoding.colours.startswith("rgb"))


def sixteen_bits(message: AnyImageMessage) -> UInt16Array | None:
    """The values of a visible message of 16 bits; None if it has 8.

    Raises:
        InputError: the message cannot be used.
    """
    if _is_compressed(message):
        pixels = _decompressed(message, "visible")
    else:
        _, pixels = _values(message, "visible")
    return pixels if pixels.dtype == np.uint16 else None


def claimed_size(message: AnyImageMessage) -> tuple[int, int]:
    """Width and height that a message claims.

    A picture is not decoded, so that a false claim costs no memory.

    Raises:
        InputError: it is compressed, and no JPEG, PNG or TIFF picture.
    """
    if not _is_compressed(message):
        return message.width, message.height
    return _size_of(_picture(message), message.format)


def _size_of(picture: bytes, format: str) -> tuple[int, int]:
    size = size_of_picture(picture)
    if size is None:
        raise InputError(
            f"compressed image with format '{format[:40]}' and {len(picture)} bytes; expected a "
            "JPEG, PNG or TIFF picture, as image_transport's compressed topics have"
        )
    return size


def _is_compressed(message: AnyImageMessage) -> bool:
    return hasattr(message, "format")


def _decoded_visible(message: CompressedMessage, depth: BitDepth | None) -> UInt8Array:
    pixels = visible_pixels(_decompressed(message, "visible"), depth)
    return np.ascontiguousarray(pixels[..., ::-1]) if _is_rgb(message.format) else pixels


def _decoded_thermal(message: CompressedMessage) -> AnyArray:
    return thermal_pixels(_decompressed(message, "thermal"), _is_rgb(message.format))


def _decompressed(message: CompressedMessage, camera: str) -> AnyArray:
    if "compressedDepth" in message.format and "32FC1" in message.format:
        raise InputError(
            f"{camera} image with format '{message.format[:40]}'; expected a picture; "
            "compressedDepth stores floats as inverse depths, so temperatures are lost; let "
            "the driver send 16UC1"
        )
    picture = _picture(message)
    _size_of(picture, message.format)  # raises for what is no picture
    try:
        pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # for example a header that claims 60000x60000 pixels
        raise InputError(
            f"{camera} image with format '{message.format[:40]}' cannot be decoded ({error.err}); "
            "expected a picture of less than 2^30 pixels"
        ) from error
    if pixels is None:
        raise InputError(
            f"{camera} image with format '{message.format[:40]}' and {len(picture)} bytes cannot "
            "be decoded; expected a whole JPEG, PNG or TIFF picture"
        )
    return np.asarray(pixels)


def _picture(message: CompressedMessage) -> bytes:
    """The bytes of the picture in a message; compressedDepth has a header of 12 bytes before it."""
    data = bytes(message.data)
    if "compressedDepth" in message.format:
        return data[max(data[:64].find(PNG_START), 0) :]
    return data


def _is_rgb(format: str) -> bool:
    """Whether the colours of a decoded picture are in the order red, green, blue.

    image_transport writes `rgb8; jpeg compressed bgr8` when it changed the order before it
    compressed. Without the last word it compressed the message as it was.
    """
    before, _, after = format.partition(";")
    encoding = encoding_of(before.strip())
    is_rgb = encoding is not None and encoding.colours.startswith("rgb")
    return is_rgb and "compressed" in after and "compressed bgr" not in after


def _from_planes(values: UInt8Array, colours: str) -> UInt8Array:
    """BGR of a Y plane with a plane of colours below it."""
    if colours != "nv24":
        code = cv2.COLOR_YUV2BGR_NV12 if colours == "nv12" else cv2.COLOR_YUV2BGR_NV21
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(values), code), np.uint8)
    height, width = len(values) // 3, values.shape[1]
    chroma = np.ascontiguousarray(values[height:]).reshape(height, width, 2)
    return np.asarray(cv2.transform(np.dstack([values[:height], chroma]), YUV_TO_BGR), np.uint8)


def _values(message: ImageMessage, camera: str) -> tuple[Encoding, AnyArray]:
    """The encoding of a message, and its values without row padding: (rows, width * samples)."""
    is_visible = camera == "visible"
    accepted = VISIBLE_ENCODINGS if is_visible else THERMAL_ENCODINGS
    in_words = VISIBLE_IN_WORDS if is_visible else THERMAL_IN_WORDS
    encoding = encoding_of(message.encoding)
    if encoding is None or encoding not in accepted.values():
        is_other = encoding is not None
        swapped = " Are the visible and the thermal topic swapped?" if is_other else ""
        raise InputError(
            f"{camera} image with encoding '{message.encoding[:40]}'; expected one of "
            f"{in_words}.{swapped} Set the camera driver's pixel format"
        )
    if message.height == 0 or message.width == 0:
        raise InputError(
            f"{camera} image of {message.width}x{message.height} pixels; expected a size above "
            "zero; the driver sends empty images: is the camera plugged in?"
        )
    needed = message.width * encoding.pixel_bytes
    if message.step < needed:
        raise InputError(
            f"{camera} image with step {message.step}; a row of {message.width} pixels "
            f"{message.encoding} has {needed} bytes; the driver fills the message wrongly"
        )
    count = _row_count(message, camera, encoding)
    rows = np.frombuffer(message.data, np.uint8).reshape(count, message.step)[:, :needed]
    if encoding.kind == "u1":
        return encoding, rows
    order = ">" if message.is_bigendian else "<"
    values = np.ascontiguousarray(rows).view(f"{order}{encoding.kind}")
    return encoding, values.astype(encoding.kind, copy=False)


def _row_count(message: ImageMessage, camera: str, encoding: Encoding) -> int:
    """Rows of values in a message. Drivers count the plane of colours to the height, or not."""
    heights = [message.height]
    if encoding.rows > 1:
        heights.append(round(message.height * encoding.rows))
    count, rest = divmod(len(message.data), message.step)
    if rest or count not in heights:
        raise InputError(
            f"{camera} image with {len(message.data)} bytes of data; expected step * height = "
            f"{message.step} * {heights[-1]} = {message.step * heights[-1]}; the driver fills the "
            "message wrongly, or it was cut off on the way"
        )
    height = count / encoding.rows
    is_odd = (encoding.rows == 1.5 and (height % 2 or message.width % 2)) or (
        encoding.colours.startswith("yuv422") and message.width % 2
    )
    if height != int(height) or is_odd:
        raise InputError(
            f"{camera} image of {message.width}x{height:g} pixels {message.encoding}; expected "
            "whole rows, and even sizes where pixels share a colour; the driver fills the message "
            "wrongly"
        )
    return count
