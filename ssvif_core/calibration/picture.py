"""Before and after calibration, for eyes: thermal edges over visible images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ssvif_core.cameras.model import CameraPair, aligned
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.thermal import ThermalConfig, ThermalStream
from ssvif_core.types import Pair

ROWS, WIDTH = 4, 480


def before_and_after(pairs: Sequence[Pair], calibration: CameraPair) -> np.ndarray:
    """Up to four moments, (h, w, 3) uint8 BGR: left as if the cameras were aligned, right as
    calibrated; the visible image in grey, the thermal one in red."""
    rows = []
    for index in np.linspace(0, len(pairs) - 1, min(ROWS, len(pairs))).round():
        pair = pairs[int(index)]
        sizes = pair.visible.shape[1::-1], pair.thermal.shape[::-1]
        sides = [_laid_over(pair, each) for each in (aligned(*sizes), calibration)]
        rows.append(np.hstack(sides))
    return np.vstack(rows)


def _laid_over(pair: Pair, calibration: CameraPair) -> np.ndarray:
    height, width = pair.visible.shape[:2]
    thermal_height, thermal_width = pair.thermal.shape
    view = ThermalStream(ThermalConfig(mode="percentile", smoothing=0))(pair.thermal)
    black, white = view.range
    grey = np.clip((view.thermal.astype(np.float32) - black) / (white - black), 0, 1) * 255
    sampling = sampling_map(calibration, (width, height), (thermal_width, thermal_height))
    place = ((sampling.grid + 1) * (thermal_width, thermal_height) - 1) / 2
    warm = cv2.remap(grey, place.astype(np.float32), None, cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    warm *= sampling.coverage
    dark = cv2.cvtColor(pair.visible, cv2.COLOR_BGR2GRAY).astype(np.float32)
    # Red takes the thermal image, the rest the visible one: what is white or black in both fits.
    mixed = cv2.merge([dark, dark, np.maximum(0.35 * dark, warm)])
    size = WIDTH, round(height * WIDTH / width)
    return cv2.resize(mixed, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
