"""Does a fused stream flicker? What the scores of single frames cannot see.

As in the warping error of Lai et al., ECCV 2018 ("Learning Blind Video Temporal Consistency",
eq. 8-9), the earlier frame is warped onto the later one along the optical flow, and pixels without
a consistent backward flow (Ruder, Dosovitskiy, Brox, GCPR 2016, eq. 4) do not count. Two things
differ: the flow comes from the sources, which no fusion method can influence, and a change
that the sources show as well (noise, a lamp, the flow's own error) is not held against the fused
image:

    change(X) = X_next - warp(X_previous)
    flicker   = mean max(0, |change(F)| - max(|change(V)|, |change(T)|))
    wobble    = max(0, |mean change(F)| - max(|mean change(V)|, |mean change(T)|))

Both in grey levels, 0 is best. Flicker is local; wobble is the brightness of the whole frame, which
noise does not hide. Any blend of the sources with fixed weights, and their maximum, score 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ssvif_core.metrics import validate
from ssvif_core.metrics.validate import Luma

SMALLEST_SIDE = 32  # the flow works on a pyramid of 8 x 8 patches


@dataclass(frozen=True)
class LumaFrame:
    """One moment of a stream: luma of the registered sources and of their fusion.

    Attributes:
        visible, thermal, fused: (H, W) uint8 or float in 0..255, H and W at least 32.
    """

    visible: NDArray
    thermal: NDArray
    fused: NDArray


@dataclass(frozen=True)
class Flicker:
    """Change of the fused luma along the motion, between two frames; grey levels.

    Attributes:
        flicker: local change beyond that of the sources.
        wobble: change of the mean luma beyond that of the sources.
        warp_error: mean |change(F)|, for comparison with the literature.
        valid: share of pixels that counted, 0 to 1; the rest is hidden or left the image. With 0
            the others are NaN.
    """

    flicker: float
    wobble: float
    warp_error: float
    valid: float


def flicker(previous: LumaFrame, current: LumaFrame) -> Flicker:
    """Compare two consecutive frames.

    Raises:
        ValueError: images that are not luma, too small, or of different sizes.
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
    )


def stream_flicker(frames: Iterable[LumaFrame]) -> Iterator[Flicker]:
    """:func:`flicker` of every two neighbours, lazily; a stream of N frames gives N - 1."""
    return (flicker(previous, current) for previous, current in pairwise(frames))


def _texture(visible: Luma, thermal: Luma) -> NDArray[np.uint8]:
    """Both sources in one image: by night the thermal one alone may show the motion."""
    return np.rint((visible + thermal) / 2).astype(np.uint8)


def _motion(
    before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow (H, W, 2) from `after` back to `before`, and where it can be trusted (H, W)."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back = estimator.calc(after, before, None)  # type: ignore[call-overload]
    forth = _warp(estimator.calc(before, after, None), back)  # type: ignore[call-overload]
    gap = np.sum((back + forth) ** 2, axis=2)
    length = np.sum(back**2, axis=2) + np.sum(forth**2, axis=2)
    height, width = before.shape
    x, y = _positions(back)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return back, inside & (gap <= 0.01 * length + 0.5)


def _positions(flow: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Column and row to which the flow leads from each pixel, (H, W) each."""
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _warp(image: NDArray, flow: NDArray[np.float32]) -> NDArray:
    x, y = _positions(flow)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _abs_mean(x: Luma) -> float:
    return abs(float(np.mean(x, dtype=np.float64)))
