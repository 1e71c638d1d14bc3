"""What is scored: the pairs of an input, others' images and labels of them, cut into jobs.

A job says all that its worker needs, so that jobs run anywhere and in any order. Of a stream (a
video, a bag) how every thermal frame is shown is settled here, since it depends on the frames
before: the node smooths it in the same way.
"""

from __future__ import annotations

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
from ssvif_core.evaluation.results import OURS
from ssvif_core.recordings.bag_pairs import SLOP
from ssvif_core.recordings.images import SUFFIXES
from ssvif_core.recordings.labels import SUFFIXES as LABEL_SUFFIXES
from ssvif_core.recordings.layouts import PairSource, find_pairs, some
from ssvif_core.recordings.reading import read_frames, read_sources
from ssvif_core.thermal import StreamState, ThermalFrame, ThermalStream, without_pixels
from ssvif_core.types import Pair

NAMES = ("background", "person", "bicycle", "car")
PICTURES = ("visible", "thermal", "overlay")  # of every report, besides the fused ones
JOB_PAIRS = 16  # so few that all cores are busy to the end, so many that a video is seldom reopened


@dataclass(frozen=True)
class Settings:
    """What is the same for every pair.

    fused: others' methods: name -> folder of their fused images, named as the pairs are.
    ours: whether our model is scored; model: ONNX file, None for the shipped one.
    labels: folder of masks or YOLO boxes; None takes the masks that lie with the pairs.
    names: of the labels' class ids 0, 1, ...; the id of `person` is what person contrast is of.
    every: take every n-th pair of a video or bag. topics: of bags; None finds them by name.
    slop: largest difference of stamps in a bag's pair, ns. only: shell pattern of pairs' names.
    calibration: of the cameras; None takes aligned ones. Scores then are of the visible image's
        whole field, also where there is no thermal image.
    """

    fused: dict[str, Path] = field(default_factory=dict)
    ours: bool = True
    model: Path | None = None
    engine: str = "auto"
    precision: str = "auto"
    labels: Path | None = None
    names: tuple[str, ...] = NAMES
    every: int = 1
    topics: tuple[str, str] | None = None
    slop: int = SLOP
    only: str = "*"
    calibration: CameraPair | None = None

    @property
    def offset(self) -> int:
        """ns to add to the thermal stamps of a bag, by the calibration."""
        return round(self.calibration.time_offset * 1e9) if self.calibration else 0

    def __post_init__(self) -> None:
        if OURS in self.fused:
            raise InputError(f"--fused ...={OURS}: this name is our model's; take another")
        if not (self.ours or self.fused):
            raise InputError("nothing to score: our model is left out, and no --fused is given")
        for name in PICTURES:
            if name in self.fused:
                raise InputError(f"--fused ...={name}: every report has a picture of that name")
        if self.every < 1:
            raise InputError(f"every {self.every}; expected at least 1")
        if self.slop < 1:
            raise InputError(f"slop of {self.slop} ns; expected more than nothing")
        if not all(self.names) or len(set(self.names)) < len(self.names):
            raise InputError(
                f"names {','.join(self.names)}; expected one of its own for each id, 0, 1, 2, ..."
            )
        if self.engine != "auto" and self.engine not in ENGINES:
            raise InputError(f"engine {self.engine}; expected auto or one of {', '.join(ENGINES)}")

    @property
    def methods(self) -> tuple[str, ...]:
        """Ours first."""
        return ((OURS,) if self.ours else ()) + tuple(self.fused)


@dataclass(frozen=True)
class Shown:
    """How the node shows the thermal image of one moment of a stream, as its past has it.

    range: counts shown as black and as white. dead: places (x, y) of dead pixels.
    """

    range: tuple[float, float]
    state: StreamState
    dead: tuple[tuple[int, int], ...]

    def view(self, thermal: np.ndarray) -> ThermalFrame:
        """The view of the image, (h, w), of that moment."""
        dead = np.array(self.dead, int).reshape(-1, 2)
        return ThermalFrame(
            without_pixels(thermal, dead), np.array(self.range, np.float32), self.state
        )


