"""Tuning trains F and S_f on a few labelled images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scenes import people_and_cars
from torch.nn import functional as F

from ssvif_core.errors import InputError
from ssvif_core.models import Model
from ssvif_core.training.naming import fit_naming
from ssvif_core.training.overlay import OverlayTrainer
from ssvif_core.training.prediction import features_of
from ssvif_core.training.tuning import TuningConfig, tune

NAMES = ("background", "person", "car")


def test_tuning_learns_what_a_linear_layer_cannot_read_and_keeps_the_image() -> None:
    torch.manual_seed(1)  # from these features a linear layer reads the classes badly
    named = Model().eval()
    examples = [people_and_cars(seed) for seed in range(4)]
    named.name(NAMES, *fit_naming(named, examples, NAMES))

    def error_and_image() -> tuple[float, torch.Tensor]:
        visible, thermal, mask = people_and_cars(99)
        with torch.no_grad():
            features = features_of(named, visible, thermal)
            ids = torch.from_numpy(mask[2::4, 2::4].astype(int))[None]
            return float(F.cross_entropy(named.labeller(features), ids)), features.change

    error, image = error_and_image()
    steps: list[int] = []
    pairs = [(visible, thermal) for visible, thermal, _ in examples]
    tune(named, examples, pairs, TuningConfig(steps=60, batch=4, crop=64), steps.append)
    tuned_error, tuned_image = error_and_image()
    assert steps == list(range(1, 61)) and not named.training
    assert tuned_error < 0.7 * error
    assert float((tuned_image - image).abs().mean()) < 0.01


def test_unlabelled_pairs_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The consistency loss takes its crops from all pairs, and grows to its full weight."""
    named = Model().eval()
    examples = [people_and_cars(seed) for seed in range(2)]
    named.name(NAMES, *fit_naming(named, examples, NAMES))
    seen: list[OverlayTrainer] = []
    create = OverlayTrainer.__init__

    def remember(self: OverlayTrainer, *arguments: Any, **options: Any) -> None:
        create(self, *arguments, **options)
        seen.append(self)

    monkeypatch.setattr(OverlayTrainer, "__init__", remember)
    pairs = [people_and_cars(seed)[:2] for seed in range(5)]
    tune(named, examples, pairs, TuningConfig(steps=3, batch=4))
    (trainer,) = seen
    assert (trainer.labelled.count, trainer.unlabelled.count) == (2, 5)
    assert trainer.config.crop == 96  # images of 128x96
    assert float(trainer.ramp) == 1.0 and "feature_consistency" in trainer.losses


def test_a_model_without_names_is_not_tuned() -> None:
    with pytest.raises(InputError, match="without names; name its classes first"):
        tune(Model(), [people_and_cars(0)], [people_and_cars(0)[:2]])


def test_images_that_are_too_small_are_refused() -> None:
    visible, thermal, mask = people_and_cars(0)
    small = visible[:24, :64], thermal[:24, :64], mask[:24, :64]
    named = Model().eval()
    named.name(NAMES, torch.zeros(3, named.head.width + sum(named.fusion.channels)), torch.zeros(3))
    with pytest.raises(InputError, match="images of 64x24 pixels; expected at least 32x32"):
        tune(named, [small], [small[:2]])
