"""The plan of an evaluation: pairs of an input, others' images and labels, divided into jobs.

A job holds all that its worker needs, so jobs run anywhere and in any order. The display of a
thermal frame in a stream (video or bag) depends on earlier frames, because the node smooths the
thermal range. So the plan computes it for each frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

import numpy as np

from ssvif_core.cameras.model import CameraPair
from ssvif_core.engines import ENGINES
from ssvif_core.errors import InputError
from ssvif_core.evaluation.results import OURS, OVERLAY
from ssvif_core.labels import Label, label_of, read_labels, unknown_classes
from ssvif_core.recordings.decode import Reading
from ssvif_core.recordings.images import SUFFIXES
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.reading import read_frames, read_sources
from ssvif_core.recordings.sources import PairSource, some, split_by_time
from ssvif_core.recordings.time_pairing import SLOP_NS
from ssvif_core.thermal import StreamState, ThermalFrame, ThermalStream, without_pixels
from ssvif_core.types import AnyArray, Pair

NAMES = ("background", "person", "bicycle", "car")
PICTURES = ("visible", "thermal")  # in each report, besides the fused images and overlays
JOB_PAIRS = 16  # few enough to keep all cores busy, enough to reopen videos rarely


@dataclass(frozen=True)
class Settings:
    """Settings that are the same for all pairs.

    fused: others' methods: name -> folder of their fused images, named like the pairs.
    models: our models: name -> ONNX file, None for the shipped one; may be empty.
    labels: folder or file of labels; None takes the masks next to the pairs.
    names: of the labels' class ids 0, 1, ...; person contrast is measured on class `person`.
    every: take every n-th pair of a video or bag. last: score this share, at the end of each video,
        bag or folder. topics: of bags; None finds them by name.
    slop_ns: largest difference of stamps in a pair of a bag. only: shell pattern for pair names.
    calibration: camera pair; None means aligned cameras. With one, what both cameras see is scored.
    thermal_time_offset: seconds to add to thermal stamps, besides that of the calibration.
    reading: what must be known of a bag's cameras.

    Raises InputError if a value is not usable.
    """

    fused: dict[str, Path] = field(default_factory=dict)
    models: dict[str, Path | None] = field(default_factory=lambda: {OURS: None})
    engine: str = "auto"
    precision: str = "fp32"
    working_size: str = "full"
    labels: Path | None = None
    names: tuple[str, ...] = NAMES
    every: int = 1
    last: float = 1.0
    topics: tuple[str, str] | None = None
    slop_ns: int = SLOP_NS
    only: str = "*"
    calibration: CameraPair | None = None
    thermal_time_offset: float = 0.0
    reading: Reading = Reading()

    @property
    def offset_ns(self) -> int:
        """What to add to the thermal stamps of a bag: by the calibration, and besides."""
        calibrated_s = self.calibration.time_offset if self.calibration else 0.0
        return round((calibrated_s + self.thermal_time_offset) * 1e9)

    def __post_init__(self) -> None:
        for name in set(self.models) & set(self.fused):
            raise InputError(f"--fused ...={name}: this name is our model's; use another name")
        if not (self.models or self.fused):
            raise InputError("nothing to score: our model is left out and no --fused is given")
        for option, named in (("fused", self.fused), ("model", self.models)):
            for name in named:
                if name in PICTURES or name.startswith(OVERLAY):
                    raise InputError(
                        f"--{option} ...={name}: each report has a picture of that name"
                    )
        if not math.isfinite(self.thermal_time_offset):
            raise InputError(f"thermal time offset {self.thermal_time_offset}; expected seconds")
        if self.every < 1:
            raise InputError(f"every is {self.every}; expected at least 1")
        if not 0 < self.last <= 1:
            raise InputError(f"last is {self.last}; expected a share above 0, at most 1")
        if self.slop_ns < 1:
            raise InputError(f"slop is {self.slop_ns} ns; expected at least 1 ns")
        if not all(self.names) or len(set(self.names)) < len(self.names):
            raise InputError(
                f"names are {','.join(self.names)}; expected a different name for each class id "
                "0, 1, 2, ..."
            )
        if self.engine != "auto" and self.engine not in ENGINES:
            raise InputError(f"engine {self.engine}; expected auto or one of {', '.join(ENGINES)}")

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of all methods, ours first."""
        return (*self.models, *self.fused)


@dataclass(frozen=True)
class ThermalDisplay:
    """How the node displays one thermal image of a stream, which depends on earlier frames.

    range: counts shown as black and as white. dead: positions (x, y) of dead pixels.
    """

    range: tuple[float, float]
    state: StreamState
    dead: tuple[tuple[int, int], ...]

    def frame(self, thermal: AnyArray) -> ThermalFrame:
        """The thermal frame of its image, (h, w) uint8 or uint16 counts."""
        dead = np.array(self.dead, int).reshape(-1, 2)
        return ThermalFrame(
            without_pixels(thermal, dead), np.array(self.range, np.float32), self.state
        )


@dataclass(frozen=True)
class Item:
    """One pair: its name in the evaluation, its source, others' images and its labels.

    display: of the thermal image; None if it depends on the image alone.
    """

    name: str
    source: PairSource
    fused: dict[str, Path] = field(default_factory=dict)
    label: Label | None = None
    display: ThermalDisplay | None = None


