"""Whether a mapping still fits: how far the images lie apart under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssvif_core.calibration.refine import PASSES, overlap, refine
from ssvif_core.calibration.scene import AGREEMENT, BEYOND, calibrate_from_scene
from ssvif_core.cameras.model import CameraPair
from ssvif_core.types import Pair


@dataclass(frozen=True)
class Alignment:
    """offset: mean distance at the corners of the overlap between where the calibration puts the
    thermal image and where it belongs, visible pixels; deviation: its uncertainty."""

    offset: float
    deviation: float


def alignment(
    pairs: Sequence[Pair], calibration: CameraPair, anywhere: bool = False
) -> Alignment | None:
    """How far a few pairs lie apart; None if they do not tell.

    anywhere: look for the place of the thermal image in the whole visible one, which takes some
        seconds, and not only up to 6 % of the width from where the calibration has it.

    Raises:
        InputError: the pairs are of other sizes than the calibration, or than each other.
    """
    first = pairs[0]
    calibration = calibration.sending(first.visible.shape[1::-1], first.thermal.shape[::-1]).as_sent
    if anywhere:
        scene = calibrate_from_scene(pairs, calibration.visible, calibration.thermal)
        # Where it is to some pixels is enough here, so the gate on the deviation is left out.
        if scene.beyond < BEYOND or scene.agreement < AGREEMENT:
            return None
        found, deviation = scene.best, scene.deviation
    else:
        refined = refine(
            [pair.visible for pair in pairs], [pair.thermal for pair in pairs], calibration,
            PASSES[:2],
        )  # fmt: skip
        if refined.agreement < AGREEMENT or not len(refined.corners):
            return None
        found, deviation = refined.pair, float(refined.deviation.max())
    corners = overlap(found)
    moved = found.to_visible(calibration.to_thermal(corners)) - corners
    apart = np.linalg.norm(moved[np.isfinite(moved).all(1)], axis=1)
    return Alignment(float(apart.mean()), deviation) if len(apart) else None
