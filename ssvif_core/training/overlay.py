"""Overlay training: F, S_f and S_p learn from labelled and from unlabelled pairs at once.

Stage 2 of the paper with an anchor. Cross-segmentation consistency asks the feature branch S_f and
the pixel branch S_p for the same classes on unlabelled pairs; here the classes have names, because
some pairs are labelled. A slow copy of the model (mean teacher, Tarvainen and Valpola, NeurIPS
2017) sees each unlabelled pair as it is. The mean of both its branches is what both branches must
say of a strong view of that pair, wherever the mean is confident (FixMatch, Sohn et al., NeurIPS
2020; CutMix for segmentation, French et al., BMVC 2020).

All pairs lie in the memory of the device, and crops and views are drawn there. So a step is a
fixed sequence of kernels, which a GPU repeats as one CUDA graph.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.errors import InputError
from ssvif_core.losses.fusion import FusionLoss, FusionLossWeights, TargetConfig
from ssvif_core.losses.segmentation import dice_loss
from ssvif_core.metrics.segmentation import (
    SegmentationScores,
    confusion_matrix,
    segmentation_scores,
)
from ssvif_core.models import Model
from ssvif_core.models.blocks import enlarged
from ssvif_core.models.fusion import fused_colour, luma_of
from ssvif_core.models.pixel_net import PixelNet
from ssvif_core.recordings.labels import IGNORE
from ssvif_core.training.data.deck import Deck
from ssvif_core.training.data.views import ViewConfig, batch_views

logger = logging.getLogger(__name__)

LABEL_STRIDE = 2  # of the grid on which labels are compared


@dataclass(frozen=True)
class OverlayConfig:
    """Settings of the training.

    steps: of the optimiser.
    labelled, unlabelled: crops in a batch; a quarter of the unlabelled sees one camera only.
    crop: side of a crop, pixels; a multiple of 32.
    zoom: range of a crop's scale; `native` is the share of the labelled crops at scale 1.
    segmentation, dice, consistency, pixel: weights of the cross-entropy on labels, of the Dice
        loss on labels, of the teacher's classes, and of all three for the pixel branch. The weight
        of the fusion loss is 1.
    confidence: probability from which on the teacher is believed.
    keep: share of the teacher that stays at each step.
    clean: share of the labelled crops without a change of brightness.
    fixed_norms: leave the statistics of batch normalisation as they are, as small batches want it
        that start from trained weights.
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
    fixed_norms: bool = False
    seed: int = 0
    views: ViewConfig = field(default_factory=ViewConfig)
    loss: FusionLossWeights = field(default_factory=FusionLossWeights)
    target: TargetConfig = field(default_factory=TargetConfig)

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("labelled", 1), ("unlabelled", 4)):
            if getattr(self, name) < least:
                raise InputError(
                    f"overlay: {name}={getattr(self, name)}; expected at least {least}"
                )
        if self.crop < 32 or self.crop % 32:
            raise InputError(f"overlay: crop={self.crop}; expected a multiple of 32")
        for name in ("native", "confidence", "keep", "clean", "warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"overlay: {name}={getattr(self, name)}; expected 0 to 1")


def one_camera(visible: Tensor, thermal: Tensor) -> tuple[Tensor, Tensor]:
    """The first half sees the thermal camera only, the second the visible one only."""
    half = len(visible) // 2
    flat = visible[:half].mean((2, 3), keepdim=True).expand_as(visible[:half])
    grey = torch.full_like(thermal[half:], 0.5)
    return torch.cat([flat, visible[half:]]), torch.cat([thermal[:half], grey])


def cut_mix(side: int, maps: Sequence[Tensor]) -> list[Tensor]:
    """Every sample gets a window of the next one, the same window in each map of the batch.

    side: of the crop in pixels. maps: (B, C, h, w) each.
    """
    device, count = maps[0].device, len(maps[0])
    size = side * (0.25 + 0.5 * torch.rand(count, 2, device=device))
    corner = torch.rand(count, 2, device=device) * (side - size)
    inside = []
    for axis in range(2):
        places = torch.arange(side, device=device)
        low, high = corner[:, axis, None], (corner + size)[:, axis, None]
        inside.append((places >= low) & (places < high))
    window = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
    mixed = []
    for each in maps:
        stride = side // each.shape[-1]
        start = stride // 2
        mixed.append(torch.where(window[..., start::stride, start::stride], each.roll(1, 0), each))
    return mixed


class Branches(nn.Module):
    """The model and the pixel network, as one forward pass.

    `forward` gives the fused image (B, 3, H, W) and the logits of S_f and S_p at `LABEL_STRIDE`.
    """

    def __init__(self, model: Model, pixel_net: PixelNet | None) -> None:
        super().__init__()
        self.model, self.pixel_net = model, pixel_net

    def forward(self, visible: Tensor, thermal: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = self.model.fusion(visible, thermal)
        image = fused_colour(visible, features.change.float())
        logits = [self.model.labeller(features)]
        if self.pixel_net is not None:
            logits.append(self.pixel_net(image))
        small = visible[:, :, ::LABEL_STRIDE, ::LABEL_STRIDE]
        return image, [enlarged(each.float(), small) for each in logits]


class OverlayTrainer:
    """Trains a named model on a device.

    Args:
        model: with names; of whatever network.
        labelled, unlabelled: what is learned from, on the device of the training.

    Attributes:
        teacher: the slow copy, which is the result.
    """

    def __init__(
        self, model: Model, labelled: Deck, unlabelled: Deck, config: OverlayConfig
    ) -> None:
        if model.naming is None:
            raise InputError("a model without names; create it with the names of the masks' ids")
        self.config, self.labelled, self.unlabelled = config, labelled, unlabelled
        self.device = labelled.pixels.device
        torch.manual_seed(config.seed)
        pixel_net = PixelNet(len(model.names)) if config.pixel else None
        # Pixels that lie together suit the convolutions of GPUs.
        self.form = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        self.student = Branches(model, pixel_net).to(self.device).train()
        self.student.to(memory_format=self.form)  # type: ignore[call-overload]
        if config.fixed_norms:
            for module in self.student.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        # Pseudo-classes have no part in this.
        model.head.classify.requires_grad_(False)
        self.teacher = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.fusion_loss = FusionLoss(config.loss, config.target)
        self.rate = torch.zeros((), device=self.device)
        self.ramp = torch.zeros((), device=self.device)
        self.pull = torch.zeros((), device=self.device)
        self.parameters = [p for p in self.student.parameters() if p.requires_grad]
        on_gpu = self.device.type == "cuda"
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=self.rate if on_gpu else 1e-3, weight_decay=config.weight_decay,
            capturable=on_gpu,
        )  # fmt: skip
        self.losses: dict[str, Tensor] = {}
        self.step = 0
        self._graph: Any = None

    @property
    def result(self) -> Model:
        """The teacher's model."""
        return self.teacher.model

    def advance(self) -> None:
        """One step."""
        config, progress = self.config, self.step / self.config.steps
        if progress < config.warmup:
            share = progress / config.warmup
        else:
            share = (1 - progress) / (1 - config.warmup)
            share = 0.5 - 0.5 * math.cos(math.pi * share)
        rate = config.learning_rate * max(share, 1e-4)
        self.rate.fill_(rate)
        self.ramp.fill_(min(1.0, progress / 0.2))
        # A mean over all steps at first, so that the start is soon forgotten.
        self.pull.fill_(max(1 - config.keep, 1 / (self.step + 1)))
        if self.device.type == "cuda":
            self._replay()
        else:
            self.optimiser.param_groups[0]["lr"] = rate
            self._work()
        self.step += 1

    def _replay(self) -> None:
        """The step as a CUDA graph; the first steps warm up, as capturing wants it."""
        if self.step < 5:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._work()
            torch.cuda.current_stream().wait_stream(stream)
        else:
            if self._graph is None:
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph):
                    self._work()
            self._graph.replay()
        if self.step % 20 == 0:  # few steps wait in the queue, so that a signal is soon obeyed
            torch.cuda.synchronize()

    def _work(self) -> None:
        self.optimiser.zero_grad(set_to_none=False)
        with torch.autocast(self.device.type, torch.bfloat16, self.device.type == "cuda"):
            losses = self._losses()
        losses["total"].backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimiser.step()
        with torch.no_grad():
            slow, fast = ([*m.parameters(), *m.buffers()] for m in (self.teacher, self.student))
            pairs = [(s, f) for s, f in zip(slow, fast, strict=True) if s.is_floating_point()]
            slow = [s for s, _ in pairs]
            change = torch._foreach_sub([f for _, f in pairs], slow)
            torch._foreach_mul_(change, self.pull)
            torch._foreach_add_(slow, change)
        for name, loss in losses.items():
            if name not in self.losses:
                self.losses[name] = torch.zeros_like(loss)
            self.losses[name].copy_(loss.detach())

    def _formed(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=self.form)

    def _scales(self, count: int, native: float) -> Tensor:
        low, high = self.config.zoom
        scale = low + (high - low) * torch.rand(count, device=self.device)
        return torch.where(torch.rand(count, device=self.device) < native, 1.0, scale)

    def _losses(self) -> dict[str, Tensor]:
        config = self.config
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            visible, thermal, ids = self.labelled.crops(
                config.labelled, config.crop, self._scales(config.labelled, config.native), True
            )
            changed = batch_views(visible, thermal, config.views)
            clean = torch.rand(config.labelled, 1, 1, 1, device=self.device) < config.clean
            first = [
                torch.where(clean, a, b) for a, b in zip((visible, thermal), changed, strict=True)
            ]
            others = self.unlabelled.crops(
                config.unlabelled, config.crop, self._scales(config.unlabelled, 0.3), False
            )
        with torch.no_grad():
            _, guesses = self.teacher(*(self._formed(each) for each in others[:2]))
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            guess = torch.stack([each.softmax(1) for each in guesses]).mean(0)
            blank = config.unlabelled // 4
            *strong, guess = cut_mix(config.crop, [*others[:2], guess])
            strong = list(batch_views(strong[0], strong[1], config.views))
            hidden = one_camera(strong[0][-blank:], strong[1][-blank:])
            strong = [torch.cat([a[:-blank], b]) for a, b in zip(strong, hidden, strict=True)]
            visible, thermal = (torch.cat(each) for each in zip(first, strong, strict=True))
            start = LABEL_STRIDE // 2  # a sample in the middle of each cell
            ids = ids[:, start::LABEL_STRIDE, start::LABEL_STRIDE].long()
            sure, classes = guess.max(1)
        image, logits = self.student(self._formed(visible), self._formed(thermal))
        with torch.autocast(self.device.type, enabled=False):
            seen = slice(None, len(image) - blank)  # an image of one camera has no target
            fusion = self.fusion_loss(luma_of(image[seen]), luma_of(visible[seen]), thermal[seen])
            losses: dict[str, Tensor] = {"fusion": fusion["total"]}
            total = fusion["total"]
            branches = ("feature", 1.0), ("pixel", config.pixel)
            for (name, weight), each in zip(branches, logits):  # noqa: B905  # S_p may be left out
                ours, theirs = each.split([config.labelled, config.unlabelled])
                errors = F.cross_entropy(ours, ids, ignore_index=IGNORE)
                unsure = F.cross_entropy(theirs, classes, reduction="none")
                agreed = (unsure * (sure > config.confidence)).mean()
                dice = dice_loss(ours, ids)
                semantics = errors + config.dice * dice + self.ramp * config.consistency * agreed
                total = total + config.segmentation * weight * semantics
                losses |= {f"{name}_labels": errors, f"{name}_dice": dice,
                           f"{name}_consistency": agreed}  # fmt: skip
            losses["confident"] = (sure > config.confidence).float().mean()
            losses["total"] = total
        return losses


