"""What a ROS image encoding's name says, and how to turn one encoding into another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]


class CvBridgeError(TypeError):
    """An image or message that cannot be converted as asked."""


# OpenCV's depth numbers, in order: the position is the number.
DEPTHS = ("8U", "8S", "16U", "16S", "32S", "32F", "64F")
DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32", "float64")
MAX_CHANNELS = 512  # OpenCV's CV_CN_MAX

_TYPE_NAME = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C(\d+))?")


@dataclass(frozen=True)
class Encoding:
    """An encoding's pixel type and, for a colour encoding, its colour (None for 8UC3 and such)."""

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
        """The NumPy name of one channel's type."""
        return DTYPES[DEPTHS.index(self.depth)]

    @property
    def type_name(self) -> str:
        """The OpenCV name of the pixel's type: 8UC3 for bgr8."""
        return f"{self.depth}C{self.channels}"

    @property
    def cvtype(self) -> int:
        """OpenCV's number for the pixel's type."""
        return make_cvtype(DEPTHS.index(self.depth), self.channels)


def make_cvtype(depth: int, channels: int) -> int:
    """Pack a depth number and a channel count as OpenCV does: three bits, then the rest."""
    return depth | (channels - 1) << 3


def split_cvtype(cvtype: int) -> tuple[int, int]:
    """Return the depth number and the channel count in an OpenCV type number."""
    return cvtype & 7, (cvtype >> 3) % MAX_CHANNELS + 1


def _named_encodings() -> dict[str, Encoding]:
    channels = {"mono": 1, "bgr": 3, "rgb": 3, "bgra": 4, "rgba": 4}
    channels |= {f"bayer_{pattern}": 1 for pattern in ("rggb", "bggr", "gbrg", "grbg")}
    table = {
        f"{color}{bits}": Encoding(f"{color}{bits}", f"{bits}U", count, color)
        for color, count in channels.items()
        for bits in (8, 16)
    }
    # Each byte order has an older and a newer name in ROS, and both are in use.
    for color, names in {"uyvy": ("yuv422", "uyvy"), "yuy2": ("yuv422_yuy2", "yuyv")}.items():
        table |= {name: Encoding(name, "8U", 2, color) for name in names}
    return table


NAMED = _named_encodings()


def parse(name: str) -> Encoding:
    """Return what the encoding `name` says; CvBridgeError when it is none that is known."""
    if name in NAMED:
        return NAMED[name]
    match = _TYPE_NAME.fullmatch(name)
    channels = int(match[2] or 1) if match else 0
    if match is None or not 1 <= channels <= MAX_CHANNELS:
        raise CvBridgeError(
            f"encoding {name!r} is not known; expected one of {', '.join(NAMED)}, or an OpenCV "
            f"type such as 8UC1, 16UC1 or 32FC3 with 1 to {MAX_CHANNELS} channels"
        )
    return Encoding(name, match[1], channels)


def _color_codes() -> dict[tuple[str, str], int]:
    """OpenCV's conversion codes by source and target colour."""
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
    # OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first
    # two rows' first two: RGGB in ROS is BG in OpenCV.
    for pattern, name in {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}.items():
        for target in ("mono", "rgb", "bgr"):
            code = getattr(cv2, f"COLOR_Bayer{name}2{opencv_name[target]}")
            codes[f"bayer_{pattern}", target] = code
    return codes


COLOR_CODES = _color_codes()


def convert(image: Image, source: str, target: str) -> Image:
    """Return a new image: `image`, encoded as `source` says, in the encoding `target`.

    Shape (H, W) or (H, W, C); the channel type follows the target. Between 8 and 16 bits values
    are scaled by 257, the ratio of the full ranges. CvBridgeError when the two do not convert.
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
                f"there is no conversion from {source!r} to {target!r}; ask for 'passthrough', or "
                "for one of mono8, rgb8 and bgr8, which every colour encoding converts to"
            )
        converted = cv2.cvtColor(image, code)
        return converted if from_.bits == to.bits else _change_depth(converted, from_, to)
    except cv2.error as error:
        raise CvBridgeError(
            f"OpenCV cannot convert a {image.shape} {image.dtype} image from {source!r} to "
            f"{target!r}: {error}"
        ) from error


def _check_without_color(source: Encoding, target: Encoding) -> None:
    """Raise unless one of two encodings can stand for the other though one has no colour."""
    for encoding in (source, target):
        if encoding.name in DEPTHS:  # ROS takes these only as they are
            raise CvBridgeError(
                f"{encoding.name!r} does not say how many channels it has, so it does not "
                f"convert; call it {encoding.type_name!r}"
            )
    if source.color is None and target.color is not None:
        raise CvBridgeError(
            f"the image is {source.name!r}, which does not say what its channels mean, so it "
            f"cannot become {target.name!r}; ask for 'passthrough', or have the publisher name "
            "the colours (bgr8, mono16, ...)"
        )
    if source.channels != target.channels:
        raise CvBridgeError(
            f"{source.name!r} has {source.channels} channels and {target.name!r} has "
            f"{target.channels}; ask for a type with {source.channels} channels"
        )


def _change_depth(image: Image, source: Encoding, target: Encoding) -> Image:
    """Return a copy of `image` with the target's channel type: scaled, rounded, saturated."""
    dtype = np.dtype(target.dtype)
    scale = {(8, 16): 257.0, (16, 8): 1 / 257.0}.get((source.bits, target.bits), 1.0)
    if scale == 1.0 and image.dtype == dtype:
        return image.copy()
    values = image if scale == 1.0 else image * scale
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    # Types wide enough to hold the limits: float32 does not hold int32's, nor uint8 those of int8.
    if values.dtype.kind == "f":
        # A NaN has no integer; OpenCV gives the smallest, and so do we, without a warning.
        values = np.nan_to_num(np.rint(values.astype(np.float64, copy=False)), nan=limits.min)
    else:
        values = values.astype(np.int64)
    return np.clip(values, limits.min, limits.max).astype(dtype)
