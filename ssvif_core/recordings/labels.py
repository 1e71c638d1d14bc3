"""Labels that people draw: masks of class ids, and boxes in YOLO's text format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.recordings.images import decode_image
from ssvif_core.types import UInt8Array

IGNORE = 255
SUFFIXES = (".png", ".txt")  # of masks, of boxes


@dataclass(frozen=True)
class Box:
    """A labelled box in pixels.

    Attributes:
        class_id: as in a mask; YOLO's class n is n + 1.
        left, top, right, bottom: edges, pixels.
    """

    class_id: int
    left: float
    top: float
    right: float
    bottom: float

    def slices(self, share: float = 1.0) -> tuple[slice, slice]:
        """Rows and columns of its inner part; `share` is the share of its sides.

        >>> Box(1, 10, 0, 20, 40).slices(0.5)
        (slice(10, 30, None), slice(12, 18, None))
        """
        return (
            _slice(self.top, self.bottom, share),
            _slice(self.left, self.right, share),
        )


def _slice(start: float, stop: float, share: float) -> slice:
    middle, half = (start + stop) / 2, share * (stop - start) / 2
    return slice(max(round(middle - half), 0), max(round(middle + half), 0))


def find_label(folder: Path, pair: str) -> Path | None:
    """The mask (.png) or the boxes (.txt) of a pair in a folder of labels, by the pair's name."""
    for stem in (pair, Path(pair).name):
        for suffix in SUFFIXES:
            path = folder / f"{stem}{suffix}"
            if path.is_file():
                return path
    return None


def read_mask(path: Path) -> UInt8Array:
    """Class ids of an image file, (h, w).

    Raises:
        InputError: the file cannot be read, or its values are not class ids from 0 to 255.
    """
    ids = decode_image(path)
    if ids.ndim == 3:
        if (ids[..., :3] != ids[..., :1]).any():
            raise InputError(
                f"{path}: a coloured picture; expected an image of one channel that holds class "
                "ids (a PNG with a palette must be saved without it)"
            )
        ids = ids[..., 0]
    if ids.dtype.kind not in "ui" or ids.max() > 255:
        raise InputError(f"{path}: ids up to {ids.max()}; expected class ids of 0 to 255")
    return ids.astype(np.uint8)


def fit_mask(mask: UInt8Array, height: int, width: int) -> UInt8Array:
    """A mask on another grid, by nearest neighbours."""
    resized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.uint8)


def read_boxes(path: Path, height: int, width: int) -> list[Box]:
    """The boxes of a YOLO file.

    Its lines are `class x y width height`; the last four are shares of the image.

    Raises:
        InputError: the file cannot be read, or a line has another form.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error
    boxes = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            number_text, *box = line.split()
            x, y, w, h = (float(value) for value in box)
            boxes.append(
                Box(
                    int(number_text) + 1, (x - w / 2) * width, (y - h / 2) * height,
                    (x + w / 2) * width, (y + h / 2) * height,
                )
            )  # fmt: skip
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: '{line}'; expected `class x y width height`, the last "
                "four as shares of the image"
            ) from error
    return boxes


def mask_of_boxes(path: Path, height: int, width: int, background: int = 0) -> UInt8Array:
    """Class ids (H, W) from a YOLO file; pixels outside all boxes are background.

    The corners of a box show background. So only its inner half (by side) gets the class, and the
    rest is ignored.

    Raises:
        InputError: the file cannot be read, or a line has another form.
    """
    mask = np.full((height, width), background, np.uint8)
    boxes = read_boxes(path, height, width)
    for box in boxes:
        mask[box.slices()] = IGNORE
    for box in boxes:
        mask[box.slices(0.5)] = box.class_id
    return mask
