"""Losses of labelled classes."""

from __future__ import annotations

import torch
from torch import Tensor

from ssvif_core.recordings.labels import IGNORE


def dice_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """1 minus the Dice coefficient, mean over the classes but the first, over the whole batch.

    Milletari et al., 3DV 2016. logits (B, K, h, w); ids (B, h, w) with 255 ignored.
    """
    valid = (ids != IGNORE)[:, None]
    kinds = torch.arange(logits.shape[1], device=ids.device).view(1, -1, 1, 1)
    truth = ids[:, None] == kinds
    share = logits.softmax(1) * valid
    both = (share * truth).sum((0, 2, 3))
    dice = (2 * both + 1) / (share.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return 1 - dice[1:].mean()
