"""The pixel network S_p: fused colour image -> logits of K pseudo-classes at stride 4.

Used in training only, then dropped.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.models.blocks import RepConv


class PixelNet(nn.Module):
    """A small encoder-decoder in the manner of Fast-SCNN (Poudel et al., BMVC 2019).

    Shape: fused (B, 3, H, W) BGR in [0, 1] -> (B, classes, H/4, W/4); H and W multiples of 16.
    """

    def __init__(self, classes: int = 16, width: int = 24) -> None:
        super().__init__()
        self.fine = nn.Sequential(RepConv(3, width, 2), RepConv(width, width, 2))
        self.coarse = nn.Sequential(
            RepConv(width, 2 * width, 2),
            RepConv(2 * width, 2 * width),
            RepConv(2 * width, 3 * width, 2),
            RepConv(3 * width, 3 * width),
        )
        self.lateral = nn.Conv2d(3 * width, width, 1)
        self.merge = RepConv(width, width)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, fused: Tensor) -> Tensor:
        fine = self.fine(fused - 0.5)
        coarse = self.lateral(self.coarse(fine))
        coarse = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        return self.classify(self.merge(fine + coarse))
