"""A job -> scores: reads its pairs, fuses them, measures every method, makes small pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.evaluation.plan import Item, Job, Settings, follow, read_items
from ssvif_core.evaluation.results import OURS, PairScores
from ssvif_core.metrics import (
    Analysed,
    LumaFrame,
    box_regions,
    confusion_matrix,
    flicker,
    fusion_metrics,
    luma_of_bgr,
    person_regions,
    region_contrast,
)
from ssvif_core.metrics.person_contrast import Region
from ssvif_core.overlay import colours_of, draw_overlay
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.images import read_visible
from ssvif_core.recordings.labels import IGNORE, fit_mask, read_boxes, read_mask
from ssvif_core.thermal import ThermalConfig, ThermalStream, to_grey
from ssvif_core.types import Pair

PERSON = "person"
PICTURE_SIDE = 640  # px, the longer one
PICTURE_QUALITY = 60
BLOCK_FRAMES = 30  # a second, at the rate most cameras have
ASPECT = 0.02  # relative difference of proportions up to which an image is stretched


@dataclass(frozen=True)
class PairResult:
    """What came of one pair.

    rows: one a method; empty if it was left out, and `problems` say why.
    confusion: (C + 1, C + 1) int64 of our labels against the mask, rows are the truth; the last
        class is what the masks have no name for. None without mask.
    pictures: name -> WebP.
    """

    name: str
    rows: tuple[PairScores, ...] = ()
    confusion: np.ndarray | None = None
    problems: tuple[str, ...] = ()
    pictures: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class _Moment:
    """A pair with its fused images: thermal grey levels on the visible grid, labels of ours."""

    item: Item
    visible: np.ndarray
    thermal: np.ndarray
    fused: dict[str, np.ndarray]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    problems: tuple[str, ...]

    @cached_property
    def analysed(self) -> tuple[Analysed, Analysed]:
        """Both sources; what scores need of them is the same for every method."""
        return Analysed(luma_of_bgr(self.visible)), Analysed(self.thermal)

    def luma(self, method: str) -> LumaFrame:
        return LumaFrame(luma_of_bgr(self.visible), self.thermal, luma_of_bgr(self.fused[method]))


class Scorer:
    """Scores jobs; keeps the engine between them. Belongs to one thread of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # One thread: the cores are shared out by processes, and sums come out alike everywhere.
        self._pipeline = FusionPipeline(
            settings.model,
            settings.engine,
            settings.precision,
            threads=1,
            calibration=settings.calibration,
        )

    def __call__(self, job: Job) -> list[PairResult]:
        """Results of the job's pairs, in their order."""
        cv2.setNumThreads(1)
        results = {}
        previous: _Moment | None = None
        for item, read in read_items([*([job.before] if job.before else []), *job.items]):
            try:
                if isinstance(read, InputError):
                    raise read
                moment = self._fuse(item, read)
            except InputError as error:
                results[item.name] = PairResult(item.name, problems=(str(error),))
                previous = None
                continue
            if item is not job.before:
                results[item.name] = self._result(job, moment, previous)
            previous = moment if job.is_stream else None
        return [results[item.name] for item in job.items]

    def _fuse(self, item: Item, pair: Pair) -> _Moment:
        height, width = pair.visible.shape[:2]
        alone = ThermalStream(ThermalConfig(smoothing=0))
        view = alone(pair.thermal) if item.shown is None else item.shown.view(pair.thermal)
        fused: dict[str, np.ndarray] = {}
        labels, problems = None, []
        classes: tuple[str, ...] = ()
        if self.settings.ours:
            fusion = self._pipeline(pair, view)
            fused[OURS], labels = fusion.fused.copy(), fusion.labels.copy()
            classes = self._pipeline.class_names
        for method, path in item.fused.items():
            image = read = read_visible(path)
            if image.shape[:2] != (height, width):
                image = _stretched(image, height, width, f"{method}, {item.name}")
                own = f"{read.shape[1]}x{read.shape[0]}"
                problems.append(f"{method}: images of {own} are stretched to {width}x{height}")
            fused[method] = image
        grey = to_grey(view.thermal, view.range, height, width)
        return _Moment(item, pair.visible, grey, fused, labels, classes, tuple(problems))

    def _result(self, job: Job, moment: _Moment, previous: _Moment | None) -> PairResult:
        name, problems = moment.item.name, list(moment.problems)
        pictures = _pictures(moment) if name in job.pictured else {}
        if not job.measured:
            return PairResult(name, pictures=pictures)
        try:
            regions, truth = self._labels(moment, problems)
            rows = tuple(
                self._scores(job.input, moment, previous, method, regions)
                for method in moment.fused
            )
        except (InputError, ValueError) as error:
            return PairResult(name, problems=(f"{name}: {error}",))
        confusion = None if truth is None else self._confusion(moment, truth)
        return PairResult(name, rows, confusion, tuple(problems), pictures)

    def _scores(
        self, name: str, moment: _Moment, previous: _Moment | None, method: str,
        regions: list[Region],
    ) -> PairScores:  # fmt: skip
        visible, thermal = moment.analysed
        scores = fusion_metrics(visible, thermal, moment.fused[method], extended=True)
        frame = moment.luma(method)
        if previous is not None and follow(previous.item, moment.item):
            change = flicker(previous.luma(method), frame)
            if change.valid:
                scores |= {"flicker": change.flicker, "wobble": change.wobble}
        persons = region_contrast(frame.visible, frame.thermal, frame.fused, regions)
        kept = tuple(person.kept for person in persons)
        return PairScores(moment.item.name, name, method, scores, kept, _block(moment.item))

    def _labels(
        self, moment: _Moment, problems: list[str]
    ) -> tuple[list[Region], np.ndarray | None]:
        """The persons, and the class ids of the pair's pixels if there is a mask."""
        path, names = moment.item.label, self.settings.names
        height, width = moment.thermal.shape
        if path is None:
            return [], None
        person = names.index(PERSON) if PERSON in names else -1
        if path.suffix == ".txt":
            boxes = [box for box in read_boxes(path, height, width) if box.kind == person]
            edges = [(box.left, box.top, box.right, box.bottom) for box in boxes]
            return box_regions(edges, height, width), None  # boxes say little about pixels
        mask = fit_mask(read_mask(path), height, width)
        unknown = sorted(set(np.unique(mask).tolist()) - set(range(len(names))) - {IGNORE})
        if unknown:
            problems.append(
                f"{path}: class ids {unknown} have no name and are not counted; give the names of "
                f"all ids with --names (now {','.join(names)})"
            )
            mask[np.isin(mask, unknown)] = IGNORE
        return person_regions(mask, person) if person >= 0 else [], mask

    def _confusion(self, moment: _Moment, truth: np.ndarray) -> np.ndarray | None:
        names = self.settings.names
        if moment.labels is None or not set(moment.classes) & set(names):
            return None
        of_class = np.full(256, len(names), np.uint8)
        for number, name in enumerate(moment.classes):
            if name in names:
                of_class[number] = names.index(name)
        return confusion_matrix(truth, cv2.LUT(moment.labels, of_class), len(names) + 1, IGNORE)


