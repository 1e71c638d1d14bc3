"""What is labelled in one image: shapes with class names, and how they become class ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.types import BoolArray, Float64Array, UInt8Array

IGNORE = 255
LARGEST_SIDE = 16384  # pixels of a labelled image
ASPECT = 0.05  # how much the aspect ratios of an image and of its labels may differ
# Names that some programs give to what has no class of its own.
BACKGROUND_NAMES = ("background", "_background_", "__background__")
IGNORE_NAMES = ("ignore", "__ignore__", "void")


@dataclass(frozen=True)
class Box:
    """A labelled box in pixels.

    Attributes:
        class_id: as in a mask.
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


class Label(Protocol):
    """The labels of one image."""

    @property
    def path(self) -> Path:
        """The file they come from."""

    @property
    def class_names(self) -> frozenset[str]:
        """Names of its classes; empty if it holds class ids only."""

    def draw(self, names: Sequence[str], height: int, width: int) -> UInt8Array:
        """Class ids (height, width); 255 is ignored.

        Args:
            names: name n belongs to class id n.

        Raises:
            InputError: the file cannot be read, or belongs to an image of another shape.
        """

    def boxes(self, names: Sequence[str], height: int, width: int) -> list[Box] | None:
        """All shapes as boxes in pixels, if they are boxes; None if single pixels are labelled."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A labelled region.

    Attributes:
        of_class: name of its class, or class id.
        rings: outlines in pixels, (n, 2) each of x and y. All of them together are the region: a
            second one cuts a hole into the first, or lies beside it.
        mask: the region's pixels, instead of rings; True inside.
        corner: of the mask in the image, x and y.
        is_box: it was drawn as a box, so its corners show background.
    """

    of_class: str | int
    rings: tuple[Float64Array, ...] = ()
    mask: BoolArray | None = None
    corner: tuple[int, int] = (0, 0)
    is_box: bool = False

    @staticmethod
    def box(of_class: str | int, left: float, top: float, right: float, bottom: float) -> Shape:
        """A box by its edges in pixels, in any order."""
        left, right = sorted((left, right))
        top, bottom = sorted((top, bottom))
        ring = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
        return Shape(of_class, (ring,), is_box=True)


@dataclass(frozen=True, eq=False)
class ShapeLabel:
    """Labels that are shapes.

    Attributes:
        path: the file they come from.
        size: height and width of the labelled image. (1, 1) if the shapes are in shares of it.
    """

    path: Path
    size: tuple[int, int]
    shapes: tuple[Shape, ...] = ()

    @property
    def class_names(self) -> frozenset[str]:
        """See `Label`."""
        return frozenset(shape.of_class for shape in self.shapes if isinstance(shape.of_class, str))

    def draw(self, names: Sequence[str], height: int, width: int) -> UInt8Array:
        """See `Label`. Pixels outside all shapes are background.

        Small shapes lie on large ones. The corners of a box show background, so only its inner half
        (by side) gets the class, and the rest is ignored.
        """
        scale = self._scale(height, width)
        ids = np.zeros((height, width), np.uint8)
        regions = [(shape, _region(shape, scale, height, width)) for shape in self.shapes]
        for shape, region in regions:
            if shape.is_box:
                ids[region] = IGNORE
        for shape, region in sorted(regions, key=lambda each: -int(each[1].sum())):
            of_class = class_id(shape.of_class, names)
            if shape.is_box:
                ids[_as_box(shape, of_class, scale).slices(0.5)] = of_class
            else:
                ids[region] = of_class
        return ids

    def boxes(self, names: Sequence[str], height: int, width: int) -> list[Box] | None:
        """See `Label`."""
        if not all(shape.is_box for shape in self.shapes):
            return None
        scale = self._scale(height, width)
        return [_as_box(shape, class_id(shape.of_class, names), scale) for shape in self.shapes]

    def _scale(self, height: int, width: int) -> Float64Array:
        """Pixels of the drawn image per unit of the shapes, (x, y)."""
        own_height, own_width = self.size
        if self.size != (1, 1):
            require_same_shape(self.path, own_height, own_width, height, width)
        return np.array((width / own_width, height / own_height))


