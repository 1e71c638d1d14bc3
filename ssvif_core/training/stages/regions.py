"""Stage `regions`: F and S_f learn to tell regions apart, without labels; the fused image stays.

A region is a group of neighbouring pixels of similar colour and warmth (SLIC, Achanta et al.,
TPAMI 2012): a part of a car, a leg, a piece of road. The student sees a strong view of a crop, and
in a half of the crops one camera alone. A slow copy, the teacher, sees the crop itself. The mean
embedding of a region must be nearer to that of the same region in the teacher than to those of all
other regions of the batch (InfoNCE, van den Oord et al., 2018). So the embedding says what a
region shows. Light, noise, gain and a missing camera do not change it.

This is ours and not the paper's. The paper compares pixels, and the classes of a pixel are mostly
its brightness (docs/results.md, "Segmentation without labels").
"""

from __future__ import annotations

import copy
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.losses.fusion import change_loss
from ssvif_core.models.fusion import FusionFeatures
from ssvif_core.models.heads import Head
from ssvif_core.training.config import StageConfig, TrainConfig
from ssvif_core.training.data.crops import CropDataset, unit
from ssvif_core.training.data.views import draw_views, one_camera
from ssvif_core.training.stages.base import (
    PHOTOMETRIC,
    Batch,
    Losses,
    Networks,
    Reduce,
    Stage,
    exact,
    seeds_for,
)
from ssvif_core.types import Int64Array, UInt8Array

CELL = 24  # pixels, about the side of a region
WARMTH = 1.5  # weight of the thermal image relative to colour
COMPACTNESS = 0.3  # of regions; at 1 they are nearly squares, at 0.1 they follow noise
FEWEST = 4  # cells of stride 4 that a region needs
TEMPERATURE = 0.1
KEEP = 0.99  # share of the teacher that stays at each step
HOLD = 10.0  # weight of changes of the fused image
PREDICTOR = 128  # channels


class RegionsStage(Stage):
    """See the module. Of several processes, each compares the regions of its own crops.

    Attributes:
        predictor: from the student's embedding to the teacher's.
        teacher: slow copies of F and S_f; the result of the stage.
        kept: F as it was before the stage. Its image is held.
        steps_done: of this stage.
    """

    name = "regions"

    def __init__(
        self, networks: Networks, config: TrainConfig, settings: StageConfig, gather: Reduce
    ) -> None:
        super().__init__(networks, config, settings, gather)
        self.head = networks.model.head
        self.head.classify.requires_grad_(False)  # the stage reads the embedding alone
        width = self.head.width
        self.predictor = nn.Sequential(
            nn.Conv2d(width, PREDICTOR, 1), nn.ReLU(), nn.Conv2d(PREDICTOR, width, 1)
        )
        self.kept = copy.deepcopy(self.fusion).eval().requires_grad_(False)
        self.teacher = copy.deepcopy(self._learners()).eval().requires_grad_(False)
        self.steps_done = 0

    def _learners(self) -> nn.ModuleList:
        return nn.ModuleList([self.fusion, self.head])

    def parameter_groups(self) -> list[dict[str, Any]]:
        learners = nn.ModuleList([self.fusion, self.head, self.predictor])
        parameters = (each for each in learners.parameters() if each.requires_grad)
        return [self._group(parameters, self.settings.learning_rate)]

    def forward(self, batch: Batch, step: int, measure: bool = False) -> Losses:
        visible, thermal = unit(batch["visible"]), unit(batch["thermal"])
        with torch.no_grad():
            with exact(visible):
                seeds = seeds_for(PHOTOMETRIC, batch["seed"])
                views = draw_views(visible, thermal, seeds, self.views)
                half = len(visible) // 2
                one_sided = one_camera(*(images[:half] for images in views))
                view = [
                    torch.cat([first, images[half:]])
                    for first, images in zip(one_sided, views, strict=True)
                ]
            regions = regions_of(batch["visible"], batch["thermal"])
            fusion, head = self.teacher
            assert isinstance(head, Head)
            target = head.embed(fusion(visible, thermal))
            kept = self.kept(*view).change
        features: FusionFeatures = self.fusion(*view)
        predicted = self.predictor(self.head.embed(features))
        with exact(visible):
            contrast = region_contrast_loss(predicted.float(), target.float(), regions)
            image = change_loss(features.change.float() - kept.float())
            return {"regions": contrast, "image": image, "total": contrast + HOLD * image}

    @torch.no_grad()
    def end_step(self, losses: Losses) -> None:
        # At first the teacher is the mean over all steps, so it soon forgets the start.
        self.steps_done += 1
        pull = max(1 - KEEP, 1 / self.steps_done)
        student = self._learners().state_dict()
        for name, value in self.teacher.state_dict().items():
            if value.is_floating_point():
                value.lerp_(student[name], pull)

    def settle(self, crops: CropDataset) -> None:
        self._learners().load_state_dict(self.teacher.state_dict())
        self.head.classify.requires_grad_(True)

    def state(self, mean: Reduce) -> dict[str, dict[str, Tensor]]:
        own = {name: getattr(self, name).state_dict() for name in ("predictor", "kept", "teacher")}
        return {**super().state(mean), **own, "regions": {"steps": torch.tensor(self.steps_done)}}

    def load_state(self, state: dict[str, dict[str, Tensor]]) -> None:
        super().load_state(state)
        for name in ("predictor", "kept", "teacher"):
            getattr(self, name).load_state_dict(state[name])
        self.steps_done = int(state["regions"]["steps"])


