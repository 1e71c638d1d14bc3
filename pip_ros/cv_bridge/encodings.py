"""The meaning of ROS image encodings, and conversions between them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]


class CvBridgeError(TypeError):
    """An image or message cannot be converted to the requested encoding."""


# The index of a depth is its number in OpenCV.
DEPTHS = ("8U", "8S", "16U", "16S", "32S", "32F", "64F")
DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32", "float64")
MAX_CHANNELS = 512  # OpenCV's CV_CN_MAX

_TYPE_NAME = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C(\d+))?")


@dataclass(frozen=True)
class Encoding:
    """The pixel type of an encoding, and its colour; None if it has none, as 8UC3.

    >>> bgr8 = parse("bgr8")
    >>> bgr8.color, bgr8.bits, bgr8.dtype, bgr8.type_name, bgr8.cvtype
    ('bgr', 8, 'uint8', '8UC3', 16)
    """

    name: str
    depth: str
    channels: int
    color: str | None = None

    @property
    def bits(self) -> int:
        """Bits of one channel."""
        return int(self.depth[:-1])

    @property
    def dtype(self) -> str:
        """The NumPy name of a channel's type."""
        return DTYPES[DEPTHS.index(self.depth)]

    @property
    def type_name(self) -> str:
        """The OpenCV name of the pixel type: 8UC3 for bgr8."""
        return f"{self.depth}C{self.channels}"

    @property
    def cvtype(self) -> int:
        """The OpenCV number of the pixel type."""
        return make_cvtype(DEPTHS.index(self.depth), self.channels)


def make_cvtype(depth: int, channels: int) -> int:
    """The OpenCV type number: the lowest three bits are the depth, the others the channels."""
    return depth | (channels - 1) << 3


def split_cvtype(cvtype: int) -> tuple[int, int]:
    """The depth number and the number of channels of an OpenCV type number.

    >>> make_cvtype(depth=2, channels=3), split_cvtype(18)
    (18, (2, 3))
    """
    return cvtype & 7, (cvtype >> 3) % MAX_CHANNELS + 1


def _named_encodings() -> dict[str, Encoding]:
    channels = {"mono": 1, "bgr": 3, "rgb": 3, "bgra": 4, "rgba": 4}
    channels |= {f"bayer_{pattern}": 1 for pattern in ("rggb", "bggr", "gbrg", "grbg")}
    table = {
        f"{color}{bits}": Encoding(f"{color}{bits}", f"{bits}U", count, color)
        for color, count in channels.items()
        for bits in (8, 16)
    }
    # ROS has an older and a newer name for each byte order, and drivers use both.
    for color, names in {"uyvy": ("yuv422", "uyvy"), "yuy2": ("yuv422_yuy2", "yuyv")}.items():
        table |= {name: Encoding(name, "8U", 2, color) for name in names}
    return table


NAMED = _named_encodings()


def parse(name: str) -> Encoding:
    """The encoding with this name.

    Raises:
        CvBridgeError: the name is not known.
    """
    if name in NAMED:
        return NAMED[name]
    match = _TYPE_NAME.fullmatch(name)
    channels = int(match[2] or 1) if match else 0
    if match is None or not 1 <= channels <= MAX_CHANNELS:
        raise CvBridgeError(
            f"encoding {name!r}; expected one of {', '.join(NAMED)}, or an OpenCV type such as "
            f"8UC1, 16UC1 or 32FC3 with 1 to {MAX_CHANNELS} channels"
        )
    return Encoding(name, match[1], channels)


