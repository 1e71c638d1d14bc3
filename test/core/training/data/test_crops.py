"""Crops depend on seed and number alone, and may be drawn around salient places."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from planted import plant
from torch.utils.data import DataLoader

from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.training.data.crops import CropDataset, salient_places
from ssvif_core.training.data.pairs import PairDataset


def test_a_crop_depends_on_seed_and_number_alone() -> None:
    random = np.random.default_rng(0)
    pairs = [(random.integers(0, 256, (90, 120, 3), dtype=np.uint8),
              random.integers(0, 256, (90, 120), dtype=np.uint8))]  # fmt: skip
    first, second = CropDataset(pairs, 64, 5, 100), CropDataset(pairs, 64, 5, 100)
    for number in (7, 3):
        for key, value in first[number].items():
            assert torch.equal(value, second[number][key])
    assert not torch.equal(first[7]["visible"], first[8]["visible"])


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_crops_do_not_depend_on_the_cache_or_the_process(tmp_path: Path, cache: str) -> None:
    random = np.random.default_rng(0)
    for folder, shape in (("vi", (70, 90, 3)), ("ir", (70, 90))):
        plant(tmp_path, f"{folder}/1.png")
        cv2.imwrite(
            str(tmp_path / folder / "1.png"), random.integers(0, 256, shape, dtype=np.uint8)
        )
    listing = find_pairs(tmp_path)
    crops = CropDataset(PairDataset([listing], cache, tmp_path / "cache"), 32, 3, 4)
    expected = CropDataset(list(PairDataset([listing])), 32, 3, 4)
    for number, batch in enumerate(DataLoader(crops, num_workers=1)):
        for key, value in batch.items():
            assert value[0].equal(expected[number][key])


def test_salient_crops_hold_what_differs_from_its_surroundings() -> None:
    """A small warm spot in a large image is rarely in a crop by chance."""
    visible, thermal = np.zeros((480, 640, 3), np.uint8), np.full((480, 640), 80, np.uint8)
    thermal[300:316, 500:508] = 200
    shares = []  # of the crops that show the spot
    for salient in (0.0, 1.0):
        crops = CropDataset([(visible, thermal)], 96, 0, 100, salient)
        shares.append(np.mean([int(crops[n]["thermal"].max()) > 127 for n in range(100)]))
        assert crops[7]["thermal"].equal(crops[7]["thermal"])  # it depends on its number alone
    assert shares[0] < 0.3 and shares[1] > 0.85


def test_salient_places_are_pixels_and_not_corners_of_a_grid() -> None:
    thermal = np.full((100, 130), 80, np.uint8)
    rows, columns = salient_places(thermal, 20_000, np.random.default_rng(0))
    assert set(rows.tolist()) == set(range(100))
    assert set(columns.tolist()) == set(range(130))


def test_a_flat_image_gives_salient_crops_from_anywhere() -> None:
    column = np.arange(640, dtype=np.uint8)[None].repeat(480, 0)
    crops = CropDataset([(np.dstack([column] * 3), np.zeros((480, 640), np.uint8))], 96, 0, 20, 1.0)
    assert len({float(crops[n]["visible"].float().mean()) for n in range(20)}) > 10
