"""Calibration from any scene, without a target: search, then refine, then judge.

A scene may not tell: fog, a blank wall, a night without a lamp. Then the answer is a refusal with
its reason, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ssvif_core.calibration.refine import PASSES, Refined, refine
from ssvif_core.calibration.search import SearchLimits, search
from ssvif_core.cameras.model import Camera, CameraPair, aligned
from ssvif_core.errors import InputError
from ssvif_core.types import Pair

SEARCHED, REFINED = 6, 24  # frames that are used; more tell little more
# Gates, set on MSRS training pairs and generated drives; see docs/results.md.
BEYOND = 1.15  # the best score over that of the next registration that is another
AGREEMENT = 0.6
DEVIATION = 4.5  # visible pixels at 640 across
# What one frame is off by beyond what its patches know, pixels at 640 across: near and far do not
# fit one homography, and of some things both cameras see different edges. Of MSRS single pairs
# with a deviation below 4.5 it is 3.4 (90 %: 2.2 to 4.4), with the 2 of what they are compared to.
ALONE = 3.0


@dataclass(frozen=True, eq=False)
class SceneCalibration:
    """What a scene says of the mapping.

    pair: None if it cannot tell; reason: then why, and what to do.
    agreement: share of the patches that agree with the result.
    deviation: standard deviation at the worst corner of the overlap, visible pixels.
    beyond: the result's score over that of the next one that is another.
    frames: how many were used; independent: how many they are worth, 1 if all are the same.
    best: what `pair` would be without the gate; for measurements.
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
    """The mapping of a camera pair from pairs of images of any scene, the more varied the better.

    visible, thermal: cameras whose lenses are known; None takes the visible image as it comes, and
        finds the thermal lens's radial distortion, as for one that was estimated before.
    start: a calibration that is right to some 6 % of the width; no search is made then.

    Raises:
        InputError: no pairs, or pairs of different sizes, or of another size than the cameras'.
    """
    if not pairs:
        raise InputError("no pairs to calibrate from")
    if len({(pair.visible.shape, pair.thermal.shape) for pair in pairs}) > 1:
        raise InputError("pairs of different sizes; one camera pair has one calibration")
    sizes = pairs[0].visible.shape[1::-1], pairs[0].thermal.shape[::-1]
    chosen = _spread(pairs, REFINED)
    seen = [pair.visible for pair in chosen]
    heat = [pair.thermal for pair in chosen]
    few = np.array_split(np.arange(len(chosen)), min(SEARCHED, len(chosen)))
    first = [int(part[len(part) // 2]) for part in few]
    first_seen, first_heat = [seen[i] for i in first], [heat[i] for i in first]
    base = start or aligned(*sizes)
    lens = (thermal or base.thermal).as_measured
    base = replace(base, visible=visible or base.visible, thermal=lens).sending(*sizes)
    if start is not None:
        starts = [base.as_sent]
    else:
        starts = [
            replace(base.as_sent, mapping=candidate.matrix)
            for candidate in search(first_seen, first_heat, limits)
        ]
    tries = [refine(first_seen, first_heat, one, PASSES[:1]) for one in starts]
    tries.sort(key=lambda one: -one.score)
    others = [one.score for one in tries[1:] if _differ(one, tries[0]) > 0.04]
    # Sums over everything: a rival below a twentieth of the best is chance, as one below zero is.
    beyond = tries[0].score / max(max(others, default=0.0), tries[0].score / 20, 1e-9)
    # The lens that a few frames gave is found anew: one that a start brings along would be kept.
    result = refine(seen, heat, replace(tries[0].pair, thermal=starts[0].thermal))
    judged = _judged(result, beyond, len(chosen))
    best = base.with_sent(judged.best)
    return replace(judged, best=best, pair=best if judged.pair else None)


def _judged(result: Refined, beyond: float, frames: int) -> SceneCalibration:
    width = result.pair.visible.width
    deviation = float(result.deviation.max()) if len(result.deviation) else np.inf
    deviation = math.hypot(deviation, ALONE * width / 640 / math.sqrt(result.frames))
    mend = (
        "; record half a minute in which the robot moves past houses, trees, vehicles or people "
        "by day, or use a target"
    )
    reason = ""
    if beyond < BEYOND:
        reason = f"another mapping fits as well (the best only {beyond:.2f} times as good)" + mend
    elif result.agreement < AGREEMENT:
        reason = (
            f"only {100 * result.agreement:.0f} % of {result.patches} places in the image agree "
            f"on a mapping (at least {100 * AGREEMENT:.0f} % expected)" + mend
        )
    elif deviation * 640 / width > DEVIATION:
        reason = f"the mapping is uncertain by {deviation:.1f} pixels at a corner" + mend
    pair = None if reason else result.pair
    return SceneCalibration(
        pair, reason, result.agreement, deviation, beyond, frames, result.frames, result.pair
    )


def _spread(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """At most so many pairs, evenly spread."""
    if len(pairs) <= most:
        return list(pairs)
    return [pairs[int(i)] for i in np.linspace(0, len(pairs) - 1, most).round()]


def _differ(one: Refined, other: Refined) -> float:
    """How far two registrations are apart at the visible corners, at most, share of the width."""
    width, height = one.pair.visible.size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    back = one.pair.homography @ np.linalg.inv(other.pair.homography)
    moved = cv2.perspectiveTransform(corners[None], back)[0]
    return float(np.linalg.norm(moved - corners, axis=1).max()) / width
