"""Photometric views of a batch of crops: what weather, light and cameras do to a scene.

Every sample draws its own view from its own seed, so that a batch does not depend on how it is
shared over processes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

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
    """One random view a sample.

    visible (B, 3, H, W), thermal (B, 1, H, W) in [0, 1]; seeds (B,) integers. Same shapes out.
    """
    views = [
        _view(v, t, torch.Generator().manual_seed(int(seed)), config)
        for v, t, seed in zip(visible, thermal, seeds, strict=True)
    ]
    return torch.stack([v for v, _ in views]), torch.stack([t for _, t in views])


def _view(
    visible: Tensor, thermal: Tensor, generator: torch.Generator, config: ViewConfig
) -> tuple[Tensor, Tensor]:
    device, size = visible.device, visible.shape[1:]

    def chance(probability: float) -> bool:
        return bool(torch.rand(1, generator=generator) < probability)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=generator))

    def noise(channels: int, height: int, width: int) -> Tensor:
        return torch.randn(channels, height, width, generator=generator).to(device)

    def cloud() -> Tensor:
        coarse = torch.rand(1, 1, 4, 4, generator=generator).to(device)
        return F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)[0].clamp(0, 1)

    def spot(radius: float) -> Tensor:
        y = torch.linspace(0, 1, size[0], device=device)[:, None] - uniform(0, 1)
        x = torch.linspace(0, 1, size[1], device=device)[None] - uniform(0, 1)
        return torch.exp(-(y.square() + x.square()) / (2 * radius**2))[None]

    if chance(config.tone):
        visible = visible.clamp(min=1e-4) ** uniform(0.6, 1.6) * uniform(0.7, 1.3)
    if chance(config.dark):
        visible = visible * uniform(0.05, 0.35)
    if chance(config.colour):
        gains = torch.rand(3, 1, 1, generator=generator).to(device)
        visible = visible * (0.8 + 0.4 * gains)
    if chance(config.haze):
        thickness = uniform(0.3, 1.0) * cloud()
        visible = visible * (1 - thickness) + uniform(0.5, 0.95) * thickness
    if chance(config.glare):
        visible = visible + uniform(0.5, 1.6) * spot(uniform(0.05, 0.25))
    if chance(config.noise):
        visible = visible + uniform(0.005, 0.04) * noise(3, *size)
    if chance(config.thermal_gain):
        thermal = thermal.clamp(min=1e-4) ** uniform(0.6, 1.6) * uniform(0.7, 1.4)
        thermal = thermal + uniform(-0.15, 0.25)
    if chance(config.polarity):
        thermal = 1 - thermal
    if chance(config.stripes):
        thermal = thermal + uniform(0.005, 0.03) * noise(1, 1, size[1])
    if chance(config.thermal_blur):
        soft = F.avg_pool2d(thermal, 5, 1, 2, count_include_pad=False)
        thermal = thermal + uniform(0.3, 1.0) * (soft - thermal)
    if chance(config.dead_pixels):
        dead = torch.rand(1, *size, generator=generator).to(device) < uniform(0.0002, 0.003)
        thermal = torch.where(dead, thermal.new_tensor(uniform(0, 1)), thermal)
    return visible.clamp(0, 1), thermal.clamp(0, 1)


def batch_views(visible: Tensor, thermal: Tensor, config: ViewConfig) -> tuple[Tensor, Tensor]:
    """`draw_views` for a whole batch at once: the same effects, drawn by the device.

    It is quick on a GPU. In return a sample's view depends on the batch, so it is for training in
    one process.

    visible (B, 3, H, W), thermal (B, 1, H, W) in [0, 1]; the same shapes out.
    """
    count, _, height, width = visible.shape
    device = visible.device

    def some(probability: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, device=device) < probability

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(count, channels, 1, 1, device=device)

    changed = visible.clamp(min=1e-4) ** uniform(0.6, 1.6) * uniform(0.7, 1.3)
    visible = torch.where(some(config.tone), changed, visible)
    visible = torch.where(some(config.dark), visible * uniform(0.05, 0.35), visible)
    visible = torch.where(some(config.colour), visible * uniform(0.8, 1.2, 3), visible)
    cloud = F.interpolate(
        torch.rand(count, 1, 4, 4, device=device), (height, width), mode="bicubic",
        align_corners=True,
    ).clamp(0, 1)  # fmt: skip
    veil = uniform(0.3, 1.0) * cloud
    hazy = visible * (1 - veil) + uniform(0.5, 0.95) * veil
    visible = torch.where(some(config.haze), hazy, visible)
    y = torch.linspace(0, 1, height, device=device).view(1, 1, -1, 1) - uniform(0, 1)
    x = torch.linspace(0, 1, width, device=device).view(1, 1, 1, -1) - uniform(0, 1)
    spot = torch.exp(-(y.square() + x.square()) / (2 * uniform(0.05, 0.25).square()))
    visible = torch.where(some(config.glare), visible + uniform(0.5, 1.6) * spot, visible)
    noisy = visible + uniform(0.005, 0.04) * torch.randn_like(visible)
    visible = torch.where(some(config.noise), noisy, visible)

    changed = thermal.clamp(min=1e-4) ** uniform(0.6, 1.6) * uniform(0.7, 1.4)
    thermal = torch.where(some(config.thermal_gain), changed + uniform(-0.15, 0.25), thermal)
    thermal = torch.where(some(config.polarity), 1 - thermal, thermal)
    stripes = uniform(0.005, 0.03) * torch.randn(count, 1, 1, width, device=device)
    thermal = torch.where(some(config.stripes), thermal + stripes, thermal)
    soft = F.avg_pool2d(thermal, 5, 1, 2, count_include_pad=False)
    soft = torch.lerp(thermal, soft, uniform(0.3, 1.0))
    thermal = torch.where(some(config.thermal_blur), soft, thermal)
    dead = torch.rand_like(thermal) < uniform(0.0002, 0.003)
    thermal = torch.where(some(config.dead_pixels) & dead, uniform(0, 1), thermal)
    return visible.clamp(0, 1), thermal.clamp(0, 1)
