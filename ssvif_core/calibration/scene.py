"""Calibration from any scene, without a board: search, refine, judge.

Some scenes do not show the mapping: fog, a blank wall, a dark night. The result is then a refusal
with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ssvif_core.calibration.refine import PASSES, Refined, refine
from ssvif_core.calibration.search import SearchLimits, corner_distance, search
from ssvif_core.cameras.model import Camera, CameraPair, aligned
from ssvif_core.errors import InputError
from ssvif_core.types import Pair, Shapes

SEARCH_FRAMES, REFINE_FRAMES = 6, 24  # more frames add little
# Limits for acceptance, set on MSRS training pairs and generated drives; see docs/results.md.
MIN_BEYOND = 1.15  # best score / score of the best different mapping
MIN_AGREEMENT = 0.6
MAX_DEVIATION = 4.5  # visible pixels in an image 640 wide
# Error of one frame that its patches do not show, pixels in an image 640 wide. Near and far objects
# do not fit one homography, and the cameras see different edges of some objects. MSRS single pairs
# with a deviation below 4.5 have 3.4 (90 %: 2.2 to 4.4), including 2 of the reference itself.
FRAME_DEVIATION = 3.0


@dataclass(frozen=True, eq=False)
class SceneCalibration:
    """The mapping from a scene, and how reliable it is.

    pair: the camera pair; None if the scene does not show the mapping.
    reason: why `pair` is None, and what to do; otherwise empty.
    agreement: share of the patches that agree with the result, 0 to 1.
    deviation: standard deviation at the worst corner of the overlap, visible pixels.
    beyond: score of the result divided by the score of the best different mapping.
    frames: how many frames were used.
    independent: how many independent frames they are worth; 1 if all are the same.
    best: the camera pair without the limits for acceptance, for measurements.
    """

    pair: CameraPair | None
    reason: str
    agreement: float
    deviation: float
    beyond: float
    frames: int
    independent: float
    best: CameraPair


def calibrate_from_scene(
    pairs: Sequence[Pair],
    visible: Camera | None = None,
    thermal: Camera | None = None,
    limits: SearchLimits = SearchLimits(),
    start: CameraPair | None = None,
) -> SceneCalibration:
    """The camera pair from pairs of any scene. Varied pairs are best.

    visible, thermal: cameras with known lenses. Without them, the visible lens counts as free of
        distortion, and the radial distortion of the thermal lens is estimated. A lens that was
        estimated before is estimated again.
    start: a camera pair that is right to about 6 % of the width; it replaces the search.

    Raises:
        InputError: there are no pairs, their sizes differ, or they do not fit the cameras.
    """
    if not pairs:
        raise InputError("no pairs; expected at least one to calibrate from")
    if len({(pair.visible.shape, pair.thermal.shape) for pair in pairs}) > 1:
        raise InputError("pairs of different sizes; expected one size; calibrate each size alone")
    sizes = Shapes.of(pairs[0]).sizes
    chosen = _evenly_spread(pairs, REFINE_FRAMES)
    visible_images = [pair.visible for pair in chosen]
    thermal_images = [pair.thermal for pair in chosen]
    parts = np.array_split(np.arange(len(chosen)), min(SEARCH_FRAMES, len(chosen)))
    middles = [int(part[len(part) // 2]) for part in parts]
    few = [visible_images[i] for i in middles], [thermal_images[i] for i in middles]
    base = start or aligned(*sizes)
    lens = (thermal or base.thermal).without_estimated_lens
    base = replace(base, visible=visible or base.visible, thermal=lens).with_image_sizes(*sizes)
    sent = base.as_sent
    starts = (
        [replace(sent, mapping=candidate.matrix) for candidate in search(*few, limits)]
        if start is None
        else [sent]
    )
    attempts = [refine(*few, attempt, PASSES[:1]) for attempt in starts]
    attempts.sort(key=lambda attempt: -attempt.score)
    first = attempts[0]
    others = [attempt.score for attempt in attempts[1:] if _difference(attempt, first) > 0.04]
    # A score is a sum over all pixels. Below a twentieth of the best, or below zero, it is chance.
    beyond = first.score / max(max(others, default=0.0), first.score / 20, 1e-9)
    # Drop the lens that a few frames gave: `refine` keeps the lens of its start.
    result = refine(visible_images, thermal_images, replace(first.pair, thermal=sent.thermal))
    judged = _judged(result, beyond, len(chosen))
    best = base.with_sent(judged.best)
    return replace(judged, best=best, pair=best if judged.pair else None)


def _judged(result: Refined, beyond: float, frames: int) -> SceneCalibration:
    width = result.pair.visible.width
    deviation = float(result.deviation.max()) if len(result.deviation) else np.inf
    deviation = math.hypot(deviation, FRAME_DEVIATION * width / 640 / math.sqrt(result.frames))
    reason = ""
    if beyond < MIN_BEYOND:
        reason = (
            f"another mapping fits as well: the best score is {beyond:.2f} times the next "
            f"(expected {MIN_BEYOND} or more)"
        )
    elif result.agreement < MIN_AGREEMENT:
        reason = (
            f"only {100 * result.agreement:.0f} % of {result.patches} patches of the image agree "
            f"on a mapping (expected {100 * MIN_AGREEMENT:.0f} % or more)"
        )
    elif deviation * 640 / width > MAX_DEVIATION:
        reason = (
            f"the mapping is uncertain by {deviation:.1f} pixels at a corner (expected "
            f"{MAX_DEVIATION * width / 640:.1f} or less)"
        )
    if reason:
        reason += (
            "; record half a minute in which the robot moves past houses, trees, vehicles or "
            "people by day, or use a board"
        )
    return SceneCalibration(
        None if reason else result.pair, reason, result.agreement, deviation, beyond, frames,
        result.frames, result.pair,
    )  # fmt: skip


def _evenly_spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """At most `count` pairs, evenly spread."""
    if len(pairs) <= count:
        return list(pairs)
    return [pairs[int(i)] for i in np.linspace(0, len(pairs) - 1, count).round()]


def _difference(first: Refined, second: Refined) -> float:
    """Largest distance of two mappings at the visible corners, share of the width."""
    size = first.pair.visible.size
    return corner_distance(first.pair.homography, second.pair.homography, size) / size[0]
