"""Overlay training: F, S_f and S_p learn from labelled and unlabelled pairs at once.

This is stage 2 of the paper, where some pairs have labels, so the classes have names.
Cross-segmentation consistency asks the feature branch S_f and the pixel branch S_p for the same
classes on unlabelled pairs. A slow copy of the model (mean teacher, Tarvainen and Valpola, NeurIPS
2017) sees each unlabelled pair unchanged. Both branches of the student see a strong view of that
pair. They learn the mean of the teacher's two branches at pixels where it is confident (FixMatch,
Sohn et al., NeurIPS 2020; CutMix for segmentation, French et al., BMVC 2020).

All pairs lie in the memory of the device, which also draws crops and views. So a step is a fixed
sequence of kernels, which a GPU repeats as one CUDA graph.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.errors import InputError
from ssvif_core.labels import IGNORE
from ssvif_core.losses.fusion import FusionLoss, FusionLossWeights, TargetConfig, change_loss
from ssvif_core.losses.segmentation import dice_loss
from ssvif_core.metrics.segmentation import (
    SegmentationScores,
    confusion_matrix,
    segmentation_scores,
)
from ssvif_core.models import Model
from ssvif_core.models.blocks import enlarged
from ssvif_core.models.fusion import FusionNetwork, fused_colour, luma_of
from ssvif_core.models.pixel_net import PixelNet
from ssvif_core.training.data.deck import Deck
from ssvif_core.training.data.views import ViewConfig, batch_views, one_camera
from ssvif_core.training.naming import Labelled
from ssvif_core.training.prediction import padded_batch

LABEL_STRIDE = 2  # pixels per label where labels are compared
WARM_UP_STEPS = 5  # before the CUDA graph is captured


@dataclass(frozen=True)
class OverlayConfig:
    """Settings of the training.

    Attributes:
        steps: number of steps.
        labelled, unlabelled: crops in a batch. A quarter of the unlabelled crops shows one camera
            only.
        crop: side of a crop in pixels; a multiple of 32.
        zoom: smallest and largest scale of a crop.
        native: share of the labelled crops at scale 1.
        learning_rate: the largest one, after the warm-up.
        warmup: share of the steps over which the learning rate rises.
        segmentation: weight of all losses about classes. The weight of the fusion loss is 1.
        dice: weight of the Dice loss on labels, relative to the cross-entropy on labels.
        consistency: weight of the cross-entropy on the teacher's classes, likewise.
        pixel: weight of the pixel branch relative to the feature branch; 0 leaves S_p out.
        confidence: probability above which the teacher's class is used.
        keep: share of the teacher that stays at each step.
        clean: share of the labelled crops that stays without photometric effects.
        hold: weight of changes of the fused image, where it must stay as it is.
        fixed_norms: keep the statistics of batch normalisation. This suits small batches that
            start from trained weights.
    """

    steps: int = 20_000
    labelled: int = 32
    unlabelled: int = 32
    crop: int = 192
    zoom: tuple[float, float] = (0.6, 1.6)
    native: float = 0.5
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warmup: float = 0.05
    segmentation: float = 5.0
    dice: float = 0.5
    consistency: float = 1.0
    pixel: float = 0.5
    confidence: float = 0.85
    keep: float = 0.999
    clean: float = 0.5
    hold: float = 10.0
    fixed_norms: bool = False
    seed: int = 0
    views: ViewConfig = field(default_factory=ViewConfig)
    loss: FusionLossWeights = field(default_factory=FusionLossWeights)
    target: TargetConfig = field(default_factory=TargetConfig)

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("labelled", 1), ("unlabelled", 4)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"overlay: {name}={value}; expected at least {least}")
        if self.crop < 32 or self.crop % 32:
            raise InputError(f"overlay: crop={self.crop}; expected a multiple of 32")
        for name in ("native", "confidence", "keep", "clean", "warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"overlay: {name}={getattr(self, name)}; expected 0 to 1")


def cut_mix(side: int, maps: Sequence[Tensor]) -> list[Tensor]:
    """Replace a random window of each sample by that of the sample before it in the batch.

    Args:
        side: of the crops in pixels.
        maps: (B, C, h, w); h and w divide `side`. The window is the same in all maps.
    """
    device, count = maps[0].device, len(maps[0])
    size = side * (0.25 + 0.5 * torch.rand(count, 2, device=device))
    corner = torch.rand(count, 2, device=device) * (side - size)
    pixels = torch.arange(side, device=device)
    rows, columns = (
        (pixels >= corner[:, axis, None]) & (pixels < (corner + size)[:, axis, None])
        for axis in range(2)
    )
    window = (rows[:, :, None] & columns[:, None, :])[:, None]
    mixed = []
    for samples in maps:
        stride = side // samples.shape[-1]
        centres = slice(stride // 2, None, stride)
        mixed.append(torch.where(window[..., centres, centres], samples.roll(1, 0), samples))
    return mixed


class Branches(nn.Module):
    """The model and the pixel network as one forward pass."""

    def __init__(self, model: Model, pixel_net: PixelNet | None) -> None:
        super().__init__()
        self.model, self.pixel_net = model, pixel_net

    def forward(self, visible: Tensor, thermal: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The fused image (B, 3, H, W), and the logits of S_f and S_p at `LABEL_STRIDE`."""
        prediction = self.model(visible, thermal)
        logits = [prediction.logits]
        if self.pixel_net is not None:
            logits.append(self.pixel_net(prediction.fused))
        small = visible[:, :, ::LABEL_STRIDE, ::LABEL_STRIDE]
        return prediction.fused, [enlarged(branch.float(), small) for branch in logits]


