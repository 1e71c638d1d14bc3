"""Stage 2: F, S_f and S_p learn together, with w_1 L_fus + ramp w_2 (L_csc + L_MI)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssvif_core.losses.weighting import create_weighting
from ssvif_core.models.fusion import FusionFeatures, fused_colour, luma_of
from ssvif_core.training.config import StageConfig, TrainConfig
from ssvif_core.training.health import gradient_norm
from ssvif_core.training.stages.base import Batch, Losses, Networks, Reduce, exact
from ssvif_core.training.stages.consistency import ConsistencyStage

TASKS = ("fusion", "semantics")


class JointStage(ConsistencyStage):
    """L_fus is of the second view's image, which S_p reads.

    Attributes:
        weighting: the weights w_1 and w_2.
        gradient_norm: of what L_csc sends into F, when it was last measured.
    """

    name = "joint"
    trains_fusion = True

    def __init__(
        self, networks: Networks, config: TrainConfig, settings: StageConfig, gather: Reduce
    ) -> None:
        super().__init__(networks, config, settings, gather)
        self.weighting = create_weighting(settings.weighting, len(TASKS))
        self.gradient_norm: float | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        (heads,) = super().parameter_groups()
        heads["params"] += self.weighting.parameters()
        return [heads, self._group(self.fusion.parameters(), self.settings.fusion_learning_rate)]

    def forward(self, batch: Batch, step: int, measure: bool = False) -> Losses:
        with torch.no_grad():
            first, second, transforms = self.two_views(batch)
        features: FusionFeatures = self.fusion(*first)
        image = fused_colour(second[0], self.fusion(*second).change.float())
        with exact(image):
            fusion = self.fusion_loss(luma_of(image), luma_of(second[0]), second[1])
        losses = self.semantics(features, image, transforms, batch["seed"])
        if measure:
            # Here and not after `forward`: Fabric forbids other backward passes on what leaves it.
            self.gradient_norm = gradient_norm(losses["consistency"], self.fusion.parameters())
        semantics = losses["consistency"] + losses["information"]
        weighted = torch.stack([fusion["total"], self._ramp(step) * semantics])
        total: Tensor = self.weighting(weighted)
        return {**fusion, **losses, "fusion": fusion["total"], "semantics": semantics,
                "total": total}  # fmt: skip

    def _ramp(self, step: int) -> float:
        """Share of the full weight that L_csc + L_MI has at a step."""
        return min(1.0, step / max(self.settings.ramp * self.settings.steps, 1))

    def log_values(self) -> dict[str, float]:
        weights = zip(TASKS, self.weighting.weights().tolist(), strict=True)
        values = {f"weight_{name}": weight for name, weight in weights}
        if self.gradient_norm is not None:
            values["gradient_norm"] = self.gradient_norm
        return values

    def end_step(self, losses: Losses) -> None:
        sums = torch.stack([losses[name] for name in TASKS])
        self.epoch_losses = self.epoch_losses.to(sums) + sums

    def end_epoch(self, steps: int, mean: Reduce) -> None:
        self.weighting.end_epoch(mean(self.epoch_losses / steps))
        self.epoch_losses = torch.zeros_like(self.epoch_losses)

    def state(self, mean: Reduce) -> dict[str, dict[str, Tensor]]:
        state = super().state(mean)
        if self.weighting.state_dict():
            state["weighting"] = self.weighting.state_dict()
        return state

    def load_state(self, state: dict[str, dict[str, Tensor]]) -> None:
        super().load_state(state)
        if "weighting" in state:
            self.weighting.load_state_dict(state["weighting"])
