"""The trainer: stages, steps, checkpoints.

Lightning Fabric carries device, precision and processes; this module is what is particular to
SSVIF. A batch is a function of (seed, step), so a checkpoint needs no random state.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.progress import Progress, TextColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ssvif_core.data.pairs import CropDataset, Pair, read_pairs
from ssvif_core.data.views import draw_views
from ssvif_core.errors import SsvifError
from ssvif_core.losses.consistency import (
    cross_segmentation_consistency,
    mutual_information_loss,
)
from ssvif_core.losses.fusion import FusionLoss
from ssvif_core.models import Model, load_model, save_model
from ssvif_core.models.fusion_net import fused_colour, luma_of
from ssvif_core.models.pixel_net import PixelNet
from ssvif_core.training.config import StageConfig, TrainConfig

logger = logging.getLogger(__name__)


class TrainingError(SsvifError):
    """Training cannot go on; the last good checkpoint is kept."""


class Trainer:
    """Runs the stages of a configuration, from the last checkpoint in `out` if there is one.

    Leaves in `out`: `model.safetensors`, `log.jsonl` (a line every `log_every` steps), and
    `checkpoint/` while it is unfinished.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.out = Path(config.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.fabric = Fabric(precision=config.precision)  # type: ignore[arg-type]
        self.fabric.launch()
        self.fabric.seed_everything(config.seed, verbose=False)
        self.model = Model(config.model)
        if config.init:
            self.model.load_state_dict(load_model(Path(config.init)).state_dict())
        self.pixel_net = PixelNet(config.model.classes)
        self.fusion_loss = FusionLoss(config.loss, config.target)
        # Earlier logits of both branches, (2, rows, K), over which classes are balanced.
        self.queue = torch.zeros(2, 0, config.model.classes)

    def run(self) -> Path:
        """Train all stages; returns the path of the model file."""
        pairs = [
            pair
            for root in self.config.data
            for pair in read_pairs(Path(root), self.config.frame_step)
        ]
        logger.info("%d training pairs", len(pairs))
        first_stage, first_step, optimiser_state = self._restore()
        for index in range(first_stage, len(self.config.stages)):
            self._run_stage(index, pairs, first_step, optimiser_state)
            first_step, optimiser_state = 0, None
        path = self.out / "model.safetensors"
        save_model(self.model, path)
        return path

    def _run_stage(
        self, index: int, pairs: list[Pair], first: int, optimiser_state: dict | None
    ) -> None:
        stage = self.config.stages[index]
        trained = (
            nn.ModuleList([self.model.fusion])
            if stage.name == "fusion"
            else nn.ModuleList([self.model.head, self.pixel_net])
        )
        step_losses = _FusionStep(self) if stage.name == "fusion" else _ConsistencyStep(self)
        optimiser = torch.optim.AdamW(trained.parameters(), stage.learning_rate, weight_decay=1e-4)
        if optimiser_state:
            _load_optimiser(optimiser, optimiser_state)
        module, optimiser = self.fabric.setup(step_losses, optimiser)
        started = time.monotonic()
        with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[losses]}")) as bar:
            task = bar.add_task(stage.name, total=stage.steps, completed=first, losses="")
            for step, batch in enumerate(self._batches(stage, index, pairs, first), first):
                for group in optimiser.param_groups:
                    group["lr"] = _learning_rate(stage, step)
                losses = module(batch)
                if not torch.isfinite(losses["total"]):
                    raise TrainingError(
                        f"stage {stage.name}, step {step}: the loss is {losses['total'].item()}; "
                        f"the last good checkpoint is in {self.out / 'checkpoint'}. Lower "
                        "learning_rate, then run the same command: it goes on from there"
                    )
                optimiser.zero_grad()
                self.fabric.backward(losses["total"])
                self.fabric.clip_gradients(module, optimiser, max_norm=1.0)
                optimiser.step()
                done = step + 1
                if done % self.config.log_every == 0 or done == stage.steps:
                    values = {name: round(loss.item(), 5) for name, loss in losses.items()}
                    bar.update(task, losses=" ".join(f"{k} {v:.4f}" for k, v in values.items()))
                    rate = (done - first) / (time.monotonic() - started)
                    self._log(stage=stage.name, step=done, rate=round(rate, 2), **values)
                bar.update(task, completed=done)
                if done % self.config.save_every == 0 or done == stage.steps:
                    self._save(index, done, optimiser)

    def _batches(
        self, stage: StageConfig, index: int, pairs: list[Pair], first: int
    ) -> Iterator[dict[str, Tensor]]:
        everything = stage.batch * stage.steps
        seed = self.config.seed + 1000 * index
        crops = CropDataset(pairs, stage.crop, seed, everything)
        share = stage.batch // self.fabric.world_size
        starts = range(
            first * stage.batch + self.fabric.global_rank * share, everything, stage.batch
        )
        loader = DataLoader(
            crops,
            batch_sampler=[list(range(start, start + share)) for start in starts],
            num_workers=self.config.workers,
        )
        return iter(self.fabric.setup_dataloaders(loader, use_distributed_sampler=False))  # type: ignore[arg-type]

    def _log(self, **values: object) -> None:
        if self.fabric.is_global_zero:
            with (self.out / "log.jsonl").open("a") as file:
                file.write(json.dumps(values) + "\n")

    def _save(self, stage: int, step: int, optimiser: torch.optim.Optimizer) -> None:
        """Write the checkpoint beside the last one, then swap: a full disk costs nothing."""
        if not self.fabric.is_global_zero:
            return
        folder, fresh = self.out / "checkpoint", self.out / "checkpoint.new"
        fresh.mkdir(exist_ok=True)
        save_model(self.model, fresh / "model.safetensors")
        save_file(self.pixel_net.state_dict(), fresh / "pixel_net.safetensors")
        save_file({"queue": self.queue.contiguous()}, fresh / "queue.safetensors")
        save_file(_optimiser_tensors(optimiser), fresh / "optimiser.safetensors")
        state = {"stage": stage, "step": step, "config": asdict(self.config)}
        (fresh / "state.json").write_text(json.dumps(state))
        old = self.out / "checkpoint.old"
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        if old.exists():
            for path in old.iterdir():
                path.unlink()
            old.rmdir()

    def _restore(self) -> tuple[int, int, dict | None]:
        folder = self.out / "checkpoint"
        if not (folder / "state.json").is_file():
            return 0, 0, None
        state = json.loads((folder / "state.json").read_text())
        self.model.load_state_dict(load_model(folder / "model.safetensors").state_dict())
        self.pixel_net.load_state_dict(load_file(folder / "pixel_net.safetensors"))
        self.queue = load_file(folder / "queue.safetensors")["queue"]
        stage, step = state["stage"], state["step"]
        logger.info("going on from stage %d, step %d", stage, step)
        if step == self.config.stages[stage].steps:
            return stage + 1, 0, None
        return stage, step, load_file(folder / "optimiser.safetensors")


