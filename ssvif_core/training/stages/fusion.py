"""Stage 1a: F learns to fuse, with L_fus on one photometric view."""

from __future__ import annotations

from typing import Any

from ssvif_core.models.fusion import FusionFeatures, fused_colour, luma_of
from ssvif_core.training.data.crops import unit
from ssvif_core.training.data.views import draw_views
from ssvif_core.training.stages.base import PHOTOMETRIC, Batch, Losses, Stage, exact, seeds_for


class FusionStage(Stage):
    """See the module."""

    name = "fusion"

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [self._group(self.fusion.parameters(), self.settings.learning_rate)]

    def forward(self, batch: Batch, step: int, measure: bool = False) -> Losses:
        visible, thermal = unit(batch["visible"]), unit(batch["thermal"])
        with exact(visible):
            seeds = seeds_for(PHOTOMETRIC, batch["seed"])
            visible, thermal = draw_views(visible, thermal, seeds, self.views)
        features: FusionFeatures = self.fusion(visible, thermal)
        with exact(visible):
            fused = luma_of(fused_colour(visible, features.change.float()))
            losses: Losses = self.fusion_loss(fused, luma_of(visible), thermal)
        return losses
