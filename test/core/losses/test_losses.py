"""Losses have their minimum at the intended result."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.losses.consistency import (
    balanced_assignment,
    cross_segmentation_consistency,
    mutual_information_loss,
)
from ssvif_core.losses.fusion import FusionLoss, blur, dilate, fusion_target, ssim_maps


def test_a_blur_keeps_the_mean_of_a_flat_image() -> None:
    assert torch.allclose(blur(torch.full((1, 1, 40, 40), 0.3), 3.0), torch.tensor(0.3))


def test_dilation_is_the_maximum_over_a_square() -> None:
    x = torch.rand(1, 1, 30, 40)
    assert torch.equal(dilate(x, 7), torch.nn.functional.max_pool2d(x, 7, 1, 3))


def test_ssim_of_an_image_with_itself_is_one_everywhere() -> None:
    x = torch.rand(1, 1, 40, 40)
    assert torch.allclose(ssim_maps(x, [x])[0], torch.tensor(1.0), atol=1e-4)


def test_ssim_agrees_with_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    a, b = torch.rand(1, 1, 60, 60), torch.rand(1, 1, 60, 60)
    expected = structural_similarity(
        a[0, 0].numpy(), b[0, 0].numpy(), gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, data_range=1.0, full=True,
    )[1]  # fmt: skip
    similarity = ssim_maps(a, [b])[0][0, 0].numpy()
    assert abs(similarity[8:-8, 8:-8] - expected[8:-8, 8:-8]).max() < 2e-3


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_the_target_is_an_image(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    visible, thermal = torch.rand(2, 1, 1, 48, 48, generator=generator)
    target, hot = fusion_target(visible, thermal)
    assert hot.min() >= 0 and hot.max() <= 1
    assert target.min() >= 0 and target.max() <= 1


def person(veil: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A warm person (rows 20-44, columns 28-36) behind a veil of luma `veil`."""
    visible, thermal = torch.full((1, 1, 64, 64), veil), torch.full((1, 1, 64, 64), 0.2)
    thermal[..., 20:44, 28:36] = 0.8
    return visible, thermal


@pytest.mark.parametrize("veil", [0.1, 0.6, 0.85, 1.0])
def test_a_person_behind_a_veil_stays_visible(veil: float) -> None:
    """The plain maximum would hide the person as soon as the veil is as bright."""
    target = fusion_target(*person(veil))[0][0, 0]
    inside, beside = target[24:40, 30:34].mean(), target[24:40, 40:44].mean()
    assert inside - beside > 0.35


def test_the_loss_is_smallest_at_its_target() -> None:
    visible, thermal = person(0.6)
    loss = FusionLoss()
    at_target = loss(fusion_target(visible, thermal)[0], visible, thermal)
    for other in (visible, thermal, torch.maximum(visible, thermal)):
        assert loss(other, visible, thermal)["total"] > at_target["total"]


def test_balanced_assignment_has_equal_classes_and_rows_that_sum_to_one() -> None:
    logits = torch.randn(512, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    logits[:, 0] += 0.5  # this class would take nearly all rows
    q = balanced_assignment(logits, iterations=50)
    assert torch.allclose(q.sum(1), torch.ones(512), atol=1e-3)
    assert torch.allclose(q.sum(0), torch.full((8,), 64.0), rtol=0.05)


def test_a_constant_map_does_not_satisfy_consistency() -> None:
    constant = torch.zeros(256, 4)
    constant[:, 0] = 1.0
    classes = torch.eye(4).repeat(64, 1)
    assert cross_segmentation_consistency(classes, classes) < 0.05
    assert cross_segmentation_consistency(constant, constant) > math.log(4) - 0.1


def test_mutual_information_is_best_for_equal_and_balanced_branches() -> None:
    classes = torch.eye(4).repeat(64, 1)
    shuffled = classes[torch.randperm(256, generator=torch.Generator().manual_seed(0))]
    constant = torch.eye(4)[torch.zeros(256, dtype=torch.long)]
    best = mutual_information_loss(classes, classes)
    assert best < mutual_information_loss(classes, shuffled)
    assert best < mutual_information_loss(constant, constant)