def _block(item: Item) -> str:
    """What neighbours in a stream share; see `PairScores`."""
    stem, separator, _ = item.name.rpartition("#")
    frame = item.source.frame
    return item.name if frame is None else f"{stem}{separator}{frame // BLOCK_FRAMES}"


def _stretched(image: np.ndarray, height: int, width: int, what: str) -> np.ndarray:
    own_height, own_width = image.shape[:2]
    if abs(own_width * height / (own_height * width) - 1) > ASPECT:
        raise InputError(
            f"{what}: an image of {own_width}x{own_height}, expected {width}x{height} as the "
            "visible one; it shows another part of the scene, so the pair is left out"
        )
    smaller = own_height > height
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    )


def _pictures(moment: _Moment) -> dict[str, bytes]:
    images = {"visible": moment.visible, "thermal": moment.thermal, **moment.fused}
    if moment.labels is not None:
        colours = colours_of(moment.classes)
        images["overlay"] = draw_overlay(moment.fused[OURS], moment.labels, colours, 0.4)
    return dict(_encoded(images))


def _encoded(images: dict[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
    for name, image in images.items():
        height, width = image.shape[:2]
        scale = min(1.0, PICTURE_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        webp = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, PICTURE_QUALITY])[1]
        yield name, webp.tobytes()
