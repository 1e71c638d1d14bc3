"""labelme's labels: a JSON file for each image, as X-AnyLabeling writes it, too.

The form is described at github.com/wkentaro/labelme.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.labels.label import LARGEST_SIDE, Shape, ShapeLabel, image_size, outline
from ssvif_core.types import BoolArray, Float64Array

CIRCLE_CORNERS = 64


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))  # Windows puts a mark first
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON {type(content).__name__}; expected labelme's or COCO's")
    return content


def is_labelme(content: dict[str, Any]) -> bool:
    """Whether a JSON object is of labelme."""
    return isinstance(content.get("shapes"), list)


def read_labelme(path: Path) -> ShapeLabel:
    """The labels of one file.

    Raises:
        InputError: something in it has another form, or a shape has no area.
    """
    content = read_json(path)
    size = image_size(content.get("imageHeight"), content.get("imageWidth"), str(path))
    shapes = []
    for number, shape in enumerate(content.get("shapes", ()), 1):
        where = f"{path}, shape {number}"
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise InputError(f"{where}: no label; expected the name of a class")
        shapes.append(_shape(shape, f"{where} ({shape['label']})"))
    return ShapeLabel(path, size, tuple(shapes))


def _shape(shape: dict[str, Any], where: str) -> Shape:
    name, kind, points = shape["label"], shape.get("shape_type", "polygon"), shape.get("points")
    if kind in ("polygon", "rotation", "oriented_rectangle"):
        return Shape(name, (outline(points, where),))
    if kind == "rectangle":  # two corners, or all four
        corners = _points(points, where, (2, 4))
        return Shape.box(name, *corners.min(0).tolist(), *corners.max(0).tolist())
    if kind == "circle":  # its middle, and a point on it
        middle, border = _points(points, where, (2,))
        angles = np.linspace(0, 2 * np.pi, CIRCLE_CORNERS, endpoint=False)
        radius = np.hypot(*(border - middle))
        ring = middle + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        return Shape(name, (outline(ring, where),))
    if kind == "mask":  # the box, and a PNG of it
        corner = np.round(_points(points, where, (2,))[0]).astype(int).tolist()
        return Shape(name, mask=_mask(shape.get("mask"), where), corner=(corner[0], corner[1]))
    raise InputError(
        f"{where}: a {kind}, which has no area; expected a polygon, rectangle, circle or mask"
    )


def _points(values: object, where: str, counts: tuple[int, ...]) -> Float64Array:
    try:
        points = np.array(values, np.float64).reshape(-1, 2)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: points that are not pairs of numbers ({error})") from error
    if len(points) not in counts or not (np.abs(points) <= 2 * LARGEST_SIDE).all():
        expected = " or ".join(str(count) for count in counts)
        raise InputError(f"{where}: {len(points)} points; expected {expected} inside the image")
    return points


def _mask(text: object, where: str) -> BoolArray:
    try:
        data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    except (binascii.Error, cv2.error) as error:
        raise InputError(f"{where}: its mask is not a readable PNG ({error})") from error
    if pixels is None:
        raise InputError(f"{where}: its mask is not a readable PNG")
    return np.asarray(pixels) > 0
