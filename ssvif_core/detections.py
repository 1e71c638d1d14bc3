"""Labels -> boxes: one for each connected region of a class."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.types import UInt8Array

BACKGROUND = "background"  # the class that has no boxes


@dataclass(frozen=True)
class Detection:
    """A connected region of one class.

    Persons who touch each other in the image are one region.

    Attributes:
        class_id: of the region.
        left, top: of its box, pixels. width, height: likewise.
        area: of the region itself, pixels.
        confidence: mean probability of the class over the region, in [0, 1].
    """

    class_id: int
    left: int
    top: int
    width: int
    height: int
    area: int
    confidence: float


def find_detections(
    labels: UInt8Array,
    confidence: UInt8Array,
    names: tuple[str, ...],
    smallest_area: int = 0,
    least_confidence: float = 0.0,
) -> list[Detection]:
    """The regions of all classes but `background`, largest first.

    Pixels that touch at a corner belong together.

    Args:
        labels: class ids, (H, W).
        confidence: probability of the class times 255, (H, W).
        names: of the classes, by id.
        smallest_area: regions of fewer pixels are left out.
        least_confidence: regions below this mean probability are left out.

    >>> labels = np.zeros((60, 80), np.uint8)
    >>> labels[10:40, 20:30] = 1
    >>> find_detections(labels, np.full((60, 80), 204, np.uint8), ("background", "person"))
    [Detection(class_id=1, left=20, top=10, width=10, height=30, area=300, confidence=0.8)]
    """
    found = []
    pixels = np.bincount(labels.ravel(), minlength=len(names))
    for class_id, name in enumerate(names):
        if name == BACKGROUND or pixels[class_id] < max(smallest_area, 1):
            continue
        is_class = (labels == class_id).astype(np.uint8)
        count, regions, boxes, _ = cv2.connectedComponentsWithStats(is_class, connectivity=8)
        sums = np.bincount(regions[is_class > 0], confidence[is_class > 0], minlength=count)
        for (left, top, width, height, area), total in zip(
            boxes[1:].tolist(), sums[1:].tolist(), strict=True
        ):
            mean = total / area / 255
            if area >= smallest_area and mean >= least_confidence:
                found.append(Detection(class_id, left, top, width, height, area, mean))
    return sorted(found, key=lambda detection: -detection.area)
