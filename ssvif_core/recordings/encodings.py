"""Names of image encodings -> how pixels lie in a message.

The tables below are all that is accepted, in the node and for bags. They hold the names of
sensor_msgs/image_encodings.hpp, those of OpenCV, and some that drivers invented. Upper and lower
case are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Encoding:
    """How the pixels of an image lie in a message.

    Attributes:
        colours: the name by which converters know these colours at 8 bits.
        kind: of a value: `u1`, `u2`, `i2` or `f4`.
        samples: values of a pixel in a row.
        bits: that a value of 16 bits uses; 0 if the name does not say it.
        rows: for each row of the image, rows of `samples` values in the message. A Y plane with a
            smaller plane of colours below has 1.5, one with a plane of full size 3.
        meaning: in words.
    """

    colours: str
    kind: str
    samples: int
    meaning: str
    bits: int = 0
    rows: float = 1

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel in a row."""
        return self.samples * np.dtype(self.kind).itemsize


_PACKED = {
    "bgr": (3, "blue, green, red"),
    "rgb": (3, "red, green, blue"),
    "bgra": (4, "blue, green, red, opacity"),
    "rgba": (4, "red, green, blue, opacity"),
    "mono": (1, "grey"),
    "bayer_rggb": (1, "Bayer pattern, first row red, green"),
    "bayer_bggr": (1, "Bayer pattern, first row blue, green"),
    "bayer_gbrg": (1, "Bayer pattern, first row green, blue"),
    "bayer_grbg": (1, "Bayer pattern, first row green, red"),
}
_ENCODINGS = {
    f"{name}{bits}": Encoding(f"{name}8", f"u{bits // 8}", samples, meaning)
    for bits in (8, 16)
    for name, (samples, meaning) in _PACKED.items()
}
_ENCODINGS |= {
    f"{name}{bits}": Encoding(f"{name}8", "u2", 1, f"{_PACKED[name][1]}, in 16 bits", bits)
    for bits in (10, 12, 14)
    for name in _PACKED
    if name == "mono" or name.startswith("bayer")
}
_ENCODINGS |= {
    "yuv422": Encoding("yuv422", "u1", 2, "U, Y, V, Y of two pixels"),
    "yuv422_yuy2": Encoding("yuv422_yuy2", "u1", 2, "Y, U, Y, V of two pixels"),
    "nv12": Encoding("nv12", "u1", 1, "Y plane, then U, V of four pixels", rows=1.5),
    "nv21": Encoding("nv21", "u1", 1, "Y plane, then V, U of four pixels", rows=1.5),
    "nv24": Encoding("nv24", "u1", 1, "Y plane, then U, V of each pixel", rows=3),
    "16SC1": Encoding("temperature", "i2", 1, "hundredths of a degC"),
    "32FC1": Encoding("temperature", "f4", 1, "degC, or kelvin"),
}
_OTHER_NAMES = {
    "8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8",
    "16UC1": "mono16", "16UC3": "bgr16", "16UC4": "bgra16",
    "uyvy": "yuv422", "yuyv": "yuv422_yuy2", "yuy2": "yuv422_yuy2",
    "grey": "mono8", "gray": "mono8", "y8": "mono8",
    "y10": "mono10", "y12": "mono12", "y14": "mono14", "y16": "mono16",
}  # fmt: skip
_ENCODINGS |= {other: _ENCODINGS[name] for other, name in _OTHER_NAMES.items()}

VISIBLE_ENCODINGS = {
    name: encoding for name, encoding in _ENCODINGS.items() if encoding.colours != "temperature"
}
# Colours are accepted if the picture is grey: some drivers send grey as bgr8.
THERMAL_ENCODINGS = {
    name: encoding
    for name, encoding in _ENCODINGS.items()
    if not encoding.colours.startswith("bayer")
}
VISIBLE_IN_WORDS = (
    "bgr8, rgb8, bgra8, rgba8, mono8, Bayer patterns (each also with 16 bits), yuv422, "
    "yuv422_yuy2, nv12, nv21, nv24"
)
THERMAL_IN_WORDS = (
    "mono8, mono16, 16UC1, 16SC1, 32FC1, or a grey picture in bgr8, rgb8, yuv422, nv12"
)
_BY_LOWER_NAME = {name.lower(): encoding for name, encoding in _ENCODINGS.items()}


def encoding_of(name: str) -> Encoding | None:
    """The encoding of this name in any case; None if it is not known.

    >>> encoding_of("NV12").rows
    1.5
    >>> encoding_of("mono12").bits
    12
    """
    return _BY_LOWER_NAME.get(name.lower())
