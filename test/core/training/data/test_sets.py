"""The training and the validation pairs of a configuration."""

from __future__ import annotations

from pathlib import Path

from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.training.config import TrainConfig
from ssvif_core.training.data.sets import read_pairs
from ssvif_core.training.data.splits import write_split


def test_a_split_file_keeps_validation_pairs_out_of_training(data: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.yaml"
    write_split(split, find_pairs(data).names, validation=0.5, test=0)
    config = TrainConfig(data=[str(data)], out=str(tmp_path), split=str(split))
    training, validation = read_pairs(config)
    assert (len(training), len(validation)) == (4, 2)
    assert not set(training.names) & set(validation.names)
