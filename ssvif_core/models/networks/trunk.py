"""The network `trunk`: one trunk for fusion and segmentation. The shipped weights are of it.

The trunk reads both cameras once. Its last features lead to the fused luma at stride 2 and to the
classes at stride 4. So segmentation costs only two convolutions more than fusion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.models.blocks import RepConv
from ssvif_core.models.fusion import FusionFeatures, exposure, spatial_mean
from ssvif_core.models.heads import Head
from ssvif_core.models.networks.fast import FastNet
from ssvif_core.models.registry import fusion_network


class TrunkHead(Head):
    """S_f of `TrunkNet`: two convolutions at stride 4. The features there hold all strides.

    Args:
        channels: channels of the features at strides 4, 8, 16; it reads only the first.
        classes: number of pseudo-classes K.
        width: channels of the embedding.
    """

    def __init__(self, channels: tuple[int, int, int], classes: int = 16, width: int = 32) -> None:
        super().__init__(channels, classes, width)
        self.mix4 = nn.Sequential(
            RepConv(channels[0], width, norm=True), RepConv(width, width, norm=True)
        )
        self.classify = nn.Conv2d(width, classes, 1)

    def embed(self, features: FusionFeatures) -> Tensor:
        embedding: Tensor = self.mix4(features.stride4)
        return embedding


@fusion_network(
    "trunk",
    sizes={
        "s": {"widths": (16, 32, 48, 64), "depths": (1, 2, 3)},
        "m": {"widths": (24, 48, 72, 112), "depths": (2, 3, 4)},
    },
    head=TrunkHead,
)
class TrunkNet(FastNet):
    """`FastNet` with batch normalisation, more blocks at stride 16, and colour at stride 4.

    The features at stride 4 hold the trunk's own features and the mean input of each cell. Names
    of objects depend on colour, and the fused luma hardly uses it. The stem also reads how well
    both images are exposed, because the fusion target depends on it (`losses.fusion_target`).

    Args:
        widths: channels at strides 2, 4, 8, 16.
        depths: number of blocks after the first at strides 4, 8, 16.
    """

    inputs = FastNet.inputs + 1  # and the exposure
    last_channel: Tensor

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (16, 32, 48, 64),
        depths: tuple[int, int, int] = (1, 2, 3),
    ) -> None:
        super().__init__(widths, depths, norm=True)
        w2, w4, w8, w16 = widths
        self.channels = (w4 + self.inputs, w8, w16)
        last_channel = torch.zeros(1, self.inputs, 1, 1)
        last_channel[:, -1] = 1.0
        self.register_buffer("last_channel", last_channel, persistent=False)

    def pixels(self, visible: Tensor, thermal: Tensor) -> Tensor:
        pixels = super().pixels(visible, thermal)
        means = spatial_mean(pixels)
        exposed = exposure(luma=means[:, :4], thermal=means[:, 4:8])
        return pixels + exposed.to(pixels.dtype) * self.last_channel

    def forward(self, visible: Tensor, thermal: Tensor) -> FusionFeatures:
        pixels, change, (y4, y8, x16) = self.fuse(visible, thermal)
        return FusionFeatures(change, torch.cat([y4, F.avg_pool2d(pixels, 2)], 1), y8, x16)
