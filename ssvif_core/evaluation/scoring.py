"""Scores a job: reads and fuses its pairs, measures each method, makes small pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from ssvif_core.cameras.overlap import Overlap, Overlaps
from ssvif_core.errors import InputError
from ssvif_core.evaluation.plan import Item, Job, Settings, follow, read_items
from ssvif_core.evaluation.results import PairScores, overlay_of
from ssvif_core.labels import IGNORE
from ssvif_core.metrics import (
    AnalysedImage,
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
from ssvif_core.thermal import ThermalConfig, ThermalStream, to_grey
from ssvif_core.types import Int64Array, Pair, UInt8Array

PERSON = "person"
PICTURE_SIDE = 640  # pixels of the longer side
PICTURE_QUALITY = 60
BLOCK_FRAMES = 30  # one second at the rate of most cameras
ASPECT = 0.02  # largest relative difference of aspect ratios for resizing an image


@dataclass(frozen=True)
class PairResult:
    """The result of one pair.

    rows: one for each method; empty if the pair was left out, see `problems`.
    confusions: by model, (C + 1, C + 1) int64 of its labels and the mask, rows are the truth; the
        last class holds labels that the masks have no name for. Empty without a mask.
    pictures: name -> WebP.
    """

    name: str
    rows: tuple[PairScores, ...] = ()
    confusions: dict[str, Int64Array] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    pictures: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class _FusedPair:
    """A pair with its fused images.

    visible: (H, W, 3). thermal: (H, W) grey levels. fused: method -> (H, W, 3).
    labels: of each of our models, (H, W), with class names `classes`.
    whole: height and width of the visible image. All images are cut to `overlap`, if there is one.
    """

    item: Item
    visible: UInt8Array
    thermal: UInt8Array
    fused: dict[str, UInt8Array]
    labels: dict[str, UInt8Array]
    classes: dict[str, tuple[str, ...]]
    problems: tuple[str, ...]
    whole: tuple[int, int]
    overlap: Overlap | None

    @cached_property
    def sources(self) -> tuple[AnalysedImage, AnalysedImage]:
        """Both sources, with intermediate results that all methods share."""
        return AnalysedImage(luma_of_bgr(self.visible)), AnalysedImage(self.thermal)

    def luma(self, method: str) -> LumaFrame:
        fused = luma_of_bgr(self.fused[method])
        labels = self.labels.get(method)
        return LumaFrame(luma_of_bgr(self.visible), self.thermal, fused, labels)


class Scorer:
    """Scores jobs and keeps the engine between them. Use it in one thread of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # One thread: processes share the cores, and sums are equal on all machines.
        self._pipelines = {
            name: FusionPipeline(
                model,
                settings.engine,
                settings.precision,
                threads=1,
                calibration=settings.calibration,
                working_size=settings.working_size,
            )
            for name, model in settings.models.items()
        }
        self._overlaps = Overlaps(settings.calibration) if settings.calibration else None

    def __call__(self, job: Job) -> list[PairResult]:
        """The results of the job's pairs, in their order."""
        cv2.setNumThreads(1)
        results = {}
        previous: _FusedPair | None = None
        for item, pair in read_items([*([job.before] if job.before else []), *job.items]):
            try:
                if isinstance(pair, InputError):
                    raise pair
                fused = self._fuse(item, pair)
            except InputError as error:
                results[item.name] = PairResult(item.name, problems=(str(error),))
                previous = None
                continue
            if item is not job.before:
                results[item.name] = self._result(job, fused, previous)
            previous = fused if job.is_stream else None
        return [results[item.name] for item in job.items]

    def _fuse(self, item: Item, pair: Pair) -> _FusedPair:
        height, width = pair.visible.shape[:2]
        if item.display is None:
            frame = ThermalStream(ThermalConfig(smoothing=0))(pair.thermal)
        else:
            frame = item.display.frame(pair.thermal)
        fused: dict[str, UInt8Array] = {}
        labels: dict[str, UInt8Array] = {}
        problems = []
        for name, pipeline in self._pipelines.items():
            fusion = pipeline(pair, frame)
            fused[name], labels[name] = fusion.fused.copy(), fusion.labels.copy()
        classes = {name: pipeline.class_names for name, pipeline in self._pipelines.items()}
        for method, path in item.fused.items():
            image = read_visible(path)
            size = f"{image.shape[1]}x{image.shape[0]}"
            if image.shape[:2] != (height, width):
                image = _resized(image, height, width, f"{method}, {item.name}")
                problems.append(f"{method}: images of {size} are resized to {width}x{height}")
            fused[method] = image
        # Scores compare what both cameras see.
        visible, thermal, overlap = pair.visible, frame.thermal, None
        if self._overlaps is not None:
            overlap = self._overlaps.of(pair)
            visible, thermal = overlap.cut(visible), overlap.warp(thermal)
            fused = {method: overlap.cut(image) for method, image in fused.items()}
            labels = {model: overlap.cut(image) for model, image in labels.items()}
        grey = to_grey(thermal, frame.range, *visible.shape[:2])
        return _FusedPair(
            item, visible, grey, fused, labels, classes, tuple(problems), (height, width), overlap
        )

    def _result(self, job: Job, pair: _FusedPair, previous: _FusedPair | None) -> PairResult:
        name, problems = pair.item.name, list(pair.problems)
        pictures = _pictures(pair) if name in job.pictured else {}
        if not job.measured:
            return PairResult(name, pictures=pictures)
        try:
            regions, truth = self._labels(pair, problems)
            rows = tuple(
                self._scores(job.input, pair, previous, method, regions) for method in pair.fused
            )
        except (InputError, ValueError) as error:
            return PairResult(name, problems=(f"{name}: {error}",))
        confusions = {} if truth is None else self._confusions(pair, truth)
        return PairResult(name, rows, confusions, tuple(problems), pictures)

    def _scores(
        self, input_name: str, pair: _FusedPair, previous: _FusedPair | None, method: str,
        regions: list[Region],
    ) -> PairScores:  # fmt: skip
        visible, thermal = pair.sources
        scores = fusion_metrics(visible, thermal, pair.fused[method], extended=True)
        frame = pair.luma(method)
        if previous is not None and follow(previous.item, pair.item):
            change = flicker(previous.luma(method), frame)
            if change.valid:
                scores |= {"flicker": change.flicker, "wobble": change.wobble}
                if not np.isnan(change.label_change):
                    scores["label_change"] = change.label_change
        persons = region_contrast(frame.visible, frame.thermal, frame.fused, regions)
        kept = tuple(person.kept for person in persons)
        return PairScores(pair.item.name, input_name, method, scores, kept, _block(pair.item))

    def _labels(
        self, pair: _FusedPair, problems: list[str]
    ) -> tuple[list[Region], UInt8Array | None]:
        """The regions of persons, and the mask (H, W) if there is one."""
        label, names = pair.item.label, self.settings.names
        overlap, (height, width) = pair.overlap, pair.whole
        if label is None:
            return [], None
        person_id = names.index(PERSON) if PERSON in names else -1
        boxes = label.boxes(names, height, width)
        if boxes is not None:
            top, left = (overlap.rows.start, overlap.columns.start) if overlap else (0, 0)
            edges = [
                (box.left - left, box.top - top, box.right - left, box.bottom - top)
                for box in boxes
                if box.class_id == person_id
            ]
            # Boxes do not label single pixels.
            return box_regions(edges, *pair.thermal.shape), None
        mask = label.draw(names, height, width)
        mask = mask if overlap is None else overlap.cut(mask)
        unknown = sorted(set(np.unique(mask).tolist()) - set(range(len(names))) - {IGNORE})
        if unknown:
            problems.append(
                f"{label.path}: class ids {unknown} have no name and are not counted; name all ids "
                f"with --names (now {','.join(names)})"
            )
            mask[np.isin(mask, unknown)] = IGNORE
        return person_regions(mask, person_id) if person_id >= 0 else [], mask

    def _confusions(self, pair: _FusedPair, truth: UInt8Array) -> dict[str, Int64Array]:
        names = self.settings.names
        matrices = {}
        for model, classes in pair.classes.items():
            if not set(classes) & set(names):
                continue
            mask_ids = np.full(256, len(names), np.uint8)  # by the model's class id
            for class_id, name in enumerate(classes):
                if name in names:
                    mask_ids[class_id] = names.index(name)
            labels = cv2.LUT(pair.labels[model], mask_ids)
            matrices[model] = confusion_matrix(truth, labels, len(names) + 1, IGNORE)
        return matrices