@dataclass(frozen=True)
class FileLabel:
    """Labels that are read from a file of their own when they are needed.

    Attributes:
        path: the file.
        read: reads it.
    """

    path: Path
    read: Callable[[Path], ShapeLabel]

    @property
    def class_names(self) -> frozenset[str]:
        """See `Label`."""
        return self.read(self.path).class_names

    def draw(self, names: Sequence[str], height: int, width: int) -> UInt8Array:
        """See `Label`."""
        return self.read(self.path).draw(names, height, width)

    def boxes(self, names: Sequence[str], height: int, width: int) -> list[Box] | None:
        """See `Label`."""
        return self.read(self.path).boxes(names, height, width)


def require_same_shape(
    path: Path, own_height: int, own_width: int, height: int, width: int
) -> None:
    """Check that labels and an image can show the same.

    Raises:
        InputError: their aspect ratios differ.
    """
    if abs(own_width * height / (own_height * width) - 1) > ASPECT:
        raise InputError(
            f"{path}: labels of an image of {own_width}x{own_height} pixels; expected "
            f"{width}x{height}, or the same aspect ratio; are they labels of other images?"
        )


def class_id(of_class: str | int, names: Sequence[str]) -> int:
    """The id of a class; 255 (ignored) if it has no name.

    >>> class_id("Person", ("background", "person")), class_id("bus", ("background", "person"))
    (1, 255)
    """
    if isinstance(of_class, int):
        return of_class if 0 <= of_class < IGNORE else IGNORE
    wanted = of_class.strip().casefold()
    folded = [name.casefold() for name in names]
    if wanted in folded:
        return folded.index(wanted)
    return 0 if wanted in BACKGROUND_NAMES else IGNORE


def _as_box(shape: Shape, of_class: int, scale: Float64Array) -> Box:
    points = shape.rings[0] * scale
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return Box(of_class, left, top, right, bottom)


def _region(shape: Shape, scale: Float64Array, height: int, width: int) -> BoolArray:
    """The pixels of a shape, (height, width) bool."""
    if shape.is_box:
        inside = np.zeros((height, width), bool)
        inside[_as_box(shape, 0, scale).slices()] = True
        return inside
    drawn = np.zeros((height, width), np.uint8)
    if shape.mask is not None:
        (x, y), (rows, columns) = shape.corner, shape.mask.shape
        left, right = np.round((x, x + columns) * scale[0].repeat(2)).astype(int).tolist()
        top, bottom = np.round((y, y + rows) * scale[1].repeat(2)).astype(int).tolist()
        if right > left and bottom > top:
            small = shape.mask.astype(np.uint8)
            resized = cv2.resize(
                small, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST
            )
            target = drawn[max(top, 0) : bottom, max(left, 0) : right]
            part = resized[max(-top, 0) :, max(-left, 0) :]
            target[:] = part[: target.shape[0], : target.shape[1]]
    else:
        # Points lie on the corners of pixels there, and on their middles in OpenCV.
        rings = [np.round((ring * scale - 0.5) * 256).astype(np.int32) for ring in shape.rings]
        cv2.fillPoly(drawn, rings, 1, shift=8)
    return drawn > 0


def outline(values: object, where: str) -> Float64Array:
    """Points of an outline, (n, 2), checked.

    Args:
        values: x and y in turn, or pairs of them.
        where: file and shape, for the error.

    Raises:
        InputError: they are no numbers, fewer than three points, or far outside any image.
    """
    try:
        points = np.array(values, np.float64).reshape(-1, 2)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: points that are not pairs of numbers ({error})") from error
    if len(points) < 3:
        raise InputError(f"{where}: an outline of {len(points)} points; expected at least three")
    if not (np.abs(points) <= 2 * LARGEST_SIDE).all():  # not a number fails as well
        raise InputError(f"{where}: points far outside the image; expected pixels")
    return points


def image_size(height: object, width: object, where: str) -> tuple[int, int]:
    """Height and width of a labelled image, checked.

    Raises:
        InputError: they are no numbers from 1 to `LARGEST_SIDE`.
    """
    for side in (height, width):
        if not isinstance(side, int) or not 0 < side <= LARGEST_SIDE:
            raise InputError(
                f"{where}: an image of {width}x{height} pixels; expected sides of 1 to "
                f"{LARGEST_SIDE}"
            )
    return int(str(height)), int(str(width))
