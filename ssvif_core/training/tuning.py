"""Tuning: F and S_f learn from the labelled images of a naming what a linear layer cannot read.

Each step sees crops with labels and crops of any pairs. On both a copy of F from before holds the
fused image where it was: only the features change.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssvif_core.errors import InputError
from ssvif_core.losses.fusion import sobel
from ssvif_core.models import Model
from ssvif_core.recordings.labels import IGNORE
from ssvif_core.training.data.crops import CropDataset, Pairs, Window, unit
from ssvif_core.training.naming import STRIDE, Labelled


@dataclass(frozen=True)
class TuningConfig:
    """Settings; two to five minutes on a CPU as they are."""

    steps: int = 700
    batch: int = 6
    kept: int = 4  # crops of any pairs in a step
    crop: int = 192
    learning_rate: float = 2e-3
    fusion_learning_rate: float = 5e-4
    keep: float = 10.0  # weight of the fused image's change
    rare: float = 0.75  # share of the crops around a pixel of a class that is not the first
    seed: int = 0


def tune(
    model: Model,
    labelled: Sequence[Labelled],
    pairs: Pairs,
    config: TuningConfig = TuningConfig(),
    told: Callable[[int], None] = lambda step: None,
) -> None:
    """Train a named model on, in place, by cross-entropy over its names.

    labelled: visible (H, W, 3) uint8 BGR, thermal (H, W) uint8, class ids (H, W) uint8 with 255
        ignored, as for `fit_naming`.
    pairs: what the fused image is held on, such as all pairs of the recording.
    told: called with the number of every step that is done.

    Raises:
        InputError: the model has no names yet, or a crop is larger than the images.
    """
    if model.naming is None:
        raise InputError("a model without names; name its classes first")
    before = copy.deepcopy(model.fusion).eval().requires_grad_(False)
    model.eval().requires_grad_(True)  # a few images are no ground for statistics of a batch
    fusion = list(model.fusion.parameters())
    heads = [*model.head.parameters(), *model.naming.parameters()]
    rates = [config.learning_rate, config.fusion_learning_rate]
    groups = [{"params": part} for part in (heads, fusion)]
    optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, config.steps, pct_start=0.05)
    others = CropDataset(pairs, config.crop, config.seed, config.steps * config.kept)
    for step, (visible, thermal, ids) in enumerate(_crops(labelled, config)):
        numbers = range(step * config.kept, (step + 1) * config.kept)
        more = [others[number] for number in numbers]
        visible = torch.cat([visible, *(unit(crop["visible"])[None] for crop in more)])
        thermal = torch.cat([thermal, *(unit(crop["thermal"])[None] for crop in more)])
        features = model.fusion(visible, thermal)
        with torch.no_grad():
            held = before(visible, thermal).change
        change = features.change - held
        kept = change.abs().mean() + 3 * sum(slope.abs().mean() for slope in sobel(change))
        logits = model.labeller(features)[: len(ids)]
        errors = F.cross_entropy(logits, ids, ignore_index=IGNORE, reduction="sum")
        loss = errors / (ids != IGNORE).sum().clamp(min=1) + config.keep * kept
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        told(step + 1)
    model.eval()


def _crops(
    labelled: Sequence[Labelled], config: TuningConfig
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches: visible, thermal in [0, 1], ids at `STRIDE`; rare classes as often as others."""
    random = np.random.default_rng(config.seed)
    shows: dict[int, list[int]] = {}
    for index, (_, _, mask) in enumerate(labelled):
        for kind in set(np.unique(mask).tolist()) - {0, IGNORE}:
            shows.setdefault(kind, []).append(index)
    for _ in range(config.steps):
        crops = [_crop(labelled, shows, config, random) for _ in range(config.batch)]
        visible, thermal, ids = (
            torch.from_numpy(np.stack(images)) for images in zip(*crops, strict=True)
        )
        places = slice(STRIDE // 2, None, STRIDE)
        ids = ids[:, places, places].long()
        yield unit(visible.permute(0, 3, 1, 2)), unit(thermal[:, None]), ids


def _crop(
    labelled: Sequence[Labelled],
    shows: dict[int, list[int]],
    config: TuningConfig,
    random: np.random.Generator,
) -> list[np.ndarray]:
    rare = list(shows) if random.random() < config.rare else []
    kind = int(random.choice(rare)) if rare else None
    images = labelled[int(random.choice(shows[kind]) if kind else random.integers(len(labelled)))]
    around = None
    if kind is not None:
        rows, columns = np.nonzero(images[2] == kind)
        at = random.integers(len(rows))
        around = int(rows[at]), int(columns[at])
    window = Window.draw(images[2].shape, config.crop, random, around)
    interpolations = (cv2.INTER_LINEAR, cv2.INTER_LINEAR, cv2.INTER_NEAREST)
    return [
        window.cut(image, config.crop, interpolation)
        for image, interpolation in zip(images, interpolations, strict=True)
    ]
