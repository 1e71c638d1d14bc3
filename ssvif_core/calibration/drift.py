"""Drift: how far the images have moved away from the calibration, or never were aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssvif_core.calibration.refine import PASSES, overlap, refine
from ssvif_core.calibration.scene import MIN_AGREEMENT, MIN_BEYOND, calibrate_from_scene
from ssvif_core.cameras.model import CameraPair, aligned
from ssvif_core.types import Pair, Shapes

LOOKED_AT = 12  # pairs
FAR = 0.04  # share of the visible width beyond which two cameras do not show the same
SURE = 4.0  # standard deviations


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


def misalignment(pairs: Sequence[Pair], camera_pair: CameraPair | None = None) -> str:
    """A sentence if the images surely do not lie where the calibration says; otherwise empty.

    It takes a second if they do, and some seconds if not. A scene that does not show the mapping
    gives nothing.

    Args:
        pairs: of any scene; a few of the first one's size are looked at.
        camera_pair: the calibration; None means that both cameras have the same field of view.
    """
    shapes = Shapes.of(pairs[0])
    same = [pair for pair in pairs if Shapes.of(pair) == shapes]
    chosen = same[:: max(len(same) // LOOKED_AT, 1)][:LOOKED_AT]
    expected = camera_pair or aligned(*shapes.sizes)
    found = alignment(chosen, expected) or alignment(chosen, expected, anywhere=True)
    if found is None or found.offset < max(FAR * shapes.width, SURE * found.deviation):
        return ""
    advice = (
        "calibrate again with `ssvif calibrate`"
        if camera_pair
        else "find their mapping with `ssvif calibrate`, and give its file as calibration"
    )
    return (
        f"the two cameras do not show the same: their images lie about {found.offset:.0f} pixels "
        f"apart ({shapes.width}x{shapes.height}); {advice}"
    )
