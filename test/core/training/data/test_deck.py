"""Crops that a device cuts from pairs in its memory."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import warm_square

from ssvif_core.labels import IGNORE
from ssvif_core.training.data.deck import Deck

CPU = torch.device("cpu")
SIZE = (96, 128)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), scale=st.floats(0.5, 3.0), around=st.booleans())
def test_a_crop_shows_images_and_labels_of_the_same_place(
    seed: int, scale: float, around: bool
) -> None:
    deck = Deck([warm_square(1)], 2, CPU, SIZE)
    torch.manual_seed(seed)
    side = min(64, int(SIZE[0] * scale) // 32 * 32)
    visible, thermal, ids = deck.crops(5, side, torch.full((5,), scale), around)
    assert visible.shape == (5, 3, side, side) and thermal.shape == (5, 1, side, side)
    assert 0 <= thermal.min() and thermal.max() <= 1
    # Outside its blurred border, the square is warm and the rest is cold.
    is_clear = (thermal[:, 0] > 0.8) | (thermal[:, 0] < 0.16)
    assert torch.equal((ids == 1)[is_clear], (thermal[:, 0] > 0.5)[is_clear])


def test_most_crops_around_classes_hold_a_rare_class() -> None:
    square = warm_square(0)
    empty = (square[0], np.full(SIZE, 30, np.uint8), np.zeros(SIZE, np.uint8))
    deck = Deck([*[empty] * 20, square], 2, CPU, SIZE)
    _, _, ids = deck.crops(40, 64, torch.ones(40), True)
    # Half of them are drawn around the class; one at a border of its crop may just miss it.
    assert (ids == 1).flatten(1).any(1).sum() >= 18


def test_pairs_of_another_size_and_without_labels_are_accepted() -> None:
    visible, thermal, _ = warm_square(0)
    large = (visible.repeat(2, 0).repeat(2, 1), thermal.repeat(2, 0).repeat(2, 1), None)
    _, _, ids = Deck([large], 2, CPU, SIZE).crops(3, 64, torch.ones(3), False)
    assert (ids == IGNORE).all()
