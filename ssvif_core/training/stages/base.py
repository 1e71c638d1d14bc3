"""What a stage is: what it trains, on which losses, and what it keeps between steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ssvif_core.losses.fusion import FusionLoss
from ssvif_core.models import Model
from ssvif_core.models.fusion import FusionFeatures, fused_colour, luma_of
from ssvif_core.models.pixel_net import PixelNet
from ssvif_core.training.config import StageConfig, TrainConfig
from ssvif_core.training.data.crops import CropDataset
from ssvif_core.training.health import image_figures
from ssvif_core.types import UInt8Array

# visible (B, 3, S, S) and thermal (B, 1, S, S), uint8, because mixed precision would round floats;
# seed (B,).
Batch = dict[str, Tensor]
# By name; the optimiser minimises "total".
Losses = dict[str, Tensor]
Reduce = Callable[[Tensor], Tensor]

# The random draws of one crop. Each has a seed of its own, so that the place of a view is
# independent of its look.
DRAWS = PHOTOMETRIC, GEOMETRIC, SECOND_PHOTOMETRIC, SECOND_GEOMETRIC, POINTS = range(5)


def seeds_for(draw: int, seeds: Tensor) -> Tensor:
    """Seeds (B,) below 2**28 of crops -> seeds of one of `DRAWS`, below 2**32."""
    return seeds * 8 + draw


def exact(like: Tensor) -> AbstractContextManager[None]:
    """Float32 for losses and places: bfloat16 loses too much there, for SSIM even its sign."""
    return torch.autocast(like.device.type, enabled=False)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, and afterwards as it was."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@dataclass(frozen=True)
class Networks:
    """What all stages of a run share."""

    model: Model
    pixel_net: PixelNet
    fusion_loss: FusionLoss


@dataclass(frozen=True)
class Examination:
    """A look at the validation crops.

    Attributes:
        figures: by name, for the log.
        fused: fused images, (B, 3, S, S) in [0, 1].
        labels: class ids of S_f and of S_p, (B, S/4, S/4) each; none before classes are learned.
    """

    figures: dict[str, float]
    fused: Tensor
    labels: tuple[Tensor, ...] = ()

    def pictures(self, visible: Tensor, thermal: Tensor, count: int) -> list[UInt8Array]:
        """The first crops as `Monitor.pictures` takes them."""
        shown = [_as_bytes(images[:count]) for images in (visible, thermal, self.fused)]
        shown[1] = shown[1][..., 0]
        for ids in self.labels:
            large = ids[:count].byte().repeat_interleave(4, 1).repeat_interleave(4, 2)
            shown.append(large.cpu().numpy())
        return shown


def _as_bytes(images: Tensor) -> UInt8Array:
    """(N, C, H, W) in [0, 1] -> (N, H, W, C) uint8."""
    pixels: UInt8Array = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return pixels


class Stage(nn.Module):
    """Base of the stages.

    A stage is a module that holds exactly the networks it trains, so that Fabric can wrap it for
    any device, precision and number of processes.

    Args:
        networks: what the run trains.
        config: of the run.
        settings: of this stage.
        gather: rows of all processes from the rows of this one; gradients flow back.
    """

    name: ClassVar[str]
    trains_fusion: ClassVar[bool] = True

    def __init__(
        self, networks: Networks, config: TrainConfig, settings: StageConfig, gather: Reduce
    ) -> None:
        super().__init__()
        self.settings, self.views, self.gather = settings, config.views, gather
        self.fusion = networks.model.fusion
        self.fusion.requires_grad_(self.trains_fusion)
        self.fusion.train(self.trains_fusion)  # frozen statistics as well
        self.fusion_loss = networks.fusion_loss
        # Sums of the tasks' losses over the steps of this epoch; only weightings use them.
        self.epoch_losses = torch.zeros(2)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained; `peak` is the largest learning rate of a group."""
        raise NotImplementedError

    def set_learning_rates(self, optimiser: torch.optim.Optimizer, step: int) -> float:
        """Linear warm-up, then a half cosine to a hundredth; returns the first group's rate."""
        settings = self.settings
        if step < settings.warmup:
            factor = (step + 1) / settings.warmup
        else:
            progress = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
            factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        return float(optimiser.param_groups[0]["lr"])

    def forward(self, batch: Batch, step: int, measure: bool = False) -> Losses:
        """The losses of a batch.

        Args:
            step: number of the step in this stage, from 0.
            measure: also measure what `log_values` gives, if that takes time.
        """
        raise NotImplementedError

    def log_values(self) -> dict[str, float]:
        """What else belongs into the log of the last step."""
        return {}

    def end_step(self, losses: Losses) -> None:
        """Hear the losses of a step, the means over the parts of its batch."""

    def end_epoch(self, steps: int, mean: Reduce) -> None:
        """Hear that an epoch of so many steps is over. `mean` averages over processes."""

    def settle(self, crops: CropDataset) -> None:
        """What is left to do after the last step."""

    def state(self, mean: Reduce) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint must hold besides networks and optimiser.

        Each process goes on with the mean of all sums, which has the same mean over the epoch.
        """
        return {"epoch": {"sums": mean(self.epoch_losses)}}

    def load_state(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Take over what `state` gave."""
        self.epoch_losses = state["epoch"]["sums"]

    @torch.no_grad()
    def examine(self, visible: Tensor, thermal: Tensor) -> Examination:
        """Look at crops in [0, 1]: health figures, fused images, classes."""
        with evaluating(self):
            features: FusionFeatures = self.fusion(visible, thermal)
            image = fused_colour(visible, features.change)
            luma, fused = luma_of(visible), luma_of(image)
            figures = image_figures(fused, luma, thermal)
            figures["validation_fusion"] = float(self.fusion_loss(fused, luma, thermal)["total"])
            return self._with_classes(Examination(figures, image), features)

    def _with_classes(self, seen: Examination, features: FusionFeatures) -> Examination:
        """The examination with what is to say about classes."""
        return seen

    def _group(self, parameters: Iterator[nn.Parameter], rate: float) -> dict[str, Any]:
        return {"params": list(parameters), "lr": rate, "peak": rate}
