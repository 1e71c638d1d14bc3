"""Tuning: trains F and S_f on the labelled images of a naming.

F and S_f learn what a linear layer cannot read from the features. Each step uses crops with labels
and crops of any pairs. On both, a copy of F from before the tuning keeps the fused image as it was,
so only the features change.
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
from ssvif_core.types import AnyArray


@dataclass(frozen=True)
class TuningConfig:
    """Settings; the default ones take two to five minutes on a CPU."""

    steps: int = 700
    batch: int = 6  # crops with labels in a step
    kept: int = 4  # crops of any pairs in a step
    crop: int = 192  # side in pixels
    learning_rate: float = 2e-3
    fusion_learning_rate: float = 5e-4
    keep: float = 10.0  # weight of the loss for changes of the fused image
    rare: float = 0.75  # share of the crops around a pixel of a class other than class 0
    seed: int = 0


def tune(
    model: Model,
    labelled: Sequence[Labelled],
    pairs: Pairs,
    config: TuningConfig = TuningConfig(),
    on_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Train a named model in place, by cross-entropy over its names.

    Args:
        labelled: images with class ids, as for `fit_naming`.
        pairs: images on which the fused image must not change, such as all pairs of a recording.
        on_step: called with the number of finished steps, after each step.

    Raises:
        InputError: the model has no names yet, or a crop is larger than the images.
    """
    if model.naming is None:
        raise InputError("a model without names; name its classes first")
    original = copy.deepcopy(model.fusion).eval().requires_grad_(False)
    model.eval().requires_grad_(True)  # a few images are too few for statistics of a batch
    fusion = list(model.fusion.parameters())
    heads = [*model.head.parameters(), *model.naming.parameters()]
    rates = [config.learning_rate, config.fusion_learning_rate]
    groups = [{"params": parameters} for parameters in (heads, fusion)]
    optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, config.steps, pct_start=0.05)
    others = CropDataset(pairs, config.crop, config.seed, config.steps * config.kept)
    for step, (visible, thermal, ids) in enumerate(_batches(labelled, config)):
        crops = [others[step * config.kept + index] for index in range(config.kept)]
        visible = torch.cat([visible, *(unit(crop["visible"])[None] for crop in crops)])
        thermal = torch.cat([thermal, *(unit(crop["thermal"])[None] for crop in crops)])
        prediction = model(visible, thermal)
        with torch.no_grad():
            target = original(visible, thermal).change
        change = prediction.features.change - target
        kept = change.abs().mean() + 3 * sum(slope.abs().mean() for slope in sobel(change))
        logits = prediction.logits[: len(ids)]
        errors = F.cross_entropy(logits, ids, ignore_index=IGNORE, reduction="sum")
        loss = errors / (ids != IGNORE).sum().clamp(min=1) + config.keep * kept
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        on_step(step + 1)
    model.eval()


def _batches(
    labelled: Sequence[Labelled], config: TuningConfig
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of labelled crops, one for each step.

    Returns:
        visible (B, 3, S, S) and thermal (B, 1, S, S) in [0, 1], and class ids (B, S/4, S/4).
    """
    random = np.random.default_rng(config.seed)
    images_with: dict[int, list[int]] = {}  # numbers of the images that show a class
    for index, (_, _, mask) in enumerate(labelled):
        for class_id in set(np.unique(mask).tolist()) - {0, IGNORE}:
            images_with.setdefault(class_id, []).append(index)
    for _ in range(config.steps):
        crops = [_crop(labelled, images_with, config, random) for _ in range(config.batch)]
        visible, thermal, ids = (
            torch.from_numpy(np.stack(images)) for images in zip(*crops, strict=True)
        )
        centres = slice(STRIDE // 2, None, STRIDE)
        ids = ids[:, centres, centres].long()
        yield unit(visible.permute(0, 3, 1, 2)), unit(thermal[:, None]), ids


def _crop(
    labelled: Sequence[Labelled],
    images_with: dict[int, list[int]],
    config: TuningConfig,
    random: np.random.Generator,
) -> list[AnyArray]:
    """One crop of all three images; all classes but class 0 are chosen equally often."""
    classes = list(images_with) if random.random() < config.rare else []
    class_id = int(random.choice(classes)) if classes else None
    numbers = range(len(labelled)) if class_id is None else images_with[class_id]
    images = labelled[numbers[int(random.integers(len(numbers)))]]
    around = None
    if class_id is not None:
        rows, columns = np.nonzero(images[2] == class_id)
        pixel = random.integers(len(rows))
        around = int(rows[pixel]), int(columns[pixel])
    window = Window.draw(images[2].shape, config.crop, random, around)
    interpolations = (cv2.INTER_LINEAR, cv2.INTER_LINEAR, cv2.INTER_NEAREST)
    return [
        window.cut(image, config.crop, interpolation)
        for image, interpolation in zip(images, interpolations, strict=True)
    ]
