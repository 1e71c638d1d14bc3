"""Image files -> arrays."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ssvif_core.errors import InputError
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
    for path in sorted(folder.iterdir()):
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
    """A visible image file as BGR, (H, W, 3); 16-bit files are scaled to 8 bits.

    Raises:
        InputError: the file cannot be read as an image.
    """
    return np.asarray(_decode(path, cv2.IMREAD_COLOR), np.uint8)


def read_thermal(path: Path) -> AnyArray:
    """A thermal image file as counts, (h, w) uint8 or uint16; colour files give their luma.

    Raises:
        InputError: the file cannot be read as an image, or holds floats.
    """
    image = _decode(path, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE)
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path}: thermal pixels of type {image.dtype}; expected counts of 8 or 16 bits; save "
            "temperatures as 16-bit integers (for example in hundredths of a kelvin)"
        )
    return image


def _decode(path: Path, flags: int) -> AnyArray:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:  # for example a header that claims 60000x60000 pixels
        raise InputError(
            f"{path}: cannot be decoded ({error.err}); expected an image of less than 2^30 pixels"
        ) from error
    if image is None:
        raise InputError(
            f"{path}: not a readable image ({data.size} bytes); expected a whole "
            "PNG, JPEG, BMP or TIFF file"
        )
    return np.asarray(image)
