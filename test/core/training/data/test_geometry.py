"""Geometric views: a point of the crop has the same content in all views."""

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


@settings(max_examples=25)
@given(st.integers(0, 2**31))
def test_a_point_has_the_same_value_in_both_views(seed: int) -> None:
    image, seeds = smooth_image(), torch.tensor([seed])
    transforms = [draw_transforms(seeds + offset, GeometryConfig()) for offset in (0, 1)]
    points = common_points(transforms, 200, seeds)
    expected = sample(image, points, torch.eye(2, 3)[None])
    for transform in transforms:
        # Two bilinear steps cost up to 0.03; the next pixel differs by 0.08.
        values = sample(warp(image, transform), points, transform)
        assert torch.allclose(values, expected, atol=0.05)


@settings(max_examples=25)
@given(st.integers(0, 2**31))
def test_common_points_lie_inside_the_crop_and_both_views(seed: int) -> None:
    seeds = torch.tensor([seed, seed + 7])
    transforms = [draw_transforms(seeds + offset, GeometryConfig()) for offset in (0, 1)]
    points = common_points(transforms, 64, seeds)
    assert points.shape == (2, 64, 2) and points.abs().max() <= 1
    for transform in transforms:
        assert in_view(points, transform).abs().max() < 0.97


def test_zoom_1_and_zeros_switch_the_views_off() -> None:
    still = GeometryConfig(zoom=1, rotation=0, shift=0, flip=0)
    transforms = draw_transforms(torch.arange(3), still)
    assert torch.allclose(transforms, torch.eye(2, 3).expand(3, 2, 3))
    image = torch.rand(3, 4, 32, 32)
    assert torch.allclose(warp(image, transforms), image, atol=1e-5)


def test_a_transform_and_its_inverse_cancel() -> None:
    transforms = draw_transforms(torch.arange(5), GeometryConfig())
    points = torch.rand(5, 9, 2)
    in_crop = points @ transforms[:, :, :2].transpose(1, 2) + transforms[:, None, :, 2]
    assert torch.allclose(in_view(in_crop, transforms), points, atol=1e-5)
    assert torch.allclose(invert(invert(transforms)), transforms, atol=1e-5)


def test_the_transform_of_a_seed_does_not_depend_on_the_batch() -> None:
    together = draw_transforms(torch.tensor([3, 4, 5]), GeometryConfig())
    assert torch.equal(together[1:2], draw_transforms(torch.tensor([4]), GeometryConfig()))
