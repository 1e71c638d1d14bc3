"""The graph as a PyTorch module: bytes of camera messages in, bytes of result messages out.

Colour conversion, normalisation, registration and argmax are all inside the graph. So every engine
computes the same, and no Python code touches pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.models.fusion import FusionNetwork, fused_colour

STRIDE = 16  # the network's coarsest stride; images are padded to a multiple of it
# Up to this number of classes, the head's logits are enlarged to stride 2, so that the borders of
# classes are smooth. With more classes this would cost a CPU a fifth of the whole graph.
MAX_SMOOTH_CLASSES = 8
MAX_SIDE = 8192  # of an image


class RawFusion(nn.Module):
    """F and S_f with the steps from camera bytes to their inputs, and from their outputs to bytes.

    Args:
        fusion: F.
        head: S_f, or S_f with a naming: features -> logits at stride 4.
        dtype: of the network's arithmetic and weights. The steps before and after the network stay
            float32: half has 11 bits, too few for 16-bit counts and for positions in large images.

    Inputs:
        visible: uint8 (1, H, W, 3), BGR.
        thermal: uint8 (1, h, w, 1), or (1, h, w, 2) for 16 bit: low byte, high byte. This is how
            a little-endian mono16 buffer lies in memory. TensorRT has no uint16.
        thermal_range: float32 (2,), the counts shown as black and as white.
        grid: float32 (1, H, W, 2), x and y in the thermal image for each visible pixel; -1 and 1
            are the outer edges.
        coverage: float32 (1, H, W) in [0, 1], the weight of the thermal image. At 0 the fused
            pixel is the visible pixel, and the confidence is 0.

    Outputs:
        fused: uint8 (1, H, W, 3), BGR.
        labels: uint8 (1, H, W), class ids.
        confidence: uint8 (1, H, W), the probability of that class times 255.
    """

    halves: Tensor
    quarters: Tensor

    def __init__(
        self, fusion: FusionNetwork, head: nn.Module, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.head = head
        positions = torch.arange(MAX_SIDE)
        self.register_buffer("halves", positions // 2, persistent=False)
        self.register_buffer("quarters", positions // 4, persistent=False)
        self.dtype = dtype

    def forward(
        self,
        visible: Tensor,
        thermal: Tensor,
        thermal_range: Tensor,
        grid: Tensor,
        coverage: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # TensorRT allows only a cast on a uint8 input or output.
        # The clamp changes nothing. Without it, OpenVINO takes the scaling for a dequantisation in
        # int8 graphs, and reorders the whole image to planes.
        image = visible.float().clamp(max=255) * (1 / 255)
        height, width = visible.shape[1], visible.shape[2]
        heat = _normalise(thermal.float(), thermal_range)
        heat = F.grid_sample(heat, grid, padding_mode="border", align_corners=False)
        planes = _pad(image.permute(0, 3, 1, 2))
        features = self.fusion(planes.to(self.dtype), _pad(heat).to(self.dtype))
        change = features.change[:, 0, :height, :width].float() * coverage
        # Camera pixels stay interleaved. On a CPU, the ends of the graph are a third faster so.
        fused = fused_colour(image, change[..., None]) * 255
        logits = self.head(features).float()
        cells = self.quarters
        if logits.shape[1] <= MAX_SMOOTH_CLASSES:
            logits = F.interpolate(logits, scale_factor=2.0, mode="bilinear")
            cells = self.halves
        confidence, labels = (result[:, 0] for result in torch.softmax(logits, 1).topk(1, 1))
        # On a CPU, taking the cell of each row and column is five times faster than a resize.
        labels, confidence = (
            plane.index_select(2, cells[:width]).index_select(1, cells[:height])
            for plane in (labels.float(), confidence)
        )
        return _round(fused), _round(labels), _round(confidence * 255 * coverage)


def _normalise(thermal: Tensor, thermal_range: Tensor) -> Tensor:
    """Thermal bytes as float, (1, h, w, 1 or 2) -> (1, 1, h, w) in [0, 1]."""
    low_byte = thermal[..., 0]
    high_byte = thermal.sum(3) - low_byte  # 0 for 8-bit images
    counts = (low_byte + 256 * high_byte)[:, None]
    low, high = thermal_range[0], thermal_range[1]
    return ((counts - low) / (high - low).clamp(min=1)).clamp(0, 1)


def _pad(x: Tensor) -> Tensor:
    height, width = x.shape[2], x.shape[3]
    padded_height = (height + STRIDE - 1) // STRIDE * STRIDE
    padded_width = (width + STRIDE - 1) // STRIDE * STRIDE
    return F.pad(x, (0, padded_width - width, 0, padded_height - height), mode="replicate")


def _round(x: Tensor) -> Tensor:
    return (x + 0.5).to(torch.uint8)
