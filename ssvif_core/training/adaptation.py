"""Adaptation: the fused image learns from a recording, without labels, and the classes stay.

Only the layers of F at stride 2 learn, by the fusion loss. The classes are read before these
layers, so not one label changes. If the whole network learns from its own classes instead, it
forgets those that the recording does not show (docs/results.md, "Adaptation without labels").

The result must prove itself on pairs that were held out. Otherwise the old weights stay.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ssvif_core.errors import InputError
from ssvif_core.losses.fusion import FusionLoss, FusionLossWeights, TargetConfig
from ssvif_core.metrics import fusion_metrics, luma_of_bgr, person_regions, region_contrast
from ssvif_core.models import Model
from ssvif_core.models.fusion import luma_of
from ssvif_core.training.data.crops import GreyPair
from ssvif_core.training.data.deck import Deck
from ssvif_core.training.overlay import LAST_LAYERS, OverlayConfig, finish_fusion
from ssvif_core.training.prediction import fuse_and_label, padded_batch
from ssvif_core.types import UInt8Array

UNIT = 32  # pixels; the sides of crops are multiples
# Between the default loss, which suits a start from nothing, and that of the finishing of the
# shipped weights (docs/model_card.md). With the default loss, persons lost a sixth of their
# contrast on a clip by day, and the image its sharpness.
LOSS = FusionLossWeights(emphasis=7)
TARGET = TargetConfig(sharpen=0.5, kept_contrast=0.95)
FEWEST = 10  # pairs to learn from
LEAST_CONTRAST = 2.0  # standard deviation of the thermal images, grey levels
LEAST_CHANGE = 2.0  # mean difference of a visible image from the first, grey levels
THUMBNAIL = (40, 30)  # width, height of what is compared
LEAST_GAIN = 0.005  # share of the fusion loss; less may be chance
# What the new weights may lose on held-out pairs.
METRICS = ("EN", "SD", "MI", "VIF", "Qabf", "SSIM")
MOST_LOST = 0.05  # share of a metric
PERSON, CONTRAST = "person", "person contrast"  # a class name; the contrast that persons keep
MOST_CONTRAST_LOST = 0.1  # share; few persons, so it varies more


@dataclass(frozen=True)
class AdaptConfig:
    """Settings; the default ones take two minutes on two cores.

    Attributes:
        steps: number of steps.
        batch: crops in a step.
        crop: largest side of a crop in pixels. Crops of smaller images are smaller.
    """

    steps: int = 1000
    batch: int = 8
    crop: int = 160
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """Old and new weights on held-out pairs.

    Attributes:
        figures: by name, the mean over the pairs for the old and for the new weights.
        reasons: why the new weights are worse; empty if they are not.
    """

    figures: dict[str, tuple[float, float]]
    reasons: tuple[str, ...]


def adapt(
    model: Model,
    pairs: Sequence[GreyPair],
    config: AdaptConfig = AdaptConfig(),
    on_step: Callable[[int], None] = lambda step: None,
) -> Model:
    """An adapted copy of a model.

    Args:
        pairs: visible (H, W, 3) BGR and thermal (H, W), all of one size.
        on_step: called with the number of finished steps, after each step.

    Raises:
        InputError: the network has no layers after those that the classes are read from; or there
            are too few pairs, they are too small, or they show nothing or always the same.
    """
    if not all(hasattr(model.fusion, name) for name in LAST_LAYERS):
        raise InputError(
            f"weights of the network {model.config.network}; expected trunk or fast; train it with "
            "`ssvif train`"
        )
    if len(pairs) < FEWEST:
        raise InputError(
            f"{len(pairs)} pairs to learn from; expected at least {FEWEST} that differ; record "
            "longer, or take more of the recording with --every"
        )
    height, width = pairs[0][1].shape
    if min(height, width) < UNIT:
        raise InputError(f"images of {width}x{height} pixels; expected at least {UNIT}x{UNIT}")
    _require_content(pairs)
    settings = OverlayConfig(
        steps=config.steps, labelled=config.batch, seed=config.seed, keep=0.99,
        crop=min(config.crop, height, width) // UNIT * UNIT, learning_rate=config.learning_rate,
        loss=LOSS, target=TARGET,
    )  # fmt: skip
    deck = Deck(
        [(visible, thermal, None) for visible, thermal in pairs], len(model.names),
        torch.device("cpu"), (height, width), config.seed,
    )  # fmt: skip
    adapted = copy.deepcopy(model)
    finish_fusion(adapted, deck, settings, lambda step, _loss: on_step(step))
    adapted.requires_grad_(True)
    return adapted.eval()


def _require_content(pairs: Sequence[GreyPair]) -> None:
    """Check that the pairs show something, and not always the same."""
    contrast = float(np.median([thermal.std() for _, thermal in pairs]))
    if contrast < LEAST_CONTRAST:
        raise InputError(
            f"the thermal images have a contrast of {contrast:.1f} grey levels; expected at least "
            f"{LEAST_CONTRAST}; is the camera covered, or its shutter closed?"
        )
    first, *others = (
        cv2.resize(visible, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        for visible, _ in pairs
    )
    change = max(float(np.abs(other - first).mean()) for other in others)
    if change < LEAST_CHANGE:
        raise InputError(
            f"all pairs show the same scene: they differ by {change:.1f} grey levels; expected at "
            f"least {LEAST_CHANGE}; record while the robot moves"
        )


def judge(old: Model, new: Model, held_out: Sequence[GreyPair]) -> Verdict:
    """Compare two models on pairs that neither learned from.

    Args:
        held_out: visible (H, W, 3) BGR and thermal (H, W).
    """
    rows = [[_scores(model, *pair) for model in (old, new)] for pair in held_out]
    figures = {}
    for name in {name: None for row in rows for name in row[0]}:  # in order
        both = [(before[name], after[name]) for before, after in rows if name in before]
        before, after = np.mean(both, 0).tolist()
        figures[name] = (before, after)
    return Verdict(figures, tuple(_reasons(figures)))


def _scores(model: Model, visible: UInt8Array, thermal: UInt8Array) -> dict[str, float]:
    """The fusion loss, the metrics, and the contrast that persons keep, if there are any.

    The labels say where persons are: adaptation does not change them.
    """
    image, ids = fuse_and_label(model, visible, thermal)
    (batch, heat), (fused, _) = padded_batch(visible, thermal), padded_batch(image, thermal)
    loss = FusionLoss(LOSS, TARGET)(luma_of(fused), luma_of(batch), heat)["total"]
    scores = {"L_fus": float(loss), **fusion_metrics(visible, thermal, image)}
    if PERSON in model.names:
        persons = region_contrast(
            luma_of_bgr(visible), thermal, luma_of_bgr(image),
            person_regions(ids, model.names.index(PERSON)),
        )  # fmt: skip
        if persons:
            scores[CONTRAST] = float(np.mean([person.kept for person in persons]))
    return scores


def _reasons(figures: dict[str, tuple[float, float]]) -> list[str]:
    old_loss, new_loss = figures["L_fus"]
    reasons = []
    if new_loss > (1 - LEAST_GAIN) * old_loss:
        reasons.append(
            f"the fusion loss went from {old_loss:.3f} to {new_loss:.3f}, not at least "
            f"{LEAST_GAIN:.1%} down"
        )
    allowed = dict.fromkeys(METRICS, MOST_LOST) | {CONTRAST: MOST_CONTRAST_LOST}
    for name, share in allowed.items():
        before, after = figures.get(name, (0.0, 0.0))
        if after < (1 - share) * before:
            reasons.append(f"{name} fell from {before:.3f} to {after:.3f}")
    return reasons
