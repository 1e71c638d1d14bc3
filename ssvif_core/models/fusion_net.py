"""The fusion network F: visible and thermal image -> fused luma and features at strides 4, 8, 16.

Any module with the interface of `FusionNetwork` trains in the framework; `FusionNet` is ours,
made for real time: it works at strides 2 to 16 and touches the full resolution only in a few
element-wise operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.models.blocks import RepConv

# BT.601 luma of a BGR image, as in OpenCV's BGR2YCrCb.
LUMA_BGR = (0.114, 0.587, 0.299)


@dataclass(frozen=True)
class FusionFeatures:
    """What a fusion network gives.

    change: fused minus visible luma, Y_F - Y, (B, 1, H, W), in [-1, 1].
    stride4, stride8, stride16: fused features, (B, C_k, H/k, W/k).
    """

    change: Tensor
    stride4: Tensor
    stride8: Tensor
    stride16: Tensor


class FusionNetwork(Protocol):
    """Interface of F. `channels` are those of the features at strides 4, 8, 16."""

    channels: tuple[int, int, int]

    def __call__(self, visible: Tensor, thermal: Tensor) -> FusionFeatures:
        """visible (B, 3, H, W) BGR and thermal (B, 1, H, W) in [0, 1]; H and W multiples of 16."""
        ...


def luma_of(bgr: Tensor) -> Tensor:
    """BT.601 luma: (B, 3, H, W) BGR -> (B, 1, H, W), same range."""
    return sum(share * bgr[:, i : i + 1] for i, share in enumerate(LUMA_BGR))  # type: ignore[return-value]


def exposure(luma: Tensor, thermal: Tensor) -> Tensor:
    """How well exposed the darker of both images is, (B, 1, 1, 1) in [0, 1].

    0 up to a mean of .15, as at night, and 1 from .25 on. luma, thermal (B, C, H, W) in [0, 1].
    """
    # A sum, for TensorRT 8.6 takes ONNX's mean of this opset over all axes, without a word.
    means = [
        x.float().sum((1, 2, 3), keepdim=True) / (x.shape[1] * x.shape[2] * x.shape[3])
        for x in (luma, thermal)
    ]
    return ((torch.minimum(*means) - 0.15) / 0.10).clamp(0, 1)


def fused_colour(visible: Tensor, change: Tensor) -> Tensor:
    """The visible colours carried to the fused luma, (B, 3, H, W) BGR in [0, 1].

    Keeping Cb and Cr and changing Y adds one and the same difference to B, G and R, so no colour
    conversion is needed.
    """
    return (visible + change).clamp(0, 1)


class FusionNet(nn.Module):
    """Our real-time fusion network.

    The fused luma is a per-pixel convex mix of both lumas plus a bounded detail term::

        mix = sigmoid(a + b (Y - T)),   Y_F = mix Y + (1 - mix) T + detail_limit tanh(d)

    with a, b, d predicted for the four sub-pixels of every stride-2 cell. Since b starts positive,
    an untrained network is a soft maximum, and a surprised one still shows both cameras.

    Args:
        widths: channels at strides 2, 4, 8, 16.
        depths: number of blocks at strides 4, 8, 16.
    """

    detail_limit = 0.25
    initial_gain = 8.0
    inputs = 4 + 4 + 2  # channels of the stem: luma and thermal of four sub-pixels, two chroma
    luma_kernel: Tensor
    chroma_kernel: Tensor

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (12, 24, 40, 64),
        depths: tuple[int, int, int] = (1, 2, 2),
        norm: bool = False,
    ) -> None:
        super().__init__()
        w2, w4, w8, w16 = widths
        self.channels = (w4, w8, w16)
        self.register_buffer("luma_kernel", _subpixel_luma_kernel(), persistent=False)
        self.register_buffer("chroma_kernel", _chroma_kernel(), persistent=False)
        self.stem = RepConv(self.inputs, w2, norm=norm)
        self.down4 = _stage(w2, w4, depths[0], norm)
        self.down8 = _stage(w4, w8, depths[1], norm)
        self.down16 = _stage(w8, w16, depths[2], norm)
        self.lateral8 = nn.Conv2d(w16, w8, 1)
        self.up8 = RepConv(w8, w8, norm=norm)
        self.lateral4 = nn.Conv2d(w8, w4, 1)
        self.up4 = RepConv(w4, w4, norm=norm)
        self.lateral2 = nn.Conv2d(w4, w2, 1)
        self.up2 = RepConv(w2, w2, norm=norm)
        # Three heads and not one that is split: on CPUs the split costs more than the heads.
        self.mix_offset = _head(w2, 0.0)
        self.mix_gain = _head(w2, 1.0)
        self.detail = _head(w2, 0.0)

    def forward(self, visible: Tensor, thermal: Tensor) -> FusionFeatures:
        _, change, features = self.fuse(visible, thermal)
        return FusionFeatures(change, *features)

    def pixels(self, luma: Tensor, thermal: Tensor, chroma: Tensor) -> Tensor:
        """The stem's input, (B, inputs, H/2, W/2)."""
        return torch.cat([luma, thermal, chroma], 1)

    def fuse(
        self, visible: Tensor, thermal: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The stem's input at stride 2, the change of luma, the features at strides 4, 8, 16."""
        # Strided convolutions with fixed kernels, since they read interleaved camera pixels as
        # they lie; full-resolution luma and pixel-unshuffle cost three times as much on a CPU.
        luma = F.conv2d(visible, self.luma_kernel, stride=2)
        chroma = F.conv2d(visible, self.chroma_kernel, stride=2)
        thermal = F.pixel_unshuffle(thermal, 2)
        pixels = self.pixels(luma, thermal, chroma)
        x2 = self.stem(pixels)
        x4 = self.down4(x2)
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        y8 = self.up8(x8 + _double(self.lateral8(x16)))
        y4 = self.up4(x4 + _double(self.lateral4(y8)))
        y2 = self.up2(x2 + _double(self.lateral2(y4)))
        difference = thermal - luma
        gain = self.initial_gain * self.mix_gain(y2)
        thermal_share = torch.sigmoid(self.mix_offset(y2) + gain * difference)
        change = thermal_share * difference + self.detail_limit * torch.tanh(self.detail(y2))
        return pixels, F.pixel_shuffle(change, 2), (y4, y8, x16)


def _subpixel_luma_kernel() -> Tensor:
    """Stride-2 kernel BGR -> luma of the four sub-pixels, in pixel-unshuffle's order."""
    kernel = torch.zeros(4, 3, 2, 2)
    for i in range(4):
        kernel[i, :, i // 2, i % 2] = torch.tensor(LUMA_BGR)
    return kernel


def _chroma_kernel() -> Tensor:
    """Stride-2 kernel BGR -> mean of B - G and of R - G."""
    kernel = torch.zeros(2, 3, 2, 2)
    kernel[0, 0], kernel[1, 2], kernel[:, 1] = 0.25, 0.25, -0.25
    return kernel


def _head(in_channels: int, start: float) -> nn.Conv2d:
    head = nn.Conv2d(in_channels, 4, 1)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.constant_(head.bias, start)  # type: ignore[arg-type]
    return head


def _stage(in_channels: int, out_channels: int, depth: int, norm: bool) -> nn.Sequential:
    blocks = [RepConv(in_channels, out_channels, stride=2, norm=norm)]
    blocks += [RepConv(out_channels, out_channels, norm=norm) for _ in range(depth)]
    return nn.Sequential(*blocks)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
