"""One step of each stage: a batch of crops -> losses.

Each is a module that holds the networks it trains, so that Fabric can wrap it for any device,
precision and number of processes; `forward` is all that happens between a batch and `backward`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.losses.consistency import (
    ConsistencyConfig,
    cross_segmentation_consistency,
    mutual_information_loss,
)
from ssvif_core.losses.fusion import FusionLoss
from ssvif_core.losses.weighting import FixedWeighting
from ssvif_core.models import Model
from ssvif_core.models.fusion import fused_colour, luma_of
from ssvif_core.models.pixel_net import PixelNet
from ssvif_core.training.data import geometry
from ssvif_core.training.data.geometry import GeometryConfig
from ssvif_core.training.data.views import ViewConfig, draw_views
from ssvif_core.training.health import gradient_norm

LOGIT_DEVIATION = 0.3  # of standardised logits, over the classes of a pixel

# visible (B, 3, S, S), thermal (B, 1, S, S), uint8: mixed precision would round floats; seed (B,).
Batch = dict[str, Tensor]

# What one crop draws, each from a seed of its own: where a view lies must not tell how it looks.
DRAWS = PHOTOMETRIC, GEOMETRIC, SECOND_PHOTOMETRIC, SECOND_GEOMETRIC, POINTS = range(5)


def seeds_for(draw: int, seeds: Tensor) -> Tensor:
    """Seeds (B,) below 2**28 of crops -> those of one of `DRAWS`, below 2**32 as generators are."""
    return seeds * 8 + draw


def exact(like: Tensor) -> AbstractContextManager[None]:
    """Float32 for what is inside: losses and places lose too much to bfloat16 (SSIM its sign)."""
    return torch.autocast(like.device.type, enabled=False)


def unit(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images.float() / 255


class FusionStep(nn.Module):
    """Stage 1a: L_fus of F on one photometric view."""

    def __init__(self, model: Model, loss: FusionLoss, views: ViewConfig) -> None:
        super().__init__()
        self.fusion, self.loss, self.views = model.fusion, loss, views

    def forward(self, batch: Batch, ramp: float) -> dict[str, Tensor]:
        visible, thermal = unit(batch["visible"]), unit(batch["thermal"])
        with exact(visible):
            seeds = seeds_for(PHOTOMETRIC, batch["seed"])
            visible, thermal = draw_views(visible, thermal, seeds, self.views)
        change = self.fusion(visible, thermal).change
        with exact(visible):
            fused = luma_of(fused_colour(visible, change.float()))
            return self.loss(fused, luma_of(visible), thermal)


class ConsistencyStep(nn.Module):
    """Stage 1b: L_csc + L_MI of S_f and S_p on two views of one batch, with F frozen.

    The branches see different photometric and geometric views, and are compared at random points
    that both see. With several processes the points of all are gathered, since the balance of
    classes and L_MI are not means over samples: n processes compute what one would.
    """

    queue: Tensor

    def __init__(
        self,
        model: Model,
        pixel_net: PixelNet,
        fabric: Fabric,
        config: ConsistencyConfig,
        views: ViewConfig,
        places: GeometryConfig,
    ) -> None:
        super().__init__()
        self.fusion, self.head, self.pixel_net = model.fusion, model.head, pixel_net
        self.config, self.views, self.places = config, views, places
        self._run = (fabric,)  # in a tuple: Fabric gives the modules it wraps a `_fabric` of theirs
        # Earlier logits of both branches, (2, rows, K), over which classes are balanced.
        self.register_buffer("queue", torch.zeros(2, 0, model.config.classes))

    def forward(self, batch: Batch, ramp: float) -> dict[str, Tensor]:
        with torch.no_grad():
            first, second, transforms = self.two_views(batch)
            features = self.fusion(*first)
            image = fused_colour(second[0], self.fusion(*second).change.float())
        losses = self.semantics(features, image, transforms, batch["seed"])
        return {**losses, "total": losses["consistency"] + losses["information"]}

    def two_views(
        self, batch: Batch
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], list[Tensor]]:
        """Visible and thermal of both views, and the transforms that lead back to the crop."""
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
        self, features: Any, image: Tensor, transforms: list[Tensor], seeds: Tensor
    ) -> dict[str, Tensor]:
        """L_csc and L_MI between both branches, and how far they agree."""
        maps = self.head(features), self.pixel_net(image)
        with exact(image):
            return self._compared(maps, transforms, seeds_for(POINTS, seeds))

    def _compared(
        self, maps: tuple[Tensor, Tensor], transforms: list[Tensor], seeds: Tensor
    ) -> dict[str, Tensor]:
        config = self.config
        points = geometry.common_points(transforms, config.points, seeds)
        feature, pixel = (
            standardised(
                self._gathered(geometry.sample(logits.float(), points, transform)),
                config.standardise,
            )
            for logits, transform in zip(maps, transforms, strict=True)
        )
        losses = {
            "consistency": cross_segmentation_consistency(
                feature, pixel, self.queue[0], self.queue[1], config
            )
        }
        losses["information"] = (
            mutual_information_loss(feature, pixel, config.temperature)
            if config.information
            else feature.new_zeros(())
        )
        rows = torch.stack([feature, pixel]).detach()
        self.queue = torch.cat([rows, self.queue], 1)[:, : config.queue]
        agreement = (feature.argmax(1) == pixel.argmax(1)).float().mean()
        return {**losses, "agreement": agreement}

    def _gathered(self, rows: Tensor) -> Tensor:
        fabric = self._run[0]
        if fabric.world_size == 1:
            return rows
        return fabric.all_gather(rows, sync_grads=True).flatten(0, 1)  # type: ignore[union-attr]


class JointStep(ConsistencyStep):
    """Stage 2: w_1 L_fus + ramp w_2 (L_csc + L_MI), for F, S_f and S_p together.

    L_fus is of the second view's image, the one that S_p reads. With `measure`, `forward` gives
    `gradient_norm` as well, of what L_csc sends into F.
    """

    def __init__(self, *arguments: Any, loss: FusionLoss, weighting: FixedWeighting) -> None:
        super().__init__(*arguments)
        self.loss, self.weighting = loss, weighting

    def forward(self, batch: Batch, ramp: float, measure: bool = False) -> dict[str, Tensor]:
        with torch.no_grad():
            first, second, transforms = self.two_views(batch)
        features = self.fusion(*first)
        image = fused_colour(second[0], self.fusion(*second).change.float())
        with exact(image):
            fusion = self.loss(luma_of(image), luma_of(second[0]), second[1])
        losses = self.semantics(features, image, transforms, batch["seed"])
        if measure:
            # Here and not after `forward`: Fabric watches what leaves it for other backward passes.
            norm = gradient_norm(losses["consistency"], self.fusion.parameters())
            losses["gradient_norm"] = image.new_tensor(norm)
        semantics = losses["consistency"] + losses["information"]
        total = self.weighting(torch.stack([fusion["total"], ramp * semantics]))
        return {
            **{name: loss for name, loss in fusion.items() if name != "total"},
            **losses,
            "fusion": fusion["total"],
            "semantics": semantics,
            "total": total,
        }


def standardised(logits: Tensor, over_rows: bool = True) -> Tensor:
    """Logits (N, K), standardised over the rows in each class, then over the classes in each row.

    Ours, not the paper's. Without it the branches, which know nothing of each other at first, agree
    by saying nothing: logits that are equal everywhere are a fixed point of balanced targets. The
    first, which `over_rows` switches off, keeps a class from taking all; the second keeps a pixel
    from taking none.
    """
    if over_rows:
        logits = F.batch_norm(logits, None, None, training=True)
    return LOGIT_DEVIATION * F.layer_norm(logits, logits.shape[1:])
