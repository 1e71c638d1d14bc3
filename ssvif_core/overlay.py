"""Class colours, and the fused image with the classes laid over it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def palette(classes: int) -> np.ndarray:
    """Well-separated colours, (classes, 3) uint8 BGR: hues by the golden angle, seen evenly."""
    index = np.arange(classes)
    hsv = np.stack(
        [(index * 137.508 / 2) % 180, 200 - 50 * (index % 2), 255 - 60 * (index // 2 % 2)], 1
    )
    return cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2BGR)[0]


def colours_of(names: Sequence[str]) -> np.ndarray:
    """A colour a class, (classes, 3) uint8 BGR; black, so untinted, for a class `background`."""
    colours = palette(len(names))
    colours[[name == "background" for name in names]] = 0
    return colours


def draw_overlay(
    fused: np.ndarray, labels: np.ndarray, colours: np.ndarray, alpha: float
) -> np.ndarray:
    """The fused image tinted by class: (H, W, 3) uint8.

    fused (H, W, 3) uint8 BGR, labels (H, W) uint8, colours (K, 3) uint8 BGR; alpha in [0, 1] is
    the share of the colour. A class whose colour is black is left untinted.
    """
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(colours), 0] = colours
    tint = cv2.LUT(cv2.merge([labels] * 3), table)
    overlay = cv2.addWeighted(fused, 1 - alpha, tint, alpha, 0)
    untinted = ~colours.any(axis=1)
    if untinted.any():
        keep = np.zeros(256, np.uint8)
        keep[: len(colours)] = 255 * untinted
        cv2.copyTo(fused, cv2.LUT(labels, keep), overlay)
    return overlay
