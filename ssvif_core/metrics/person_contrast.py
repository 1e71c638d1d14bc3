"""Is the person still visible? The question that the nine fusion scores do not ask.

In headlights the maximum of both intensities is white, and a person whom only the thermal camera
sees is gone from the fused image. **Person contrast kept** measures that per person region:

    contrast(image, region) = |mean inside - mean of a 9 px ring around it|         (luma)
    kept = min(contrast(fused) / max(contrast(visible), contrast(thermal)), 1.5)

Regions are the 8-connected components of class "person" of at least 60 pixels. The ring is what an
elliptic 19 x 19 dilation adds to the region, without pixels of any person; it is left out where
the image ends. Regions that neither source shows (contrast below 15 grey levels) are not counted.
Where there are boxes instead of masks, a region is the inner half (by side) of a box, since its
corners show the background, and the ring lies around the whole box.
The measure is this project's own; report the mean and the 10th percentile over all regions of a
set (:func:`summarise`), since the lost ones are what matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ssvif_core.metrics import validate

PERSON = 1
MIN_PIXELS = 60
RING = 9
MIN_CONTRAST = 15.0
CAP = 1.5


@dataclass(frozen=True)
class Region:
    """One person in a mask.

    Attributes:
        window: the slices (rows, columns) that cut region and ring from an image.
        inside: (h, w) bool, the person.
        ring: (h, w) bool, the surroundings; never empty.
    """

    window: tuple[slice, slice]
    inside: NDArray[np.bool_]
    ring: NDArray[np.bool_]

    @property
    def pixels(self) -> int:
        return int(np.count_nonzero(self.inside))

    def contrast(self, image: NDArray) -> float:
        """|mean inside - mean of the ring| of an (H, W) image, in its grey levels."""
        patch = image[self.window]
        return float(abs(patch[self.inside].mean() - patch[self.ring].mean()))


@dataclass(frozen=True)
class PersonContrast:
    """Contrast of one person in the three images, grey levels 0..255.

    Attributes:
        region: where it is.
        visible, thermal, fused: its contrast in each.
    """

    region: Region
    visible: float
    thermal: float
    fused: float

    @property
    def source(self) -> float:
        """The larger contrast of both sources."""
        return max(self.visible, self.thermal)

    @property
    def kept(self) -> float:
        """Share of the better source's contrast that the fused image shows, 0 to 1.5."""
        return min(self.fused / self.source, CAP)


@dataclass(frozen=True)
class PersonContrastSummary:
    """Contrast kept over a set of images.

    Attributes:
        regions: number of persons counted.
        mean, p10: mean and 10th percentile of what is kept; NaN without regions.
    """

    regions: int
    mean: float
    p10: float


def person_regions(
    mask: NDArray, person: int = PERSON, min_pixels: int = MIN_PIXELS, ring: int = RING
) -> list[Region]:
    """The persons of a mask.

    Args:
        mask: (H, W) integer class ids; 255 (ignore) counts as surroundings.
        person: class id.
        min_pixels: smaller components are dropped.
        ring: width of the surroundings in pixels.

    Returns:
        Regions in scan order; one without any surroundings left (persons or the image's border
        on all sides) is dropped.

    Raises:
        ValueError: not an (H, W) integer map.
    """
    is_person = (validate.classes(mask, "mask") == person).astype(np.uint8)
    count, components, stats, _ = cv2.connectedComponentsWithStats(is_person, connectivity=8)
    regions = []
    for index in range(1, count):
        left, top, width, height, pixels = (int(n) for n in stats[index])
        if pixels < min_pixels:
            continue
        window = _window(top, top + height, left, left + width, ring)
        inside = components[window] == index
        regions.append(_region(window, inside, inside, is_person[window], ring))
    return [region for region in regions if region.ring.any()]


