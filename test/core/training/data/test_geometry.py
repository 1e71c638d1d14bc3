"""Geometric views: what a branch sees from elsewhere comes back to the same point."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.training.data.geometry import (
    GeometryConfig,
    common_points,
    draw_transforms,
    in_view,
    invert,
    sample,
    warp,
)


def smooth_image(side: int = 96) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 3, side), torch.linspace(0, 5, side), indexing="ij")
    return torch.stack([torch.sin(x + y), torch.cos(x - 2 * y)])[None]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_a_point_has_the_same_value_in_both_views(seed: int) -> None:
    image, seeds = smooth_image(), torch.tensor([seed])
    transforms = [draw_transforms(seeds + k, GeometryConfig()) for k in (0, 1)]
    points = common_points(transforms, 200, seeds)
    one, two = (sample(warp(image, t), points, t) for t in transforms)
    straight = sample(image, points, torch.eye(2, 3)[None])
    # Twice bilinear costs up to .03; a pixel beside it would be .08 off.
    assert torch.allclose(one, straight, atol=0.05) and torch.allclose(two, straight, atol=0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_common_points_lie_inside_the_crop_and_both_views(seed: int) -> None:
    seeds = torch.tensor([seed, seed + 7])
    transforms = [draw_transforms(seeds + k, GeometryConfig()) for k in (0, 1)]
    points = common_points(transforms, 64, seeds)
    assert points.shape == (2, 64, 2) and points.abs().max() <= 1
    for transform in transforms:
        assert in_view(points, transform).abs().max() < 0.97


def test_zeros_switch_the_views_off() -> None:
    still = GeometryConfig(zoom=1, rotation=0, shift=0, flip=0)
    transforms = draw_transforms(torch.arange(3), still)
    assert torch.allclose(transforms, torch.eye(2, 3).expand(3, 2, 3))
    image = torch.rand(3, 4, 32, 32)
    assert torch.allclose(warp(image, transforms), image, atol=1e-5)


def test_a_transform_and_its_inverse_cancel() -> None:
    transforms = draw_transforms(torch.arange(5), GeometryConfig())
    points = torch.rand(5, 9, 2)
    there = points @ transforms[:, :, :2].transpose(1, 2) + transforms[:, None, :, 2]
    assert torch.allclose(in_view(there, transforms), points, atol=1e-5)
    assert torch.allclose(invert(invert(transforms)), transforms, atol=1e-5)


def test_a_sample_draws_the_same_in_any_batch() -> None:
    together = draw_transforms(torch.tensor([3, 4, 5]), GeometryConfig())
    assert torch.equal(together[1:2], draw_transforms(torch.tensor([4]), GeometryConfig()))
