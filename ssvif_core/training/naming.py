"""Naming: fits named classes to a few labelled images.

A naming is a linear layer over the embedding of S_f and the features of F, which do not change
(multinomial logistic regression). It is stored in the weights file. The exported graph gives the
named classes instead of the pseudo-classes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.errors import InputError
from ssvif_core.labels import IGNORE
from ssvif_core.models import Model
from ssvif_core.models.heads import described
from ssvif_core.training.prediction import features_of
from ssvif_core.types import UInt8Array

logger = logging.getLogger(__name__)

# Of a channel within an image, relative to its spread over all labelled pixels, and to that of most
# channels.
LEAST_SPREAD = 0.01
STRIDE = 4  # pixels per label, as in the logits
# visible (H, W, 3) BGR, thermal (H, W), class ids (H, W); 255 is ignored
Labelled = tuple[UInt8Array, UInt8Array, UInt8Array]


@dataclass(frozen=True)
class NamingConfig:
    """Settings of the regression."""

    decay: float = 1e-4
    # The weight of a class is its frequency to minus this power: 0 favours background, 1 rare
    # classes.
    balance: float = 0.3
    background_share: float = 0.25  # share of the background pixels that is used, for speed
    iterations: int = 150
    seed: int = 0


def check_ids(mask: UInt8Array, names: tuple[str, ...], path: object) -> UInt8Array:
    """Replace class ids without a name by 255 (ignored), and warn about them.

    Args:
        mask: class ids, (H, W).
        names: name n belongs to id n.
        path: of the mask, for messages.

    Raises:
        InputError: no pixel has a known id.

    >>> mask = np.array([[0, 1, 7, 255]], np.uint8)
    >>> check_ids(mask, ("background", "person"), "mask.png").tolist()
    [[0, 1, 255, 255]]
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
            f"({', '.join(names)}), or {IGNORE} for pixels to ignore"
        )
    return mask


def fit_naming(
    model: Model,
    labelled: Iterable[Labelled],
    names: tuple[str, ...],
    config: NamingConfig = NamingConfig(),
) -> tuple[Tensor, Tensor]:
    """Fit the linear layer that `Model.name` takes.

    Args:
        labelled: images with class ids, of any sizes.
        names: name n belongs to id n.

    Returns:
        Weight (classes, channels) and bias (classes,) over `heads.described`.

    Raises:
        InputError: a class of `names` has no labelled pixel.
    """
    rows, ids, spreads = [], [], []
    for visible, thermal, mask in labelled:
        with torch.no_grad():
            channels = described(model.head, features_of(model, visible, thermal))[0]
        spreads.append(channels.flatten(1).std(1))
        small = torch.from_numpy(mask[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].astype(int))
        is_known = small != IGNORE
        rows.append(channels[:, : small.shape[0], : small.shape[1]].permute(1, 2, 0)[is_known])
        ids.append(small[is_known])
    x, y = torch.cat(rows), torch.cat(ids)
    counts = torch.bincount(y, minlength=len(names)).float()
    missing = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if missing:
        raise InputError(
            f"no labelled pixel of {', '.join(missing)}; expected images that together show each "
            f"of {', '.join(names)}; label (or use) more images, or leave the name out"
        )
    weights = (1 / counts) ** config.balance
    weights[0] /= config.background_share
    generator = torch.Generator().manual_seed(config.seed)
    is_used = (y > 0) | (torch.rand(len(y), generator=generator) < config.background_share)
    x, y = x[is_used], y[is_used]
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    # Two kinds of channels would name whole images. One does not vary within an image, as the
    # exposure. The other hardly varies in the labelled images, but may do so in others.
    least = LEAST_SPREAD * torch.maximum(deviation, deviation.median())
    scale = (torch.stack(spreads).amax(0) > least) / deviation
    layer = _regression((x - mean) * scale, y, weights, config)
    weight = layer.weight.detach() * scale
    return weight, layer.bias.detach() - weight @ mean


def _regression(x: Tensor, y: Tensor, weights: Tensor, config: NamingConfig) -> nn.Linear:
    """The layer from rows (N, channels) to the classes (N,), fitted with weights (classes,)."""
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
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return layer
