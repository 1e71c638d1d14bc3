"""Flicker of a fused stream and its labels, which the scores of single frames cannot measure.

The earlier frame is warped onto the later one along the optical flow, as in the warping error of
Lai et al., ECCV 2018 ("Learning Blind Video Temporal Consistency", eq. 8-9). Pixels without a
consistent backward flow are excluded (Ruder, Dosovitskiy, Brox, GCPR 2016, eq. 4). Two things
differ from Lai et al. The flow comes from the sources, so no fusion method can influence it. A
change that the sources show as well (noise, a lamp, an error of the flow) does not count:

    change(X) = X_next - warp(X_previous)
    flicker   = mean max(0, |change(F)| - max(|change(V)|, |change(T)|))
    wobble    = max(0, |mean change(F)| - max(|mean change(V)|, |mean change(T)|))

Both are in grey levels; 0 is best. Flicker is local. Wobble is a change of the whole frame's
brightness, which noise cannot hide. The maximum of the sources and any blend with fixed weights
score 0.

    label change = share of pixels with labels(next) != warp(labels(previous))

A label does not change if it moves with its object. A border that lies differently by a pixel
counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from ssvif_core.metrics import validate
from ssvif_core.metrics.validate import Luma
from ssvif_core.types import AnyArray, BoolArray, Float32Array, UInt8Array

SMALLEST_SIDE = 32  # pixels; the flow works on a pyramid of 8 x 8 patches


@dataclass(frozen=True)
class LumaFrame:
    """Luma of the registered sources and of the fused image at one moment of a stream.

    Attributes:
        visible, thermal, fused: (H, W) uint8 or float in 0..255, H and W at least 32.
        labels: class ids of the fused image, (H, W); None if it has none.
    """

    visible: AnyArray
    thermal: AnyArray
    fused: AnyArray
    labels: UInt8Array | None = None


@dataclass(frozen=True)
class Flicker:
    """Change of the fused luma along the motion between two frames, in grey levels.

    Attributes:
        flicker: local change beyond that of the sources.
        wobble: change of the mean luma beyond that of the sources.
        warp_error: mean |change(F)|, for comparison with the literature.
        valid: share of pixels that counted, 0 to 1. The others are occluded or left the image.
            If it is 0, the other values are NaN.
        label_change: share of the valid pixels whose label changes, 0 to 1; NaN without labels.
    """

    flicker: float
    wobble: float
    warp_error: float
    valid: float
    label_change: float = np.nan


def flicker(previous: LumaFrame, current: LumaFrame) -> Flicker:
    """Compare two consecutive frames.

    Raises:
        ValueError: images that are not luma, are too small, or differ in size.
    """
    before, after = (
        validate.lumas(SMALLEST_SIDE, visible=x.visible, thermal=x.thermal, fused=x.fused)
        for x in (previous, current)
    )
    validate.same_shape(previous=previous.fused, current=current.fused)
    flow, valid = _motion(_texture(*before[:2]), _texture(*after[:2]))
    share = float(np.mean(valid))
    if not share:
        return Flicker(np.nan, np.nan, np.nan, 0.0)
    visible, thermal, fused = (
        (b - _warp(a, flow))[valid] for a, b in zip(before, after, strict=True)
    )
    local = np.abs(fused) - np.maximum(np.abs(visible), np.abs(thermal))
    whole = _abs_mean(fused) - max(_abs_mean(visible), _abs_mean(thermal))
    return Flicker(
        flicker=float(np.mean(np.maximum(local, 0), dtype=np.float64)),
        wobble=max(whole, 0.0),
        warp_error=float(np.mean(np.abs(fused), dtype=np.float64)),
        valid=share,
        label_change=_label_change(previous.labels, current.labels, flow, valid),
    )


def stream_flicker(frames: Iterable[LumaFrame]) -> Iterator[Flicker]:
    """:func:`flicker` of all neighbouring frames, lazily; N frames give N - 1 results."""
    return (flicker(previous, current) for previous, current in pairwise(frames))


def _label_change(
    before: UInt8Array | None, after: UInt8Array | None, flow: Float32Array, valid: BoolArray
) -> float:
    if before is None or after is None:
        return np.nan
    x, y = _positions(flow)
    moved = cv2.remap(before, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return float(np.mean((moved != after)[valid]))


def _texture(visible: Luma, thermal: Luma) -> UInt8Array:
    """The mean of both sources, since at night only the thermal image may show the motion."""
    return ((visible + thermal) / 2).round().astype(np.uint8)


def _motion(before: UInt8Array, after: UInt8Array) -> tuple[Float32Array, BoolArray]:
    """Flow (H, W, 2) from `after` back to `before`, and where it is consistent (H, W)."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    backward = estimator.calc(after, before, None)
    forward = _warp(estimator.calc(before, after, None), backward)
    mismatch = np.sum((backward + forward) ** 2, axis=2)
    length = np.sum(backward**2, axis=2) + np.sum(forward**2, axis=2)
    height, width = before.shape
    x, y = _positions(backward)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return backward, inside & (mismatch <= 0.01 * length + 0.5)


def _positions(flow: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Column and row that the flow of each pixel points to, (H, W) each."""
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _warp(image: Float32Array, flow: Float32Array) -> Float32Array:
    x, y = _positions(flow)
    warped: Float32Array = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warped


def _abs_mean(x: Luma) -> float:
    return abs(float(np.mean(x, dtype=np.float64)))
