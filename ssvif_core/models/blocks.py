"""Convolution blocks that train with several branches and run as one convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


class RepConv(nn.Module):
    """3x3 convolution + 1x1 convolution + identity, then ReLU.

    The branches are linear, so their kernels are summed instead of their feature maps. Training
    then costs one convolution, and folding for export changes no value. This is the
    re-parameterisation of RepVGG (Ding et al., CVPR 2021).

    Args:
        norm: normalise the sum over the batch before the ReLU. Classes are then learned several
            times faster. The statistics are frozen outside training, so they are folded as well.

    Shape: (B, in_channels, H, W) -> (B, out_channels, ceil(H/stride), ceil(W/stride)).
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, norm: bool = False
    ) -> None:
        super().__init__()
        self.stride = stride
        self.conv3 = nn.Conv2d(in_channels, out_channels, 3, stride, 1)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(out_channels) if norm else None
        nn.init.kaiming_normal_(self.conv3.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv3.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv1.weight)
        self.has_identity = in_channels == out_channels and stride == 1
        if self.has_identity:
            # At the start the identity carries the signal. A full kernel would double it.
            with torch.no_grad():
                self.conv3.weight.mul_(0.3)

    def kernel(self) -> Tensor:
        """The one 3x3 kernel equal to all branches: (out_channels, in_channels, 3, 3)."""
        kernel = self.conv3.weight + F.pad(self.conv1.weight, (1, 1, 1, 1))
        if self.has_identity:
            eye = torch.eye(kernel.shape[0], dtype=kernel.dtype, device=kernel.device)
            kernel = kernel + F.pad(eye[:, :, None, None], (1, 1, 1, 1))
        return kernel

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.kernel(), self.conv3.bias, self.stride, 1)
        return F.relu(x if self.norm is None else self.norm(x))

    def folded(self) -> nn.Sequential:
        """The same function as a plain convolution and ReLU, for export."""
        conv = nn.Conv2d(self.conv3.in_channels, self.conv3.out_channels, 3, self.stride, 1)
        with torch.no_grad():
            conv.weight.copy_(self.kernel())
            conv.bias.copy_(self.conv3.bias)  # type: ignore[union-attr, arg-type]
        if self.norm is not None:
            conv = fuse_conv_bn_eval(conv.eval(), self.norm.eval())
        return nn.Sequential(conv, nn.ReLU())


class ChannelNorm(nn.Module):
    """Divides the channels of a pixel by their root mean square, then scales each channel.

    This is RMSNorm (Zhang and Sennrich, NeurIPS 2019) over channels. It depends on no other pixel,
    image or process.

    Shape: (B, channels, H, W) -> (B, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        # Squares in float32, because half overflows from 256. A sum and not a mean: TensorRT 8.6
        # silently takes the mean and the maximum of this opset over all axes.
        mean = x.float().square().sum(1, keepdim=True) / x.shape[1]
        return x / torch.sqrt(mean + 1e-6).to(x.dtype) * self.gain


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    """`x` resized to the height and width of `like`, bilinear."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def fold(module: nn.Module) -> nn.Module:
    """Replace every `RepConv` inside `module` by its folded form, in place; returns `module`."""
    for name, child in module.named_children():
        if isinstance(child, RepConv):
            setattr(module, name, child.folded().to(child.conv3.weight.device))
        else:
            fold(child)
    return module
