"""Image files -> arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.recordings.picture_headers import (
    SIGNED,
    TIFF_FORMAT,
    TIFF_ZERO,
    bits_of_picture,
    tiff_tag,
)
from ssvif_core.recordings.pixels import thermal_pixels, visible_pixels
from ssvif_core.recordings.words import in_order
from ssvif_core.types import AnyArray, UInt8Array

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def list_images(folder: Path) -> dict[str, Path]:
    """The image files of a folder by stem, in order of name.

    Raises:
        InputError: the folder is missing, or two files share a stem (`a.png` and `a.jpg`).
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder of images")
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (in_order(path.name), path.name)):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in images:
            raise InputError(
                f"{folder}: {images[path.stem].name} and {path.name} share the name "
                f"'{path.stem}', by which images are paired; rename or remove one of them"
            )
        images[path.stem] = path
    return images


def read_visible(path: Path) -> UInt8Array:
    """A visible image file as BGR, (H, W, 3); see `visible_pixels` for files of 16 bits.

    A fourth channel is left out. A rotation in the EXIF data is ignored, because the thermal image
    beside it has none.

    Raises:
        InputError: the file cannot be read as an image.
    """
    with _naming(path):
        return visible_pixels(decode_image(path))


def read_thermal(path: Path) -> AnyArray:
    """A thermal image file as counts, (h, w) uint8 or uint16; see `thermal_pixels`.

    Some datasets (MFNet) keep the thermal image as the fourth channel of the colour image. It is
    taken from there.

    Raises:
        InputError: the file cannot be read as an image, or it is painted.
    """
    pixels = decode_image(path)
    if pixels.ndim == 3 and pixels.shape[2] == 4 and np.ptp(pixels[..., 3]):
        return np.ascontiguousarray(pixels[..., 3])
    with _naming(path):
        return thermal_pixels(pixels)


def mixed_bits(files: Sequence[Path]) -> str:
    """A sentence about thermal files of which some have 8 bits and others 16; empty otherwise."""
    counts = Counter(bits for file in files if (bits := _bits_of(file)) is not None)
    few, many = counts[8], sum(count for bits, count in counts.items() if bits > 8)
    if not (few and many):
        return ""
    return (
        f"{few} of {few + many} thermal images have 8 bits and {many} have more; 8 bits are shown "
        "as they are and counts by their range, so their brightness differs; keep one kind"
    )


def _bits_of(file: Path) -> int | None:
    is_tiff = file.suffix.lower() in (".tif", ".tiff")  # its header may lie at the end
    try:
        with file.open("rb") as stream:
            return bits_of_picture(stream.read() if is_tiff else stream.read(64))
    except OSError:
        return None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the name of a file before an error."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def decode_image(path: Path) -> AnyArray:
    """The pixels of an image file as they are: (H, W) or (H, W, channels), blue first.

    Raises:
        InputError: the file cannot be read as an image.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error as error:  # for example a header that claims 60000x60000 pixels
        raise InputError(
            f"{path}: cannot be decoded ({error.err}); expected an image of less than 2^30 pixels"
        ) from error
    if image is None:
        raise InputError(
            f"{path}: not a readable image ({data.size} bytes); expected a whole "
            "PNG, JPEG, BMP or TIFF file"
        )
    if image.dtype == np.uint16 and tiff_tag(bytes(data), TIFF_FORMAT) == SIGNED:
        image = image.view(np.int16)  # OpenCV 4.5 takes such files for unsigned
    if image.dtype == np.uint16 and tiff_tag(bytes(data), TIFF_ZERO) == 0:
        image = np.iinfo(np.uint16).max - image  # OpenCV does this for 8 bits only
    return np.asarray(image)
