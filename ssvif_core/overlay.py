"""Class colours, and the overlay: the fused image tinted by class."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ssvif_core.types import UInt8Array


def palette(classes: int) -> UInt8Array:
    """Distinct colours, (classes, 3) uint8 BGR; the hues follow the golden angle."""
    index = np.arange(classes)
    hsv = np.stack(
        [(index * 137.508 / 2) % 180, 200 - 50 * (index % 2), 255 - 60 * (index // 2 % 2)], 1
    )
    colours: UInt8Array = cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2BGR)[0]
    return colours


def colours_of(names: Sequence[str]) -> UInt8Array:
    """One colour a class, (classes, 3) uint8 BGR; black (no tint) for a class `background`."""
    colours = palette(len(names))
    colours[[name == "background" for name in names]] = 0
    return colours


def draw_overlay(
    fused: UInt8Array, labels: UInt8Array, colours: UInt8Array, alpha: float
) -> UInt8Array:
    """The fused image tinted by class: (H, W, 3) uint8 BGR.

    fused: (H, W, 3) uint8 BGR. labels: (H, W) uint8 class ids.
    colours: (K, 3) uint8 BGR; classes with a black colour get no tint.
    alpha: share of the colour in [0, 1].
    """
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(colours), 0] = colours
    tint = cv2.LUT(cv2.merge([labels] * 3), table)
    overlay: UInt8Array = cv2.addWeighted(fused, 1 - alpha, tint, alpha, 0)
    untinted = ~colours.any(axis=1)
    if untinted.any():
        keep = np.zeros(256, np.uint8)
        keep[: len(colours)] = 255 * untinted
        cv2.copyTo(fused, cv2.LUT(labels, keep), overlay)
    return overlay