def _color_codes() -> dict[tuple[str, str], int]:
    """OpenCV's conversion codes, by source and target colour."""
    opencv_name = {"mono": "GRAY", "rgb": "RGB", "bgr": "BGR", "rgba": "RGBA", "bgra": "BGRA"}
    codes = {
        (source, target): getattr(cv2, f"COLOR_{opencv_name[source]}2{opencv_name[target]}")
        for source in opencv_name
        for target in opencv_name
        if source != target
    }
    for target, name in opencv_name.items():
        for source in ("uyvy", "yuy2"):
            codes[source, target] = getattr(cv2, f"COLOR_YUV2{name}_{source.upper()}")
    # ROS names a Bayer pattern by the first two pixels of the first two rows, OpenCV by the second
    # and third pixel of the second row. So RGGB in ROS is BG in OpenCV.
    for pattern, name in {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}.items():
        for target in ("mono", "rgb", "bgr"):
            code = getattr(cv2, f"COLOR_Bayer{name}2{opencv_name[target]}")
            codes[f"bayer_{pattern}", target] = code
    return codes


COLOR_CODES = _color_codes()


def convert(image: Image, source: str, target: str) -> Image:
    """Convert an image from encoding `source` to `target`; the result is always a new array.

    The shapes are (H, W) or (H, W, C). The result has the target's channel type. Values are scaled
    by 257 between 8 and 16 bits, which is the ratio of the full ranges.

    Raises:
        CvBridgeError: there is no conversion from `source` to `target`.

    >>> convert(np.array([[0, 1, 255]], np.uint8), "mono8", "mono16").tolist()
    [[0, 257, 65535]]
    """
    if target in ("", source):
        return image.copy()
    from_, to = parse(source), parse(target)
    try:
        if from_.color is None or to.color is None:
            _check_without_color(from_, to)
            return _change_depth(image, from_, to)
        if from_.color == to.color and not from_.color.startswith("bayer"):
            return _change_depth(image, from_, to)
        code = COLOR_CODES.get((from_.color, to.color))
        if code is None:
            raise CvBridgeError(
                f"there is no conversion from {source!r} to {target!r}; use 'passthrough', or one "
                "of mono8, rgb8 and bgr8, to which every colour encoding can be converted"
            )
        converted = cv2.cvtColor(image, code)
        return converted if from_.bits == to.bits else _change_depth(converted, from_, to)
    except cv2.error as error:
        raise CvBridgeError(
            f"OpenCV cannot convert a {image.shape} {image.dtype} image from {source!r} to "
            f"{target!r}: {error}"
        ) from error


def _check_without_color(source: Encoding, target: Encoding) -> None:
    """Raise if two encodings, of which at least one has no colour, cannot be converted."""
    for encoding in (source, target):
        if encoding.name in DEPTHS:  # ROS allows them only for 'passthrough'
            raise CvBridgeError(
                f"{encoding.name!r} has no number of channels, so it cannot be converted; use "
                f"{encoding.type_name!r}"
            )
    if source.color is None and target.color is not None:
        raise CvBridgeError(
            f"the image is {source.name!r}, which does not define colours, so it cannot become "
            f"{target.name!r}; use 'passthrough', or let the publisher send an encoding with "
            "colours (bgr8, mono16, ...)"
        )
    if source.channels != target.channels:
        raise CvBridgeError(
            f"{source.name!r} has {source.channels} channels and {target.name!r} has "
            f"{target.channels}; use a type with {source.channels} channels"
        )


def _change_depth(image: Image, source: Encoding, target: Encoding) -> Image:
    """A copy of an image with the target's channel type: scaled, rounded and saturated."""
    dtype = np.dtype(target.dtype)
    scale = {(8, 16): 257.0, (16, 8): 1 / 257.0}.get((source.bits, target.bits), 1.0)
    if scale == 1.0 and image.dtype == dtype:
        return image.copy()
    values = image if scale == 1.0 else image * scale
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    # Clip in a type that holds the limits: float32 cannot hold those of int32, uint8 not of int8.
    if values.dtype.kind == "f":
        # NaN becomes the smallest integer, as in OpenCV, but without a warning.
        values = np.nan_to_num(np.rint(values.astype(np.float64, copy=False)), nan=limits.min)
    else:
        values = values.astype(np.int64)
    return np.clip(values, limits.min, limits.max).astype(dtype)
