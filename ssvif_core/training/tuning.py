"""Tuning: F and S_f learn from a few labelled images and many unlabelled ones.

A linear layer can only name what the features already tell apart. Tuning trains the features too,
by `training.overlay`: the labelled images give the names, and the consistency on all pairs of the
recording gives the rest. The fused image stays as it was.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ssvif_core.errors import InputError
from ssvif_core.models import Model
from ssvif_core.training.data.crops import Pairs
from ssvif_core.training.data.deck import Deck
from ssvif_core.training.naming import Labelled
from ssvif_core.training.overlay import OverlayConfig, OverlayTrainer

MOST_PAIRS = 1000  # in memory, 1.5 MB each at 640x480; spread over all pairs of a recording
UNIT = 32  # pixels; the sides of crops are multiples


@dataclass(frozen=True)
class TuningConfig:
    """Settings; the default ones take twenty minutes on one core.

    Attributes:
        steps: number of steps.
        batch: labelled crops in a step, and as many unlabelled ones.
        crop: largest side of a crop in pixels. Crops of smaller images are smaller.
    """

    steps: int = 3000
    batch: int = 8
    crop: int = 160
    learning_rate: float = 3e-3
    seed: int = 0


def tune(
    model: Model,
    labelled: Sequence[Labelled],
    pairs: Pairs,
    config: TuningConfig = TuningConfig(),
    on_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Train a named model in place.

    Args:
        labelled: images with class ids, as for `fit_naming`. All images are resized to the size
            that most of these have.
        pairs: all pairs of a recording; no labels are used.
        on_step: called with the number of finished steps, after each step.

    Raises:
        InputError: the model has no names yet, or the images are smaller than 32 pixels.
    """
    if model.naming is None:
        raise InputError("a model without names; name its classes first")
    sizes = Counter((len(mask), len(mask[0])) for _, _, mask in labelled)
    size = sizes.most_common(1)[0][0]
    if min(size) < UNIT:
        raise InputError(
            f"tuning: images of {size[1]}x{size[0]} pixels; expected at least {UNIT}x{UNIT}"
        )
    device, classes = torch.device("cpu"), len(model.names)
    step = max(len(pairs) / MOST_PAIRS, 1)
    chosen = [pairs[int(number * step)] for number in range(int(len(pairs) / step))]
    settings = OverlayConfig(
        steps=config.steps, labelled=config.batch, unlabelled=config.batch,
        crop=min(config.crop, *size) // UNIT * UNIT,
        learning_rate=config.learning_rate, keep=0.995, pixel=0, seed=config.seed,
        # The labels are of these cameras, so they need fewer changes than for other cameras
        # (docs/results.md, "A few labels").
        native=0.9, clean=0.8, confidence=0.8,
    )  # fmt: skip
    trainer = OverlayTrainer(
        model,
        Deck(labelled, classes, device, size),
        Deck([(visible, thermal, None) for visible, thermal in chosen], classes, device, size),
        settings,
        kept=copy.deepcopy(model.fusion).eval().requires_grad_(False),
    )
    while trainer.step < config.steps:
        trainer.advance()
        on_step(trainer.step)
    model.load_state_dict(trainer.result.state_dict())
    model.requires_grad_(True)
    model.eval()
