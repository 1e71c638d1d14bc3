"""Feature heads: fused features -> logits of classes at stride 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssvif_core.models.blocks import ChannelNorm, RepConv, enlarged
from ssvif_core.models.fusion import FusionFeatures, spatial_mean


class Head(nn.Module):
    """Base of the feature heads S_f: features -> embedding -> logits of K pseudo-classes.

    It ships with F, and the overlay shows its classes.

    Attributes:
        width: channels of the embedding.
        classify: 1x1 convolution from the embedding to the logits.
    """

    width: int
    classify: nn.Conv2d

    def __init__(self, channels: tuple[int, int, int], classes: int = 16, width: int = 32) -> None:
        super().__init__()
        self.width = width

    @property
    def classes(self) -> int:
        """Number of pseudo-classes K."""
        return self.classify.out_channels

    def embed(self, features: FusionFeatures) -> Tensor:
        """The pixel embedding from which classes are read: (B, width, H/4, W/4)."""
        raise NotImplementedError

    def forward(self, features: FusionFeatures) -> Tensor:
        """Logits of the pseudo-classes, (B, K, H/4, W/4)."""
        logits: Tensor = self.classify(self.embed(features))
        return logits


class FeatureHead(Head):
    """Context from strides 16 and 32 and from the whole image, brought down to stride 4.

    Nearly all its work is at strides 16 and 32, where it costs little: a single 3x3 convolution at
    stride 4 costs a tenth of the whole graph. F was trained for images, so its deep features may
    have any scale; they are normalised first.

    Args:
        channels: channels of the features at strides 4, 8, 16.
        classes: number of pseudo-classes K.
        width: channels of the embedding.
        deep: channels at stride 32.
    """

    def __init__(
        self,
        channels: tuple[int, int, int],
        classes: int = 16,
        width: int = 32,
        deep: int = 96,
    ) -> None:
        super().__init__(channels, classes, width)
        c4, c8, c16 = channels
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
        x8 = self.norm8(features.stride8)
        x16 = self.norm16(features.stride16)
        x32 = self.deep(x16)
        x32 = x32 + self.whole(spatial_mean(x32).to(x32.dtype))
        x16 = self.mix16(x16 + enlarged(self.from_deep(x32), x16))
        x8 = self.mix8(x8 + enlarged(self.from16(x16), x8))
        x4 = self.from4(features.stride4)
        embedding: Tensor = self.project(torch.relu(x4 + enlarged(self.from8(x8), x4)))
        return embedding


class Naming(nn.Module):
    """Named classes as a linear function of S_f's embedding and of the fused features.

    The features hold what the pseudo-classes do not need. Each part of the layer is applied before
    its result is enlarged to stride 4. Both steps are linear, so the order does not matter, and
    this order is nearly free.

    Args:
        reads: channels of the embedding and of the features at strides 4, 8, 16.
        classes: number of named classes.
    """

    def __init__(self, reads: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.reads, self.classes = reads, classes
        self.parts = nn.ModuleList(
            nn.Conv2d(channels, classes, 1, bias=index == 0) for index, channels in enumerate(reads)
        )

    def set(self, weight: Tensor, bias: Tensor) -> None:
        """Take over a linear layer on `described`.

        Args:
            weight: (classes, sum of `reads`).
            bias: (classes,).
        """
        values = {"parts.0.bias": bias}
        for index, columns in enumerate(weight.split_with_sizes(self.reads, 1)):
            values[f"parts.{index}.weight"] = columns[:, :, None, None]
        self.load_state_dict(values)

    def forward(self, embedding: Tensor, features: FusionFeatures) -> Tensor:
        """Logits of the named classes, (B, classes, H/4, W/4)."""
        of_embedding, of_stride4, of_stride8, of_stride16 = self.parts
        logits: Tensor = of_embedding(embedding) + of_stride4(features.stride4)
        logits = logits + enlarged(of_stride8(features.stride8), logits)
        return logits + enlarged(of_stride16(features.stride16), logits)


def described(head: Head, features: FusionFeatures) -> Tensor:
    """What a naming reads, at stride 4: (B, width + C_4 + C_8 + C_16, H/4, W/4)."""
    embedding = head.embed(features)
    maps = (features.stride4, features.stride8, features.stride16)
    return torch.cat([embedding, *(enlarged(x, embedding) for x in maps)], 1)


class NamedHead(nn.Module):
    """S_f with a naming: `FusionFeatures` -> logits of the named classes, (B, names, H/4, W/4)."""

    def __init__(self, head: Head, naming: Naming) -> None:
        super().__init__()
        self.head, self.naming = head, naming
        self.classes = naming.classes

    def forward(self, features: FusionFeatures) -> Tensor:
        logits: Tensor = self.naming(self.head.embed(features), features)
        return logits


def classify_standardised(head: Head, mean: Tensor, deviation: Tensor, scale: float) -> None:
    """Fold a standardisation of the logits into the last layer, in place.

    Training standardises logits over the batch. Afterwards the layer itself gives logits with
    mean zero and deviation `scale`. So argmax and softmax of one image mean the same as in
    training.

    Args:
        mean, deviation: of the logits of each class, (K,).
    """
    factor = scale / deviation.clamp(min=1e-6)
    bias = head.classify.bias
    assert bias is not None
    with torch.no_grad():
        head.classify.weight.mul_(factor[:, None, None, None])
        bias.copy_((bias - mean) * factor)
