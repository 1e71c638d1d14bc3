"""One trunk for fusion and segmentation: the network F `trunk` and its feature head.

The trunk reads both cameras once. Its last features lead to the fused luma at stride 2 and to the
classes at stride 4, so that segmentation costs two convolutions more than fusion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.models.blocks import RepConv
from ssvif_core.models.fusion_net import FusionFeatures, FusionNet, exposure


class TrunkNet(FusionNet):
    """`FusionNet` with batch normalisation, more blocks at stride 16, and colour at stride 4.

    The features at stride 4 hold the trunk's own and the mean input of each cell, since names of
    objects depend on colour, which the fused luma has little use for. The stem is told how well
    both images are exposed, since the fusion target depends on that (`fusion_target`).

    Args:
        widths: channels at strides 2, 4, 8, 16.
        depths: number of blocks after the first at strides 4, 8, 16.
    """

    inputs = 4 + 4 + 2 + 1  # as before, and the exposure

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (16, 32, 48, 64),
        depths: tuple[int, int, int] = (1, 2, 3),
    ) -> None:
        super().__init__(widths, depths, norm=True)
        w2, w4, w8, w16 = widths
        self.channels = (w4 + self.inputs, w8, w16)

    def pixels(self, luma: Tensor, thermal: Tensor, chroma: Tensor) -> Tensor:
        exposed = exposure(luma, thermal).to(luma.dtype).expand_as(luma[:, :1])
        return torch.cat([luma, thermal, chroma, exposed], 1)

    def forward(self, visible: Tensor, thermal: Tensor) -> FusionFeatures:
        pixels, change, (y4, y8, x16) = self.fuse(visible, thermal)
        return FusionFeatures(change, torch.cat([y4, F.avg_pool2d(pixels, 2)], 1), y8, x16)


class TrunkHead(nn.Module):
    """S_f of `TrunkNet`: two convolutions at stride 4 over features that hold all strides.

    Args:
        channels: channels of the features at strides 4, 8, 16; the first alone is read.
        classes: number of pseudo-classes K.
        width: channels of the embedding.

    Shape: `FusionFeatures` -> (B, classes, H/4, W/4).
    """

    def __init__(self, channels: tuple[int, int, int], classes: int = 16, width: int = 32) -> None:
        super().__init__()
        self.classes, self.width = classes, width
        self.mix4 = nn.Sequential(
            RepConv(channels[0], width, norm=True), RepConv(width, width, norm=True)
        )
        self.classify = nn.Conv2d(width, classes, 1)

    def embed(self, features: FusionFeatures) -> Tensor:
        """The pixel embedding that classes are read from: (B, width, H/4, W/4)."""
        return self.mix4(features.stride4)

    def forward(self, features: FusionFeatures) -> Tensor:
        return self.classify(self.embed(features))
