"""Geometric views: each branch sees the crop from another place, and both compare points.

A transform is an affine matrix (2, 3). It maps coordinates of a view to coordinates of the crop.
Both are normalised: x points right, y points down, and -1 and 1 are the outer edges of the image
(`align_corners=False`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class GeometryConfig:
    """How much a view may differ from the crop. Zoom 1 and zeros switch the views off."""

    zoom: float = 1.6  # largest factor; the smallest one is 1 / zoom
    rotation: float = 8.0  # degrees
    shift: float = 0.3  # of half the crop's side
    flip: float = 0.5  # probability


def draw_transforms(seeds: Tensor, config: GeometryConfig) -> Tensor:
    """A random transform for each seed: (B,) integers -> (B, 2, 3).

    >>> still = GeometryConfig(zoom=1, rotation=0, shift=0, flip=0)
    >>> bool((draw_transforms(torch.tensor([7]), still) == torch.eye(2, 3)).all())
    True
    """
    transforms = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(int(seed))
        zoom, angle, x, y, flip = (2 * torch.rand(5, generator=generator) - 1).tolist()
        scale = config.zoom**zoom
        radians = torch.deg2rad(torch.tensor(angle * config.rotation))
        cos, sin = scale * float(torch.cos(radians)), scale * float(torch.sin(radians))
        mirror = -1.0 if (flip + 1) / 2 < config.flip else 1.0
        transforms.append(
            [[mirror * cos, -sin, x * config.shift], [mirror * sin, cos, y * config.shift]]
        )
    return torch.tensor(transforms, device=seeds.device)


def warp(image: Tensor, transforms: Tensor) -> Tensor:
    """The view of each crop, (B, C, H, W). Outside its edges, a crop is mirrored."""
    grid = F.affine_grid(transforms, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)


def invert(transforms: Tensor) -> Tensor:
    """The transforms from the crop to the views, (B, 2, 3)."""
    linear = torch.linalg.inv(transforms[:, :, :2])
    return torch.cat([linear, -linear @ transforms[:, :, 2:]], 2)


def common_points(transforms: list[Tensor], count: int, seeds: Tensor) -> Tensor:
    """Random points that lie inside all views of a crop.

    If the views have few points in common, points are repeated, so that every crop has `count`.

    Args:
        transforms: (B, 2, 3) for each view.
        count: points per crop.
        seeds: (B,) integers.

    Returns:
        (B, count, 2) in coordinates of the crop.
    """
    candidates = torch.stack(
        [
            2 * torch.rand(4 * count, 2, generator=torch.Generator().manual_seed(int(seed))) - 1
            for seed in seeds
        ]
    ).to(seeds.device)
    inside = torch.stack(
        [(in_view(candidates, transform).abs() < 0.97).all(2) for transform in transforms]
    ).all(0)
    inside_first = inside.int().argsort(dim=1, descending=True, stable=True)
    inside_count = inside.sum(1, keepdim=True).clamp(min=1)
    chosen = inside_first.gather(1, torch.arange(count, device=seeds.device)[None] % inside_count)
    return candidates.gather(1, chosen[..., None].expand(-1, -1, 2))


def in_view(points: Tensor, transforms: Tensor) -> Tensor:
    """Convert points from the crop to the views, (B, P, 2) -> (B, P, 2).

    >>> twice = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 2.0, 0.5]]])  # the view shows twice as much
    >>> in_view(torch.tensor([[[1.0, 0.5]]]), twice).tolist()
    [[[0.5, 0.0]]]
    """
    inverse = invert(transforms)
    return points @ inverse[:, :, :2].transpose(1, 2) + inverse[:, None, :, 2]


def sample(maps: Tensor, points: Tensor, transforms: Tensor) -> Tensor:
    """Read maps of the views at points of the crop.

    Args:
        maps: (B, C, h, w), each in coordinates of its view.
        points: (B, P, 2) in coordinates of the crop.
        transforms: (B, 2, 3).

    Returns:
        (B * P, C), bilinear samples.
    """
    grid = in_view(points, transforms)[:, :, None]
    values = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    return values[..., 0].transpose(1, 2).flatten(0, 1)
