"""Tries three kinds of self-supervision, and measures what they earn without labels.

    python tools/label_free.py {camera,hidden,regions} WEIGHTS OUT --pairs FOLDER ... [--steps 2000]

WEIGHTS are of stage 1a: only the fusion loss trained them. F and S_f learn from all pairs of the
folders, and no label is read. The fused image stays as it was. Score OUT with `tools/semantics.py
name OUT --alone WEIGHTS`.

camera   The student sees one camera, or both in a strong view. It predicts the features that a slow
         copy (the teacher) has of both cameras. What a person is in one camera, it must be in both.
hidden   Blocks of both images are hidden. The student predicts the teacher's features inside them
         (masked modelling; data2vec, Baevski et al., ICML 2022).
regions  The units are regions of similar colour and warmth (SLIC, Achanta et al., TPAMI 2012). The
         mean embedding of a region in a strong view must be nearest to that of the same region in
         the teacher's view, among all regions of the batch (InfoNCE, van den Oord et al., 2018).
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.segmentation import slic
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.losses.fusion import sobel
from ssvif_core.models import Model, load_model, save_model
from ssvif_core.models.fusion import FusionFeatures
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.training.data.deck import Deck
from ssvif_core.training.data.pairs import PairDataset
from ssvif_core.training.data.views import ViewConfig, batch_views
from ssvif_core.training.overlay import one_camera
from ssvif_core.types import UInt8Array

CROP, BATCH = 160, 8
REGIONS = 250  # of an image; region ids are bytes
BLOCK = 32  # side of a hidden block, pixels
HIDDEN = 0.5  # share of the blocks
KEEP = 0.99  # share of the teacher that stays at each step
HOLD = 10.0  # weight of changes of the fused image
SPREAD = 1.0  # weight of the spread of the embedding, against collapse
TEMPERATURE = 0.1
FEWEST_CELLS = 4  # of a region in a crop, at stride 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=["camera", "hidden", "regions"])
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    dataset = PairDataset([find_pairs(root) for root in arguments.pairs])
    pairs = [dataset[index] for index in range(len(dataset))]
    ids = regions_of if arguments.kind == "regions" else lambda *_: None
    deck = Deck(
        [(visible, thermal, ids(visible, thermal)) for visible, thermal in pairs], 1,
        torch.device("cpu"), seed=arguments.seed,
    )  # fmt: skip
    torch.manual_seed(arguments.seed)
    trainer = Trainer(load_model(arguments.weights), deck, arguments.kind, arguments.steps)
    started = time.monotonic()
    for step in range(arguments.steps):
        losses = trainer.advance(step)
        if step % 100 == 0:
            text = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"{step}: {text}; {time.monotonic() - started:.0f} s", flush=True)
    save_model(trainer.teacher, arguments.out)


def regions_of(visible: UInt8Array, thermal: UInt8Array) -> UInt8Array:
    """Region ids (H, W) of similar colour and warmth."""
    small = [cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA)
             for image in (cv2.cvtColor(visible, cv2.COLOR_BGR2LAB), thermal)]  # fmt: skip
    channels = np.dstack([small[0], 1.5 * small[1].astype(np.float32)]) / 10
    ids = slic(channels, REGIONS, compactness=1.0, convert2lab=False, start_label=0)
    return cv2.resize(
        np.minimum(ids, 254).astype(np.uint8), visible.shape[1::-1],
        interpolation=cv2.INTER_NEAREST,
    )  # fmt: skip


class Trainer:
    """Trains a model without labels. `teacher` is its slow copy, the result."""

    def __init__(self, model: Model, deck: Deck, kind: str, steps: int) -> None:
        self.student, self.deck, self.kind, self.steps = model.train(), deck, kind, steps
        model.requires_grad_(True)
        model.head.classify.requires_grad_(False)
        self.kept = copy.deepcopy(model.fusion).eval().requires_grad_(False)
        self.teacher = copy.deepcopy(model).eval().requires_grad_(False)
        width, deep = model.head.width, sum(model.fusion.channels[1:])
        target = width if kind == "regions" else width + deep
        self.predictor = nn.Sequential(
            nn.Conv2d(width, 128, 1), nn.ReLU(), nn.Conv2d(128, target, 1)
        )
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.parameters += self.predictor.parameters()
        self.optimiser = torch.optim.AdamW(self.parameters, 2e-3, weight_decay=1e-2)

    def advance(self, step: int) -> dict[str, float]:
        """Train one step; returns the losses by name."""
        progress = step / self.steps
        for group in self.optimiser.param_groups:
            group["lr"] = 2e-3 * min(
                progress / 0.05 + 1e-3, 0.5 + 0.5 * math.cos(math.pi * progress)
            )
        scale = 0.6 + torch.rand(BATCH)
        visible, thermal, ids = self.deck.crops(BATCH, CROP, scale, around_classes=False)
        hidden = torch.ones(BATCH, 1, CROP // 4, CROP // 4)
        view = batch_views(visible, thermal, ViewConfig())
        if self.kind == "hidden":
            blocks = (torch.rand(BATCH, 1, CROP // BLOCK, CROP // BLOCK) < HIDDEN).float()
            hidden = F.interpolate(blocks, scale_factor=BLOCK / 4)
            cover = F.interpolate(blocks, scale_factor=float(BLOCK))
            view = tuple(image * (1 - cover) + 0.5 * cover for image in view)
        if self.kind == "camera":  # a half of the crops loses one camera
            half = BATCH // 2
            one = one_camera(view[0][:half], view[1][:half])
            view = tuple(torch.cat([a, b[half:]]) for a, b in zip(one, view, strict=True))
        with torch.no_grad():
            features = self.teacher.fusion(visible, thermal)
            target = self.teacher.head.embed(features)
            kept = self.kept(*view).change
        seen = self.student.fusion(*view)
        embedding = self.student.head.embed(seen)
        predicted = self.predictor(embedding)
        if self.kind == "regions":
            errors = self.contrast(predicted, target, ids)
        else:
            wanted = standardised(torch.cat([target, deep(features)], 1))
            errors = (hidden * F.smooth_l1_loss(predicted, wanted, reduction="none")).sum()
            errors = errors / (hidden.sum() * wanted.shape[1])
        change = seen.change - kept
        slopes = sum(slope.abs().mean() for slope in sobel(change))
        losses = {
            "self-supervision": errors,
            "spread": spread(embedding),
            "image": change.abs().mean() + 3 * slopes,
        }
        total = errors + SPREAD * losses["spread"] + HOLD * losses["image"]
        self.optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        with torch.no_grad():
            pull = max(1 - KEEP, 1 / (step + 1))
            student = self.student.state_dict()
            for name, value in self.teacher.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(student[name], pull)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def contrast(self, predicted: Tensor, target: Tensor, ids: Tensor) -> Tensor:
        """InfoNCE between the mean embeddings of all regions of the batch."""
        cells = ids[:, 2::4, 2::4].long() + 256 * torch.arange(BATCH)[:, None, None]
        _, region, counts = cells.flatten().unique(return_inverse=True, return_counts=True)
        queries, keys = (
            F.normalize(
                torch.zeros(len(counts), x.shape[1]).index_add_(
                    0, region, x.permute(0, 2, 3, 1).flatten(0, 2)
                )
                / counts[:, None],
                dim=1,
            )[counts >= FEWEST_CELLS]
            for x in (predicted, target)
        )
        return F.cross_entropy(queries @ keys.t() / TEMPERATURE, torch.arange(len(queries)))


def deep(features: FusionFeatures) -> Tensor:
    """The features of strides 8 and 16 at stride 4."""
    size = features.stride4.shape[-2:]
    return torch.cat(
        [F.interpolate(each, size, mode="bilinear", align_corners=False)
         for each in (features.stride8, features.stride16)], 1,
    )  # fmt: skip


def standardised(x: Tensor) -> Tensor:
    """Each channel with mean 0 and variance 1 over the batch, so that none of them is left out."""
    variance, mean = torch.var_mean(x, (0, 2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-4).sqrt()


def spread(embedding: Tensor) -> Tensor:
    """Falls if each channel varies and no two channels say the same (VICReg, Bardes, ICLR 2022)."""
    x = embedding.permute(1, 0, 2, 3).flatten(1)
    x = x - x.mean(1, keepdim=True)
    covariance = x @ x.t() / x.shape[1]
    deviation = (covariance.diagonal() + 1e-4).sqrt()
    others = covariance - covariance.diagonal().diag()
    return F.relu(1 - deviation).mean() + 0.04 * others.square().sum() / len(x)


if __name__ == "__main__":
    main()
