"""Drift: how far the images have moved away from the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssvif_core.calibration.refine import PASSES, overlap, refine
from ssvif_core.calibration.scene import MIN_AGREEMENT, MIN_BEYOND, calibrate_from_scene
from ssvif_core.cameras.model import CameraPair
from ssvif_core.types import Pair, Shapes


@dataclass(frozen=True)
class Alignment:
    """How far the thermal image lies from where the camera pair puts it, visible pixels.

    offset: mean distance at the corners of the overlap.
    deviation: standard deviation of the offset.
    """

    offset: float
    deviation: float


def alignment(
    pairs: Sequence[Pair], camera_pair: CameraPair, anywhere: bool = False
) -> Alignment | None:
    """Measure the drift in a few pairs; None if the scene does not show it.

    anywhere: search the whole visible image, which takes some seconds. Otherwise offsets up to 6 %
        of the image width are measured.

    Raises:
        InputError: the sizes of the pairs differ or do not fit the camera pair.
    """
    camera_pair = camera_pair.with_image_sizes(*Shapes.of(pairs[0]).sizes).as_sent
    if anywhere:
        scene = calibrate_from_scene(pairs, camera_pair.visible, camera_pair.thermal)
        # A few pixels are accurate enough here, so the deviation has no limit.
        if scene.beyond < MIN_BEYOND or scene.agreement < MIN_AGREEMENT:
            return None
        measured, deviation = scene.best, scene.deviation
    else:
        refined = refine(
            [pair.visible for pair in pairs], [pair.thermal for pair in pairs], camera_pair,
            PASSES[:2],
        )  # fmt: skip
        if refined.agreement < MIN_AGREEMENT or not len(refined.corners):
            return None
        measured, deviation = refined.pair, float(refined.deviation.max())
    corners = overlap(measured)
    moved = measured.to_visible(camera_pair.to_thermal(corners)) - corners
    distances = np.linalg.norm(moved[np.isfinite(moved).all(1)], axis=1)
    return Alignment(float(distances.mean()), deviation) if len(distances) else None
