"""COCO's labels: one JSON file for many images, as CVAT, Label Studio and others write it.

The form is described at cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.labels.label import Shape, ShapeLabel, image_size, outline
from ssvif_core.types import BoolArray, Int64Array


def is_coco(content: dict[str, Any]) -> bool:
    """Whether a JSON object is of COCO."""
    return all(isinstance(content.get(key), list) for key in ("images", "annotations"))


def read_coco(path: Path, content: dict[str, Any]) -> dict[str, ShapeLabel]:
    """The labels of all images of a file, by the images' file names.

    An image without annotations is all background.

    Raises:
        InputError: something in it has another form.
    """
    names = {}
    for number, category in enumerate(_objects(path, content, "categories"), 1):
        if not isinstance(category.get("name"), str):
            raise InputError(f"{path}, category {number}: no name")
        names[category.get("id")] = category["name"]
    files: dict[object, tuple[str, tuple[int, int]]] = {}
    for number, image in enumerate(_objects(path, content, "images"), 1):
        where, file_name = f"{path}, image {number}", image.get("file_name")
        if not isinstance(file_name, str):
            raise InputError(f"{where}: no file_name")
        size = image_size(image.get("height"), image.get("width"), f"{where} ({file_name})")
        files[image.get("id")] = file_name, size
    shapes: dict[object, list[Shape]] = {key: [] for key in files}
    for number, annotation in enumerate(_objects(path, content, "annotations"), 1):
        where, image_id = f"{path}, annotation {number}", annotation.get("image_id")
        category_id = annotation.get("category_id")
        if image_id not in files:
            raise InputError(f"{where}: image_id {image_id}, which no image has")
        if category_id not in names:
            raise InputError(f"{where}: category_id {category_id}, which no category has")
        shape = _shape(annotation, names[category_id], files[image_id][1], where)
        shapes[image_id].append(shape)
    return {
        file_name: ShapeLabel(path, size, tuple(shapes[key]))
        for key, (file_name, size) in files.items()
    }


def _objects(path: Path, content: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    values = content.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InputError(f"{path}: `{key}` is no list of objects; expected COCO's form")
    yield from values


def _shape(annotation: dict[str, Any], name: str, size: tuple[int, int], where: str) -> Shape:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return Shape(name, mask=_mask(segmentation, size, where))
    if segmentation and not isinstance(segmentation, list):
        raise InputError(f"{where}: its segmentation is neither polygons nor run lengths")
    # Programs also write points and lines, which have no area.
    rings = [r for r in segmentation or () if not isinstance(r, list) or len(r) >= 6]
    if rings:
        return Shape(name, tuple(outline(ring, where) for ring in rings))
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{where}: neither a segmentation nor a bbox; expected one of them")
    try:
        left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
    except TypeError as error:
        raise InputError(f"{where}: bbox {box}; expected four numbers") from error
    outline([(left, top), (right, top), (right, bottom)], where)  # raises if it is no box
    return Shape.box(name, left, top, right, bottom)


def _mask(segmentation: dict[str, Any], size: tuple[int, int], where: str) -> BoolArray:
    """Run lengths -> pixels. They go down the columns, and the first ones are outside.

    pycocotools, the usual reader, writes beyond its memory when they are damaged.
    """
    counts = segmentation.get("counts")
    lengths = _lengths(counts, where) if isinstance(counts, str) else np.array(counts or [])
    height, width = size
    if segmentation.get("size") != [height, width]:
        raise InputError(
            f"{where}: a mask of size {segmentation.get('size')}; expected [{height}, {width}]"
        )
    is_sound = lengths.ndim == 1 and lengths.dtype.kind in "iu" and (lengths >= 0).all()
    if not is_sound or lengths.max(initial=0) > height * width or lengths.sum() != height * width:
        raise InputError(
            f"{where}: run lengths that do not fill its {width}x{height} pixels; is it damaged?"
        )
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def _lengths(text: str, where: str) -> Int64Array:
    """Run lengths from COCO's text.

    Characters from 48 hold five bits of a number each, the lowest first; a sixth bit says that more
    follow. Numbers are signed. From the fourth on, they are differences to the last but one.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise InputError(f"{where}: its run lengths cannot be read; is it damaged?")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift or max(lengths, default=0) >= 2**62:
        raise InputError(f"{where}: its run lengths are cut off; is it damaged?")
    return np.array(lengths, np.int64)
