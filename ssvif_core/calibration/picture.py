"""A picture to judge a calibration by eye: the thermal image over the visible one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ssvif_core.cameras.model import CameraPair, aligned
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.thermal import ThermalConfig, ThermalStream
from ssvif_core.types import Pair, Shapes, UInt8Array

ROWS, WIDTH = 4, 480


def before_and_after(pairs: Sequence[Pair], camera_pair: CameraPair) -> UInt8Array:
    """Up to four pairs as rows, (h, w, 3) uint8 BGR: left without registration, right with it.

    The visible image is grey, the thermal image is red.
    """
    rows = []
    for index in np.linspace(0, len(pairs) - 1, min(ROWS, len(pairs))).round():
        pair = pairs[int(index)]
        unregistered = aligned(*Shapes.of(pair).sizes)
        rows.append(np.hstack([_blended(pair, unregistered), _blended(pair, camera_pair)]))
    return np.vstack(rows)


def _blended(pair: Pair, camera_pair: CameraPair) -> UInt8Array:
    (width, height), thermal_size = sizes = Shapes.of(pair).sizes
    frame = ThermalStream(ThermalConfig(mode="percentile", smoothing=0))(pair.thermal)
    black, white = frame.range
    grey = np.clip((frame.thermal.astype(np.float32) - black) / (white - black), 0, 1) * 255
    sampling = sampling_map(camera_pair, *sizes)
    points = ((sampling.grid + 1) * thermal_size - 1) / 2
    warped = cv2.remap(grey, points.astype(np.float32), None, cv2.INTER_LINEAR,
                       borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    warped *= sampling.coverage
    visible = cv2.cvtColor(pair.visible, cv2.COLOR_BGR2GRAY).astype(np.float32)
    # Registered images look alike in white and black parts; elsewhere red shows the thermal image.
    blend = cv2.merge([visible, visible, np.maximum(0.35 * visible, warped)])
    size = WIDTH, round(height * WIDTH / width)
    resized: UInt8Array = cv2.resize(blend, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return resized
