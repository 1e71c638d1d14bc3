"""Picking: what is rare or new is labelled first, and the labels of the model can be corrected."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_trainer import ROOT
from typer.testing import CliRunner

from ssvif_core.cli import app
from ssvif_core.errors import InputError
from ssvif_core.labels import read_labels
from ssvif_core.models import load_model
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.training.picking import describe, pick

WEIGHTS = ROOT / "ssvif_core/weights/ssvif_s.safetensors"
Images = list[tuple[np.ndarray, np.ndarray]]


def test_rare_words_come_first_and_equal_pairs_last() -> None:
    shares = np.array([[0.9, 0.1, 0], [0.9, 0.1, 0], [0.8, 0.1, 0.1], [0.1, 0.9, 0]])
    assert pick(shares, 2) == [2, 3]
    assert sorted(pick(shares, 9)) == [0, 1, 2, 3]


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 99))
def test_every_pair_is_picked_once(pairs: int, words: int, seed: int) -> None:
    shares = np.random.default_rng(seed).random((pairs, words)).round(1)
    assert sorted(pick(shares, pairs)) == list(range(pairs))


@pytest.fixture(scope="module")
def images() -> Images:
    """Ten neighbouring pairs of a street by day, and between them two others at night."""
    shape = {"visible_size": (160, 128), "thermal_size": (160, 128)}
    day, night = (DriveGenerator(DriveConfig(condition=when, **shape)) for when in ("day", "night"))
    scenes = [day.frame(number) for number in range(10)]
    scenes[3:3] = [night.frame(100)]
    scenes[7:7] = [night.frame(200)]
    return [
        (scene.visible, np.clip((scene.thermal.astype(float) - 6800) / 8, 0, 255).astype(np.uint8))
        for scene in scenes
    ]


def test_pairs_that_show_other_things_are_picked_first(images: Images) -> None:
    shares = describe(load_model(WEIGHTS), images)
    assert len(shares) == 12 and (shares >= 0).all()
    assert pick(shares, 1)[0] in (3, 7) and {3, 7} < set(pick(shares, 4))
    assert np.array_equal(shares, describe(load_model(WEIGHTS), images))  # the same each time
    assert pick(
        describe(load_model(WEIGHTS), [(images[0][0][:32, :32], images[0][1][:32, :32])]), 5
    ) == [0]
    with pytest.raises(InputError, match="pair 0: images of 20x20 pixels; expected at least 32x32"):
        describe(load_model(WEIGHTS), [(images[0][0][:20, :20], images[0][1][:20, :20])])


def test_the_command_writes_pairs_and_labels_to_correct(images: Images, tmp_path: Path) -> None:
    for number, pair in enumerate(images):
        for kind, image in zip(("vi", "ir"), pair, strict=True):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "data" / kind / f"{number:02d}.png"), image)
    out = tmp_path / "picked"
    command = ["pick", str(tmp_path / "data"), "--out", str(out), "--images", "4"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    facts = json.loads((out / "pick.json").read_text())
    assert facts["looked at"] == 12
    picked = facts["picked, the most useful first"]
    assert {"03.png", "07.png"} < set(picked) and len(picked) == 4
    pairs = find_pairs(out).pairs
    assert sorted(pair.visible.name for pair in pairs) == sorted(picked)
    # The labels are those of the model, and both files hold the same.
    names = load_model(WEIGHTS).names
    for labels in (read_labels(out / "fused"), read_labels(out / "coco.json")):
        drawn = [labels.find(pair) for pair in pairs]
        ids = [label.draw(names, 128, 160) for label in drawn if label is not None]
        assert len(ids) == 4 and any(each.any() for each in ids)
    fused = cv2.imread(str(out / "fused" / picked[0]))
    assert fused is not None and fused.shape == (128, 160, 3)
    assert (out / "contact_sheet.png").is_file()
    again = CliRunner().invoke(app, command)
    assert "is not empty; choose a new folder" in str(again.exception)
