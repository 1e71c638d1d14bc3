"""Photometric views of a batch of crops: what weather, light and cameras do to a scene.

The effects are written once, for a whole batch. Where their random numbers come from is apart:
from the seed of each sample (`draw_views`), or from the device at once (`batch_views`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ssvif_core.errors import InputError


@dataclass(frozen=True)
class ViewConfig:
    """Probability of each effect on a sample."""

    tone: float = 0.6
    dark: float = 0.15
    colour: float = 0.2
    glare: float = 0.15
    haze: float = 0.15
    noise: float = 0.15
    thermal_gain: float = 0.6
    polarity: float = 0.03
    stripes: float = 0.1
    dead_pixels: float = 0.1
    thermal_blur: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value <= 1:
                raise InputError(f"views: {name}={value}; expected 0 to 1")


def draw_views(
    visible: Tensor, thermal: Tensor, seeds: Tensor, config: ViewConfig
) -> tuple[Tensor, Tensor]:
    """One random view of each sample. It depends on the sample's seed alone.

    Args:
        visible: (B, 3, H, W) in [0, 1].
        thermal: (B, 1, H, W) in [0, 1].
        seeds: (B,) integers.

    Returns:
        Views of the same shapes.
    """
    return _changed(visible, thermal, _BySample(seeds.tolist(), visible.device), config)


def batch_views(visible: Tensor, thermal: Tensor, config: ViewConfig) -> tuple[Tensor, Tensor]:
    """`draw_views` with random numbers of the device, drawn for the whole batch at once.

    It is quick on a GPU. In return a view depends on the batch, so this is for training in one
    process.
    """
    return _changed(visible, thermal, _ByBatch(len(visible), visible.device), config)


class _Random(Protocol):
    """Random numbers for the samples of a batch: (B, *shape).

    Samples outside `needed`, (B, 1, 1, 1), may get anything, which saves time.
    """

    def uniform(self, *shape: int, needed: Tensor | None = None) -> Tensor: ...

    def normal(self, *shape: int, needed: Tensor | None = None) -> Tensor: ...


class _BySample:
    """Numbers of each sample from its own seed, drawn on the CPU: the same on every device."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._device = device

    def uniform(self, *shape: int, needed: Tensor | None = None) -> Tensor:
        return self._drawn(torch.rand, shape, needed)

    def normal(self, *shape: int, needed: Tensor | None = None) -> Tensor:
        return self._drawn(torch.randn, shape, needed)

    def _drawn(
        self, draw: Callable[..., Tensor], shape: tuple[int, ...], needed: Tensor | None
    ) -> Tensor:
        wanted = [True] * len(self._generators) if needed is None else needed.flatten().tolist()
        drawn = [
            draw(shape, generator=generator) if draws else torch.zeros(shape)
            for generator, draws in zip(self._generators, wanted, strict=True)
        ]
        return torch.stack(drawn).to(self._device)


class _ByBatch:
    """Numbers of all samples at once, drawn on the device."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._count, self._device = count, device

    def uniform(self, *shape: int, needed: Tensor | None = None) -> Tensor:
        return torch.rand(self._count, *shape, device=self._device)

    def normal(self, *shape: int, needed: Tensor | None = None) -> Tensor:
        return torch.randn(self._count, *shape, device=self._device)


def _changed(
    visible: Tensor, thermal: Tensor, random: _Random, config: ViewConfig
) -> tuple[Tensor, Tensor]:
    height, width = visible.shape[2:]
    device = visible.device

    def chance(probability: float) -> Tensor:
        return random.uniform(1, 1, 1) < probability

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * random.uniform(channels, 1, 1)

    changed = visible.clamp(min=1e-4) ** uniform(0.6, 1.6) * uniform(0.7, 1.3)
    visible = torch.where(chance(config.tone), changed, visible)
    visible = torch.where(chance(config.dark), visible * uniform(0.05, 0.35), visible)
    visible = torch.where(chance(config.colour), visible * uniform(0.8, 1.2, 3), visible)
    cloud = F.interpolate(
        random.uniform(1, 4, 4), (height, width), mode="bicubic", align_corners=True
    ).clamp(0, 1)
    veil = uniform(0.3, 1.0) * cloud
    hazy = visible * (1 - veil) + uniform(0.5, 0.95) * veil
    visible = torch.where(chance(config.haze), hazy, visible)
    y = torch.linspace(0, 1, height, device=device).view(1, 1, -1, 1) - uniform(0, 1)
    x = torch.linspace(0, 1, width, device=device).view(1, 1, 1, -1) - uniform(0, 1)
    spot = torch.exp(-(y.square() + x.square()) / (2 * uniform(0.05, 0.25).square()))
    visible = torch.where(chance(config.glare), visible + uniform(0.5, 1.6) * spot, visible)
    noisy = chance(config.noise)
    noise = uniform(0.005, 0.04) * random.normal(*visible.shape[1:], needed=noisy)
    visible = torch.where(noisy, visible + noise, visible)

    changed = thermal.clamp(min=1e-4) ** uniform(0.6, 1.6) * uniform(0.7, 1.4)
    thermal = torch.where(chance(config.thermal_gain), changed + uniform(-0.15, 0.25), thermal)
    thermal = torch.where(chance(config.polarity), 1 - thermal, thermal)
    striped = chance(config.stripes)
    stripes = uniform(0.005, 0.03) * random.normal(1, 1, width, needed=striped)
    thermal = torch.where(striped, thermal + stripes, thermal)
    soft = F.avg_pool2d(thermal, 5, 1, 2, count_include_pad=False)
    soft = torch.lerp(thermal, soft, uniform(0.3, 1.0))
    thermal = torch.where(chance(config.thermal_blur), soft, thermal)
    damaged = chance(config.dead_pixels)
    dead = random.uniform(*thermal.shape[1:], needed=damaged) < uniform(0.0002, 0.003)
    thermal = torch.where(damaged & dead, uniform(0, 1), thermal)
    return visible.clamp(0, 1), thermal.clamp(0, 1)


def one_camera(visible: Tensor, thermal: Tensor) -> tuple[Tensor, Tensor]:
    """Hide one camera in each sample.

    Args:
        visible: (B, 3, H, W) in [0, 1]. Its first half becomes the mean colour.
        thermal: (B, 1, H, W) in [0, 1]. Its second half becomes 0.5.

    >>> visible, thermal = one_camera(torch.rand(4, 3, 8, 8), torch.rand(4, 1, 8, 8))
    >>> [len(image.unique()) for image in thermal]
    [64, 64, 1, 1]
    """
    half = len(visible) // 2
    flat = visible[:half].mean((2, 3), keepdim=True).expand_as(visible[:half])
    grey = torch.full_like(thermal[half:], 0.5)
    return torch.cat([flat, visible[half:]]), torch.cat([thermal[:half], grey])
