"""Weights of the tasks of a joint stage."""

from __future__ import annotations

import pytest
import torch

from ssvif_core.losses.weighting import WEIGHTINGS, create_weighting


def test_a_task_whose_loss_stops_falling_gets_more_weight() -> None:
    """Liu et al. eq. 7 by hand: r = (1, 1/2), w = 2 softmax(r / 2)."""
    dynamic = create_weighting("dwa", 2)
    assert torch.equal(dynamic.weights(), torch.ones(2))
    dynamic.end_epoch(torch.tensor([4.0, 4.0]))
    assert torch.equal(dynamic.weights(), torch.ones(2)), "one epoch gives no rate"
    dynamic.end_epoch(torch.tensor([4.0, 2.0]))
    expected = 2 * torch.softmax(torch.tensor([0.5, 0.25]), 0)
    assert torch.allclose(dynamic.weights(), expected)
    losses = torch.tensor([3.0, 1.0])
    assert torch.allclose(dynamic(losses), (expected * losses).sum())


def test_the_state_of_a_weighting_survives_a_checkpoint() -> None:
    dynamic = create_weighting("dwa", 2)
    for means in ([4.0, 4.0], [4.0, 2.0]):
        dynamic.end_epoch(torch.tensor(means))
    restored = create_weighting("dwa", 2)
    restored.load_state_dict(dynamic.state_dict())
    assert torch.equal(restored.weights(), dynamic.weights())


def test_uncertainty_weights_converge_to_the_inverse_losses() -> None:
    learned = create_weighting("uncertainty", 2)
    optimiser = torch.optim.Adam(learned.parameters(), 0.05)
    for _ in range(300):
        optimiser.zero_grad()
        learned(torch.tensor([2.0, 0.5])).backward()
        optimiser.step()
    assert torch.allclose(learned.weights(), torch.tensor([0.5, 2.0]), rtol=0.02)


def test_uncertainty_never_switches_a_task_off() -> None:
    learned = create_weighting("uncertainty", 2)
    with torch.no_grad():
        learned.log_variances.copy_(torch.tensor([50.0, -50.0]))  # type: ignore[operator]
    assert 0.1 < learned.weights()[0] < learned.weights()[1] < 10


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_every_weighting_starts_as_a_plain_sum(name: str) -> None:
    assert float(create_weighting(name, 2)(torch.tensor([1.0, 2.0]))) == pytest.approx(3.0)
