"""Figures that show how self-supervision fails."""

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

DEVIATION = torch.ones(4)  # of the logits of four live classes


def test_equal_classes_have_full_entropy_and_a_single_class_has_none() -> None:
    luma = torch.rand(64, 64)
    equal = class_figures(torch.arange(4096).view(64, 64) % 4, luma, DEVIATION)
    assert equal["entropy"] == pytest.approx(1) and equal["live_classes"] == 1
    single = class_figures(torch.zeros(64, 64, dtype=torch.long), luma, DEVIATION)
    assert single["entropy"] == 0 and single["live_classes"] == 0.25


def test_classes_of_rounding_errors_are_not_live() -> None:
    ids = torch.arange(4096).view(64, 64) % 4
    figures = class_figures(ids, torch.rand(64, 64), torch.tensor([1e-4, 1.0, 1e-4, 1.0]))
    assert figures["live_classes"] == 0.5


def test_brightness_thresholds_are_distinguished_from_content() -> None:
    luma = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    thresholds = (luma * 4).long()
    content = torch.arange(64)[None].expand(64, 64) // 16
    assert class_figures(thresholds, luma, DEVIATION)["luma_information"] > 0.95
    assert class_figures(content, luma, DEVIATION)["luma_information"] < 0.05


def test_codes_in_the_image_lower_similarity_and_edge_transfer() -> None:
    image = torch.rand(1, 1, 16, 16).repeat_interleave(4, 2).repeat_interleave(4, 3)
    with_codes = (image + 0.3 * (torch.arange(64) % 2)).clamp(0, 1)
    clean, coded = image_figures(image, image, image), image_figures(with_codes, image, image)
    assert clean["similarity"] > 0.99 and clean["qabf"] > 0.9
    assert coded["similarity"] < 0.8 and coded["qabf"] < clean["qabf"] - 0.02


def test_the_gradient_norm_equals_that_of_backward() -> None:
    layer = nn.Linear(3, 2)
    loss = layer(torch.rand(5, 3)).square().sum()
    norm = gradient_norm(loss, layer.parameters())
    loss.backward()  # the graph still exists
    squares = [p.grad.square().sum() for p in layer.parameters() if p.grad is not None]
    assert norm == pytest.approx(float(torch.stack(squares).sum().sqrt()), rel=1e-5)


def test_a_collapse_is_reported_after_several_bad_epochs_in_a_row() -> None:
    watch = CollapseWatch(HealthConfig(entropy=0.3, live_classes=0.25, patience=2))
    good = {"entropy": 0.8, "live_classes": 1.0, "pixel_entropy": 0.8, "pixel_live_classes": 1.0}
    bad = {**good, "entropy": 0.1, "pixel_live_classes": 0.06}
    assert [watch.look(figures) for figures in (bad, good, bad)] == [None, None, None]
    reason = watch.look(bad) or ""
    assert "entropy 0.10 (gate 0.30), pixel_live_classes 0.06 (gate 0.25)" in reason


def test_verdicts_name_the_problems_of_a_finished_stage() -> None:
    good = {"validation_agreement": 0.8, "luma_information": 0.2}
    assert verdicts("2 joint", good, HealthConfig()) == []
    assert verdicts("0 fusion", {"qabf": 0.6}, HealthConfig()) == []
    bad = verdicts("2 joint", {"validation_agreement": 0.17, "luma_information": 0.9},
                   HealthConfig())  # fmt: skip
    assert "2 joint: the branches agree on 17% of the pixels (gate 30%)" in bad[0]
    assert "luma explains 90% of the classes" in bad[1]
