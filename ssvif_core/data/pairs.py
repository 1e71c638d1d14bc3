"""Training pairs: everything that is found, held in memory, cut into crops by number.

A crop is a function of (seed, number) alone. So a run resumes exactly where it stopped, and n
processes that share the numbers see what one process would.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssvif_core.data.images import ImagePair, pair_folders, read_thermal, read_visible
from ssvif_core.errors import InputError

logger = logging.getLogger(__name__)

VISIBLE_NAMES = ("vi", "vis", "visible", "rgb", "Vis", "VI")
THERMAL_NAMES = ("ir", "infrared", "thermal", "lwir", "Ir", "IR")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv")

Pair = tuple[np.ndarray, np.ndarray]


def find_folders(root: Path) -> tuple[Path, Path]:
    """The visible and the thermal folder below `root`, by their usual names.

    Raises:
        InputError: none is there; the message lists what is.
    """
    for visible in VISIBLE_NAMES:
        for thermal in THERMAL_NAMES:
            if (root / visible).is_dir() and (root / thermal).is_dir():
                return root / visible, root / thermal
    there = ", ".join(sorted(path.name for path in root.iterdir())) if root.is_dir() else "nothing"
    raise InputError(
        f"{root}: no pair of folders for visible ({', '.join(VISIBLE_NAMES)}) and thermal "
        f"({', '.join(THERMAL_NAMES)}); found: {there}"
    )


def read_pairs(root: Path, frame_step: int = 10) -> Iterator[Pair]:
    """All pairs below `root`: images paired by stem, or every `frame_step`-th frame of videos.

    Yields visible (H, W, 3) uint8 BGR and thermal (H, W) uint8, resized to the visible image and
    stretched to 8 bits where it has more. An unreadable file is named in the log and skipped.
    """
    visible_folder, thermal_folder = find_folders(root)
    videos = [path for path in sorted(visible_folder.iterdir()) if path.suffix in VIDEO_SUFFIXES]
    if videos:
        for path in videos:
            yield from _video_pairs(path, thermal_folder / path.name, frame_step)
        return
    listing = pair_folders(visible_folder, thermal_folder)
    if listing.unpaired:
        logger.warning("%s: %d files without partner left out", root, len(listing.unpaired))
    for pair in listing.pairs:
        try:
            yield _read(pair)
        except InputError as error:
            logger.warning("skipped: %s", error)


def _read(pair: ImagePair) -> Pair:
    visible, thermal = read_visible(pair.visible), read_thermal(pair.thermal)
    if thermal.dtype == np.uint16:
        low, high = np.percentile(thermal, (0.5, 99.5))
        thermal = np.clip((thermal - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    if thermal.shape != visible.shape[:2]:
        thermal = cv2.resize(thermal, visible.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return visible, thermal


def _video_pairs(visible_path: Path, thermal_path: Path, frame_step: int) -> Iterator[Pair]:
    visible_video, thermal_video = (
        cv2.VideoCapture(str(path)) for path in (visible_path, thermal_path)
    )
    index = 0
    while True:
        seen_visible, visible = visible_video.read()
        seen_thermal, thermal = thermal_video.read()
        if not (seen_visible and seen_thermal):
            break
        if index % frame_step == 0:
            yield visible, cv2.cvtColor(thermal, cv2.COLOR_BGR2GRAY)
        index += 1
    if index == 0:
        logger.warning("skipped: %s or %s cannot be read as a video", visible_path, thermal_path)


class CropDataset(Dataset[dict[str, Tensor]]):
    """Random crops of pairs held in memory.

    Item n: `visible` (3, S, S) float in [0, 1] BGR, `thermal` (1, S, S), and `seed`, the number
    that the views of this crop are drawn from.

    Args:
        pairs: visible and thermal images of one size each.
        crop: side S in pixels, a multiple of 16.
        seed: seed of the run.
        length: how many crops there are in all.
    """

    def __init__(self, pairs: list[Pair], crop: int, seed: int, length: int) -> None:
        if not pairs:
            raise InputError("no pairs to train on")
        if crop % 16:
            raise InputError(f"crop of {crop} pixels; expected a multiple of 16")
        self.pairs, self.crop, self.seed, self.length = pairs, crop, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        random = np.random.default_rng((self.seed, number))
        visible, thermal = self.pairs[random.integers(len(self.pairs))]
        height, width = thermal.shape
        side = min(int(self.crop / random.uniform(0.5, 1.4)), height, width)
        y, x = random.integers(height - side + 1), random.integers(width - side + 1)
        flip = random.random() < 0.5
        images = []
        for image in (visible, thermal):
            image = cv2.resize(
                image[y : y + side, x : x + side],
                (self.crop, self.crop),
                interpolation=cv2.INTER_AREA if side > self.crop else cv2.INTER_LINEAR,
            )
            image = image[:, ::-1] if flip else image
            image = np.atleast_3d(image).transpose(2, 0, 1)
            images.append(torch.from_numpy(np.ascontiguousarray(image)).float() / 255)
        return {
            "visible": images[0],
            "thermal": images[1],
            "seed": torch.tensor(int(random.integers(2**31))),
        }
