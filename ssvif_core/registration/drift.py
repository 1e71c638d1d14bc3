"""Whether a mapping still fits: how far the images lie apart under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssvif_core.registration.camera_pair import CameraPair
from ssvif_core.registration.refine import PASSES, refine
from ssvif_core.types import Pair

AGREEMENT = 0.6


@dataclass(frozen=True)
class Alignment:
    """offset: mean distance at the corners of the overlap between where the calibration puts the
    thermal image and where it belongs, visible pixels; deviation: its uncertainty."""

    offset: float
    deviation: float


def alignment(pairs: Sequence[Pair], calibration: CameraPair) -> Alignment | None:
    """How far a few pairs lie apart, up to some 6 % of the width; None if they do not tell.

    Raises:
        InputError: the pairs are of other sizes than the calibration.
    """
    first = pairs[0]
    calibration = calibration.sending(first.visible.shape[1::-1], first.thermal.shape[::-1])
    found = refine(
        [pair.visible for pair in pairs], [pair.thermal for pair in pairs], calibration, PASSES[:2]
    )
    if found.agreement < AGREEMENT or not len(found.corners):
        return None
    seen = calibration.to_thermal(found.corners)
    moved = found.pair.to_visible(seen) - found.corners
    apart = np.linalg.norm(moved[np.isfinite(moved).all(1)], axis=1)
    if not len(apart):
        return None
    return Alignment(float(apart.mean()), float(found.deviation.max()))
