"""Is the person still visible? The question that the nine fusion scores do not ask.

In headlights the maximum of both intensities is white, and a person whom only the thermal camera
sees is gone from the fused image. **Target contrast kept** measures that per person region:

    contrast(image, region) = |mean inside - mean of a 9 px ring around it|         (luma)
    kept = min(contrast(fused) / max(contrast(visible), contrast(thermal)), 1.5)

Regions are the 8-connected components of class "person" of at least 60 pixels. The ring is what an
elliptic 19 x 19 dilation adds to the region, without pixels of any person; it is left out where
the image ends. Regions that neither source shows (contrast below 15 grey levels) are not counted.
The measure is this project's own; report the mean and the 10th percentile over all regions of a
set (:func:`summarise`), since the lost ones are what matters.
"""

from __future__ import annotations

from collections.abc import Iterable
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
class TargetContrast:
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
class TargetSummary:
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
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * ring + 1, 2 * ring + 1))
    regions = []
    for index in range(1, count):
        left, top, width, height, pixels = (int(n) for n in stats[index])
        if pixels < min_pixels:
            continue
        window = (
            slice(max(top - ring, 0), top + height + ring),
            slice(max(left - ring, 0), left + width + ring),
        )
        inside = components[window] == index
        around = (cv2.dilate(inside.astype(np.uint8), disc) > 0) & (is_person[window] == 0)
        if around.any():
            regions.append(Region(window, inside, around))
    return regions


def target_contrast(
    visible: NDArray, thermal: NDArray, fused: NDArray, mask: NDArray
) -> list[TargetContrast]:
    """Contrast of every person that at least one source shows (15 grey levels or more).

    Args:
        visible, thermal, fused: (H, W) luma, uint8 or float in 0..255. For a source alone, pass
            it as `fused`.
        mask: (H, W) integer class ids, 1 = person.

    Raises:
        ValueError: shapes or dtypes other than above.
    """
    images = validate.lumas(visible=visible, thermal=thermal, fused=fused)
    validate.same_shape(visible=visible, mask=mask)
    persons = (
        TargetContrast(region, *(region.contrast(image) for image in images))
        for region in person_regions(mask)
    )
    return [person for person in persons if person.source >= MIN_CONTRAST]


def summarise(persons: Iterable[TargetContrast]) -> TargetSummary:
    """Mean and 10th percentile (linear interpolation) over all persons of a set."""
    kept = np.array([person.kept for person in persons])
    if not kept.size:
        return TargetSummary(0, float("nan"), float("nan"))
    return TargetSummary(kept.size, float(kept.mean()), float(np.percentile(kept, 10)))
