"""The figures that tell how self-supervision fails."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ssvif_core.training.config import HealthConfig
from ssvif_core.training.health import (
    CollapseWatch,
    class_figures,
    gradient_norm,
    image_figures,
    verdicts,
)

SPEAKING = torch.ones(4)  # deviation of the logits


def test_equal_classes_have_full_entropy_and_one_class_none() -> None:
    luma = torch.rand(64, 64)
    equal = class_figures(torch.arange(4096).view(64, 64) % 4, luma, SPEAKING)
    assert equal["entropy"] == pytest.approx(1) and equal["live_classes"] == 1
    one = class_figures(torch.zeros(64, 64, dtype=torch.long), luma, SPEAKING)
    assert one["entropy"] == 0 and one["live_classes"] == 0.25


def test_classes_of_rounding_errors_are_not_alive() -> None:
    ids = torch.arange(4096).view(64, 64) % 4
    silent = class_figures(ids, torch.rand(64, 64), torch.tensor([1e-4, 1.0, 1e-4, 1.0]))
    assert silent["live_classes"] == 0.5


def test_brightness_thresholds_are_told_from_content() -> None:
    luma = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    thresholds = (luma * 4).long()
    content = torch.arange(64)[None].expand(64, 64) // 16
    assert class_figures(thresholds, luma, SPEAKING)["luma_information"] > 0.95
    assert class_figures(content, luma, SPEAKING)["luma_information"] < 0.05


def test_codes_painted_into_the_image_cost_similarity_and_edges() -> None:
    image = torch.rand(1, 1, 16, 16).repeat_interleave(4, 2).repeat_interleave(4, 3)
    painted = (image + 0.3 * (torch.arange(64) % 2)).clamp(0, 1)
    clean, coded = image_figures(image, image, image), image_figures(painted, image, image)
    assert clean["similarity"] > 0.99 and clean["qabf"] > 0.9
    assert coded["similarity"] < 0.8 and coded["qabf"] < clean["qabf"] - 0.02


def test_the_gradient_norm_is_that_of_backward() -> None:
    layer = nn.Linear(3, 2)
    loss = layer(torch.rand(5, 3)).square().sum()
    norm = gradient_norm(loss, layer.parameters())
    loss.backward()  # the graph is still there
    squares = [p.grad.square().sum() for p in layer.parameters() if p.grad is not None]
    assert norm == pytest.approx(float(torch.stack(squares).sum().sqrt()), rel=1e-5)


def test_a_collapse_is_called_only_after_some_bad_epochs_in_a_row() -> None:
    watch = CollapseWatch(HealthConfig(entropy=0.3, live_classes=0.25, patience=2))
    good = {"entropy": 0.8, "live_classes": 1.0, "pixel_entropy": 0.8, "pixel_live_classes": 1.0}
    bad = {**good, "entropy": 0.1, "pixel_live_classes": 0.06}
    assert [watch.look(x) for x in (bad, good, bad)] == [None, None, None]
    reason = watch.look(bad) or ""
    assert "entropy 0.10 (gate 0.30), pixel_live_classes 0.06 (gate 0.25)" in reason


def test_a_finished_stage_is_told_what_is_wrong_with_it() -> None:
    good = {"validation_agreement": 0.8, "luma_information": 0.2}
    assert verdicts("2 joint", good, HealthConfig()) == []
    assert verdicts("0 fusion", {"qabf": 0.6}, HealthConfig()) == []
    bad = verdicts("2 joint", {"validation_agreement": 0.17, "luma_information": 0.9},
                   HealthConfig())  # fmt: skip
    assert "2 joint: the branches agree on 17% of the pixels (gate 30%)" in bad[0]
    assert "luma explains 90% of the classes" in bad[1]
