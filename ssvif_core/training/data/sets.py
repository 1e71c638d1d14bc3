"""The training and the validation pairs of a configuration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ssvif_core.calibration.drift import LOOKED_AT, misalignment
from ssvif_core.cameras.model import CameraPair
from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.errors import InputError
from ssvif_core.recordings.decode import Crop, Reading
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.reading import spread_pairs
from ssvif_core.recordings.sources import Listing
from ssvif_core.training.config import TrainConfig
from ssvif_core.training.data.pairs import PairDataset
from ssvif_core.training.data.splits import read_split, select

logger = logging.getLogger(__name__)


def warn_if_misaligned(listings: Sequence[Listing], calibration: CameraPair | None) -> None:
    """Log a warning for each listing whose cameras do not show the same."""
    for listing in listings:
        pairs = spread_pairs(listing.pairs, LOOKED_AT)
        text = misalignment(pairs, calibration) if pairs else ""
        if text:
            logger.warning("%s: %s", listing.root, text)


def read_pairs(config: TrainConfig) -> tuple[PairDataset, PairDataset]:
    """Read the pairs for training and those for validation.

    Without a split file, and with one that has no validation pairs, both are the same.

    Raises:
        InputError: there is no data, or it or the calibration cannot be read.
    """
    if not config.data:
        raise InputError("no data; set data to folders, videos or bags of pairs")
    topics = (config.topics[0], config.topics[1]) if config.topics else None
    calibration = load_camera_pair(Path(config.calibration)) if config.calibration else None
    offset_s = config.thermal_time_offset + (calibration.time_offset if calibration else 0.0)
    listings = [
        find_pairs(
            Path(root), config.frame_step, topics, round(config.slop * 1e9),
            offset_ns=round(offset_s * 1e9),
            reading=Reading(config.visible_bits, Crop.parse(config.thermal_crop)),
        )
        for root in config.data
    ]  # fmt: skip
    for listing in listings:
        logger.info("%s", listing.describe())
    warn_if_misaligned(listings, calibration)
    cache = (config.cache, Path(config.out) / "cache", calibration)
    if not config.split:
        logger.info("no split file: health is examined on training pairs")
        everything = PairDataset(listings, *cache)
        return everything, everything
    split = read_split(Path(config.split))
    training = PairDataset(select(listings, split, "train"), *cache)
    if not split.part("validation"):
        return training, training
    return training, PairDataset(select(listings, split, "validation"), *cache)
