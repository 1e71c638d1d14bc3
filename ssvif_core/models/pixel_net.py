"""The pixel network S_p: fused colour image -> logits of K pseudo-classes at stride 4.

Only training uses it.
"""

from __future__ import annotations

from torch import Tensor, nn

from ssvif_core.models.blocks import enlarged


class PixelNet(nn.Module):
    """A small encoder-decoder with context at stride 32, after Fast-SCNN.

    Poudel et al., BMVC 2019. It has group normalisation, because batches are small and differ
    between processes.

    Shape: fused (B, 3, H, W) BGR in [0, 1] -> (B, classes, H/4, W/4); H and W multiples of 32.
    """

    def __init__(self, classes: int = 16, width: int = 32) -> None:
        super().__init__()
        w4, w8, w16, w32 = width, 2 * width, 3 * width, 4 * width
        self.down4 = nn.Sequential(_block(3, w4, 2), _block(w4, w4, 2))
        self.down8 = nn.Sequential(_block(w4, w8, 2), _block(w8, w8))
        self.down16 = nn.Sequential(_block(w8, w16, 2), _block(w16, w16))
        self.down32 = nn.Sequential(_block(w16, w32, 2), _block(w32, w32))
        self.from32 = nn.Conv2d(w32, w16, 1)
        self.from16 = nn.Conv2d(w16, w8, 1)
        self.from8 = nn.Conv2d(w8, w4, 1)
        self.merge = _block(w4, w4)
        self.classify = nn.Conv2d(w4, classes, 1)

    def forward(self, fused: Tensor) -> Tensor:
        x4 = self.down4(4 * fused - 2)
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        x16 = x16 + enlarged(self.from32(self.down32(x16)), x16)
        x8 = x8 + enlarged(self.from16(x16), x8)
        logits: Tensor = self.classify(self.merge(x4 + enlarged(self.from8(x8), x4)))
        return logits


def _block(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
        nn.GroupNorm(8, out_channels),
        nn.ReLU(),
    )