def regions_of(visible: Tensor, thermal: Tensor) -> Tensor:
    """Regions of similar colour and warmth.

    Args:
        visible: (B, 3, S, S) uint8 BGR.
        thermal: (B, 1, S, S) uint8.

    Returns:
        (B, S/4, S/4) int64; no number is in two images.
    """
    pairs = zip(visible.permute(0, 2, 3, 1).cpu().numpy(), thermal[:, 0].cpu().numpy(), strict=True)
    maps = [_regions_of_pair(*pair) for pair in pairs]
    first = np.cumsum([0, *(ids.max() + 1 for ids in maps[:-1])])
    numbered = np.stack(maps) + first[:, None, None]
    return torch.from_numpy(numbered).to(visible.device)


def _regions_of_pair(visible: UInt8Array, thermal: UInt8Array) -> Int64Array:
    from skimage.segmentation import slic

    side = thermal.shape[0]
    half = (side // 2, side // 2)
    colour = cv2.resize(cv2.cvtColor(visible, cv2.COLOR_BGR2LAB), half, None, 0, 0, cv2.INTER_AREA)
    warmth = WARMTH * cv2.resize(thermal, half, None, 0, 0, cv2.INTER_AREA).astype(np.float32)
    ids = slic(
        np.dstack([colour, warmth]), (side // CELL) ** 2, COMPACTNESS, convert2lab=False,
        start_label=0,
    )  # fmt: skip
    return np.asarray(ids[1::2, 1::2], np.int64)


def region_contrast_loss(predicted: Tensor, target: Tensor, regions: Tensor) -> Tensor:
    """InfoNCE between the mean embeddings of regions: a scalar.

    Args:
        predicted, target: (B, C, h, w).
        regions: (B, h, w) int64, numbers of regions.

    >>> x = torch.eye(4).view(1, 4, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    >>> regions = torch.arange(4).view(1, 2, 2).repeat_interleave(4, 1).repeat_interleave(4, 2)
    >>> bool(region_contrast_loss(x, x, regions) < 0.001)
    True
    """
    _, region, counts = torch.unique(regions, return_inverse=True, return_counts=True)
    is_large = counts >= FEWEST
    queries, keys = (
        F.normalize(_sums(x, region.flatten(), len(counts))[is_large], dim=1)
        for x in (predicted, target)
    )
    return F.cross_entropy(
        queries @ keys.t() / TEMPERATURE, torch.arange(len(queries), device=queries.device)
    )


def _sums(x: Tensor, region: Tensor, count: int) -> Tensor:
    """Sums of x (B, C, h, w) over regions (B * h * w,): (count, C)."""
    rows = x.permute(0, 2, 3, 1).flatten(0, 2)
    return rows.new_zeros(count, x.shape[1]).index_add(0, region, rows)
