"""Naming: from pseudo-classes to class names, by a few labelled images.

A naming is a linear layer over the embedding of S_f and the fused features, which stay as they are
(multinomial logistic regression). It is part of the weights file, and takes the place of the
pseudo-classes in the exported graph.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.errors import InputError
from ssvif_core.models import Model
from ssvif_core.models.fusion import FusionFeatures
from ssvif_core.models.heads import described
from ssvif_core.recordings.labels import IGNORE

logger = logging.getLogger(__name__)

STRIDE = 4
Labelled = tuple[np.ndarray, np.ndarray, np.ndarray]  # visible, thermal (8 bit), class ids


@dataclass(frozen=True)
class NamingConfig:
    """Settings of the regression."""

    decay: float = 1e-4
    # Weight of a class is its frequency to minus this: 0 favours background, 1 rare classes.
    balance: float = 0.3
    background_share: float = 0.25  # of the background's pixels that are used, for speed
    iterations: int = 150
    seed: int = 0


def check_ids(mask: np.ndarray, names: tuple[str, ...], path: object) -> np.ndarray:
    """The mask with ids that have no name ignored; they are named in the log.

    Raises:
        InputError: no pixel has a known id.
    """
    unknown = sorted(set(np.unique(mask).tolist()) - set(range(len(names))) - {IGNORE})
    if unknown:
        logger.warning(
            "%s: ids %s have no name (%d names: %s) and are ignored",
            path, unknown, len(names), ", ".join(names),
        )  # fmt: skip
        mask = np.where(np.isin(mask, unknown), IGNORE, mask).astype(np.uint8)
    if (mask == IGNORE).all():
        raise InputError(
            f"{path}: no pixel has a known class id; expected 0 to {len(names) - 1} "
            f"({', '.join(names)}), or {IGNORE} for what is to be ignored"
        )
    return mask


def features_of(model: Model, visible: np.ndarray, thermal: np.ndarray) -> FusionFeatures:
    """Fused features of one pair, of the images padded to multiples of 16; no gradient."""
    height, width = thermal.shape
    border = (0, -height % 16, 0, -width % 16)
    image = cv2.copyMakeBorder(visible, *border, cv2.BORDER_REPLICATE)
    heat = cv2.copyMakeBorder(thermal, *border, cv2.BORDER_REPLICATE)
    with torch.no_grad():
        return model.fusion(
            torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255,
            torch.from_numpy(heat)[None, None].float() / 255,
        )


def fit_naming(
    model: Model,
    labelled: Iterable[Labelled],
    names: tuple[str, ...],
    config: NamingConfig = NamingConfig(),
) -> tuple[Tensor, Tensor]:
    """Weight (classes, channels) and bias (classes,) over what `model` tells of a pixel.

    labelled: visible (H, W, 3) uint8 BGR, thermal (H, W) uint8, ids (H, W) uint8 with 255 ignored.

    Raises:
        InputError: a class of `names` has no labelled pixel.
    """
    rows, ids = [], []
    for visible, thermal, mask in labelled:
        with torch.no_grad():
            told = described(model.head, features_of(model, visible, thermal))[0]
        small = torch.from_numpy(mask[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].astype(int))
        known = small != IGNORE
        rows.append(told[:, : small.shape[0], : small.shape[1]].permute(1, 2, 0)[known])
        ids.append(small[known])
    x, y = torch.cat(rows), torch.cat(ids)
    counts = torch.bincount(y, minlength=len(names)).float()
    missing = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if missing:
        raise InputError(
            f"no labelled pixel of {', '.join(missing)}; label (or use) more images, so that they "
            f"show each of {', '.join(names)}, or leave the name out"
        )
    weights = (1 / counts) ** config.balance
    weights[0] /= config.background_share
    generator = torch.Generator().manual_seed(config.seed)
    kept = (y > 0) | (torch.rand(len(y), generator=generator) < config.background_share)
    x, y = x[kept], y[kept]
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    layer = _regression((x - mean) / deviation, y, weights, config)
    weight = layer.weight.detach() / deviation
    return weight, layer.bias.detach() - weight @ mean


def _regression(x: Tensor, y: Tensor, weights: Tensor, config: NamingConfig) -> nn.Linear:
    layer = nn.Linear(x.shape[1], len(weights))
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(
        layer.parameters(), max_iter=config.iterations, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(layer(x), y, weights)
        value = value + config.decay * layer.weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[arg-type]
    return layer
