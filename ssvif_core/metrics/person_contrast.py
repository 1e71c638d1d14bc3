"""Person contrast: whether a person stays visible, which the nine fusion scores do not measure.

In headlights the maximum of both intensities is white, so a person that only the thermal camera
sees disappears from the fused image. **Person contrast kept** measures that per person region:

    contrast(image, region) = |mean inside - mean of a 9 px ring around it|         (luma)
    kept = min(contrast(fused) / max(contrast(visible), contrast(thermal)), 1.5)

Regions are the 8-connected components of class "person" with at least 60 pixels. The ring is what
an elliptic 19 x 19 dilation adds to the region, without pixels of any person and cut at the image
border. Regions with a contrast below 15 grey levels in both sources are not counted.
If there are boxes instead of masks, a region is the inner half (by side) of a box, since the
corners of a box show the background. The ring lies around the whole box.
The measure is this project's own. Report the mean and the 10th percentile over all regions of a
set (:func:`summarise`), since the lost persons matter most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.metrics import validate
from ssvif_core.types import AnyArray, BoolArray, UInt8Array

PERSON = 1  # class id
MIN_PIXELS = 60
RING = 9  # width in pixels
MIN_CONTRAST = 15.0  # grey levels
MAX_KEPT = 1.5


@dataclass(frozen=True)
class Region:
    """One person in a mask.

    Attributes:
        window: slices (rows, columns) that cut region and ring from an image.
        inside: (h, w) bool, the person.
        ring: (h, w) bool, the surroundings; never empty.
    """

    window: tuple[slice, slice]
    inside: BoolArray
    ring: BoolArray

    @property
    def pixels(self) -> int:
        return int(np.count_nonzero(self.inside))

    def contrast(self, image: AnyArray) -> float:
        """|mean inside - mean of the ring| of an (H, W) image, in its grey levels."""
        patch = image[self.window]
        return float(abs(patch[self.inside].mean() - patch[self.ring].mean()))


@dataclass(frozen=True)
class PersonContrast:
    """Contrast of one person in three images.

    Attributes:
        region: where the person is.
        visible, thermal, fused: contrast in each image, 0..255 grey levels.
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
        """Share of the better source's contrast in the fused image, 0 to 1.5."""
        return min(self.fused / self.source, MAX_KEPT)


@dataclass(frozen=True)
class PersonContrastSummary:
    """Contrast kept over a set of images.

    Attributes:
        regions: number of persons counted.
        mean, p10: mean and 10th percentile of the contrast kept; NaN without regions.
    """

    regions: int
    mean: float
    p10: float


def person_regions(
    mask: AnyArray, person: int = PERSON, min_pixels: int = MIN_PIXELS, ring: int = RING
) -> list[Region]:
    """The persons of a mask.

    Args:
        mask: (H, W) integer class ids; 255 (ignore) counts as surroundings.
        person: class id.
        min_pixels: smaller components are dropped.
        ring: width of the surroundings in pixels.

    Returns:
        Regions in scan order. A region without surroundings (persons or the image border on all
        sides) is dropped.

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
        window = _window(slice(top, top + height), slice(left, left + width), ring)
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
            `width`; parts outside the image are cut off.
        min_pixels: boxes whose inner half has fewer pixels are dropped.
        ring: width of the surroundings in pixels.

    Returns:
        Regions in the order of `boxes`. A region without surroundings is dropped.
    """
    persons = np.zeros((height, width), np.uint8)
    for box in boxes:
        persons[_inner(box, 1.0, height, width)] = 1
    regions = []
    for box in boxes:
        inside, covered = np.zeros((2, height, width), np.bool_)
        inside[_inner(box, 0.5, height, width)] = True
        if np.count_nonzero(inside) < min_pixels:
            continue
        rows, columns = _inner(box, 1.0, height, width)
        covered[rows, columns] = True
        window = _window(rows, columns, ring)
        regions.append(_region(window, inside[window], covered[window], persons[window], ring))
    return [region for region in regions if region.ring.any()]


def _window(rows: slice, columns: slice, ring: int) -> tuple[slice, slice]:
    top, left = max(rows.start - ring, 0), max(columns.start - ring, 0)
    return slice(top, rows.stop + ring), slice(left, columns.stop + ring)


def _region(
    window: tuple[slice, slice],
    inside: BoolArray,
    covered: BoolArray,
    persons: UInt8Array,
    ring: int,
) -> Region:
    """A region with the ring around the covered pixels, without pixels of any person."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * ring + 1, 2 * ring + 1))
    around = cv2.dilate(covered.astype(np.uint8), disc) > 0
    return Region(window, inside, around & (persons == 0))


def _inner(
    box: tuple[float, float, float, float], share: float, height: int, width: int
) -> tuple[slice, slice]:
    """Rows and columns of the inner part of a box, `share` of its sides, inside the image."""
    left, top, right, bottom = box
    spans = []
    for low, high, size in ((top, bottom, height), (left, right, width)):
        middle, half = (low + high) / 2, share * (high - low) / 2
        start = min(max(round(middle - half), 0), size)
        spans.append(slice(start, min(max(round(middle + half), start), size)))
    return spans[0], spans[1]


def person_contrast(
    visible: AnyArray, thermal: AnyArray, fused: AnyArray, mask: AnyArray
) -> list[PersonContrast]:
    """:func:`region_contrast` of the persons of a mask.

    Args:
        visible, thermal, fused: (H, W) luma, uint8 or float in 0..255.
        mask: (H, W) integer class ids, 1 = person.

    Raises:
        ValueError: another shape or dtype, or sizes that differ.

    >>> mask = np.zeros((64, 64), np.uint8)
    >>> mask[20:40, 20:30] = 1
    >>> visible, thermal, fused = 50 + 10 * mask, 50 + 100 * mask, 50 + 30 * mask
    >>> [person.kept for person in person_contrast(visible, thermal, fused, mask)]
    [0.3]
    """
    validate.same_shape(visible=visible, mask=mask)
    return region_contrast(visible, thermal, fused, person_regions(mask))


def region_contrast(
    visible: AnyArray, thermal: AnyArray, fused: AnyArray, regions: Iterable[Region]
) -> list[PersonContrast]:
    """Contrast of each person that has at least 15 grey levels of contrast in one source.

    Args:
        visible, thermal, fused: (H, W) luma, uint8 or float in 0..255. Pass a source as `fused` to
            measure it alone.
        regions: from :func:`person_regions` or :func:`box_regions`.

    Raises:
        ValueError: another shape or dtype, or sizes that differ.
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
