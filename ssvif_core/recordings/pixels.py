"""Decoded pixels of any type -> a visible or a thermal image, for messages, files and videos."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.types import AnyArray, Float64Array, UInt8Array, UInt16Array

GREY_TOLERANCE = 12 / 255  # 95 % of a grey picture's pixels have colours nearer to each other
KELVIN_FROM = 150.0  # floats with a larger median are kelvin, others degC
DEPTHS = (12, 14, 16)  # bits that 16-bit cameras use


class BitDepth:
    """How many of 16 bits a visible camera uses, one for each stream.

    Cameras of 12 bits send values up to 4095, and would look black otherwise. The depth is the
    smallest of `DEPTHS` that held all values so far. So it grows at most twice, and the brightness
    does not follow the scene.

    Args:
        bits: 8 to 16 if they are known; 0 to find them.

    Raises:
        InputError: other bits.
    """

    def __init__(self, bits: int = 0) -> None:
        if bits and not 8 <= bits <= 16:
            raise InputError(f"{bits} bits of a visible image; expected 8 to 16, or 0 to find them")
        self._given, self._seen = bits, 0

    def bits(self, named: int = 0) -> int:
        """The bits that the camera uses; `named` are those that its encoding names, or 0."""
        depths = (named, *DEPTHS) if named else DEPTHS
        return self._given or next(bits for bits in depths if bits >= self._seen)

    def note(self, values: UInt16Array) -> None:
        """Take the values of an image of the stream into account."""
        if not self._given and self._seen <= DEPTHS[-2]:
            self._seen = max(self._seen, int(values.max(initial=0)).bit_length())

    def reduced(self, values: UInt16Array, named: int = 0) -> UInt8Array:
        """The values at 8 bits."""
        self.note(values)
        eight: UInt8Array = np.minimum(values >> (self.bits(named) - 8), 255).astype(np.uint8)
        return eight


def visible_pixels(pixels: AnyArray, depth: BitDepth | None = None) -> UInt8Array:
    """A visible image as BGR, (H, W, 3).

    Args:
        pixels: (H, W) grey, or (H, W, 3 or 4) with blue first; uint8 or uint16.
        depth: of the camera's stream, for 16 bits; None judges this image alone.

    Raises:
        InputError: the pixels have another type.
    """
    if pixels.dtype == np.uint16:
        pixels = (depth or BitDepth()).reduced(pixels)
    if pixels.dtype != np.uint8:
        raise InputError(
            f"visible image of type {pixels.dtype}; expected 8 or 16 bits; is it the thermal one?"
        )
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        grey = pixels if pixels.ndim == 2 else pixels[..., 0]
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2BGR), np.uint8)
    return np.ascontiguousarray(pixels[..., :3])


def thermal_pixels(pixels: AnyArray, is_rgb: bool = False) -> AnyArray:
    """A thermal image as counts, (h, w) uint8 or uint16.

    Args:
        pixels: (h, w) counts, uint8 or uint16; temperatures, int16 in hundredths of a degC, or
            floats in degC or kelvin; or a picture in colours that is grey, (h, w, 3 or 4).
        is_rgb: red comes first in a picture, not blue.

    Raises:
        InputError: the picture is in colour, no temperature is known, or the type is another one.
    """
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        return _grey(pixels[..., :3], is_rgb)
    if pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[..., 0])
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype == np.int16 or pixels.dtype.kind == "f":
        return _hundredths_of_kelvin(pixels)
    raise InputError(
        f"thermal image of type {pixels.dtype}; expected counts of 8 or 16 bits, or temperatures "
        "as int16 (hundredths of a degC) or floats (degC or kelvin)"
    )


def require_grey_chroma(chroma: UInt8Array) -> None:
    """Refuse a thermal picture whose U or V plane shows colours.

    Raises:
        InputError: it is painted, or raw data lie below a grey picture, as the P2 Pro sends them.
    """
    half, columns = len(chroma) // 2, chroma.shape[1]
    if half and not is_grey_chroma(chroma) and is_grey_chroma(chroma[:half]):
        raise InputError(
            f"the thermal image has {len(chroma)} rows, a grey picture above raw data; expected "
            f"one of them; set thermal_crop to 0,{half},{columns},{half} for the counts, or to "
            f"0,0,{columns},{half} for the picture"
        )
    _require_grey(_spread_of_chroma(chroma))


def is_grey_chroma(chroma: UInt8Array) -> bool:
    """Whether a U or V plane shows no colours."""
    return _is_grey(_spread_of_chroma(chroma))


def _spread_of_chroma(chroma: UInt8Array) -> Float64Array:
    """About how far the colours of pixels with this U or V are apart, share of white."""
    return np.abs(chroma.astype(np.int16) - 128) * (2 / 255)


def _grey(pixels: AnyArray, is_rgb: bool) -> AnyArray:
    """The luma of a picture in colours that is grey, (h, w)."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"thermal image of {pixels.shape[2]} channels of type {pixels.dtype}; expected one "
            "channel, or a grey picture of 8 or 16 bits"
        )
    white = np.iinfo(pixels.dtype).max
    some = pixels[::4, ::4].astype(np.int32)
    _require_grey((some.max(2) - some.min(2)) / white)
    code = cv2.COLOR_RGB2GRAY if is_rgb else cv2.COLOR_BGR2GRAY
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code))


def _is_grey(spread: Float64Array) -> bool:
    return bool(np.percentile(spread, 95) <= GREY_TOLERANCE)


def _require_grey(spread: Float64Array) -> None:
    """Refuse a picture in colours; `spread` is the distance of the colours of its pixels."""
    if not _is_grey(spread):
        raise InputError(
            "the thermal image is in colour; expected counts, or a grey picture. Does the camera "
            "paint a palette? Set it to white hot, or better to raw 16 bits. Are the visible and "
            "the thermal images swapped?"
        )


def _hundredths_of_kelvin(temperatures: AnyArray) -> UInt16Array:
    """Temperatures (int16: hundredths of a degC; float: degC, or kelvin) as counts."""
    if temperatures.dtype.kind == "i":
        return np.maximum(temperatures.astype(np.int32) + 27315, 0).astype(np.uint16)
    is_known = np.isfinite(temperatures)
    if not is_known.any():
        raise InputError(
            "thermal image of floats without a single finite value; expected temperatures; is the "
            "camera's shutter closed, or its calibration missing?"
        )
    known = temperatures[is_known]
    offset = 0.0 if np.median(known) > KELVIN_FROM else 273.15
    filled = np.where(is_known, temperatures, known.min())
    kelvin = np.clip(filled + offset, 0, 655.35)
    return np.rint(kelvin * 100).astype(np.uint16)
