"""Writes folders of images and videos for tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.sources import Listing
from ssvif_core.recordings.video import VideoWriter

VISIBLE, THERMAL = "/visible/image_raw", "/thermal/image_raw"


def plant(root: Path, *paths: str, size: tuple[int, int] = (20, 24), value: int = 7) -> None:
    """Write image files that have one grey value."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / path), np.full(size, value, np.uint8))


def plant_pairs(root: Path, count: int) -> Listing:
    """Write pairs 00, 01, ...; visible image n has grey n, thermal image n has grey 100 + n."""
    for number in range(count):
        plant(root, f"vi/{number:02}.png", value=number)
        plant(root, f"ir/{number:02}.png", value=100 + number)
    return find_pairs(root)


def film(path: Path, frames: int, size: tuple[int, int] = (48, 64)) -> None:
    """Write a video whose frame n has grey 10 n."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, 20.0) as video:
        for number in range(frames):
            video.write(np.full((*size, 3), 10 * number, np.uint8))


def listed_files(root: Path) -> dict[str, tuple[str, ...]]:
    """The pairs that `find_pairs` lists: name -> visible file, thermal file and mask."""
    return {
        source.name: tuple(
            path.relative_to(root).as_posix()
            for path in (source.visible, source.thermal, source.mask)
            if path is not None
        )
        for source in find_pairs(root).pairs
    }
