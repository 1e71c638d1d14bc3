"""The feature head S_f: fused features -> logits of K pseudo-classes at stride 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.models.blocks import RepConv
from ssvif_core.models.fusion_net import FusionFeatures


class FeatureHead(nn.Module):
    """Light head over the features of F; it ships with F, and is what the overlay shows.

    Args:
        channels: channels of the features at strides 4, 8, 16.
        classes: number of pseudo-classes K.
        width: channels inside.

    Shape: `FusionFeatures` -> (B, classes, H/4, W/4).
    """

    def __init__(self, channels: tuple[int, int, int], classes: int = 16, width: int = 32) -> None:
        super().__init__()
        c4, c8, c16 = channels
        self.classes = classes
        self.context = RepConv(c8, c8)
        self.from16 = nn.Conv2d(c16, c8, 1)
        self.from8 = nn.Conv2d(c8, width, 1)
        self.from4 = nn.Conv2d(c4, width, 1)
        self.classify = nn.Conv2d(width, classes, 1)

    def embed(self, features: FusionFeatures) -> Tensor:
        """The pixel embedding the classes are read from: (B, width, H/4, W/4)."""
        x16 = F.interpolate(self.from16(features.stride16), scale_factor=2.0, mode="nearest")
        x8 = self.context(features.stride8 + x16)
        x8 = F.interpolate(self.from8(x8), scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.relu(self.from4(features.stride4) + x8)

    def forward(self, features: FusionFeatures) -> Tensor:
        return self.classify(self.embed(features))
