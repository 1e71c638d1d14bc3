"""Losses for labelled classes."""

from __future__ import annotations

import torch
from torch import Tensor

from ssvif_core.labels import IGNORE


def dice_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """1 minus the Dice coefficient of the whole batch, mean over all classes except the first.

    Milletari et al., 3DV 2016.

    Args:
        logits: (B, K, h, w).
        ids: class ids (B, h, w); pixels with 255 are ignored.

    >>> ids = torch.tensor([[[0, 1]]])
    >>> round(float(dice_loss(20 * torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]), ids)), 3)
    0.0
    """
    valid = (ids != IGNORE)[:, None]
    classes = torch.arange(logits.shape[1], device=ids.device).view(1, -1, 1, 1)
    truth = ids[:, None] == classes
    probability = logits.softmax(1) * valid
    overlap = (probability * truth).sum((0, 2, 3))
    dice = (2 * overlap + 1) / (probability.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return 1 - dice[1:].mean()
