"""Cross-segmentation consistency: the feature branch and the pixel branch must agree.

Logits are (N, K): one row per pixel; both branches have the same pixels in the same order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ssvif_core.errors import InputError


@dataclass(frozen=True)
class ConsistencyConfig:
    """Settings of L_csc + L_MI; the switches are for ablations.

    Raises:
        InputError: a value is too small.
    """

    balance: bool = True  # targets from a balanced assignment, otherwise from argmax
    information: bool = True  # add L_MI
    standardise: bool = True  # logits of each class over the pixels; this also balances them
    temperature: float = 0.2
    epsilon: float = 0.05
    queue: int = 8192  # rows of earlier batches that join the balancing
    points: int = 1200  # pixels per sample at which the branches are compared

    def __post_init__(self) -> None:
        for name in ("temperature", "epsilon", "points"):
            if not getattr(self, name) > 0:
                raise InputError(f"consistency: {name}={getattr(self, name)}; expected above 0")
        if self.queue < 0:
            raise InputError(f"consistency: queue={self.queue}; expected >= 0")


def balanced_assignment(logits: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft assignment of the rows to classes of equal size, (N, K); rows sum to 1; no gradient.

    Sinkhorn-Knopp on exp(logits / epsilon) towards the marginals 1/K and 1/N (SwAV, Caron et
    al., NeurIPS 2020, eq. 3-5). Logits are cosine-like, in about [-1, 1]. Computed in float32,
    because exp(1 / 0.05) overflows float16.

    >>> q = balanced_assignment(torch.tensor([[0.9, 0.1], [0.6, 0.1]]))
    >>> q.argmax(1)  # plain argmax would give class 0 twice
    tensor([0, 1])
    """
    with torch.no_grad():
        q = torch.exp((logits.float() - logits.max()) / epsilon) + 1e-12
        q = q / q.sum()
        for _ in range(iterations):
            q = q / (q.sum(0, keepdim=True) * q.shape[1])
            q = q / (q.sum(1, keepdim=True) * q.shape[0])
        return q * q.shape[0]


def cross_segmentation_consistency(
    feature: Tensor,
    pixel: Tensor,
    feature_queue: Tensor | None = None,
    pixel_queue: Tensor | None = None,
    config: ConsistencyConfig = ConsistencyConfig(),
) -> Tensor:
    """L_csc = 1/2 [CE(p_f, q_p) + CE(p_p, q_f)], a scalar.

    p = softmax(logits / temperature); q is the balanced assignment of the other branch over this
    batch and, if given, its queue of earlier logits (M, K). The prediction is swapped as in SwAV,
    between segmentations as in cross pseudo supervision (Chen et al., CVPR 2021).
    """
    return 0.5 * (
        _cross_entropy(feature, _target(pixel, pixel_queue, config), config.temperature)
        + _cross_entropy(pixel, _target(feature, feature_queue, config), config.temperature)
    )


def mutual_information_loss(
    feature: Tensor, pixel: Tensor, temperature: float = 0.1, balance: float = 1.5
) -> Tensor:
    """L_MI = -sum_ij P_ij [ln P_ij - balance (ln P_i + ln P_j)] + c, a scalar (Ji et al. 2019).

    P (K, K) is the symmetrised mean of p_f p_p^T over the pixels; `balance` >= 1 favours classes
    of equal size. The constant c = (2 balance - 1) ln K makes the minimum 0, for agreeing classes
    of equal size, because dynamic weights need non-negative losses.
    """
    p = torch.softmax(feature / temperature, 1).t() @ torch.softmax(pixel / temperature, 1)
    p = (p + p.t()) / (2 * feature.shape[0])
    p = p.clamp(min=1e-8)
    rows, columns = p.sum(1, keepdim=True), p.sum(0, keepdim=True)
    loss = -(p * (p.log() - balance * (rows.log() + columns.log()))).sum()
    return loss + (2 * balance - 1) * math.log(feature.shape[1])


def _target(logits: Tensor, queue: Tensor | None, config: ConsistencyConfig) -> Tensor:
    if not config.balance:
        return F.one_hot(logits.argmax(1), logits.shape[1]).to(logits)
    rows = logits if queue is None else torch.cat([logits.detach(), queue])
    return balanced_assignment(rows, config.epsilon)[: logits.shape[0]]


def _cross_entropy(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    return -(target * F.log_softmax(logits / temperature, 1)).sum(1).mean()
