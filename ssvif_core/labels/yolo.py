"""YOLO's labels: a text file for each image, with a box or a polygon in each line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from ssvif_core.errors import InputError
from ssvif_core.files import read_yaml
from ssvif_core.labels.label import Shape, ShapeLabel, outline

# Files that name the classes: Ultralytics', Label Studio's, CVAT's.
YAML_NAMES, TEXT_NAMES = "data.yaml", ("classes.txt", "obj.names")
# Files that hold no labels, beside those that do.
NO_LABELS = (*TEXT_NAMES, "train.txt", "val.txt", "test.txt")


def read_yolo(path: Path, classes: Sequence[str] = ()) -> ShapeLabel:
    """The labels of one file.

    Lines are `class x y width height`, or `class x1 y1 x2 y2 x3 y3 ...` with at least three
    corners. All but the class are shares of the image.

    Args:
        classes: name n belongs to YOLO's class n. Without names, class n has the class id n + 1,
            since id 0 is background.

    Raises:
        InputError: the file cannot be read, or a line has another form.
    """
    shapes = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            class_text, *rest = line.split()
            yolo_class, values = int(class_text), [float(value) for value in rest]
            if len(values) != 4 and (len(values) < 6 or len(values) % 2):
                raise ValueError
        except ValueError as error:
            raise InputError(
                f"{where}: '{line[:80]}'; expected `class x y width height`, or `class` and at "
                "least three corners `x y`, all as shares of the image"
            ) from error
        if classes and not 0 <= yolo_class < len(classes):
            raise InputError(f"{where}: class {yolo_class}; expected 0 to {len(classes) - 1}")
        of_class = classes[yolo_class] if classes else yolo_class + 1
        if not all(abs(value) <= 2 for value in values):  # not a number fails as well
            raise InputError(f"{where}: '{line[:80]}'; expected shares of the image, from 0 to 1")
        if len(values) == 4:
            x, y, w, h = values
            shapes.append(Shape.box(of_class, x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        else:
            shapes.append(Shape(of_class, (outline(values, where),)))
    return ShapeLabel(path, (1, 1), tuple(shapes))


def read_classes(folder: Path) -> tuple[str, ...]:
    """The class names beside YOLO's labels, in the order of its classes; empty without a file.

    Raises:
        InputError: the file that names them has another form.
    """
    for parent in (folder, folder.parent, folder.parent.parent):  # labels/train/ in Ultralytics'
        path = parent / YAML_NAMES
        if path.is_file():
            content = read_yaml(path, yaml.SafeLoader)
            names = content.get("names") if isinstance(content, dict) else None
            if isinstance(names, dict):
                names = [names[key] for key in sorted(names)]
            if not isinstance(names, list) or not names:
                raise InputError(f"{path}: no list `names`; expected the names of the classes")
            return tuple(str(name) for name in names)
        for file in TEXT_NAMES:
            if (parent / file).is_file():
                return tuple(line.strip() for line in _lines(parent / file) if line.strip())
    return ()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error
