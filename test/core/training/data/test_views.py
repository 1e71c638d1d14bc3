"""Photometric views of crops."""

from __future__ import annotations

import torch

from ssvif_core.training.data.views import ViewConfig, batch_views, draw_views


def test_views_of_a_sample_do_not_depend_on_its_batch() -> None:
    visible, thermal, seeds = torch.rand(4, 3, 32, 32), torch.rand(4, 1, 32, 32), torch.arange(4)
    together = draw_views(visible, thermal, seeds, ViewConfig())
    alone = draw_views(visible[2:3], thermal[2:3], seeds[2:3], ViewConfig())
    for whole, part in zip(together, alone, strict=True):
        assert torch.equal(whole[2:3], part)
        assert whole.min() >= 0 and whole.max() <= 1


def test_views_without_effects_change_nothing_and_views_with_all_effects_stay_in_range() -> None:
    visible, thermal = torch.rand(8, 3, 64, 64), torch.rand(8, 1, 64, 64)
    same = batch_views(visible, thermal, ViewConfig(*[0.0] * 11))
    assert torch.equal(same[0], visible) and torch.equal(same[1], thermal)
    for changed, before in zip(batch_views(visible, thermal, ViewConfig(*[1.0] * 11)),
                               (visible, thermal), strict=True):  # fmt: skip
        assert changed.shape == before.shape and not torch.equal(changed, before)
        assert 0 <= changed.min() and changed.max() <= 1
