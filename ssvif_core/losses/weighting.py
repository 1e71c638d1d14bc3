"""Weights of the tasks of a joint stage, fusion and consistency.

A weighting sums the tasks' losses of a step. After every epoch it gets the mean losses of the
epoch. Its state is in buffers and parameters, so that a checkpoint contains it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WEIGHTINGS = ("dwa", "fixed", "uncertainty")


class FixedWeighting(nn.Module):
    """All weights are 1."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.tasks = tasks

    def weights(self) -> Tensor:
        """Weights of the tasks, (tasks,), without gradient."""
        return torch.ones(self.tasks)

    def forward(self, losses: Tensor) -> Tensor:
        """Losses (tasks,) -> weighted sum, a scalar."""
        return (self.weights().to(losses) * losses).sum()

    def end_epoch(self, means: Tensor) -> None:
        """Update the state with the mean losses of the epoch, (tasks,)."""


class DynamicWeightAverage(FixedWeighting):
    """A task whose loss falls slowly gets more weight (Liu, Johns and Davison, CVPR 2019, eq. 7).

    ::

        r_k = L_k(t - 1) / L_k(t - 2),   w_k = n softmax(r / T)_k

    with the mean losses L_k of the last two epochs, n tasks and temperature T = 2. All weights are
    1 during the first two epochs. The losses of single steps would be too noisy.

    >>> weighting = DynamicWeightAverage(tasks=2)
    >>> for means in ([4.0, 4.0], [4.0, 2.0]):
    ...     weighting.end_epoch(torch.tensor(means))
    >>> weighting.weights()
    tensor([1.1244, 0.8756])
    """

    history: Tensor
    epochs: Tensor

    def __init__(self, tasks: int, temperature: float = 2.0) -> None:
        super().__init__(tasks)
        self.temperature = temperature
        self.register_buffer("history", torch.ones(2, tasks))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))

    def weights(self) -> Tensor:
        if self.epochs < 2:
            return torch.ones(self.tasks, device=self.history.device)
        ratios = self.history[1] / self.history[0].clamp(min=1e-6)
        return self.tasks * torch.softmax(ratios / self.temperature, 0)

    def end_epoch(self, means: Tensor) -> None:
        self.history.copy_(torch.stack([self.history[1], means.to(self.history)]))
        self.epochs += 1


class UncertaintyWeighting(FixedWeighting):
    """Weights learned from task uncertainties (Kendall, Gal and Cipolla, CVPR 2018, eq. 7).

    ::

        L = sum_k exp(-s_k) L_k + s_k

    with log-variances s_k clamped to [-2, 2], so that no task is switched off.
    """

    def __init__(self, tasks: int) -> None:
        super().__init__(tasks)
        self.log_variances = nn.Parameter(torch.zeros(tasks))

    def weights(self) -> Tensor:
        return torch.exp(-self.log_variances.detach().clamp(-2, 2))

    def forward(self, losses: Tensor) -> Tensor:
        s = self.log_variances.clamp(-2, 2)
        return (torch.exp(-s) * losses + s).sum()


def create_weighting(name: str, tasks: int) -> FixedWeighting:
    """A weighting by its name, one of `WEIGHTINGS`."""
    classes = {
        "dwa": DynamicWeightAverage,
        "fixed": FixedWeighting,
        "uncertainty": UncertaintyWeighting,
    }
    return classes[name](tasks)
