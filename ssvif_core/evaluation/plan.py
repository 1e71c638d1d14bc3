"""What is scored: the pairs of an input, others' images and labels of them, cut into jobs.

A job says all that its worker needs, so that jobs run anywhere and in any order. Of a stream (a
video, a bag) the thermal range of every frame is settled here, since it depends on the frames
before: the node smooths it in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

import numpy as np

from ssvif_core.data.bag_pairs import SLOP, bag_pairs
from ssvif_core.data.images import list_images, read_thermal, read_visible
from ssvif_core.data.labels import find_label
from ssvif_core.data.layouts import PairSource, find_pairs, some
from ssvif_core.data.video import video_pairs
from ssvif_core.errors import InputError
from ssvif_core.evaluation.results import OURS
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Pair

NAMES = ("background", "person", "bicycle", "car")
JOB_PAIRS = 16  # so few that all cores are busy to the end, so many that a video is seldom reopened


@dataclass(frozen=True)
class Settings:
    """What is the same for every pair.

    fused: others' methods: name -> folder of their fused images, named as the pairs are.
    ours: whether our model is scored; model: ONNX file, None for the shipped one.
    labels: folder of masks or YOLO boxes; None takes the masks that lie with the pairs.
    names: of the labels' class ids 0, 1, ...; the id of `person` is what target contrast is of.
    every: take every n-th pair of a video or bag. topics: of bags; None finds them by name.
    slop: largest difference of stamps in a bag's pair, ns. only: shell pattern of pairs' names.
    """

    fused: dict[str, Path] = field(default_factory=dict)
    ours: bool = True
    model: Path | None = None
    engine: str = "auto"
    precision: str = "f32"
    labels: Path | None = None
    names: tuple[str, ...] = NAMES
    every: int = 1
    topics: tuple[str, str] | None = None
    slop: int = SLOP
    only: str = "*"

    def __post_init__(self) -> None:
        if OURS in self.fused:
            raise InputError(f"--fused ...={OURS}: this name is our model's; take another")
        if not (self.ours or self.fused):
            raise InputError("nothing to score: our model is left out, and no --fused is given")
        if self.every < 1:
            raise InputError(f"every {self.every}; expected at least 1")

    @property
    def methods(self) -> tuple[str, ...]:
        """Ours first."""
        return ((OURS,) if self.ours else ()) + tuple(self.fused)


@dataclass(frozen=True)
class Item:
    """One pair: its name in the evaluation, where it lies, others' images and labels of it.

    thermal_range: counts shown as black and as white; None: by the image itself.
    """

    name: str
    source: PairSource
    fused: dict[str, Path] = field(default_factory=dict)
    label: Path | None = None
    thermal_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Job:
    """Neighbouring pairs of one input.

    before: of a stream, the frame before the first one, to which change is measured.
    pictured: names of the pairs of which pictures are made. measured: whether scores are.
    """

    input: str
    items: tuple[Item, ...]
    before: Item | None = None
    pictured: frozenset[str] = frozenset()
    measured: bool = True

    @property
    def is_stream(self) -> bool:
        return self.items[0].source.frame is not None


@dataclass(frozen=True)
class Plan:
    """The jobs of one input, what is there in words, and what is left out and why.

    used: of each other method the names of the images that belong to a pair.
    """

    input: str
    layout: str
    jobs: tuple[Job, ...]
    problems: tuple[str, ...] = ()
    used: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(item.name for job in self.jobs for item in job.items)


def input_names(paths: Sequence[Path]) -> list[str]:
    """A short name an input, all different: its own, with as many parents as it takes."""
    parts = [path.resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        raise InputError(f"an input is given twice: {some([str(path) for path in paths])}")
    depth = 1
    while len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def plan_input(path: Path, name: str, prefix: str, settings: Settings, pictured: int = 0) -> Plan:
    """Plan one input: a folder of pairs, a folder of two videos, or a bag.

    Args:
        name: of the input.
        prefix: what the names of its pairs begin with.
        pictured: of how many pairs, spread evenly, pictures are made.

    A pair that a method has no image of is left out for all, so that all are scored on the same.

    Raises:
        InputError: there are no pairs, or nothing that all methods have.
    """
    listing = find_pairs(path, settings.every, settings.topics, slop=settings.slop, recover=True)
    problems = list(listing.problems)
    if listing.unpaired:
        problems.append(
            f"{path}: {len(listing.unpaired)} images without a partner: "
            f"{some([str(file.relative_to(path)) for file in listing.unpaired])}"
        )
    pairs = [source for source in listing.pairs if fnmatchcase(source.name, settings.only)]
    if not pairs:
        raise InputError(
            f"{path}: no name of its {len(listing.pairs)} pairs is like '{settings.only}'; "
            f"they are {some(listing.names)}"
        )
    files = {method: fused_images(folder) for method, folder in settings.fused.items()}
    items = []
    used: dict[str, set[str]] = {method: set() for method in files}
    missing: dict[str, list[str]] = {method: [] for method in files}
    for source in pairs:
        found = {method: _spelling(source, images) for method, images in files.items()}
        for method, spelling in found.items():
            if spelling is None:
                missing[method].append(source.name)
            else:
                used[method].add(spelling)
        if None not in found.values():
            label = find_label(settings.labels, source.name) if settings.labels else source.mask
            fused = {m: files[m][spelling] for m, spelling in found.items() if spelling is not None}
            items.append(Item(prefix + source.name, source, fused, label))
    for method, names in missing.items():
        if names:
            problems.append(
                f"{method}: no image of {len(names)} of the {len(pairs)} pairs of {name}, which "
                f"are left out for every method: {some(names)}"
            )
    if not items:
        raise InputError(
            f"{path}: none of its {len(pairs)} pairs has an image of every method; images are "
            f"found by the pairs' names, such as {pairs[0].name}.png; " + "; ".join(problems)
        )
    if settings.labels and not any(item.label for item in items):
        problems.append(
            f"{settings.labels}: no labels for pairs of {name}; expected files of the pairs' "
            "names, .png with class ids or .txt with YOLO boxes"
        )
    chosen = np.linspace(0, len(items) - 1, min(pictured, len(items))).round().astype(int)
    shown = frozenset(items[index].name for index in chosen)
    jobs = []
    for stream, group in groupby(items, _stream):
        members = list(group)
        if stream is not None:
            members = _with_ranges(members)
        # A bag that was cut off is copied for every job, so there are few.
        size = max(JOB_PAIRS, len(members) // 8) if stream and listing.problems else JOB_PAIRS
        for start in range(0, len(members), size):
            before = members[start - 1] if stream is not None and start else None
            jobs.append(Job(name, tuple(members[start : start + size]), before, shown))
    frozen = {method: frozenset(names) for method, names in used.items()}
    return Plan(name, listing.layout, tuple(jobs), tuple(problems), frozen)


def fused_images(folder: Path) -> dict[str, Path]:
    """A method's images by name: their path below the folder, without ending.

    Raises:
        InputError: no such folder, or no images in it.
    """
    folders = [folder, *(path for path in sorted(folder.rglob("*")) if path.is_dir())]
    images = {
        (file.relative_to(folder).parent / stem).as_posix(): file
        for each in folders
        for stem, file in list_images(each).items()
    }
    if not images:
        raise InputError(f"{folder}: no images in it; expected fused images of the pairs' names")
    return images


def read_items(items: Sequence[Item]) -> Iterator[tuple[Item, Pair | InputError]]:
    """Items of one file pair each, or of one stream, with their pair or why it cannot be read.

    The items of a stream are in its order.
    """
    if items[0].source.frame is None:
        for item in items:
            try:
                visible = read_visible(item.source.visible)
                yield item, Pair(visible, read_thermal(item.source.thermal))
            except InputError as error:
                yield item, InputError(f"{item.name}: {error}")
        return
    waiting = {item.source.frame: item for item in items}
    try:
        for number, pair in _frames(items):
            if number in waiting:
                yield waiting.pop(number), pair
            if not waiting:
                return
        broken = InputError(f"{items[0].source.visible}: ends early")
    except InputError as error:
        broken = error
    for item in waiting.values():
        yield item, InputError(f"{item.name}: {broken}")


def _frames(items: Sequence[Item]) -> Iterator[tuple[int, Pair]]:
    source = items[0].source
    numbers = [item.source.frame or 0 for item in items]
    if source.topics:
        return bag_pairs(source.visible, source.topics, set(numbers), source.slop, source.recover)
    return enumerate(video_pairs(source.visible, source.thermal, start=numbers[0]), numbers[0])


def _stream(item: Item) -> tuple[Path, Path] | None:
    source = item.source
    return None if source.frame is None else (source.visible, source.thermal)


def _with_ranges(items: list[Item]) -> list[Item]:
    """The items of a stream with the thermal ranges that the node would give its frames."""
    gain, ranges = ThermalGain(), {}
    for item, pair in read_items(items):
        if isinstance(pair, Pair):
            if pair.thermal.dtype == np.uint8:  # shown as it is; no need to read on
                break
            black, white = gain.update(pair.thermal)
            ranges[item.name] = (float(black), float(white))
    return [replace(item, thermal_range=ranges.get(item.name)) for item in items]


def _spelling(source: PairSource, images: dict[str, Path]) -> str | None:
    """The name under which `images` has the pair: a/1 or 1; drive#12, drive/0012 or 0012."""
    names = [source.name, source.name.rpartition("/")[2]]
    if source.frame is not None:
        stem = source.name.rpartition("#")[0]
        for width in range(1, 9):
            number = f"{source.frame:0{width}}"
            names += [f"{stem}#{number}", f"{stem}/{number}", number]
    return next((name for name in names if name in images), None)
