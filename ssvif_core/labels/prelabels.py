"""Class ids -> polygons, in files that people correct with a labelling program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ssvif_core.types import Float64Array, UInt8Array

SMALLEST = 60  # pixels of a region
TOLERANCE = 1.0  # pixels between a polygon and the border of its region


@dataclass(frozen=True, eq=False)
class Outline:
    """A region of one class.

    Attributes:
        name: of its class.
        points: (n, 2), x and y in pixels.
    """

    name: str
    points: Float64Array


def outlines(ids: UInt8Array, names: Sequence[str], smallest: int = SMALLEST) -> list[Outline]:
    """The regions of all classes but background (id 0), the largest first. Holes are filled.

    Args:
        ids: class ids, (H, W).
        names: name n belongs to id n.
        smallest: number of pixels of the smallest region.

    >>> ids = np.zeros((20, 30), np.uint8)
    >>> ids[5:15, 10:20] = 1
    >>> [(each.name, len(each.points)) for each in outlines(ids, ("background", "person"))]
    [('person', 4)]
    """
    found = []
    for class_id, name in enumerate(names[1:], 1):
        region = (ids == class_id).astype(np.uint8)
        contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            ring = cv2.approxPolyDP(contour, TOLERANCE, closed=True)[:, 0]
            filled = np.zeros_like(region)
            cv2.fillPoly(filled, [ring], 1)
            area = int(filled.sum())
            if len(ring) >= 3 and area >= smallest:
                # Points are the middles of pixels here, and their corners in labelling programs.
                found.append((area, Outline(name, ring.astype(np.float64) + 0.5)))
    return [outline for _, outline in sorted(found, key=lambda each: -each[0])]


def labelme_text(outlines: Sequence[Outline], picture: str, height: int, width: int) -> str:
    """The labelme file of one image.

    Args:
        picture: its file, next to the labelme file.
    """
    content: dict[str, Any] = {
        "version": "5.0.0",
        "flags": {},
        "shapes": [
            {
                "label": outline.name, "points": outline.points.tolist(), "group_id": None,
                "shape_type": "polygon", "flags": {},
            }
            for outline in outlines
        ],
        "imagePath": picture, "imageData": None, "imageHeight": height, "imageWidth": width,
    }  # fmt: skip
    return json.dumps(content, indent=1) + "\n"


def coco_text(
    images: Sequence[tuple[str, int, int, Sequence[Outline]]], names: Sequence[str]
) -> str:
    """The COCO file of many images.

    Args:
        images: file name, height, width and outlines of each.
        names: of the classes, from background on.
    """
    annotations: list[dict[str, Any]] = []
    for image_id, (_, _, _, drawn) in enumerate(images, 1):
        for outline in drawn:
            (left, top), (right, bottom) = outline.points.min(0), outline.points.max(0)
            area = cv2.contourArea(outline.points.astype(np.float32))
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id, "iscrowd": 0,
                    "category_id": names.index(outline.name), "area": area,
                    "segmentation": [outline.points.ravel().tolist()],
                    "bbox": [left, top, right - left, bottom - top],
                }
            )  # fmt: skip
    content = {
        "images": [
            {"id": number, "file_name": name, "height": height, "width": width}
            for number, (name, height, width, _) in enumerate(images, 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names) if number],
        "annotations": annotations,
    }
    return json.dumps(content, indent=1) + "\n"
