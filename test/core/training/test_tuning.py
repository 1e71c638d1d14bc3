"""Tuning trains F and S_f on a few labelled images."""

from __future__ import annotations

import pytest
import torch
from scenes import people_and_cars
from torch.nn import functional as F

from ssvif_core.errors import InputError
from ssvif_core.models import Model
from ssvif_core.training.naming import features_of, fit_naming
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
    tune(named, examples, pairs, TuningConfig(steps=40, batch=3, kept=1, crop=64), steps.append)
    tuned_error, tuned_image = error_and_image()
    assert steps == list(range(1, 41)) and not named.training
    assert tuned_error < 0.7 * error
    assert float((tuned_image - image).abs().mean()) < 0.01


def test_a_model_without_names_is_not_tuned() -> None:
    with pytest.raises(InputError, match="without names; name its classes first"):
        tune(Model(), [people_and_cars(0)], [people_and_cars(0)[:2]])
