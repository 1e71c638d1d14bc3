"""Seeds of the random draws of a stage."""

from __future__ import annotations

import numpy as np
import torch

from ssvif_core.training.stages.base import DRAWS, seeds_for


def test_place_and_look_of_a_view_are_independent() -> None:
    """Each draw of each crop has its own seed."""
    crops = torch.randint(2**28, (500,), generator=torch.Generator().manual_seed(0)).unique()
    seeds = torch.stack([seeds_for(draw, crops) for draw in DRAWS])
    assert len(seeds.unique()) == seeds.numel() and int(seeds.max()) < 2**32
    first_numbers = [
        [float(torch.rand((), generator=torch.Generator().manual_seed(int(seed)))) for seed in row]
        for row in seeds
    ]
    correlation = np.corrcoef(first_numbers) - np.eye(len(DRAWS))
    assert np.abs(correlation).max() < 0.15  # 500 independent numbers have a deviation of 0.045