@dataclass(frozen=True)
class Job:
    """Neighbouring pairs of one input.

    before: in a stream, the frame before the first item, for measuring changes.
    pictured: names of the pairs to make pictures of. measured: whether to compute scores.
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
    """The jobs of one input, its layout in words, and problems: what is left out and why.

    used: for each other method, the names of the images that belong to a pair.
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
    """A unique short name for each input: its file name, with parent folders if needed.

    Raises:
        InputError: an input is given twice.
    """
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
        prefix: of the names of its pairs.
        pictured: number of pairs, evenly spread, to make pictures of.

    A pair without an image of one method is left out for all methods, so that all methods are
    scored on the same pairs.

    Raises:
        InputError: there are no pairs, or no pair has an image of every method.
    """
    listing = find_pairs(
        path, settings.every, settings.topics, settings.slop_ns, True, settings.offset_ns,
        settings.reading,
    )  # fmt: skip
    problems = list(listing.problems)
    if listing.unpaired:
        problems.append(
            f"{path}: {len(listing.unpaired)} images have no partner: "
            f"{some([str(file.relative_to(path)) for file in listing.unpaired])}"
        )
    _, held = split_by_time(listing.pairs, settings.last)
    pairs = [source for source in held if fnmatchcase(source.name, settings.only)]
    if not pairs:
        raise InputError(
            f"{path}: none of its {len(held)} pairs matches --only '{settings.only}'; "
            f"their names are {some([source.name for source in held])}"
        )
    items, used = _items_of(pairs, name, prefix, settings, problems)
    spread = np.linspace(0, len(items) - 1, min(pictured, len(items))).round().astype(int)
    pictured_names = frozenset(items[index].name for index in spread)
    jobs = []
    for stream, group in groupby(items, lambda item: item.source.stream):
        members = list(group)
        if stream:
            members = _with_displays(members)
        # A bag that was cut off is copied for each job, so use few jobs.
        size = max(JOB_PAIRS, len(members) // 8) if stream and listing.problems else JOB_PAIRS
        for start in range(0, len(members), size):
            before = members[start - 1] if stream and start else None
            if before and not follow(before, members[start]):
                before = None
            jobs.append(Job(name, tuple(members[start : start + size]), before, pictured_names))
    return Plan(name, listing.layout, tuple(jobs), tuple(problems), used)


def _items_of(
    pairs: Sequence[PairSource], name: str, prefix: str, settings: Settings, problems: list[str]
) -> tuple[list[Item], dict[str, frozenset[str]]]:
    """The pairs with an image of every method, with their labels; and the images used.

    Adds missing images and labels to `problems`.
    """
    files = {method: fused_images(folder) for method, folder in settings.fused.items()}
    labels = read_labels(settings.labels) if settings.labels else None
    items = []
    used: dict[str, set[str]] = {method: set() for method in files}
    missing: dict[str, list[str]] = {method: [] for method in files}
    for source in pairs:
        fused, label = {}, label_of(source, labels, prefix)
        for method, images in files.items():
            file_name = _file_name(source, images, prefix)
            if file_name is None:
                missing[method].append(source.name)
            else:
                used[method].add(file_name)
                fused[method] = images[file_name]
        if len(fused) == len(files):
            items.append(Item(prefix + source.name, source, fused, label))
    for method, names in missing.items():
        if names:
            problems.append(
                f"{method}: no image for {len(names)} of the {len(pairs)} pairs of {name}; these "
                f"pairs are left out for all methods: {some(names)}"
            )
    example = prefix + pairs[0].name
    if not items:
        raise InputError(
            f"{name}: none of its {len(pairs)} pairs has an image of every method; name images "
            f"like the pairs, such as {example}.png; " + "; ".join(problems)
        )
    if labels is not None:
        found = [item.label for item in items if item.label is not None]
        if not found:
            problems.append(labels.describe_none([item.source for item in items]))
        if unknown := unknown_classes(found, settings.names):
            problems.append(
                f"{labels.path}: the classes {', '.join(unknown)} are not counted; name all with "
                f"--names (now {','.join(settings.names)})"
            )
    return items, {method: frozenset(names) for method, names in used.items()}


def fused_images(folder: Path) -> dict[str, Path]:
    """A method's images by name: the path below the folder, without suffix.

    Raises:
        InputError: no such folder, no images in it, or two images of one name.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected files named like the pairs")
    images: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            name = file.relative_to(folder).with_suffix("").as_posix()
            if name in images:
                raise InputError(
                    f"{folder}: {images[name].name} and {file.name} have the same name '{name}'; "
                    "keep one of them"
                )
            images[name] = file
    if not images:
        raise InputError(f"{folder}: no images in it; expected fused images named like the pairs")
    return images


def follow(previous: Item, item: Item) -> bool:
    """Whether two items of a stream are neighbouring frames."""
    return (item.source.frame or 0) - (previous.source.frame or 0) == 1


def read_items(items: Sequence[Item]) -> Iterator[tuple[Item, Pair | InputError]]:
    """Read items of files, or of one stream in its order; yield each with its pair or error."""
    for index, pair in read_sources([item.source for item in items]):
        item = items[index]
        failed = isinstance(pair, InputError)
        yield item, InputError(f"{item.name}: {pair}") if failed else pair


def _with_displays(items: list[Item]) -> list[Item]:
    """The items of a stream with the node's display of their thermal images.

    The node sees all frames, so all frames up to the last item are read.
    """
    stream, displays = ThermalStream(), {}
    last = items[-1].source.frame or 0
    with suppress(InputError):  # scoring the frame reports it
        for index, pair in read_frames(items[0].source, last):
            if isinstance(pair, InputError):
                continue
            frame = stream(pair.thermal, pair.thermal_stamp)
            black, white = (float(count) for count in frame.range)
            dead = tuple((int(x), int(y)) for x, y in stream.pixels.found)
            displays[index] = ThermalDisplay((black, white), frame.state, dead)
    return [replace(item, display=displays.get(item.source.frame or 0)) for item in items]


def _file_name(source: PairSource, files: dict[str, Path], prefix: str) -> str | None:
    """The key of a pair in `files`."""
    return next((name for name in source.file_names(prefix) if name in files), None)
