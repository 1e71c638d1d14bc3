"""Training with labelled and unlabelled pairs at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scenes import warm_square

from ssvif_core.errors import InputError
from ssvif_core.labels import IGNORE
from ssvif_core.losses.fusion import FusionLoss
from ssvif_core.losses.segmentation import dice_loss
from ssvif_core.models import Model, ModelConfig
from ssvif_core.models.fusion import fused_colour, luma_of
from ssvif_core.training.data.deck import Deck
from ssvif_core.training.naming import Labelled
from ssvif_core.training.overlay import (
    OverlayConfig,
    OverlayTrainer,
    cut_mix,
    finish_fusion,
    one_camera,
    scores,
    train_overlay,
)

NAMES = ("background", "person")
CPU = torch.device("cpu")
SIZE = (96, 128)


@pytest.fixture(scope="module")
def pairs() -> list[Labelled]:
    return [warm_square(seed) for seed in range(6)]


def test_one_camera_makes_the_image_of_the_other_camera_flat() -> None:
    visible, thermal = one_camera(torch.rand(4, 3, 32, 32), torch.rand(4, 1, 32, 32))
    assert visible[:2].std((2, 3)).max() < 1e-6 < visible[2:].std((2, 3)).min()
    assert thermal[2:].std((2, 3)).max() < 1e-6 < thermal[:2].std((2, 3)).min()


def test_cut_mix_takes_the_same_window_in_every_map() -> None:
    numbers = torch.arange(6.0).view(6, 1, 1, 1)
    fine, coarse = cut_mix(64, [numbers.expand(6, 1, 64, 64), numbers.expand(6, 2, 32, 32)])
    assert torch.equal(fine[:, 0, 1::2, 1::2], coarse[:, 0])
    for index in range(6):
        assert set(fine[index].unique().tolist()) == {index, (index - 1) % 6}


def test_dice_loss_is_0_for_perfect_labels_and_near_1_for_wrong_labels() -> None:
    ids = torch.randint(0, 3, (2, 16, 16))
    perfect = 50.0 * torch.nn.functional.one_hot(ids, 3).permute(0, 3, 1, 2)
    assert dice_loss(perfect, ids) < 1e-3
    assert dice_loss(perfect.roll(1, 1), ids) > 0.95
    hidden = torch.where(torch.rand(ids.shape) < 0.5, IGNORE, ids)
    assert dice_loss(perfect, hidden) < 1e-3


@pytest.mark.slow
def test_a_model_learns_the_class_and_the_fused_image_together(pairs: list[Labelled]) -> None:
    config = OverlayConfig(steps=60, labelled=4, unlabelled=4, crop=64, learning_rate=5e-3,
                           keep=0.9, pixel=0.5)  # fmt: skip
    torch.manual_seed(0)
    model = Model(ModelConfig("trunk"), NAMES)
    labelled = Deck(pairs[:4], 2, CPU, SIZE)
    unlabelled = Deck([(v, t, None) for v, t, _ in pairs], 2, CPU, SIZE)
    trainer = OverlayTrainer(model, labelled, unlabelled, config)
    log: list[dict[str, float]] = []
    result = train_overlay(trainer, lambda step, losses: log.append(losses), every=1)
    for name, share in (("feature_labels", 0.3), ("fusion", 0.9)):
        values = [losses[name] for losses in log]
        assert np.mean(values[-10:]) < share * np.mean(values[:5]), name
    assert {"pixel_labels", "pixel_consistency", "confident"} <= set(log[0])
    person = scores(result, pairs[4:], CPU).iou[1]
    assert person > 0.6, person  # on pairs whose labels were not learned


def test_finishing_changes_the_fused_image_and_keeps_the_classes(pairs: list[Labelled]) -> None:
    torch.manual_seed(0)
    model = Model(ModelConfig("trunk"), NAMES).eval()
    visible, thermal = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        before = model.fusion(visible, thermal)
        classes = model.labeller(before)
    config = OverlayConfig(steps=30, labelled=4, crop=64, clean=1.0, keep=0.9)
    losses: list[float] = []
    finish_fusion(model, Deck(pairs, 2, CPU, SIZE), config, lambda _, loss: losses.append(loss))
    with torch.no_grad():
        after = model.fusion(visible, thermal)
        assert torch.equal(model.labeller(after), classes)
    assert not torch.equal(after.change, before.change)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_a_model_without_names_and_wrong_settings_are_refused(pairs: list[Labelled]) -> None:
    deck = Deck(pairs, 2, CPU, SIZE)
    with pytest.raises(InputError, match="without names"):
        OverlayTrainer(Model(ModelConfig("trunk")), deck, deck, OverlayConfig())
    with pytest.raises(InputError, match="crop=100; expected a multiple of 32"):
        OverlayConfig(crop=100)
    for wrong in ({"steps": 0}, {"unlabelled": 3}, {"keep": 1.5}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            OverlayConfig(**wrong)  # type: ignore[arg-type]


def test_the_fused_image_of_an_untrained_trunk_shows_both_cameras() -> None:
    torch.manual_seed(0)
    model = Model(ModelConfig("trunk"), NAMES).eval()
    visible, thermal = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        fused = luma_of(fused_colour(visible, model.fusion(visible, thermal).change))
    loss = FusionLoss()(fused, luma_of(visible), thermal)["total"]
    assert torch.isfinite(loss)
    low, high = torch.minimum(luma_of(visible), thermal), torch.maximum(luma_of(visible), thermal)
    assert ((fused > low - 0.1) & (fused < high + 0.1)).float().mean() > 0.99
