"""Training with labelled and unlabelled pairs at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.errors import InputError
from ssvif_core.losses.fusion import FusionLoss
from ssvif_core.losses.segmentation import dice_loss
from ssvif_core.models import Model, ModelConfig
from ssvif_core.models.fusion import fused_colour, luma_of
from ssvif_core.recordings.labels import IGNORE
from ssvif_core.training.data.deck import Deck
from ssvif_core.training.data.views import ViewConfig, batch_views
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
Labelled = tuple[np.ndarray, np.ndarray, np.ndarray]


def warm_square(seed: int) -> Labelled:
    """A grey scene with one warm square, class 1, in the thermal image."""
    random = np.random.default_rng(seed)
    visible = random.integers(60, 120, (*SIZE, 3)).astype(np.uint8)
    thermal = random.integers(20, 40, SIZE).astype(np.uint8)
    ids = np.zeros(SIZE, np.uint8)
    y, x = random.integers(8, 56), random.integers(8, 88)
    thermal[y : y + 32, x : x + 32] = 220
    ids[y : y + 32, x : x + 32] = 1
    return visible, thermal, ids


@pytest.fixture(scope="module")
def pairs() -> list[Labelled]:
    return [warm_square(seed) for seed in range(6)]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.5, 3.0), around=st.booleans())
def test_a_crop_shows_images_and_labels_of_the_same_place(
    seed: int, scale: float, around: bool
) -> None:
    deck = Deck([warm_square(1)], 2, CPU, SIZE)
    torch.manual_seed(seed)
    side = min(64, int(SIZE[0] * scale) // 32 * 32)
    visible, thermal, ids = deck.crops(5, side, torch.full((5,), scale), around)
    assert visible.shape == (5, 3, side, side) and thermal.shape == (5, 1, side, side)
    assert 0 <= thermal.min() and thermal.max() <= 1
    # Away from its border the square is what is warm.
    sure = (thermal[:, 0] > 0.8) | (thermal[:, 0] < 0.16)
    assert torch.equal((ids == 1)[sure], (thermal[:, 0] > 0.5)[sure])


def test_most_crops_hold_the_rare_class_when_asked_for(pairs: list[Labelled]) -> None:
    empty = (pairs[0][0], np.full(SIZE, 30, np.uint8), np.zeros(SIZE, np.uint8))
    deck = Deck([*[empty] * 20, pairs[0]], 2, CPU, SIZE)
    _, _, ids = deck.crops(40, 64, torch.ones(40), True)
    assert (ids == 1).flatten(1).any(1).sum() >= 20


def test_pairs_of_another_size_and_without_labels_are_taken(pairs: list[Labelled]) -> None:
    visible, thermal, _ = pairs[0]
    large = (visible.repeat(2, 0).repeat(2, 1), thermal.repeat(2, 0).repeat(2, 1), None)
    _, _, ids = Deck([large], 2, CPU, SIZE).crops(3, 64, torch.ones(3), False)
    assert (ids == IGNORE).all()


def test_views_without_effects_change_nothing_and_with_all_stay_in_range() -> None:
    visible, thermal = torch.rand(8, 3, 64, 64), torch.rand(8, 1, 64, 64)
    none = ViewConfig(*[0.0] * 11)
    same = batch_views(visible, thermal, none)
    assert torch.equal(same[0], visible) and torch.equal(same[1], thermal)
    for changed, before in zip(batch_views(visible, thermal, ViewConfig(*[1.0] * 11)),
                               (visible, thermal), strict=True):  # fmt: skip
        assert changed.shape == before.shape and not torch.equal(changed, before)
        assert 0 <= changed.min() and changed.max() <= 1


def test_one_camera_alone_leaves_the_other_flat() -> None:
    visible, thermal = one_camera(torch.rand(4, 3, 32, 32), torch.rand(4, 1, 32, 32))
    assert visible[:2].std((2, 3)).max() < 1e-6 < visible[2:].std((2, 3)).min()
    assert thermal[2:].std((2, 3)).max() < 1e-6 < thermal[:2].std((2, 3)).min()


def test_the_same_window_is_mixed_into_every_map() -> None:
    numbers = torch.arange(6.0).view(6, 1, 1, 1)
    fine, coarse = cut_mix(64, [numbers.expand(6, 1, 64, 64), numbers.expand(6, 2, 32, 32)])
    assert torch.equal(fine[:, 0, 1::2, 1::2], coarse[:, 0])
    for index in range(6):
        assert set(fine[index].unique().tolist()) == {index, (index - 1) % 6}


def test_dice_is_0_for_perfect_labels_and_near_1_for_wrong_ones() -> None:
    ids = torch.randint(0, 3, (2, 16, 16))
    right = 50.0 * torch.nn.functional.one_hot(ids, 3).permute(0, 3, 1, 2)
    assert dice_loss(right, ids) < 1e-3
    assert dice_loss(right.roll(1, 1), ids) > 0.95
    hidden = torch.where(torch.rand(ids.shape) < 0.5, IGNORE, ids)
    assert dice_loss(right, hidden) < 1e-3


def test_a_model_learns_the_class_and_the_fused_image_together(pairs: list[Labelled]) -> None:
    config = OverlayConfig(steps=60, labelled=4, unlabelled=4, crop=64, learning_rate=5e-3,
                           keep=0.9, pixel=0.5)  # fmt: skip
    torch.manual_seed(0)
    model = Model(ModelConfig("trunk"), NAMES)
    labelled = Deck(pairs[:4], 2, CPU, SIZE)
    unlabelled = Deck([(v, t, None) for v, t, _ in pairs], 2, CPU, SIZE)
    trainer = OverlayTrainer(model, labelled, unlabelled, config)
    heard: list[dict[str, float]] = []
    result = train_overlay(trainer, lambda step, losses: heard.append(losses), every=1)
    for name, share in (("feature_labels", 0.3), ("fusion", 0.9)):
        losses = [each[name] for each in heard]
        assert np.mean(losses[-10:]) < share * np.mean(losses[:5]), name
    assert {"pixel_labels", "pixel_consistency", "confident"} <= set(heard[0])
    person = scores(result, pairs[4:], CPU).iou[1]
    assert person > 0.6, person  # of pairs whose labels it never saw


def test_finishing_changes_the_fused_image_and_no_class(pairs: list[Labelled]) -> None:
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


def test_what_cannot_be_trained_is_refused(pairs: list[Labelled]) -> None:
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
