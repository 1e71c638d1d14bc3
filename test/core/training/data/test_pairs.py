"""Pairs are read once and kept in memory or on disk; errors name the bad files."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from planted import film, plant, plant_pairs

from ssvif_core.errors import InputError
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.reading import read_sources
from ssvif_core.thermal import ThermalGain
from ssvif_core.training.data import pairs as pairs_module
from ssvif_core.training.data.pairs import PairDataset


def test_thermal_images_are_on_the_visible_grid_in_eight_bits(tmp_path: Path) -> None:
    plant(tmp_path, "vi/1.png", size=(40, 60))
    (tmp_path / "ir").mkdir()
    counts = np.linspace(29_000, 31_000, 20 * 30).astype(np.uint16).reshape(20, 30)
    cv2.imwrite(str(tmp_path / "ir/1.tiff"), counts)
    visible, thermal = PairDataset([find_pairs(tmp_path)])[0]
    assert (visible.shape, visible.dtype) == ((40, 60, 3), np.uint8)
    assert (thermal.shape, thermal.dtype) == ((40, 60), np.uint8)
    # The range is that of the node: white is the 99.5th percentile, black depends on the median.
    assert (thermal.min(), thermal.max()) == (0, 255)
    black, white = ThermalGain().update(counts)
    middle = 255 * (np.median(counts) - black) / (white - black)
    assert np.median(thermal) == pytest.approx(middle, abs=1)


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_unreadable_pairs_are_reported_once_and_left_out(tmp_path: Path, caplog, cache) -> None:
    """With each cache, the same pairs remain in the same order."""
    listing = plant_pairs(tmp_path, 30)
    (tmp_path / "ir/07.png").write_bytes(b"broken")
    (tmp_path / "vi/11.png").unlink()
    dataset = PairDataset([listing], cache, tmp_path / "cache")
    remaining = [number for number in range(30) if number not in (7, 11)]
    assert dataset.names == tuple(f"{number:02}" for number in remaining)
    assert [(v[0, 0, 0], t[0, 0]) for v, t in dataset] == [(n, 100 + n) for n in remaining]
    assert len(dataset.skipped) == 2
    assert "07.png: not a readable image" in dataset.skipped[0]
    assert caplog.text.count("07.png") == 1 and "2 of 30 pairs skipped" in caplog.text


def test_a_dataset_without_readable_pairs_is_an_error(tmp_path: Path) -> None:
    listing = plant_pairs(tmp_path, 2)
    for number in (0, 1):
        (tmp_path / f"vi/0{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match="none of 2 pairs can be read; the first: .*00.png: not a"):
        PairDataset([listing])
    with pytest.raises(InputError, match="no pairs to read"):
        PairDataset([])


def test_several_listings_and_single_sources_form_one_dataset(tmp_path: Path) -> None:
    first, second = plant_pairs(tmp_path / "first", 2), plant_pairs(tmp_path / "second", 3)
    dataset = PairDataset([first, second.pairs[2]])
    assert dataset.names == ("00", "01", "02")
    assert len(PairDataset([first, first])) == 4  # each pair counts twice and is read once


def test_a_disk_cache_no_longer_needs_the_files(tmp_path: Path) -> None:
    listing = plant_pairs(tmp_path, 3)
    dataset = PairDataset([listing], "disk", tmp_path / "cache")
    shutil.rmtree(tmp_path / "vi")
    visible, thermal = dataset[2]
    assert isinstance(visible, np.memmap) and isinstance(thermal, np.memmap)
    assert (visible == 2).all() and (thermal == 102).all()


def test_a_disk_cache_decodes_only_changed_files(tmp_path: Path, monkeypatch) -> None:
    film(tmp_path / "vi/a.mp4", 3)
    film(tmp_path / "ir/a.mp4", 3)
    listing = plant_pairs(tmp_path, 3)
    PairDataset([listing], "disk", tmp_path / "cache")
    plant(tmp_path, "vi/01.png", value=55)
    os.utime(tmp_path / "vi/01.png", ns=(1, 1))
    read = []
    monkeypatch.setattr(
        pairs_module,
        "read_sources",
        lambda group, inner=read_sources: (read.append(group[0].name), inner(group))[1],
    )
    dataset = PairDataset([listing], "disk", tmp_path / "cache")
    assert read == ["01"]
    assert [int(visible[0, 0, 0]) for visible, _ in dataset] == [0, 55, 2, 0]


def test_a_full_disk_is_reported_and_leaves_no_incomplete_files(
    tmp_path: Path, monkeypatch
) -> None:
    listing = plant_pairs(tmp_path, 3)

    def fill_up(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ssvif_core.files.os.fsync", fill_up)
    with pytest.raises(InputError, match=r"cache: .*cannot be written \(No space left.*free some"):
        PairDataset([listing], "disk", tmp_path / "cache")
    monkeypatch.undo()
    assert not list((tmp_path / "cache").iterdir())
    assert len(PairDataset([listing], "disk", tmp_path / "cache")) == 3


def test_wrong_caches_and_cache_folders_are_refused(tmp_path: Path) -> None:
    listing = plant_pairs(tmp_path, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the cache cannot be written"):
        PairDataset([listing], "disk", tmp_path / "file" / "cache")
    with pytest.raises(InputError, match="a disk cache needs a folder"):
        PairDataset([listing], "disk")
    with pytest.raises(InputError, match="cache 'disc'; expected one of ram, disk, none"):
        PairDataset([listing], "disc")


def test_more_pairs_than_memory_holds_need_a_disk_cache(tmp_path: Path, monkeypatch) -> None:
    listing = plant_pairs(tmp_path, 3)
    monkeypatch.setattr(os, "sysconf", lambda name: 64)
    with pytest.raises(InputError, match="3 pairs need about .* GB of memory; use a disk cache"):
        PairDataset([listing])


def test_pairs_of_different_shapes_are_reported_once_and_used(tmp_path: Path, caplog) -> None:
    """4:3 and 5:4 cameras are a common pair, but a square image was cropped."""
    for number, size in enumerate([(24, 30), (24, 24), (24, 24)]):
        plant(tmp_path, f"vi/{number}.png", size=(24, 32))
        plant(tmp_path, f"ir/{number}.png", size=size)
    dataset = PairDataset([find_pairs(tmp_path)])
    assert dataset.different_shapes == ("1", "2") and len(dataset) == 3
    assert caplog.text.count("2 of 3 pairs have images of different shapes (1, 2)") == 1
    assert dataset[1][1].shape == (24, 32)


def test_masks_are_on_the_visible_grid(tmp_path: Path) -> None:
    plant(tmp_path, "vi/1.png", "ir/1.png", "vi/2.png", "ir/2.png", size=(20, 24))
    plant(tmp_path, "mask/1.png", size=(10, 12), value=255)
    dataset = PairDataset([find_pairs(tmp_path)])
    mask = dataset.mask(0)
    assert mask is not None and mask.shape == (20, 24) and (mask == 255).all()
    assert dataset.mask(1) is None


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.full((20, 24, 3), (0, 90, 200), np.uint8), "a coloured picture; expected an image"),
        (np.full((20, 24), 300, np.uint16), "ids up to 300; expected class ids of 0 to 255"),
    ],
)
def test_an_image_without_class_ids_is_refused_as_a_mask(
    tmp_path: Path, image: np.ndarray, text: str
) -> None:
    plant(tmp_path, "vi/1.png", "ir/1.png", "mask/1.png")
    cv2.imwrite(str(tmp_path / "mask/1.png"), image)
    with pytest.raises(InputError, match=f"mask/1.png: {text}"):
        PairDataset([find_pairs(tmp_path)]).mask(0)


def test_real_pairs_and_masks_are_read(shared: Path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    listing = find_pairs(shared / "msrs/train")
    dataset = PairDataset(listing.pairs[:6])
    mask = dataset.mask(5)
    assert mask is not None and mask.shape == dataset[5][1].shape == (480, 640)
    assert set(np.unique(mask)) <= {0, 1, 2, 3, 255}
