"""The feature head S_f: fused features -> logits of K pseudo-classes at stride 4."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from ssvif_core.models.blocks import ChannelNorm, RepConv, enlarged
from ssvif_core.models.fusion_net import FusionFeatures


class AnyHead(Protocol):
    """Interface of S_f. `width`: channels of the embedding; `classify`: embedding -> logits."""

    width: int
    classify: nn.Conv2d

    def embed(self, features: FusionFeatures) -> Tensor: ...


class FeatureHead(nn.Module):
    """Context from strides 16 and 32 and the whole image, brought down to stride 4.

    It ships with F, and is what the overlay shows. Nearly all its work is at strides 16 and 32,
    where it costs little; at stride 4 a single 3x3 convolution costs a tenth of the whole graph.
    Deep features of F are normalised first: F was trained for images, and leaves them at any scale.

    Args:
        channels: channels of the features at strides 4, 8, 16.
        classes: number of pseudo-classes K.
        width: channels of the embedding.
        deep: channels at stride 32.

    Shape: `FusionFeatures` -> (B, classes, H/4, W/4).
    """

    def __init__(
        self,
        channels: tuple[int, int, int],
        classes: int = 16,
        width: int = 32,
        deep: int = 96,
    ) -> None:
        super().__init__()
        c4, c8, c16 = channels
        self.classes, self.width = classes, width
        self.norm8, self.norm16 = ChannelNorm(c8), ChannelNorm(c16)
        self.deep = nn.Sequential(
            RepConv(c16, deep, stride=2), RepConv(deep, deep), ChannelNorm(deep),
            RepConv(deep, deep), ChannelNorm(deep),
        )  # fmt: skip
        self.whole = nn.Conv2d(deep, deep, 1)
        self.from_deep = nn.Conv2d(deep, c16, 1)
        self.mix16 = nn.Sequential(RepConv(c16, c16), RepConv(c16, c16), ChannelNorm(c16))
        self.from16 = nn.Conv2d(c16, c8, 1)
        self.mix8 = nn.Sequential(RepConv(c8, c8), ChannelNorm(c8))
        self.from8 = nn.Conv2d(c8, width, 1)
        self.from4 = nn.Conv2d(c4, width, 1)
        self.project = nn.Conv2d(width, width, 1)
        self.classify = nn.Conv2d(width, classes, 1)

    def embed(self, features: FusionFeatures) -> Tensor:
        """The pixel embedding that classes are read from: (B, width, H/4, W/4)."""
        x8 = self.norm8(features.stride8)
        x16 = self.norm16(features.stride16)
        x32 = self.deep(x16)
        mean = x32.float().sum((2, 3), keepdim=True) / (x32.shape[2] * x32.shape[3])
        x32 = x32 + self.whole(mean.to(x32.dtype))
        x16 = self.mix16(x16 + enlarged(self.from_deep(x32), x16))
        x8 = self.mix8(x8 + enlarged(self.from16(x16), x8))
        x4 = self.from4(features.stride4)
        return self.project(torch.relu(x4 + enlarged(self.from8(x8), x4)))

    def forward(self, features: FusionFeatures) -> Tensor:
        return self.classify(self.embed(features))


class Naming(nn.Module):
    """Named classes as a linear function of S_f's embedding and of the fused features.

    The features are read besides the embedding, for what the pseudo-classes have no use for. They
    are enlarged to stride 4 after their part of the layer and not before: the same, since both are
    linear, and nearly free.

    Args:
        reads: channels of the embedding and of the features at strides 4, 8, 16.
    """

    def __init__(self, reads: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.reads, self.classes = reads, classes
        self.parts = nn.ModuleList(
            nn.Conv2d(channels, classes, 1, bias=index == 0) for index, channels in enumerate(reads)
        )

    def set(self, weight: Tensor, bias: Tensor) -> None:
        """Take over a layer over `described`: weight (classes, sum of reads), bias (classes,)."""
        with torch.no_grad():
            for part, columns in zip(self.parts, weight.split(self.reads, 1), strict=True):
                part.weight.copy_(columns[:, :, None, None])  # type: ignore[operator, union-attr]
            self.parts[0].bias.copy_(bias)  # type: ignore[operator, union-attr]

    def forward(self, embedding: Tensor, features: FusionFeatures) -> Tensor:
        of_embedding, *of_features = self.parts
        logits = of_embedding(embedding)
        maps = (features.stride4, features.stride8, features.stride16)
        for part, x in zip(of_features, maps, strict=True):
            logits = logits + enlarged(part(x), logits)
        return logits


def described(head: AnyHead, features: FusionFeatures) -> Tensor:
    """What a naming reads, at stride 4: (B, width + C_4 + C_8 + C_16, H/4, W/4)."""
    embedding = head.embed(features)
    maps = (features.stride4, features.stride8, features.stride16)
    return torch.cat([embedding, *(enlarged(x, embedding) for x in maps)], 1)


class NamedHead(nn.Module):
    """S_f read out as named classes: `FusionFeatures` -> (B, names, H/4, W/4) logits."""

    def __init__(self, head: AnyHead, naming: Naming) -> None:
        super().__init__()
        self.head, self.naming = head, naming
        self.classes = naming.classes

    def forward(self, features: FusionFeatures) -> Tensor:
        return self.naming(self.head.embed(features), features)


def classify_standardised(head: AnyHead, mean: Tensor, deviation: Tensor, scale: float) -> None:
    """Fold a standardisation of the logits, (K,) each, into the last layer, in place.

    Training standardises logits over the batch; afterwards the layer itself gives logits of zero
    mean and of deviation `scale`, so that argmax and softmax of one image mean the same.
    """
    factor = scale / deviation.clamp(min=1e-6)
    with torch.no_grad():
        head.classify.weight.mul_(factor[:, None, None, None])
        bias = head.classify.bias
        bias.copy_((bias - mean) * factor)  # type: ignore[union-attr, operator]
