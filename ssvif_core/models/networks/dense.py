"""The network `dense`: a dense full-resolution fusion network in the manner of SeAFusion.

It is too slow for a robot. It shows that the framework trains any fusion network, and serves as a
comparison.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.models.fusion import FusionFeatures, FusionNetwork, luma_of
from ssvif_core.models.registry import fusion_network


@fusion_network("dense", sizes={"s": {}, "m": {}})
class DenseNet(FusionNetwork):
    """Two encoders of gradient residual dense blocks and a decoder, all at full resolution.

    The structure of SeAFusion (Tang et al., Information Fusion 2022, section 3.2): each camera's
    luma passes a 3x3 convolution and two gradient residual dense blocks. The decoder's four
    convolutions lead from the concatenated features to the fused luma; a tanh is brought to
    [0, 1]. The network reads luma only. SeAFusion has no semantic branch; here strided
    convolutions over the decoder's first features feed it.

    Args:
        width: channels after the first convolution; doubled by each block before the decoder.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.channels = (2 * width, 4 * width, 4 * width)
        self.visible_encoder = _encoder(width)
        self.thermal_encoder = _encoder(width)
        self.merge = _convolution(6 * width, 4 * width)
        self.decoder = nn.Sequential(
            _convolution(4 * width, 2 * width),
            _convolution(2 * width, width),
            nn.Conv2d(width, 1, 1),
        )
        self.down4 = nn.Sequential(
            _convolution(4 * width, 2 * width, 2), _convolution(2 * width, 2 * width, 2)
        )
        self.down8 = _convolution(2 * width, 4 * width, 2)
        self.down16 = _convolution(4 * width, 4 * width, 2)

    def forward(self, visible: Tensor, thermal: Tensor) -> FusionFeatures:
        luma = luma_of(visible)
        merged = self.merge(
            torch.cat([self.visible_encoder(luma), self.thermal_encoder(thermal)], 1)
        )
        fused = torch.tanh(self.decoder(merged)) / 2 + 0.5
        x4 = self.down4(merged)
        x8 = self.down8(x4)
        return FusionFeatures(fused - luma, x4, x8, self.down16(x8))


class GradientResidualDenseBlock(nn.Module):
    """Densely connected convolutions, with the Sobel magnitude of the input added through a 1x1.

    Shape: (B, in_channels, H, W) -> (B, out_channels, H, W).
    """

    kernel: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = _convolution(in_channels, in_channels)
        self.second = _convolution(2 * in_channels, in_channels)
        self.collect = nn.Conv2d(3 * in_channels, out_channels, 1)
        self.edges = nn.Conv2d(in_channels, out_channels, 1)
        sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        pair = torch.stack([sobel, sobel.t()])[:, None].repeat(in_channels, 1, 1, 1)
        self.register_buffer("kernel", pair, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        dense = torch.cat([x, self.first(x)], 1)
        dense = torch.cat([dense, self.second(dense)], 1)
        slopes = F.conv2d(x, self.kernel, padding=1, groups=x.shape[1])
        magnitude = slopes[:, 0::2].abs() + slopes[:, 1::2].abs()
        return F.leaky_relu(self.collect(dense) + self.edges(magnitude), 0.2)


def _encoder(width: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(1, width),
        GradientResidualDenseBlock(width, 2 * width),
        GradientResidualDenseBlock(2 * width, 3 * width),
    )


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, stride, 1), nn.LeakyReLU(0.2))
