"""The network `fast`: our first real-time fusion network.

It works at strides 2 to 16. At full resolution there are only a few element-wise operations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.models.blocks import RepConv
from ssvif_core.models.fusion import LUMA_BGR, FusionFeatures, FusionNetwork
from ssvif_core.models.registry import fusion_network


@fusion_network(
    "fast",
    sizes={
        "s": {"widths": (16, 24, 40, 64), "depths": (1, 2, 2)},
        "m": {"widths": (24, 40, 64, 96), "depths": (2, 2, 3)},
    },
)
class FastNet(FusionNetwork):
    """The fused luma is a convex mix of both lumas in each pixel, plus a bounded detail term::

        mix = sigmoid(a + b (Y - T)),   Y_F = mix Y + (1 - mix) T + detail_limit tanh(d)

    The network predicts a, b and d for the four sub-pixels of every cell at stride 2. At the start
    b is positive, so an untrained network is a soft maximum. On unfamiliar input the mix still
    shows both cameras.

    Args:
        widths: channels at strides 2, 4, 8, 16.
        depths: number of blocks at strides 4, 8, 16.
        norm: blocks with batch normalisation.
    """

    detail_limit = 0.25
    initial_gain = 8.0
    # Channels of the stem's input: luma and thermal of four sub-pixels, two of chroma.
    inputs = 4 + 4 + 2
    visible_kernel: Tensor
    thermal_kernel: Tensor
    difference_kernel: Tensor

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (12, 24, 40, 64),
        depths: tuple[int, int, int] = (1, 2, 2),
        norm: bool = False,
    ) -> None:
        super().__init__()
        w2, w4, w8, w16 = widths
        self.channels = (w4, w8, w16)
        kernels = _pixel_kernels(self.inputs)
        for name, kernel in zip(("visible", "thermal", "difference"), kernels, strict=True):
            self.register_buffer(f"{name}_kernel", kernel, persistent=False)
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
        # Three heads: on CPUs, splitting the output of one head costs more.
        self.mix_offset = _head(w2, 0.0)
        self.mix_gain = _head(w2, 1.0)
        self.detail = _head(w2, 0.0)

    def forward(self, visible: Tensor, thermal: Tensor) -> FusionFeatures:
        _, change, features = self.fuse(visible, thermal)
        return FusionFeatures(change, *features)

    def pixels(self, visible: Tensor, thermal: Tensor) -> Tensor:
        """The stem's input, (B, inputs, H/2, W/2)."""
        # Strided convolutions with fixed kernels read interleaved camera pixels directly. On a CPU,
        # pixel-unshuffle and a concatenation cost three times as much.
        of_visible = _exact_conv2d(visible, self.visible_kernel, stride=2)
        return of_visible + _exact_conv2d(thermal, self.thermal_kernel, stride=2)

    def fuse(
        self, visible: Tensor, thermal: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The stem's input at stride 2, the change of luma, the features at strides 4, 8, 16."""
        pixels = self.pixels(visible, thermal)
        x2 = self.stem(pixels)
        x4 = self.down4(x2)
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        y8 = self.up8(x8 + _double(self.lateral8(x16)))
        y4 = self.up4(x4 + _double(self.lateral4(y8)))
        y2 = self.up2(x2 + _double(self.lateral2(y4)))
        difference = _exact_conv2d(pixels, self.difference_kernel)
        gain = self.initial_gain * self.mix_gain(y2)
        thermal_share = torch.sigmoid(self.mix_offset(y2) + gain * difference)
        change = thermal_share * difference + self.detail_limit * torch.tanh(self.detail(y2))
        return pixels, F.pixel_shuffle(change, 2), (y4, y8, x16)


def _exact_conv2d(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """A convolution that mixed-precision training leaves in float32: bfloat16 has 8 bits."""
    if not torch.is_autocast_enabled(x.device.type):
        return F.conv2d(x, kernel, stride=stride)
    with torch.autocast(x.device.type, enabled=False):
        return F.conv2d(x.float(), kernel, stride=stride)


def _pixel_kernels(channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fixed kernels for the stem's input, from 2x2 pixels of both cameras.

    Returns:
        visible: (channels, 3, 2, 2), stride 2; BGR -> luma of the four sub-pixels in
            pixel-unshuffle's order, four zeros, then the mean of B - G and of R - G.
        thermal: (channels, 1, 2, 2), stride 2; the thermal sub-pixels in channels 4 to 7.
        difference: (4, channels, 1, 1); thermal minus luma of each sub-pixel.
    """
    visible, thermal = torch.zeros(channels, 3, 2, 2), torch.zeros(channels, 1, 2, 2)
    difference = torch.zeros(4, channels, 1, 1)
    for i in range(4):
        visible[i, :, i // 2, i % 2] = torch.tensor(LUMA_BGR)
        thermal[4 + i, 0, i // 2, i % 2] = 1.0
        difference[i, i], difference[i, 4 + i] = -1.0, 1.0
    visible[8, 0], visible[9, 2], visible[8:10, 1] = 0.25, 0.25, -0.25
    return visible, thermal, difference


def _head(in_channels: int, start: float) -> nn.Conv2d:
    head = nn.Conv2d(in_channels, 4, 1)
    nn.init.normal_(head.weight, std=0.01)
    assert head.bias is not None
    nn.init.constant_(head.bias, start)
    return head


def _stage(in_channels: int, out_channels: int, depth: int, norm: bool) -> nn.Sequential:
    blocks = [RepConv(in_channels, out_channels, stride=2, norm=norm)]
    blocks += [RepConv(out_channels, out_channels, norm=norm) for _ in range(depth)]
    return nn.Sequential(*blocks)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