@dataclass(frozen=True)
class Item:
    """One pair: its name in the evaluation, where it lies, others' images and labels of it.

    shown: how its thermal image is; None: by the image itself.
    """

    name: str
    source: PairSource
    fused: dict[str, Path] = field(default_factory=dict)
    label: Path | None = None
    shown: Shown | None = None


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
    listing = find_pairs(
        path, settings.every, settings.topics, settings.slop, True, settings.offset
    )
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
    items, used = _items_of(pairs, name, prefix, settings, problems)
    chosen = np.linspace(0, len(items) - 1, min(pictured, len(items))).round().astype(int)
    shown = frozenset(items[index].name for index in chosen)
    jobs = []
    for stream, group in groupby(items, _stream):
        members = list(group)
        if stream is not None:
            members = _as_shown(members)
        # A bag that was cut off is copied for every job, so there are few.
        size = max(JOB_PAIRS, len(members) // 8) if stream and listing.problems else JOB_PAIRS
        for start in range(0, len(members), size):
            before = members[start - 1] if stream is not None and start else None
            if before is not None and not follow(before, members[start]):
                before = None
            jobs.append(Job(name, tuple(members[start : start + size]), before, shown))
    return Plan(name, listing.layout, tuple(jobs), tuple(problems), used)


def _items_of(
    pairs: Sequence[PairSource], name: str, prefix: str, settings: Settings, problems: list[str]
) -> tuple[list[Item], dict[str, frozenset[str]]]:
    """The pairs of which every method has an image, with their labels; and which images are used.

    What is missing is added to `problems`.
    """
    files = {method: fused_images(folder) for method, folder in settings.fused.items()}
    labels = label_files(settings.labels) if settings.labels else {}
    items = []
    used: dict[str, set[str]] = {method: set() for method in files}
    missing: dict[str, list[str]] = {method: [] for method in files}
    for source in pairs:
        fused, label = {}, source.mask
        for method, images in files.items():
            spelling = _spelling(source, images, prefix)
            if spelling is None:
                missing[method].append(source.name)
            else:
                used[method].add(spelling)
                fused[method] = images[spelling]
        if settings.labels:
            spelling = _spelling(source, labels, prefix)
            label = None if spelling is None else labels[spelling]
        if len(fused) == len(files):
            items.append(Item(prefix + source.name, source, fused, label))
    for method, names in missing.items():
        if names:
            problems.append(
                f"{method}: no image of {len(names)} of the {len(pairs)} pairs of {name}, which "
                f"are left out for every method: {some(names)}"
            )
    example = prefix + pairs[0].name
    if not items:
        raise InputError(
            f"{name}: none of its {len(pairs)} pairs has an image of every method; images are "
            f"found by the pairs' names, such as {example}.png; " + "; ".join(problems)
        )
    if settings.labels and not any(item.label for item in items):
        problems.append(
            f"{settings.labels}: no labels for pairs of {name}; expected files such as "
            f"{example}.png with class ids, or {example}.txt with YOLO boxes"
        )
    return items, {method: frozenset(names) for method, names in used.items()}


def fused_images(folder: Path) -> dict[str, Path]:
    """A method's images by name: their path below the folder, without ending.

    Raises:
        InputError: no such folder, or no images in it.
    """
    images = _files_by_name(folder, SUFFIXES)
    if not images:
        raise InputError(f"{folder}: no images in it; expected fused images of the pairs' names")
    return images


def label_files(folder: Path) -> dict[str, Path]:
    """Masks and boxes by name, as `fused_images`."""
    return _files_by_name(folder, LABEL_SUFFIXES)


def _files_by_name(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one of files of the pairs' names")
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in suffixes and file.is_file():
            name = file.relative_to(folder).with_suffix("").as_posix()
            if name in files:
                raise InputError(
                    f"{folder}: {files[name].name} and {file.name} share the name '{name}', by "
                    "which they are found; keep one of them"
                )
            files[name] = file
    return files


def follow(previous: Item, item: Item) -> bool:
    """Whether two items of a stream are neighbouring frames."""
    return (item.source.frame or 0) - (previous.source.frame or 0) == 1


def read_items(items: Sequence[Item]) -> Iterator[tuple[Item, Pair | InputError]]:
    """Items of one file pair each, or of one stream, with their pair or why it cannot be read.

    The items of a stream are in its order.
    """
    for index, pair in read_sources([item.source for item in items]):
        item = items[index]
        bad = isinstance(pair, InputError)
        yield item, InputError(f"{item.name}: {pair}") if bad else pair


def _stream(item: Item) -> tuple[Path, Path] | None:
    source = item.source
    return None if source.frame is None else (source.visible, source.thermal)


def _as_shown(items: list[Item]) -> list[Item]:
    """The items of a stream with how the node would show their thermal images.

    The node sees every frame, so all before the last item are looked at.
    """
    stream, shown = ThermalStream(), {}
    last = items[-1].source.frame or 0
    with suppress(InputError):  # which is said where the frames are scored
        for number, pair in read_frames(items[0].source, range(last + 1)):
            if isinstance(pair, InputError):
                continue
            view = stream(pair.thermal, pair.thermal_stamp)
            black, white = (float(count) for count in view.range)
            dead = tuple((int(x), int(y)) for x, y in stream.pixels.found)
            shown[number] = Shown((black, white), view.state, dead)
            if number >= last:
                break
    return [replace(item, shown=shown.get(item.source.frame or 0)) for item in items]


def _spelling(source: PairSource, files: dict[str, Path], prefix: str) -> str | None:
    """The name under which `files` has the pair: a/1 or 1; drive#12, drive/0012 or 0012.

    With several inputs it must begin with the input's name, or it might mean another's pair.
    """
    names = [source.name]
    if not prefix:
        names.append(source.name.rpartition("/")[2])
    if source.frame is not None:
        stem = source.name.rpartition("#")[0]
        for width in range(1, 9):
            number = f"{source.frame:0{width}}"
            names += [f"{stem}#{number}", f"{stem}/{number}", number]
    return next((prefix + name for name in names if prefix + name in files), None)
