"""What a model gives for one pair of arrays; no gradient."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ssvif_core.models import Model
from ssvif_core.models.blocks import enlarged
from ssvif_core.models.fusion import FusionFeatures
from ssvif_core.types import UInt8Array


def padded_batch(visible: UInt8Array, thermal: UInt8Array) -> tuple[Tensor, Tensor]:
    """A pair as the networks take it, padded to multiples of 16: they halve four times.

    Args:
        visible: (H, W, 3) BGR.
        thermal: (H, W).

    Returns:
        (1, 3, H', W') and (1, 1, H', W') in [0, 1].
    """
    height, width = thermal.shape
    border = (0, -height % 16, 0, -width % 16)
    visible = np.asarray(cv2.copyMakeBorder(visible, *border, cv2.BORDER_REPLICATE), np.uint8)
    thermal = np.asarray(cv2.copyMakeBorder(thermal, *border, cv2.BORDER_REPLICATE), np.uint8)
    return (
        torch.from_numpy(visible).permute(2, 0, 1)[None].float() / 255,
        torch.from_numpy(thermal)[None, None].float() / 255,
    )


def features_of(model: Model, visible: UInt8Array, thermal: UInt8Array) -> FusionFeatures:
    """The features of F for a pair, padded to multiples of 16.

    Args:
        visible: (H, W, 3) BGR.
        thermal: (H, W).
    """
    with torch.no_grad():
        features: FusionFeatures = model.fusion(*padded_batch(visible, thermal))
    return features


def fuse_and_label(
    model: Model, visible: UInt8Array, thermal: UInt8Array
) -> tuple[UInt8Array, UInt8Array]:
    """The fused image, (H, W, 3) BGR, and the class ids, (H, W), of a pair.

    Args:
        visible: (H, W, 3) BGR.
        thermal: (H, W).
    """
    height, width = thermal.shape
    batch, heat = padded_batch(visible, thermal)
    with torch.no_grad():
        prediction = model(batch, heat)
        ids = enlarged(prediction.logits, batch).argmax(1)[0, :height, :width]
    image = (255 * prediction.fused[0].permute(1, 2, 0)).clamp(0, 255).round().byte().numpy()
    return np.ascontiguousarray(image[:height, :width]), ids.numpy().astype(np.uint8)