class _FusionStep(nn.Module):
    """L_fus of F on one batch."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.fusion, self.loss = trainer.model.fusion, trainer.fusion_loss
        self.views = trainer.config.views

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        visible, thermal = draw_views(batch["visible"], batch["thermal"], batch["seed"], self.views)
        fused = luma_of(fused_colour(visible, self.fusion(visible, thermal).change))
        return self.loss(fused, luma_of(visible), thermal)


class _ConsistencyStep(nn.Module):
    """L_csc + L_MI of S_f and S_p on two views of one batch, with F frozen."""

    queue_rows = 8192
    rows = 4096

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.head, self.pixel_net = trainer.model.head, trainer.pixel_net
        self.fusion, self.views = trainer.model.fusion.requires_grad_(False), trainer.config.views
        self.trainer = [trainer]  # in a list, since it is no submodule

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        visible, thermal, seed = batch["visible"], batch["thermal"], batch["seed"]
        # Two photometric views, so that classes mean content and not brightness.
        first = draw_views(visible, thermal, seed, self.views)
        second = draw_views(visible, thermal, seed + 1, self.views)
        with torch.no_grad():
            features = self.fusion(*first)
            image = fused_colour(second[0], self.fusion(*second).change)
        logits = (self.head(features), self.pixel_net(image))
        rows = torch.randperm(
            logits[0][:, 0].numel(), generator=torch.Generator().manual_seed(int(seed[0]))
        )[: self.rows].to(image.device)
        f, p = (
            F.layer_norm(z, z.shape[1:2]) / z.shape[1] ** 0.5
            for z in (z.permute(0, 2, 3, 1).flatten(0, 2)[rows] for z in logits)
        )
        trainer = self.trainer[0]
        queue = trainer.queue.to(f.device)
        losses = {
            "consistency": cross_segmentation_consistency(f, p, *queue),
            "information": mutual_information_loss(f, p),
        }
        trainer.queue = torch.cat([torch.stack([f, p]).detach(), queue], 1)[:, : self.queue_rows]
        share = torch.bincount(f.argmax(1), minlength=f.shape[1]) / len(f)
        entropy = -(share * share.clamp(min=1e-9).log()).sum() / torch.log(torch.tensor(f.shape[1]))
        return {
            **losses,
            "total": losses["consistency"] + losses["information"],
            "agreement": (f.argmax(1) == p.argmax(1)).float().mean(),
            "entropy": entropy,
        }


def _learning_rate(stage: StageConfig, step: int) -> float:
    """Linear warm-up, then a half cosine to a hundredth."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    progress = (step - stage.warmup) / max(stage.steps - stage.warmup, 1)
    cosine = 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress))))
    return stage.learning_rate * (0.01 + 0.99 * cosine)


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state as named tensors, so that no pickle is needed."""
    return {
        f"{index}.{name}": value.contiguous()
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
    }


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
