"""Masks: images whose pixels are class ids, or colours that a list of colours names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.labels.label import IGNORE, Box, class_id, require_same_shape
from ssvif_core.recordings.images import decode_image
from ssvif_core.types import UInt8Array

COLOUR_LIST = "labelmap.txt"  # CVAT writes it beside coloured masks
Colour = tuple[int, int, int]  # blue, green, red


@dataclass(frozen=True)
class MaskLabel:
    """The labels of an image file of class ids.

    Attributes:
        path: the file.
        colours: class name by colour; empty if the pixels are ids.
    """

    path: Path
    colours: tuple[tuple[Colour, str], ...] = ()

    @property
    def class_names(self) -> frozenset[str]:
        """See `Label`. A list of colours may name classes that the image does not show."""
        return frozenset()

    def draw(self, names: Sequence[str], height: int, width: int) -> UInt8Array:
        """See `Label`."""
        ids = self._coloured(names) if self.colours else read_mask(self.path)
        require_same_shape(self.path, ids.shape[0], ids.shape[1], height, width)
        return fit_mask(ids, height, width)

    def boxes(self, names: Sequence[str], height: int, width: int) -> list[Box] | None:
        """See `Label`: single pixels are labelled."""
        return None

    def _coloured(self, names: Sequence[str]) -> UInt8Array:
        pixels = decode_image(self.path)
        if pixels.ndim != 3 or pixels.dtype != np.uint8:
            raise InputError(
                f"{self.path}: no colours; expected those of {COLOUR_LIST}, or remove that file if "
                "the pixels are class ids"
            )
        ids = np.full(pixels.shape[:2], IGNORE, np.uint8)
        for colour, name in self.colours:
            ids[(pixels[..., :3] == colour).all(-1)] = class_id(name, names)
        return ids


def read_colours(path: Path) -> Mapping[Colour, str]:
    """Class names by colour, of a `labelmap.txt`: lines `name:red,green,blue:parts:actions`.

    Raises:
        InputError: the file cannot be read, or a line has another form.
    """
    colours: dict[Colour, str] = {}
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, colour, *_ = line.split(":")
            red, green, blue = (int(value) for value in colour.split(","))
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: '{line}'; expected `name:red,green,blue::`"
            ) from error
        colours[blue, green, red] = name.strip()
    return colours


def read_mask(path: Path) -> UInt8Array:
    """Class ids of an image file, (h, w). With a palette, they are the numbers of its colours.

    Raises:
        InputError: the file cannot be read, or its values are not class ids from 0 to 255.
    """
    ids = decode_image(path)
    if ids.ndim == 3 and path.suffix.lower() == ".png":
        ids = _palette_numbers(path, ids)
    if ids.ndim == 3:
        if (ids[..., :3] != ids[..., :1]).any():
            raise InputError(
                f"{path}: a coloured picture; expected an image of one channel that holds class "
                f"ids, or a {COLOUR_LIST} beside it that names the colours"
            )
        ids = ids[..., 0]
    if ids.dtype.kind not in "ui" or ids.max() > 255:
        raise InputError(f"{path}: ids up to {ids.max()}; expected class ids of 0 to 255")
    return ids.astype(np.uint8)


def _palette_numbers(path: Path, pixels: UInt8Array) -> UInt8Array:
    """The numbers of the colours of a PNG with a palette, or else its pixels; OpenCV has none."""
    from PIL import Image

    with Image.open(path) as picture:
        return np.array(picture) if picture.mode == "P" else pixels


def fit_mask(mask: UInt8Array, height: int, width: int) -> UInt8Array:
    """A mask on another grid, by nearest neighbours."""
    resized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.uint8)
