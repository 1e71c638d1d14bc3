"""Image files and their pairing by name: folders in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class NamedPair:
    """One visible and one thermal image file of the same name."""

    name: str
    visible: Path
    thermal: Path


@dataclass(frozen=True)
class NamedPairs:
    """What two folders hold: pairs in order of name, and the files left without a partner."""

    pairs: tuple[NamedPair, ...]
    only_visible: tuple[Path, ...]
    only_thermal: tuple[Path, ...]

    @property
    def unpaired(self) -> tuple[Path, ...]:
        return self.only_visible + self.only_thermal


def list_images(folder: Path) -> dict[str, Path]:
    """The image files of `folder` by stem, in order of name.

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


def pair_folders(visible: Path, thermal: Path) -> NamedPairs:
    """Pair the images of two folders by file stem.

    Raises:
        InputError: a folder is missing, or no name is in both.
    """
    left, right = list_images(visible), list_images(thermal)
    pairs = tuple(NamedPair(name, left[name], right[name]) for name in left if name in right)
    if not pairs:
        raise InputError(
            f"no pairs: {visible} has {len(left)} images{_examples(list(left))}, {thermal} has "
            f"{len(right)}{_examples(list(right))}, and no name is in both; a pair is two files "
            "of the same name (without its ending)"
        )
    return NamedPairs(
        pairs,
        tuple(path for name, path in left.items() if name not in right),
        tuple(path for name, path in right.items() if name not in left),
    )


def _examples(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""


def read_visible(path: Path) -> np.ndarray:
    """A visible image file as BGR, (H, W, 3) uint8; 16-bit files are scaled to 8 bits.

    Raises:
        InputError: the file cannot be read as an image.
    """
    return _decode(path, cv2.IMREAD_COLOR)


def read_thermal(path: Path) -> np.ndarray:
    """A thermal image file as counts, (h, w) uint8 or uint16; colour files give their luma.

    Raises:
        InputError: the file cannot be read as an image, or holds floats.
    """
    image = _decode(path, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE)
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path}: thermal pixels of type {image.dtype}; expected 8 or 16 bit counts; save "
            "temperatures as 16-bit integers (for example in hundredths of a kelvin)"
        )
    return image


def _decode(path: Path, flags: int) -> np.ndarray:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    image = cv2.imdecode(data, flags) if data.size else None
    if image is None:
        raise InputError(
            f"{path}: not a readable image ({data.size} bytes); expected a whole "
            "PNG, JPEG, BMP or TIFF file"
        )
    return image
