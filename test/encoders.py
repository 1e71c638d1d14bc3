"""Writes pictures as image messages in every encoding; the reverse of `decode`, for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np


@dataclass(frozen=True)
class Code:
    """How a picture in colours is written.

    Attributes:
        write: BGR (H, W, 3) uint8 -> rows of values (rows, width * samples).
        tolerance: largest difference after reading, grey levels.
        unit: height and width are multiples of this.
        block: pixels of a block of this side share a colour.
    """

    write: Callable[[np.ndarray], np.ndarray]
    tolerance: int = 0
    unit: tuple[int, int] = (1, 1)
    block: int = 1


def picture(height: int, width: int, seed: int, block: int = 1) -> np.ndarray:
    """Random colours, BGR (height, width, 3); blocks of `block` pixels have one colour."""
    random = np.random.default_rng(seed)
    small = random.integers(16, 240, (-(-height // block), -(-width // block), 3), dtype=np.uint8)
    return small.repeat(block, 0).repeat(block, 1)[:height, :width].copy()


def _flat(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1)


def _yuv(bgr: np.ndarray) -> list[np.ndarray]:
    """Y, U and V in the range of BT.601, (H, W) each."""
    blue, green, red = (bgr[..., i].astype(float) / 255 for i in range(3))
    y = 16 + 65.481 * red + 128.553 * green + 24.966 * blue
    u = 128 - 37.797 * red - 74.203 * green + 112.0 * blue
    v = 128 + 112.0 * red - 93.786 * green - 18.214 * blue
    return [np.rint(plane).astype(np.uint8) for plane in (y, u, v)]


def _packed_yuv(bgr: np.ndarray, luma_first: bool) -> np.ndarray:
    y, u, v = _yuv(bgr)
    chroma = np.where(np.arange(bgr.shape[1]) % 2 == 0, u, v)
    return _flat(np.stack([y, chroma] if luma_first else [chroma, y], 2))


def _planes(bgr: np.ndarray, order: str, step: int) -> np.ndarray:
    y, *chroma = _yuv(bgr)
    first, second = chroma if order == "uv" else chroma[::-1]
    below = np.stack([first[::step, ::step], second[::step, ::step]], 2)
    return np.vstack([y, below.reshape(-1, bgr.shape[1])])


def _opaque(bgr: np.ndarray, code: int) -> np.ndarray:
    return np.asarray(cv2.cvtColor(bgr, code))


_EIGHT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bgr8": lambda bgr: bgr,
    "rgb8": lambda bgr: bgr[..., ::-1],
    "bgra8": lambda bgr: _opaque(bgr, cv2.COLOR_BGR2BGRA),
    "rgba8": lambda bgr: _opaque(bgr, cv2.COLOR_BGR2RGBA),
}
COLOURS = {name: Code(lambda bgr, w=write: _flat(w(bgr))) for name, write in _EIGHT.items()}
COLOURS |= {
    name.replace("8", "16"): Code(lambda bgr, w=write: _flat(w(bgr)).astype(np.uint16) * 257)
    for name, write in _EIGHT.items()
}
COLOURS |= {
    "yuv422": Code(lambda bgr: _packed_yuv(bgr, False), 4, (1, 2), 2),
    "yuv422_yuy2": Code(lambda bgr: _packed_yuv(bgr, True), 4, (1, 2), 2),
    "nv12": Code(lambda bgr: _planes(bgr, "uv", 2), 4, (2, 2), 2),
    "nv21": Code(lambda bgr: _planes(bgr, "vu", 2), 4, (2, 2), 2),
    "nv24": Code(lambda bgr: _planes(bgr, "uv", 1), 4),
}
COLOURS |= {
    other: COLOURS[name]
    for other, name in {
        "8UC3": "bgr8", "8UC4": "bgra8", "16UC3": "bgr16", "16UC4": "bgra16",
        "uyvy": "yuv422", "yuyv": "yuv422_yuy2", "yuy2": "yuv422_yuy2",
    }.items()
}  # fmt: skip
# Names of grey images, and the bits that `encoded` gives them.
GREY = dict.fromkeys(("mono8", "8UC1", "grey", "gray", "y8"), 8)
GREY |= dict.fromkeys(("mono16", "16UC1", "y16"), 16)
GREY |= {f"{name}{bits}": bits for name in ("mono", "y") for bits in (10, 12, 14)}
# Names of Bayer patterns, and their bits.
PATTERNS = {"rggb": "rggb", "bggr": "bggr", "gbrg": "gbrg", "grbg": "grbg"}
BAYER = {f"bayer_{pattern}{bits}": bits for pattern in PATTERNS for bits in (8, 10, 12, 14, 16)}
TEMPERATURES = ("16SC1", "32FC1")


def _mosaic(bgr: np.ndarray, pattern: str) -> np.ndarray:
    out = np.empty(bgr.shape[:2], np.uint8)
    for place, colour in enumerate(pattern):
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        out[rows, columns] = bgr[rows, columns, "bgr".index(colour)]
    return out


def _at_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """8-bit values at `bits` bits of 16; white stays white."""
    return (values.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)


def values_of(name: str, pixels: np.ndarray, bits: int = 0) -> np.ndarray:
    """The values of a message, rows without padding.

    Args:
        pixels: BGR or grey uint8 is encoded. Other types are values of the encoding already.
        bits: of 16, if they are not those of the name.
    """
    key = next((known for known in (*COLOURS, *GREY, *BAYER) if known.lower() == name.lower()), "")
    if key in COLOURS:
        values = COLOURS[key].write(pixels)
        return _at_bits(values >> 8, bits) if bits else values
    if pixels.dtype != np.uint8 or not key:
        return _flat(pixels)
    if key in BAYER:
        pixels = _mosaic(pixels, key.removeprefix("bayer_")[:4])
    elif pixels.ndim == 3:
        pixels = pixels[..., 0]
    bits = bits or {**GREY, **BAYER}[key]
    return pixels if bits == 8 else _at_bits(pixels, bits)


def encoded(
    name: str, pixels: np.ndarray, padding: int = 0, big_endian: bool = False, bits: int = 0
) -> Any:
    """A message with the fields of `sensor_msgs/Image`, with `padding` bytes after each row."""
    values = values_of(name, pixels, bits)
    order = ">" if big_endian else "<"
    rows = np.ascontiguousarray(values.astype(values.dtype.newbyteorder(order))).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    return SimpleNamespace(
        height=pixels.shape[0], width=pixels.shape[1], encoding=name,
        is_bigendian=int(big_endian), step=rows.shape[1], data=rows.tobytes(),
    )  # fmt: skip