LAST_LAYERS = ("lateral2", "up2", "mix_offset", "mix_gain", "detail")


def finish_fusion(
    model: Model,
    pairs: Deck,
    config: OverlayConfig,
    told: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train what F does at stride 2 alone, in place, by the fusion loss.

    The classes are read before those layers, so they stay bit for bit what they are. This is how
    the fused image is tuned, in minutes on a CPU, after the classes were learned.

    config: its steps, `labelled` crops a step, learning rate, views, loss and target are used.
    """
    torch.manual_seed(config.seed)
    model.to(pairs.pixels.device).eval().requires_grad_(False)
    layers = nn.ModuleList(getattr(model.fusion, name) for name in LAST_LAYERS)
    layers.requires_grad_(True)
    slow = copy.deepcopy(layers)
    loss_of = FusionLoss(config.loss, config.target)
    optimiser = torch.optim.AdamW(layers.parameters(), config.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, config.steps, pct_start=config.warmup
    )
    low, high = config.zoom
    for step in range(config.steps):
        with torch.no_grad():
            scale = low + (high - low) * torch.rand(config.labelled, device=pairs.pixels.device)
            native = torch.rand_like(scale) < config.native
            scale = torch.where(native, 1.0, scale)
            visible, thermal, _ = pairs.crops(config.labelled, config.crop, scale, False)
            changed = batch_views(visible, thermal, config.views)
            clean = torch.rand_like(scale).view(-1, 1, 1, 1) < config.clean
            visible, thermal = (
                torch.where(clean, a, b) for a, b in zip((visible, thermal), changed, strict=True)
            )
        image = fused_colour(visible, model.fusion(visible, thermal).change)
        loss = loss_of(luma_of(image), luma_of(visible), thermal)["total"]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            pull = max(1 - config.keep, 1 / (step + 1))
            for mean, value in zip(slow.parameters(), layers.parameters(), strict=True):
                mean.lerp_(value, pull)
        told(step + 1, float(loss.detach()))
    layers.load_state_dict(slow.state_dict())


def scores(
    model: Model,
    pairs: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    device: torch.device,
    smooth: bool = True,
) -> SegmentationScores:
    """IoU of the model's labels over whole images.

    smooth: enlarge the logits before the argmax, and not the labels after it.
    """
    classes = len(model.names)
    matrix = np.zeros((classes, classes), np.int64)
    for visible, thermal, mask in pairs:
        v = torch.from_numpy(visible).to(device).permute(2, 0, 1)[None].float() / 255
        t = torch.from_numpy(thermal).to(device)[None, None].float() / 255
        with torch.no_grad():
            logits = model.labeller(model.fusion(v, t))
            labels = (enlarged(logits, v) if smooth else logits).argmax(1).cpu().numpy()[0]
        if not smooth:
            labels = labels.repeat(4, 0).repeat(4, 1)
        matrix += confusion_matrix(mask, labels, classes)
    return segmentation_scores(matrix)


def train_overlay(
    trainer: OverlayTrainer,
    told: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
    every: int = 500,
) -> Model:
    """Run to the end; `told` hears the losses of every `every`-th step. The teacher's model."""
    began = time.monotonic()
    while trainer.step < trainer.config.steps:
        trainer.advance()
        if trainer.step % every == 0 or trainer.step == trainer.config.steps:
            losses = {name: float(loss) for name, loss in trainer.losses.items()}
            if not math.isfinite(losses["total"]):
                raise InputError(
                    f"overlay: the loss is {losses['total']} at step {trainer.step}; lower "
                    "learning_rate"
                )
            rate = trainer.step / (time.monotonic() - began)
            told(trainer.step, {**losses, "steps_per_second": rate})
    return trainer.result