def _block(item: Item) -> str:
    """The name of the item's block, see `PairScores`."""
    stem, separator, _ = item.name.rpartition("#")
    frame = item.source.frame
    return item.name if frame is None else f"{stem}{separator}{frame // BLOCK_FRAMES}"


def _resized(image: UInt8Array, height: int, width: int, name: str) -> UInt8Array:
    """The image (h, w, 3) at the size of the visible image.

    Raises:
        InputError: the aspect ratios differ.
    """
    own_height, own_width = image.shape[:2]
    if abs(own_width * height / (own_height * width) - 1) > ASPECT:
        raise InputError(
            f"{name}: the fused image is {own_width}x{own_height}, expected {width}x{height} like "
            "the visible image or the same aspect ratio; the pair is left out"
        )
    interpolation = cv2.INTER_AREA if own_height > height else cv2.INTER_LINEAR
    resized: UInt8Array = cv2.resize(image, (width, height), interpolation=interpolation)
    return resized


def _pictures(pair: _FusedPair) -> dict[str, bytes]:
    images = {"visible": pair.visible, "thermal": pair.thermal, **pair.fused}
    for model, labels in pair.labels.items():
        overlay = draw_overlay(pair.fused[model], labels, colours_of(pair.classes[model]), 0.4)
        images[overlay_of(model, next(iter(pair.labels)))] = overlay
    return {name: _webp(image) for name, image in images.items()}


def _webp(image: UInt8Array) -> bytes:
    """A small picture of an image, (H, W[, 3])."""
    height, width = image.shape[:2]
    scale = min(1.0, PICTURE_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    webp: UInt8Array = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, PICTURE_QUALITY])[1]
    return webp.tobytes()