class OverlayTrainer:
    """Trains a named model on a device.

    Args:
        model: of any network, with names.
        labelled, unlabelled: pairs on the device of the training.
        kept: a fusion network, on that device. The fused image stays as it makes it, instead of
            being trained by the fusion loss.

    Attributes:
        teacher: the slow copy.
        losses: of the last step, by name.
        step: number of finished steps.

    Raises:
        InputError: the model has no names.
    """

    def __init__(
        self,
        model: Model,
        labelled: Deck,
        unlabelled: Deck,
        config: OverlayConfig,
        kept: FusionNetwork | None = None,
    ) -> None:
        if model.naming is None:
            raise InputError("a model without names; create it with the names of the masks' ids")
        self.config, self.labelled, self.unlabelled = config, labelled, unlabelled
        self.kept = kept
        self.device = labelled.pixels.device
        self.on_gpu = self.device.type == "cuda"
        torch.manual_seed(config.seed)
        pixel_net = PixelNet(len(model.names)) if config.pixel else None
        # GPUs compute convolutions faster if the channels of a pixel lie together.
        self.memory_format = torch.channels_last if self.on_gpu else torch.contiguous_format
        self.student = Branches(model, pixel_net).to(self.device).train()
        self.student.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        if config.fixed_norms:
            for module in self.student.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        model.head.classify.requires_grad_(False)  # of the pseudo-classes, which are not used
        self.teacher = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.fusion_loss = FusionLoss(config.loss, config.target)
        # A CUDA graph reads these numbers from the device.
        self.learning_rate = torch.zeros((), device=self.device)
        self.ramp = torch.zeros((), device=self.device)  # share of the full consistency weight
        self.pull = torch.zeros((), device=self.device)  # share of the student in the teacher
        self.parameters = [p for p in self.student.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=self.learning_rate if self.on_gpu else 1e-3,
            weight_decay=config.weight_decay, capturable=self.on_gpu,
        )  # fmt: skip
        self.losses: dict[str, Tensor] = {}
        self.step = 0
        self._graph: Any = None

    @property
    def result(self) -> Model:
        """The teacher's model."""
        return self.teacher.model

    def advance(self) -> None:
        """Train one step."""
        config, progress = self.config, self.step / self.config.steps
        if progress < config.warmup:
            factor = progress / config.warmup
        else:
            factor = (1 - progress) / (1 - config.warmup)
            factor = 0.5 - 0.5 * math.cos(math.pi * factor)
        learning_rate = config.learning_rate * max(factor, 1e-4)
        self.learning_rate.fill_(learning_rate)
        self.ramp.fill_(min(1.0, progress / 0.2))
        # At first the teacher is the mean over all steps, so it soon forgets the start.
        self.pull.fill_(max(1 - config.keep, 1 / (self.step + 1)))
        if self.on_gpu:
            self._replay()
        else:
            self.optimiser.param_groups[0]["lr"] = learning_rate
            self._train_step()
        self.step += 1

    def _replay(self) -> None:
        """Run the step as a CUDA graph; capturing needs a few ordinary steps first."""
        if self.step < WARM_UP_STEPS:
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._train_step()
            torch.cuda.current_stream().wait_stream(stream)
        else:
            if self._graph is None:
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph):
                    self._train_step()
            self._graph.replay()
        if self.step % 20 == 0:  # keeps the queue short, so that signals take effect soon
            torch.cuda.synchronize()

    def _train_step(self) -> None:
        """Update the student, the teacher and `losses`."""
        self.optimiser.zero_grad(set_to_none=False)
        with torch.autocast(self.device.type, torch.bfloat16, self.on_gpu):
            losses = self._compute_losses()
        losses["total"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimiser.step()
        with torch.no_grad():
            teacher, student = (
                [*network.parameters(), *network.buffers()]
                for network in (self.teacher, self.student)
            )
            pairs = [(t, s) for t, s in zip(teacher, student, strict=True) if t.is_floating_point()]
            teacher = [t for t, _ in pairs]
            change = torch._foreach_sub([s for _, s in pairs], teacher)
            torch._foreach_mul_(change, self.pull)
            torch._foreach_add_(teacher, change)
        for name, loss in losses.items():
            if name not in self.losses:
                self.losses[name] = torch.zeros_like(loss)
            self.losses[name].copy_(loss.detach())

    def _forward(
        self, branches: Branches, visible: Tensor, thermal: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        image, logits = branches(
            visible.contiguous(memory_format=self.memory_format),
            thermal.contiguous(memory_format=self.memory_format),
        )
        return image, logits

    def _compute_losses(self) -> dict[str, Tensor]:
        """The losses of new crops; the student sees labelled crops first, then unlabelled ones."""
        config = self.config
        exact = partial(torch.autocast, self.device.type, enabled=False)
        with torch.no_grad(), exact():
            *images, ids = _draw_crops(self.labelled, config.labelled, config.native, True, config)
            ids = _small(ids).long()
            labelled = _labelled_views(images[0], images[1], config)
            *originals, _ = _draw_crops(self.unlabelled, config.unlabelled, 0.3, False, config)
        with torch.no_grad():
            _, teacher_logits = self._forward(self.teacher, *originals)
        with torch.no_grad(), exact():
            probability = torch.stack([logits.softmax(1) for logits in teacher_logits]).mean(0)
            *mixed, probability = cut_mix(config.crop, [*originals, probability])
            confidence, classes = probability.max(1)
            unlabelled = batch_views(mixed[0], mixed[1], config.views)
            blinded = config.unlabelled // 4  # number of crops that lose one camera
            one_sided = one_camera(*(images[-blinded:] for images in unlabelled))
            visible, thermal = (
                torch.cat([first, second[:-blinded], third])
                for first, second, third in zip(labelled, unlabelled, one_sided, strict=True)
            )
        image, branch_logits = self._forward(self.student, visible, thermal)
        with exact():
            fusion = self._fusion_loss(image, visible, thermal, blinded)
            losses: dict[str, Tensor] = {"fusion": fusion}
            total = fusion
            is_confident = confidence > config.confidence
            branches = ("feature", 1.0), ("pixel", config.pixel)
            # `branch_logits` has one entry only if S_p is left out.
            for (name, weight), logits in zip(branches, branch_logits):  # noqa: B905
                of_labelled, of_unlabelled = torch.split(logits, [len(ids), config.unlabelled])
                errors = F.cross_entropy(of_labelled, ids, ignore_index=IGNORE)
                dice = dice_loss(of_labelled, ids)
                differences = F.cross_entropy(of_unlabelled, classes, reduction="none")
                consistency = (differences * is_confident).mean()
                semantics = (
                    errors + config.dice * dice + self.ramp * config.consistency * consistency
                )
                total = total + config.segmentation * weight * semantics
                losses |= {f"{name}_labels": errors, f"{name}_dice": dice,
                           f"{name}_consistency": consistency}  # fmt: skip
            losses["confident"] = is_confident.float().mean()
            losses["total"] = total
        return losses

    def _fusion_loss(self, image: Tensor, visible: Tensor, thermal: Tensor, blinded: int) -> Tensor:
        """The loss of the fused image; the last `blinded` crops lack a camera."""
        if self.kept is not None:
            with torch.no_grad():
                kept = fused_colour(visible, self.kept(visible, thermal).change)
            return self.config.hold * change_loss(luma_of(image) - luma_of(kept))
        # The fusion target needs both cameras.
        both = slice(None, len(image) - blinded)
        loss: Tensor = self.fusion_loss(
            luma_of(image[both]), luma_of(visible[both]), thermal[both]
        )["total"]
        return loss


def _draw_crops(
    deck: Deck, count: int, native: float, around_classes: bool, config: OverlayConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Crops as `Deck.crops` gives them; a share `native` has scale 1, the rest a random one."""
    device, (low, high) = deck.pixels.device, config.zoom
    scale = low + (high - low) * torch.rand(count, device=device)
    scale = torch.where(torch.rand(count, device=device) < native, 1.0, scale)
    return deck.crops(count, config.crop, scale, around_classes)


def _labelled_views(
    visible: Tensor, thermal: Tensor, config: OverlayConfig
) -> tuple[Tensor, Tensor]:
    """Photometric views of crops; a share `config.clean` of the crops does not change."""
    views = batch_views(visible, thermal, config.views)
    is_clean = torch.rand(len(visible), 1, 1, 1, device=visible.device) < config.clean
    return torch.where(is_clean, visible, views[0]), torch.where(is_clean, thermal, views[1])


def _small(ids: Tensor) -> Tensor:
    """Maps (B, side, side) at `LABEL_STRIDE`."""
    centres = slice(LABEL_STRIDE // 2, None, LABEL_STRIDE)
    return ids[:, centres, centres]


LAST_LAYERS = ("lateral2", "up2", "mix_offset", "mix_gain", "detail")


def finish_fusion(
    model: Model,
    pairs: Deck,
    config: OverlayConfig,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train only the layers of F at stride 2, in place, with the fusion loss.

    The classes are read before these layers, so they do not change at all. This tunes the fused
    image after the classes were learned, within minutes on a CPU.

    Args:
        model: with the trunk network.
        config: `labelled` is the number of crops in a step; settings about classes are not used.
        on_step: called with the number of finished steps and the loss, after each step.
    """
    torch.manual_seed(config.seed)
    model.to(pairs.pixels.device).eval().requires_grad_(False)
    layers = nn.ModuleList(getattr(model.fusion, name) for name in LAST_LAYERS)
    layers.requires_grad_(True)
    averaged = copy.deepcopy(layers)
    fusion_loss = FusionLoss(config.loss, config.target)
    optimiser = torch.optim.AdamW(layers.parameters(), config.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, config.steps, pct_start=config.warmup
    )
    for step in range(config.steps):
        with torch.no_grad():
            visible, thermal, _ = _draw_crops(pairs, config.labelled, config.native, False, config)
            visible, thermal = _labelled_views(visible, thermal, config)
        image = fused_colour(visible, model.fusion(visible, thermal).change)
        loss = fusion_loss(luma_of(image), luma_of(visible), thermal)["total"]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            pull = max(1 - config.keep, 1 / (step + 1))
            for mean, value in zip(averaged.parameters(), layers.parameters(), strict=True):
                mean.lerp_(value, pull)
        on_step(step + 1, float(loss.detach()))
    layers.load_state_dict(averaged.state_dict())


def scores(
    model: Model, pairs: Sequence[Labelled], device: torch.device, smooth: bool = True
) -> SegmentationScores:
    """IoU of the model's labels over whole images.

    Args:
        pairs: visible (H, W, 3) BGR, thermal (H, W) and class ids (H, W), uint8.
        smooth: enlarge the logits before the argmax, instead of the labels after it.
    """
    classes = len(model.names)
    matrix = np.zeros((classes, classes), np.int64)
    for visible, thermal, mask in pairs:
        height, width = mask.shape
        visible_batch, thermal_batch = (each.to(device) for each in padded_batch(visible, thermal))
        with torch.no_grad():
            logits = model(visible_batch, thermal_batch).logits
            logits = enlarged(logits, visible_batch) if smooth else logits
        labels = logits.argmax(1).cpu().numpy()[0]
        if not smooth:
            labels = labels.repeat(4, 0).repeat(4, 1)
        matrix += confusion_matrix(mask, labels[:height, :width], classes)
    return segmentation_scores(matrix)


def train_overlay(
    trainer: OverlayTrainer,
    on_losses: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
    every: int = 500,
) -> Model:
    """Run all steps; returns the teacher's model.

    Args:
        on_losses: called every `every` steps, and after the last one, with the number of finished
            steps, and with the losses and `steps_per_second` by name.

    Raises:
        InputError: the loss is not a number.
    """
    start_s = time.monotonic()
    while trainer.step < trainer.config.steps:
        trainer.advance()
        if trainer.step % every == 0 or trainer.step == trainer.config.steps:
            losses = {name: float(loss) for name, loss in trainer.losses.items()}
            if not math.isfinite(losses["total"]):
                raise InputError(
                    f"overlay: the loss is {losses['total']} at step {trainer.step}; lower "
                    "learning_rate"
                )
            rate = trainer.step / (time.monotonic() - start_s)
            on_losses(trainer.step, {**losses, "steps_per_second": rate})
    return trainer.result
