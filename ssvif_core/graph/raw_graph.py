"""The graph every engine runs: raw camera buffers in, ready messages out.

Colour conversion, normalisation, registration, argmax: all inside, so that every engine runs the
same arithmetic and no Python touches pixels. This is the only place that knows pixel arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.models.fusion import FusionNetwork, fused_colour

STRIDE = 16  # the network's coarsest stride: images are padded to a multiple of it
# Up to this many classes are predicted at stride 2, by enlarging the head's logits, so that their
# borders are smooth. More planes of that size would cost a CPU a fifth of the whole graph.
FEW = 8


class RawFusion(nn.Module):
    """F and S_f between the bytes of two camera messages and those of the outgoing ones.

    dtype: of the network's arithmetic, and of the weights of `fusion` and `head`. Both ends stay
        float32: half has 11 bits, too few for 16-bit counts and for places in large images.

    Inputs:
        visible: uint8 (1, H, W, 3), BGR.
        thermal: uint8 (1, h, w, 1), or (1, h, w, 2) for 16 bit: low byte, high byte. A
            little-endian mono16 buffer *is* that, and TensorRT has no uint16.
        thermal_range: float32 (2,), the counts shown as black and as white.
        grid: float32 (1, H, W, 2), where each visible pixel looks in the thermal image: x and y,
            -1 and 1 at the outer edges.
        coverage: float32 (1, H, W) in [0, 1], how much the thermal image counts there. At 0 the
            fused pixel is the visible one, and the confidence 0.

    Outputs:
        fused: uint8 (1, H, W, 3), BGR.
        labels: uint8 (1, H, W), class ids.
        confidence: uint8 (1, H, W), the probability of that class times 255.
    """

    def __init__(
        self, fusion: FusionNetwork, head: nn.Module, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.head = head
        self.dtype = dtype

    def forward(
        self,
        visible: Tensor,
        thermal: Tensor,
        thermal_range: Tensor,
        grid: Tensor,
        coverage: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # A cast is the only operation TensorRT allows on a uint8 input, and on an output.
        pixels = visible.float()
        height, width = visible.shape[1], visible.shape[2]
        image = pixels.permute(0, 3, 1, 2) * (1 / 255)
        heat = _normalise(thermal.float(), thermal_range)
        heat = F.grid_sample(heat, grid, padding_mode="border", align_corners=False)
        features = self.fusion(_pad(image).to(self.dtype), _pad(heat).to(self.dtype))
        change = features.change[:, :, :height, :width].float() * coverage[:, None]
        fused = fused_colour(image, change).permute(0, 2, 3, 1) * 255
        logits = self.head(features).float()
        smooth = 2 if logits.shape[1] <= FEW else 1
        if smooth == 2:
            logits = F.interpolate(logits, scale_factor=2.0, mode="bilinear")
        confidence, labels = (each[:, 0] for each in torch.softmax(logits, 1).topk(1, 1))
        factor = 4 // smooth
        return (
            _round(fused),
            _round(_enlarged(labels.float(), height, width, factor)),
            _round(_enlarged(confidence * 255, height, width, factor) * coverage),
        )


def _normalise(thermal: Tensor, thermal_range: Tensor) -> Tensor:
    """Bytes (1, h, w, 1 or 2) as float -> (1, 1, h, w) in [0, 1]."""
    low_byte = thermal[..., 0]
    high_byte = thermal.sum(3) - low_byte  # 0 where there is one byte only
    counts = (low_byte + 256 * high_byte)[:, None]
    low, high = thermal_range[0], thermal_range[1]
    return ((counts - low) / (high - low).clamp(min=1)).clamp(0, 1)


def _pad(x: Tensor) -> Tensor:
    height, width = x.shape[2], x.shape[3]
    padded_height = (height + STRIDE - 1) // STRIDE * STRIDE
    padded_width = (width + STRIDE - 1) // STRIDE * STRIDE
    return F.pad(x, (0, padded_width - width, 0, padded_height - height), mode="replicate")


def _enlarged(x: Tensor, height: int, width: int, factor: int) -> Tensor:
    """A part of the padded image's size -> (1, height, width)."""
    x = F.interpolate(x[:, None], scale_factor=float(factor), mode="nearest")
    return x[:, 0, :height, :width]


def _round(x: Tensor) -> Tensor:
    return (x + 0.5).to(torch.uint8)
