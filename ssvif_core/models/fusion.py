"""What a fusion network F takes and gives, and the arithmetic of luma that all of them share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# BT.601 luma of a BGR image, as in OpenCV's BGR2YCrCb.
LUMA_BGR = (0.114, 0.587, 0.299)


@dataclass(frozen=True)
class FusionFeatures:
    """What a fusion network gives.

    Attributes:
        change: fused minus visible luma, Y_F - Y, (B, 1, H, W), in [-1, 1].
        stride4, stride8, stride16: fused features, (B, C_k, H/k, W/k).
    """

    change: Tensor
    stride4: Tensor
    stride8: Tensor
    stride16: Tensor


class FusionNetwork(nn.Module):
    """Base of the fusion networks.

    A new network derives from it, sets `channels`, and is registered with `fusion_network`. Then
    every stage, the export and all engines work with it.

    Attributes:
        channels: channels of the features at strides 4, 8 and 16.
    """

    channels: tuple[int, int, int]

    def forward(self, visible: Tensor, thermal: Tensor) -> FusionFeatures:
        """Fuse a batch.

        Args:
            visible: (B, 3, H, W) BGR in [0, 1]; H and W are multiples of 16.
            thermal: (B, 1, H, W) in [0, 1].
        """
        raise NotImplementedError


def luma_of(bgr: Tensor) -> Tensor:
    """BT.601 luma: (B, 3, H, W) BGR -> (B, 1, H, W), in the same range.

    >>> luma_of(torch.ones(1, 3, 2, 2)).unique().item()
    1.0
    """
    blue, green, red = (share * bgr[:, i : i + 1] for i, share in enumerate(LUMA_BGR))
    return blue + green + red


def spatial_mean(x: Tensor) -> Tensor:
    """Mean of each channel of each image in float32, (B, C, H, W) -> (B, C, 1, 1)."""
    # A sum and not a mean: TensorRT 8.6 silently takes the mean of this opset over all axes.
    return x.float().sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])


def exposure(luma: Tensor, thermal: Tensor) -> Tensor:
    """How well the darker of two images is exposed, (B, 1, 1, 1) in [0, 1].

    It is 0 up to a mean of 0.15, as at night, and 1 from a mean of 0.25.

    Args:
        luma, thermal: (B, C, 1, 1), the `spatial_mean` of each image in [0, 1].
    """
    means = [x.sum(1, keepdim=True) / x.shape[1] for x in (luma, thermal)]
    return ((torch.minimum(*means) - 0.15) / 0.10).clamp(0, 1)


def fused_colour(visible: Tensor, change: Tensor) -> Tensor:
    """The visible colours with the fused luma, BGR in [0, 1], of the shape of `visible`.

    Keeping Cb and Cr while Y changes adds the same value to B, G and R. So no colour conversion is
    needed.

    Args:
        visible: (B, 3, H, W) BGR in [0, 1], or (B, H, W, 3).
        change: fused minus visible luma, (B, 1, H, W) or (B, H, W, 1).
    """
    return (visible + change).clamp(0, 1)
