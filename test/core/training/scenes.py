"""Synthetic scenes with labels, and a batch of pictures for the monitor."""

from __future__ import annotations

import numpy as np

from ssvif_core.training.naming import Labelled
from ssvif_core.types import UInt8Array

CROP, SAMPLES = 128, 2


def warm_square(seed: int) -> Labelled:
    """A grey scene with one warm square, class 1, in the thermal image."""
    random = np.random.default_rng(seed)
    visible = random.integers(60, 120, (96, 128, 3)).astype(np.uint8)
    thermal = random.integers(20, 40, (96, 128)).astype(np.uint8)
    ids = np.zeros((96, 128), np.uint8)
    y, x = random.integers(8, 56), random.integers(8, 88)
    thermal[y : y + 32, x : x + 32] = 220
    ids[y : y + 32, x : x + 32] = 1
    return visible, thermal, ids


def people_and_cars(seed: int) -> Labelled:
    """Hot people, class 1, and bright blue cars, class 2, on grey."""
    random = np.random.default_rng(seed)
    visible = random.integers(70, 90, (96, 128, 3), dtype=np.uint8)
    thermal = random.integers(40, 60, (96, 128), dtype=np.uint8)
    mask = np.zeros((96, 128), np.uint8)
    for class_id in (1, 2):
        y, x = random.integers(0, 64), random.integers(0, 32) + 64 * (class_id - 1)
        mask[y : y + 32, x : x + 32] = class_id
    thermal[mask == 1] = 220
    visible[mask == 2] = (250, 60, 20)
    return visible, thermal, mask


def picture_batch() -> dict[str, UInt8Array]:
    """A batch for `Monitor.pictures`; S_f gives class 1 for all pixels, S_p class 2."""
    random = np.random.default_rng(0)
    shape = (SAMPLES, CROP, CROP)
    return {
        "visible": random.integers(0, 256, (*shape, 3), dtype=np.uint8),
        "thermal": random.integers(0, 256, shape, dtype=np.uint8),
        "fused": np.full((*shape, 3), 128, np.uint8),
        "labels_feature": np.full(shape, 1, np.uint8),
        "labels_pixel": np.full(shape, 2, np.uint8),
    }


def picture_batch_without_labels() -> dict[str, UInt8Array]:
    return {name: images for name, images in picture_batch().items() if "labels" not in name}