def box_regions(
    boxes: Sequence[tuple[float, float, float, float]],
    height: int,
    width: int,
    min_pixels: int = MIN_PIXELS,
    ring: int = RING,
) -> list[Region]:
    """The persons in boxes.

    Args:
        boxes: left, top, right, bottom of each person, in pixels of an image of `height` and
            `width`; parts outside are cut off.
        min_pixels: boxes whose inner half has fewer are dropped.

    Returns:
        Regions in the order given; one without any surroundings left is dropped.
    """
    whole, halves = np.zeros((height, width), np.uint8), []
    for box in boxes:
        whole[_inner(box, 1.0, height, width)] = 1
        halves.append(_inner(box, 0.5, height, width))
    regions = []
    for box, half in zip(boxes, halves, strict=True):
        rows, columns = _inner(box, 1.0, height, width)
        if _length(half[0]) * _length(half[1]) < min_pixels:
            continue
        window = _window(rows.start, rows.stop, columns.start, columns.stop, ring)
        covered, inside = np.zeros((2, height, width), np.bool_)
        covered[rows, columns] = True
        inside[half] = True
        regions.append(_region(window, inside[window], covered[window], whole[window], ring))
    return [region for region in regions if region.ring.any()]


def _window(top: int, bottom: int, left: int, right: int, ring: int) -> tuple[slice, slice]:
    return slice(max(top - ring, 0), bottom + ring), slice(max(left - ring, 0), right + ring)


def _region(
    window: tuple[slice, slice],
    inside: NDArray[np.bool_],
    covered: NDArray[np.bool_],
    persons: NDArray[np.uint8],
    ring: int,
) -> Region:
    """A region with the ring around what it covers, without any person's pixels."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * ring + 1, 2 * ring + 1))
    around = cv2.dilate(covered.astype(np.uint8), disc) > 0
    return Region(window, inside, around & (persons == 0))


def _inner(
    box: tuple[float, float, float, float], share: float, height: int, width: int
) -> tuple[slice, slice]:
    """Rows and columns of the inner part of a box, `share` of its sides, within the image."""
    left, top, right, bottom = box
    spans = []
    for low, high, size in ((top, bottom, height), (left, right, width)):
        middle, half = (low + high) / 2, share * (high - low) / 2
        start = min(max(round(middle - half), 0), size)
        spans.append(slice(start, min(max(round(middle + half), start), size)))
    return spans[0], spans[1]


def _length(span: slice) -> int:
    return int(span.stop - span.start)


def person_contrast(
    visible: NDArray, thermal: NDArray, fused: NDArray, mask: NDArray
) -> list[PersonContrast]:
    """:func:`region_contrast` of the persons of a mask.

    Args:
        mask: (H, W) integer class ids, 1 = person.
    """
    validate.same_shape(visible=visible, mask=mask)
    return region_contrast(visible, thermal, fused, person_regions(mask))


def region_contrast(
    visible: NDArray, thermal: NDArray, fused: NDArray, regions: Iterable[Region]
) -> list[PersonContrast]:
    """Contrast of every person that at least one source shows (15 grey levels or more).

    Args:
        visible, thermal, fused: (H, W) luma, uint8 or float in 0..255. For a source alone, pass
            it as `fused`.
        regions: of :func:`person_regions` or :func:`box_regions`.

    Raises:
        ValueError: shapes or dtypes other than above.
    """
    images = validate.lumas(visible=visible, thermal=thermal, fused=fused)
    persons = (
        PersonContrast(region, *(region.contrast(image) for image in images)) for region in regions
    )
    return [person for person in persons if person.source >= MIN_CONTRAST]


def summarise(persons: Iterable[PersonContrast]) -> PersonContrastSummary:
    """Mean and 10th percentile (linear interpolation) over all persons of a set."""
    kept = np.array([person.kept for person in persons])
    if not kept.size:
        return PersonContrastSummary(0, float("nan"), float("nan"))
    return PersonContrastSummary(kept.size, float(kept.mean()), float(np.percentile(kept, 10)))
