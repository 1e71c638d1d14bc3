"""Stage 1b: S_f and S_p learn classes on which they agree, with L_csc + L_MI; F is frozen.

The branches see different photometric and geometric views of a crop. They are compared at random
points that both views show.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.losses.consistency import cross_segmentation_consistency, mutual_information_loss
from ssvif_core.models.fusion import FusionFeatures, fused_colour, luma_of
from ssvif_core.models.heads import classify_standardised
from ssvif_core.training.config import StageConfig, TrainConfig
from ssvif_core.training.data import geometry
from ssvif_core.training.data.crops import CropDataset, stacked, unit
from ssvif_core.training.data.views import draw_views
from ssvif_core.training.health import class_figures
from ssvif_core.training.stages.base import (
    GEOMETRIC,
    PHOTOMETRIC,
    POINTS,
    SECOND_GEOMETRIC,
    SECOND_PHOTOMETRIC,
    Batch,
    Examination,
    Losses,
    Networks,
    Reduce,
    Stage,
    evaluating,
    exact,
    seeds_for,
)

LOGIT_DEVIATION = 0.3  # of standardised logits, over the classes of a pixel
Images = tuple[Tensor, Tensor]  # visible and thermal


class ConsistencyStage(Stage):
    """See the module.

    With several processes the points of all of them are gathered: the balance of classes and L_MI
    are not means over samples. So n processes compute what one would.

    Attributes:
        queue: earlier logits of both branches, (2, rows, K). Classes are balanced over them too.
    """

    name = "consistency"
    trains_fusion = False
    queue: Tensor

    def __init__(
        self, networks: Networks, config: TrainConfig, settings: StageConfig, gather: Reduce
    ) -> None:
        super().__init__(networks, config, settings, gather)
        self.head, self.pixel_net = networks.model.head, networks.pixel_net
        self.config, self.places = config.consistency, config.geometry
        self.register_buffer("queue", torch.zeros(2, 0, config.model.classes))

    def parameter_groups(self) -> list[dict[str, Any]]:
        heads = itertools.chain(self.head.parameters(), self.pixel_net.parameters())
        return [self._group(heads, self.settings.learning_rate)]

    def forward(self, batch: Batch, step: int, measure: bool = False) -> Losses:
        with torch.no_grad():
            first, second, transforms = self.two_views(batch)
            features: FusionFeatures = self.fusion(*first)
            image = fused_colour(second[0], self.fusion(*second).change.float())
        losses = self.semantics(features, image, transforms, batch["seed"])
        return {**losses, "total": losses["consistency"] + losses["information"]}

    def two_views(self, batch: Batch) -> tuple[Images, Images, list[Tensor]]:
        """Visible and thermal of both views, and the transforms from the views to the crop."""
        views, transforms = [], []
        crop = unit(torch.cat([batch["visible"], batch["thermal"]], 1))
        for look, place in ((PHOTOMETRIC, GEOMETRIC), (SECOND_PHOTOMETRIC, SECOND_GEOMETRIC)):
            with exact(crop):
                seeds = seeds_for(place, batch["seed"])
                transform = geometry.draw_transforms(seeds, self.places).to(crop)
                images = geometry.warp(crop, transform)
                seeds = seeds_for(look, batch["seed"])
                views.append(draw_views(images[:, :3], images[:, 3:], seeds, self.views))
            transforms.append(transform)
        return views[0], views[1], transforms

    def semantics(
        self, features: FusionFeatures, image: Tensor, transforms: list[Tensor], seeds: Tensor
    ) -> Losses:
        """L_csc and L_MI between both branches, and how far they agree.

        Args:
            features: of the first view, which S_f reads.
            image: fused from the second view, which S_p reads.
        """
        maps = self.head(features), self.pixel_net(image)
        with exact(image):
            points = geometry.common_points(
                transforms, self.config.points, seeds_for(POINTS, seeds)
            )
            feature, pixel = (
                standardised(
                    self.gather(geometry.sample(logits.float(), points, transform)),
                    self.config.standardise,
                )
                for logits, transform in zip(maps, transforms, strict=True)
            )
            return self._compared(feature, pixel)

    def _compared(self, feature: Tensor, pixel: Tensor) -> Losses:
        config = self.config
        consistency = cross_segmentation_consistency(
            feature, pixel, self.queue[0], self.queue[1], config
        )
        information = feature.new_zeros(())
        if config.information:
            information = mutual_information_loss(feature, pixel, config.temperature)
        rows = torch.stack([feature, pixel]).detach()
        self.queue = torch.cat([rows, self.queue], 1)[:, : config.queue]
        agreement = (feature.argmax(1) == pixel.argmax(1)).float().mean()
        return {"consistency": consistency, "information": information, "agreement": agreement}

    def _with_classes(self, seen: Examination, features: FusionFeatures) -> Examination:
        maps = self.head(features), self.pixel_net(seen.fused)
        labels = tuple(self._labels(logits) for logits in maps)
        small = nn.functional.avg_pool2d(luma_of(seen.fused), 4)[:, 0]
        figures = dict(seen.figures)
        for prefix, ids, logits in zip(("", "pixel_"), labels, maps, strict=True):
            of_branch = class_figures(ids, small, logits.std((0, 2, 3)))
            figures |= {prefix + name: value for name, value in of_branch.items()}
        figures["validation_agreement"] = float((labels[0] == labels[1]).float().mean())
        return replace(seen, figures=figures, labels=labels)

    def _labels(self, logits: Tensor) -> Tensor:
        """Class ids (B, h, w) of logits that are standardised as in training."""
        rows = logits.permute(0, 2, 3, 1).flatten(0, 2).float()
        labels = standardised(rows, self.config.standardise).argmax(1)
        return labels.view(logits.shape[0], *logits.shape[2:])

    @torch.no_grad()
    def settle(self, crops: CropDataset) -> None:
        """Make the head alone give the logits that training saw standardised."""
        visible, thermal = stacked(crops)
        device = self.queue.device
        with evaluating(self):
            maps = [
                self.head(self.fusion(v[None].to(device), t[None].to(device)))
                for v, t in zip(visible, thermal, strict=True)
            ]
        rows = torch.cat(maps).permute(0, 2, 3, 1).flatten(0, 2)
        mean, deviation = rows.mean(0), rows.std(0)
        if not self.config.standardise:
            mean, deviation = torch.zeros_like(mean), deviation.mean().expand_as(deviation)
        scale = LOGIT_DEVIATION / self.config.temperature
        classify_standardised(self.head, mean, deviation, scale)

    def state(self, mean: Reduce) -> dict[str, dict[str, Tensor]]:
        return {**super().state(mean), "queue": {"queue": self.queue}}

    def load_state(self, state: dict[str, dict[str, Tensor]]) -> None:
        super().load_state(state)
        self.queue = state["queue"]["queue"]


def standardised(logits: Tensor, over_rows: bool = True) -> Tensor:
    """Logits (N, K), standardised over the rows in each class, then over the classes in each row.

    This is ours and not the paper's. At first the branches know nothing of each other. Without
    this step they then agree by saying nothing, because logits that are equal everywhere are a
    fixed point of balanced targets. The first standardisation keeps a class from taking all
    pixels; `over_rows` switches it off. The second keeps a pixel from having no class.
    """
    if over_rows:
        logits = F.batch_norm(logits, None, None, training=True)
    return LOGIT_DEVIATION * F.layer_norm(logits, logits.shape[1:])
