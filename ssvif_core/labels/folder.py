"""A folder of labels: finds which form they have, and the label of each pair."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from ssvif_core.errors import InputError
from ssvif_core.labels.coco import is_coco, read_coco
from ssvif_core.labels.label import BACKGROUND_NAMES, IGNORE_NAMES, FileLabel, Label
from ssvif_core.labels.labelme import is_labelme, read_json, read_labelme
from ssvif_core.labels.masks import COLOUR_LIST, MaskLabel, read_colours
from ssvif_core.labels.yolo import NO_LABELS, read_classes, read_yolo
from ssvif_core.recordings.sources import PairSource

COLOURED = "SegmentationClass"  # CVAT's folder of coloured masks
UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts this before the name of a file


class Labels:
    """Labels of many images.

    Attributes:
        path: file or folder that they come from.
        by_name: label by the name of the image: its path below a folder, without suffix.
    """

    def __init__(self, path: Path, by_name: dict[str, Label]) -> None:
        self.path, self.by_name = path, by_name
        self._endings: dict[str, list[str]] = {}  # a name without its first folders -> names
        for name in by_name:
            parts = PurePosixPath(name).parts
            for start in range(1, len(parts)):
                self._endings.setdefault("/".join(parts[start:]), []).append(name)

    def find(self, source: PairSource, prefix: str = "") -> Label | None:
        """The label of a pair; None if there is none, or if several fit equally well.

        Folders before the name of a pair do not matter, as in images/train/NAME.

        Args:
            prefix: of the names of its recording. If there is one, the label's name must hold it.
        """
        for name in source.file_names(prefix):
            if name in self.by_name:
                return self.by_name[name]
            is_whole = name == prefix + source.name or "/" in name or "#" in name
            longer = self._endings.get(name, []) if is_whole else []
            if len(longer) == 1:
                return self.by_name[longer[0]]
        return None

    def describe_none(self, sources: Sequence[PairSource]) -> str:
        """A sentence for people whose labels fit none of their pairs."""
        pair, label = sources[0].name, next(iter(self.by_name))
        return (
            f"{self.path}: no labels for the {len(sources)} pairs; expected names of the pairs, "
            f"such as {pair}, but the labels have names such as {label}; are they labels of other "
            "images?"
        )


def read_labels(path: Path) -> Labels:
    """The labels in a folder, or in a file of COCO.

    The form is found: JSON files of labelme or of COCO; masks of colours with a `labelmap.txt`;
    else text files of YOLO and masks of class ids. If there are JSON files of labels, or a text
    file of the same name, an image is no mask but the labelled picture.

    Raises:
        InputError: there is nothing like that, a file is damaged, or an image has two labels.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder of labels")
    root = path if path.is_dir() else path.parent
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    by_suffix: dict[str, list[Path]] = {}
    for file in files:
        if not file.is_file() or file.name.startswith("."):  # macOS leaves ._NAME beside files
            continue
        by_suffix.setdefault(file.suffix.lower(), []).append(file)
    found = (
        _from_json(root, by_suffix.get(".json", []))
        or _coloured(by_suffix.get(".txt", []), by_suffix.get(".png", []))
        or _plain(root, by_suffix.get(".txt", []), by_suffix.get(".png", []))
    )
    if not found:
        raise InputError(
            f"{path}: no labels; expected JSON files of labelme or COCO, masks (.png) of class ids "
            f"or with a {COLOUR_LIST}, or text files (.txt) of YOLO"
        )
    return Labels(path, _without_hashes(found))


def label_of(source: PairSource, labels: Labels | None, prefix: str = "") -> Label | None:
    """The label of a pair among `labels`, or else the mask next to it.

    Args:
        labels: None takes masks next to pairs.
        prefix: see `Labels.find`.
    """
    if labels is not None:
        return labels.find(source, prefix)
    return MaskLabel(source.mask) if source.mask else None


def unknown_classes(labels: Iterable[Label], names: Sequence[str]) -> list[str]:
    """The class names in labels that are not among `names`."""
    known = {name.casefold() for name in (*names, *BACKGROUND_NAMES, *IGNORE_NAMES)}
    used: set[str] = set()
    for label in labels:
        with suppress(InputError):  # who draws it is told
            used |= label.class_names
    return sorted(name for name in used if name.strip().casefold() not in known)


def _from_json(root: Path, files: Iterable[Path]) -> dict[str, Label]:
    found: dict[str, Label] = {}
    for file in files:
        content = read_json(file)
        if is_coco(content):
            new: dict[str, Label] = {
                _stem(name.replace("\\", "/")): label
                for name, label in read_coco(file, content).items()
            }
        elif is_labelme(content):
            new = {_stem(file.relative_to(root).as_posix()): FileLabel(file, read_labelme)}
        else:
            continue
        for name, label in new.items():
            before = found.setdefault(name, label)
            if before is not label:
                raise InputError(
                    f"{before.path} and {file} both label {name}; give one of them as the labels"
                )
    return found


def _coloured(texts: Iterable[Path], pictures: Sequence[Path]) -> dict[str, Label]:
    lists = [file for file in texts if file.name == COLOUR_LIST]
    if not lists:
        return {}
    colours = tuple(read_colours(lists[0]).items())
    masks = [file for file in pictures if COLOURED in file.parts] or pictures
    return {file.stem: MaskLabel(file, colours) for file in masks}


def _plain(root: Path, texts: Sequence[Path], pictures: Sequence[Path]) -> dict[str, Label]:
    def name(file: Path) -> str:
        return _stem(file.relative_to(root).as_posix())

    found: dict[str, Label] = {name(file): MaskLabel(file) for file in pictures}
    for file in texts:
        if file.name not in NO_LABELS:
            reader = partial(read_yolo, classes=read_classes(file.parent))
            found[name(file)] = FileLabel(file, reader)
    return found


def _without_hashes(found: dict[str, Label]) -> dict[str, Label]:
    """The labels by the names that files had before Label Studio got them."""
    shorter = {}
    for name in found:
        path = PurePosixPath(name)
        shorter[name] = path.with_name(UPLOADED.sub("", path.name)).as_posix()
    is_clear = len(set(shorter.values())) == len(found)
    return {shorter[name]: label for name, label in found.items()} if is_clear else found


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()
