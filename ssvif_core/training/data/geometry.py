"""Geometric views: each branch sees the scene from elsewhere, and they are compared point by point.

A transform is an affine matrix (2, 3) that maps a view's coordinates to those of the crop, both
normalised: x right and y down, -1 and 1 at the outer edges of the image (`align_corners=False`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class GeometryConfig:
    """How far a view may differ from the crop; zeros switch it off."""

    zoom: float = 1.6  # largest factor, and its inverse the smallest
    rotation: float = 8.0  # degrees
    shift: float = 0.3  # of half the crop's side
    flip: float = 0.5  # probability


def draw_transforms(seeds: Tensor, config: GeometryConfig) -> Tensor:
    """A random transform a sample: (B,) integers -> (B, 2, 3)."""
    transforms = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(int(seed))
        zoom, angle, x, y, flip = (2 * torch.rand(5, generator=generator) - 1).tolist()
        scale = config.zoom**zoom
        turn = torch.deg2rad(torch.tensor(angle * config.rotation))
        cos, sin = scale * float(torch.cos(turn)), scale * float(torch.sin(turn))
        mirror = -1.0 if (flip + 1) / 2 < config.flip else 1.0
        transforms.append(
            [[mirror * cos, -sin, x * config.shift], [mirror * sin, cos, y * config.shift]]
        )
    return torch.tensor(transforms, device=seeds.device)


def warp(image: Tensor, transforms: Tensor) -> Tensor:
    """The view of each image, (B, C, H, W); beyond the edges the image is mirrored."""
    grid = F.affine_grid(transforms, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)


def invert(transforms: Tensor) -> Tensor:
    """The transforms from the crop to the views, (B, 2, 3)."""
    linear = torch.linalg.inv(transforms[:, :, :2])
    return torch.cat([linear, -linear @ transforms[:, :, 2:]], 2)


def common_points(transforms: list[Tensor], count: int, seeds: Tensor) -> Tensor:
    """Random points of each crop that lie inside all views, in crop coordinates: (B, count, 2).

    Where the views overlap little, points are repeated, so that every sample has equally many.
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
    first_inside = inside.int().argsort(dim=1, descending=True, stable=True)
    number = inside.sum(1, keepdim=True).clamp(min=1)
    chosen = first_inside.gather(1, torch.arange(count, device=seeds.device)[None] % number)
    return candidates.gather(1, chosen[..., None].expand(-1, -1, 2))


def in_view(points: Tensor, transforms: Tensor) -> Tensor:
    """Crop points (B, P, 2) in the coordinates of the views, (B, P, 2)."""
    inverse = invert(transforms)
    return points @ inverse[:, :, :2].transpose(1, 2) + inverse[:, None, :, 2]


def sample(maps: Tensor, points: Tensor, transforms: Tensor) -> Tensor:
    """Values of the views' maps (B, C, h, w) at crop points (B, P, 2): (B * P, C)."""
    grid = in_view(points, transforms)[:, :, None]
    values = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    return values[..., 0].transpose(1, 2).flatten(0, 1)
