"""The trainer: stages, steps, epochs.

Lightning Fabric carries device, precision and processes; this module is what is particular to
SSVIF. A batch is a function of (seed, step), so a checkpoint needs no random state.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ssvif_core.errors import InputError, SsvifError
from ssvif_core.losses.fusion import FusionLoss
from ssvif_core.losses.weighting import create_weighting
from ssvif_core.models import Model, load_model, save_model
from ssvif_core.models.fusion import fused_colour, luma_of
from ssvif_core.models.heads import classify_standardised
from ssvif_core.models.pixel_net import PixelNet
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.training.checkpoint import (
    Checkpoint,
    TrainingError,
    load_optimiser,
    optimiser_tensors,
)
from ssvif_core.training.config import StageConfig, TrainConfig
from ssvif_core.training.data.pairs import CropDataset, PairDataset
from ssvif_core.training.data.splits import read_split, select
from ssvif_core.training.health import (
    CollapseWatch,
    class_figures,
    image_figures,
    verdicts,
)
from ssvif_core.training.monitor import Monitor
from ssvif_core.training.steps import (
    LOGIT_DEVIATION,
    ConsistencyStep,
    FusionStep,
    JointStep,
    standardised,
    unit,
)
from ssvif_core.training.summary import write_summary

logger = logging.getLogger(__name__)

VALIDATION_CROPS = 8
VALIDATION_SIZE = 160
PICTURES = 4
TASKS = ("fusion", "semantics")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and afterwards as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


class Interrupted(SsvifError):
    """The user stopped the run; its state is saved."""


class Trainer:
    """Runs the stages of a configuration, from the last checkpoint in `out` if there is one.

    Leaves in `out`: `model.safetensors`, a model a finished stage (`stage1_consistency...`),
    `log.jsonl`, `tensorboard/`, `pictures/`, `run.json` and `summary.html`; and `checkpoints/`
    with the newest state, from which the same command goes on.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.out = Path(config.out)
        self.fabric = _fabric(config)
        self.fabric.launch()
        self.fabric.seed_everything(config.seed, verbose=False)
        self.model = Model(config.model)
        if config.init:
            self._start_from(load_model(Path(config.init)))
        self.pixel_net = PixelNet(config.model.classes)
        self.fusion_loss = FusionLoss(config.loss, config.target)
        self.labels = [f"{index} {stage.name}" for index, stage in enumerate(config.stages)]
        self.checkpoint = Checkpoint(self.out / "checkpoints")
        self.watch = CollapseWatch(config.health)
        self.figures: dict[str, float] = {}  # health, of the last epoch
        self.report: dict[str, Any] = {"machine": _machine(self.fabric), "stages": {}, "health": []}

    def run(self) -> Path:
        """Train all stages; returns the path of the model file.

        Raises:
            TrainingError: a loss is no number, the classes collapsed, or nothing can be written.
            Interrupted: SIGINT or SIGTERM came; the state is saved.
        """
        training, validation = self._read_data()
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"out={self.out}: no folder can be made there ({error})") from error
        self.monitor = Monitor(self.out, self.labels) if self.fabric.is_global_zero else None
        self.validation = _stack(CropDataset(validation, VALIDATION_SIZE, 1, VALIDATION_CROPS))
        first_stage, first_step, parts = self._restore()
        path = self.out / "model.safetensors"
        try:
            with _stop_requests() as stop_requested:
                for index in range(first_stage, len(self.config.stages)):
                    self._run_stage(index, training, first_step, parts, stop_requested)
                    first_step, parts = 0, {}
            if self.monitor is not None:
                save_model(self.model, path)
                self._write_summary(len(training))
                self.monitor.close()
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"{self.out}: cannot be written ({error}); the last good checkpoint is "
                f"{self.checkpoint.newest()}. Make room, then run the same command: it goes on "
                "from there"
            ) from error
        return path

    def _start_from(self, start: Model) -> None:
        if asdict(replace(start.config, classes=2)) != asdict(
            replace(self.config.model, classes=2)
        ):
            raise InputError(
                f"{self.config.init}: weights of {_described(start.config)}, but the configuration "
                f"asks for {_described(self.config.model)}; change model or init"
            )
        self.model.fusion.load_state_dict(start.fusion.state_dict())
        if start.config == self.config.model:
            self.model.head.load_state_dict(start.head.state_dict())

    def _read_data(self) -> tuple[PairDataset, PairDataset]:
        config = self.config
        if not config.data:
            raise InputError("no data; set data to folders, videos or bags of pairs")
        topics = (config.topics[0], config.topics[1]) if config.topics else None
        listings = [find_pairs(Path(root), config.frame_step, topics) for root in config.data]
        for listing in listings:
            logger.info("%s", listing.describe())
        cache = (config.cache, self.out / "cache")
        if not config.split:
            logger.info("no split file: health is looked at on training pairs")
            everything = PairDataset(listings, *cache)
            return everything, everything
        split = read_split(Path(config.split))
        training = PairDataset(select(listings, split, "train"), *cache)
        if not split.part("validation"):
            return training, training
        return training, PairDataset(select(listings, split, "validation"), *cache)

    def _run_stage(
        self,
        index: int,
        pairs: PairDataset,
        first: int,
        parts: dict[str, dict[str, Tensor]],
        stop_requested: Any,
    ) -> None:
        stage, label = self.config.stages[index], self.labels[index]
        step_module, groups = self._stage_parts(stage)
        optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
        if "optimiser" in parts:
            load_optimiser(optimiser, parts["optimiser"])
        weighting = getattr(step_module, "weighting", None)
        if "queue" in parts:
            step_module.queue = parts["queue"]["queue"]  # type: ignore[assignment]
        if "weighting" in parts and weighting is not None:
            weighting.load_state_dict(parts["weighting"])
        # Sums over the steps of this epoch: of the tasks' losses, and of the bad epochs so far.
        sums = torch.zeros(len(TASKS), device=self.fabric.device)
        if "epoch" in parts:
            sums += parts["epoch"]["sums"].to(sums)
            self.watch.bad_epochs = int(parts["epoch"]["bad_epochs"])
        module, optimiser = self.fabric.setup(step_module, optimiser)
        started = time.monotonic()
        batches = self._batches(stage, index, pairs, first)
        with _progress(self.fabric.is_global_zero) as bar:
            task = bar.add_task(label, total=stage.steps, completed=first, losses="")
            for step in range(first, stage.steps):
                rates = _set_learning_rates(optimiser, stage, step)
                ramp = min(1.0, step / max(stage.ramp * stage.steps, 1))
                done = step + 1
                log_now = done % self.config.log_every == 0 or done == stage.steps
                losses = self._step(
                    stage, module, optimiser, batches, ramp,
                    measure=log_now and stage.name == "joint", where=f"stage {label}, step {done}",
                )  # fmt: skip
                if weighting is not None:
                    sums += torch.stack([losses[name] for name in TASKS])
                if log_now:
                    values = {name: float(loss) for name, loss in losses.items()}
                    if weighting is not None:
                        weights = zip(TASKS, weighting.weights().tolist(), strict=True)
                        values |= {f"weight_{name}": weight for name, weight in weights}
                    rate = (done - first) / (time.monotonic() - started)
                    bar.update(task, losses=_shown(values))
                    self._log(label, done, **values, learning_rate=rates[0], rate=rate)
                bar.update(task, completed=done)
                if done % self.config.epoch == 0 or done == stage.steps:
                    if weighting is not None:
                        count = (done - 1) % self.config.epoch + 1
                        means = self.fabric.all_reduce(sums / count)
                        weighting.end_epoch(means)  # type: ignore[arg-type]
                        sums = torch.zeros_like(sums)
                    self._end_epoch(stage, label, done)
                stop = self._agreed(stop_requested())
                if done == stage.steps:
                    if stage.name != "fusion":
                        self._settle_head(pairs)
                    # Before the checkpoint: what cannot be written now is written on going on.
                    self._end_stage(index, stage, first, time.monotonic() - started)
                if done % self.config.save_every == 0 or done == stage.steps or stop:
                    self._save(index, done, optimiser, step_module, sums)
                if stop and done < stage.steps:
                    raise Interrupted(
                        f"stopped in stage {label} after step {done}; everything is saved in "
                        f"{self.checkpoint.newest()}: the same command goes on from there"
                    )

    def _step(
        self,
        stage: StageConfig,
        module: Any,
        optimiser: Any,
        batches: Iterator[dict[str, Tensor]],
        ramp: float,
        measure: bool,
        where: str,
    ) -> dict[str, Tensor]:
        """One step of the optimiser; its losses, the means over the parts of the batch."""
        optimiser.zero_grad()
        losses: dict[str, Tensor] = {}
        measured: dict[str, Tensor] = {}
        for part in range(stage.accumulate):
            last = part == stage.accumulate - 1
            with self.fabric.no_backward_sync(module, enabled=not last):
                extra = {"measure": True} if measure and last else {}
                found = module(next(batches), ramp, **extra)
                if extra:
                    measured = {"gradient_norm": found.pop("gradient_norm")}
                self._require_finite(found["total"], where, "loss")
                self.fabric.backward(found["total"] / stage.accumulate)
            for name, loss in found.items():
                share = loss.detach() / stage.accumulate
                losses[name] = losses[name] + share if part else share
        norm = self.fabric.clip_gradients(module, optimiser, max_norm=1.0, error_if_nonfinite=False)
        assert norm is not None
        self._require_finite(norm, where, "norm of the gradient")
        optimiser.step()
        return {**losses, **measured}

    def _stage_parts(self, stage: StageConfig) -> tuple[nn.Module, list[dict[str, Any]]]:
        """What a stage computes, and what it trains with which learning rate."""
        config, rate = self.config, stage.learning_rate
        self.model.fusion.requires_grad_(stage.name != "consistency")
        self.model.fusion.train(stage.name != "consistency")  # frozen statistics, too
        fusion = list(self.model.fusion.parameters())
        heads = [*self.model.head.parameters(), *self.pixel_net.parameters()]
        if stage.name == "fusion":
            step: nn.Module = FusionStep(self.model, self.fusion_loss, config.views)
            return step, [{"params": fusion, "lr": rate, "peak": rate}]
        common = (self.model, self.pixel_net, self.fabric)
        settings = (config.consistency, config.views, config.geometry)
        if stage.name == "consistency":
            step = ConsistencyStep(*common, *settings)
            return step, [{"params": heads, "lr": rate, "peak": rate}]
        weighting = create_weighting(stage.weighting, len(TASKS))
        step = JointStep(*common, *settings, loss=self.fusion_loss, weighting=weighting)
        slow = stage.fusion_learning_rate
        return step, [
            {"params": [*heads, *weighting.parameters()], "lr": rate, "peak": rate},
            {"params": fusion, "lr": slow, "peak": slow},
        ]

    def _batches(
        self, stage: StageConfig, index: int, pairs: PairDataset, first: int
    ) -> Iterator[dict[str, Tensor]]:
        everything = stage.batch * stage.steps
        micro = stage.batch // stage.accumulate
        share = micro // self.fabric.world_size
        if share * self.fabric.world_size != micro:
            raise InputError(
                f"stage {stage.name}: {micro} samples cannot be shared by "
                f"{self.fabric.world_size} processes; choose batch / accumulate a multiple"
            )
        seed = self.config.seed + 1000 * index
        crops = CropDataset(pairs, stage.crop, seed, everything, stage.salient)
        offset = self.fabric.global_rank * share
        starts = range(first * stage.batch + offset, everything, micro)
        loader = DataLoader(
            crops,
            batch_sampler=[list(range(start, start + share)) for start in starts],
            num_workers=self.config.workers,
            worker_init_fn=_ignore_signals,
        )
        return iter(self.fabric.setup_dataloaders(loader, use_distributed_sampler=False))  # type: ignore[arg-type]

    def _require_finite(self, value: Tensor, where: str, what: str) -> None:
        if not torch.isfinite(value):
            raise TrainingError(
                f"{where}: the {what} is {value.item()}; the last good checkpoint "
                f"is {self.checkpoint.newest()}. Lower learning_rate, then run the same command: "
                "it goes on from there"
            )

    def _end_epoch(self, stage: StageConfig, label: str, step: int) -> None:
        """Health figures and pictures of the validation crops; stops a collapsed run."""
        device = self.fabric.device
        visible, thermal = (self.validation[name].to(device) for name in ("visible", "thermal"))
        with torch.no_grad(), _evaluating(self.model):
            features = self.model.fusion(visible, thermal)
            image = fused_colour(visible, features.change)
            luma, fused = luma_of(visible), luma_of(image)
            figures = image_figures(fused, luma, thermal)
            figures["validation_fusion"] = float(self.fusion_loss(fused, luma, thermal)["total"])
            labels: list[Tensor] = []
            if stage.name != "fusion":
                maps = self.model.head(features), self.pixel_net(image)
                labels = [self._labels(logits) for logits in maps]
                small = nn.functional.avg_pool2d(fused, 4)[:, 0]
                for prefix, branch, logits in zip(("", "pixel_"), labels, maps, strict=True):
                    of_branch = class_figures(branch, small, logits.std((0, 2, 3)))
                    figures |= {prefix + name: value for name, value in of_branch.items()}
                figures["validation_agreement"] = float((labels[0] == labels[1]).float().mean())
        self._log(label, step, **figures)
        if self.monitor is not None:
            heat = _bytes(thermal[:PICTURES])[..., 0]
            ids = [_full_size(x[:PICTURES]) for x in labels]
            self.monitor.pictures(
                label, step, _bytes(visible[:PICTURES]), heat, _bytes(image[:PICTURES]), *ids
            )
        self.figures = figures
        if labels:
            reason = self.watch.look(figures)
            if reason:
                raise TrainingError(f"stage {label}, step {step}: {reason}")

    def _labels(self, logits: Tensor) -> Tensor:
        """Classes (B, h, w) of logits, standardised as training sees them."""
        rows = logits.permute(0, 2, 3, 1).flatten(0, 2).float()
        labels = standardised(rows, self.config.consistency.standardise).argmax(1)
        return labels.view(logits.shape[0], *logits.shape[2:])

    def _settle_head(self, pairs: PairDataset) -> None:
        """Make the head alone give what training saw as standardised logits."""
        crops = _stack(CropDataset(pairs, VALIDATION_SIZE, self.config.seed, 32))
        device = self.fabric.device
        with torch.no_grad(), _evaluating(self.model):
            rows = torch.cat(
                [
                    self.model.head(self.model.fusion(v[None].to(device), t[None].to(device)))
                    .permute(0, 2, 3, 1)
                    .flatten(0, 2)
                    for v, t in zip(crops["visible"], crops["thermal"], strict=True)
                ]
            )
        mean, deviation = rows.mean(0), rows.std(0)
        if not self.config.consistency.standardise:
            mean, deviation = torch.zeros_like(mean), deviation.mean().expand_as(deviation)
        scale = LOGIT_DEVIATION / self.config.consistency.temperature
        classify_standardised(self.model.head, mean, deviation, scale)

    def _end_stage(self, index: int, stage: StageConfig, first: int, seconds: float) -> None:
        steps = stage.steps - first
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        times = {
            "steps": steps,
            "seconds": round(seconds, 1),
            "steps_per_second": round(steps / seconds, 2) if steps else 0.0,
            "peak_memory_mb": round(memory),
        }
        if self.fabric.device.type == "cuda":
            times["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
        self.report["stages"][self.labels[index]] = times
        self.report["health"] += verdicts(self.labels[index], self.figures, self.config.health)
        if self.monitor is not None:
            save_model(self.model, self.out / f"stage{index}_{stage.name}.safetensors")
            (self.out / "run.json").write_text(json.dumps(self.report, indent=2) + "\n")

    def _write_summary(self, pairs: int) -> None:
        facts = {"training pairs": pairs, **self.report, "configuration": asdict(self.config)}
        write_summary(self.out, facts)

    def _log(self, label: str, step: int, **values: float) -> None:
        if self.monitor is not None:
            self.monitor.scalars(label, step, **values)

    def _agreed(self, stop: bool) -> bool:
        """Whether any process was asked to stop: all must leave at the same step."""
        if self.fabric.world_size == 1:
            return stop
        flag = torch.tensor(float(stop), device=self.fabric.device)
        return bool(self.fabric.all_reduce(flag, reduce_op="max"))  # type: ignore[arg-type]

    def _save(
        self,
        stage: int,
        step: int,
        optimiser: torch.optim.Optimizer,
        step_module: nn.Module,
        sums: Tensor,
    ) -> None:
        # Each process goes on with the mean of all sums, of which the epoch's mean is the same.
        sums = self.fabric.all_reduce(sums)  # type: ignore[assignment]
        if not self.fabric.is_global_zero:
            return
        parts = {
            "model": self.model.state_dict(),
            "pixel_net": self.pixel_net.state_dict(),
            "optimiser": optimiser_tensors(optimiser),
            "epoch": {"sums": sums, "bad_epochs": torch.tensor(self.watch.bad_epochs)},
        }
        if isinstance(step_module, ConsistencyStep):
            parts["queue"] = {"queue": step_module.queue}
        if isinstance(step_module, JointStep) and step_module.weighting.state_dict():
            parts["weighting"] = step_module.weighting.state_dict()
        self.checkpoint.save(stage, self.config.stages[stage].name, step, parts)

    def _restore(self) -> tuple[int, int, dict[str, dict[str, Tensor]]]:
        loaded = self.checkpoint.load()
        found = (loaded[0], loaded[2]) if loaded else (-1, -1)
        place = torch.tensor(found, device=self.fabric.device)
        if (self.fabric.all_gather(place).view(-1, 2) != place).any():  # type: ignore[union-attr]
            raise TrainingError(
                f"{self.out}: not all processes find the same checkpoint there; choose an `out` "
                "in a folder that all hosts share"
            )
        if loaded is None:
            if self.monitor is not None:
                self.monitor.rewind(self.labels[0], 0)
            return 0, 0, {}
        stage, name, step, parts = loaded
        names = [one.name for one in self.config.stages]
        if stage >= len(names) or names[stage] != name:
            raise TrainingError(
                f"{self.checkpoint.newest()}: is of stage {stage}, {name}, but the stages of the "
                f"configuration are {', '.join(names)}; choose another `out`"
            )
        try:
            self.model.load_state_dict(parts["model"])
            self.pixel_net.load_state_dict(parts["pixel_net"])
        except (RuntimeError, KeyError) as error:
            raise TrainingError(
                f"{self.checkpoint.newest()}: is of another architecture than "
                f"{_described(self.config.model)}; choose another `out`, or the model it was "
                f"begun with ({str(error).splitlines()[0]})"
            ) from error
        if self.monitor is not None:
            self.monitor.rewind(self.labels[stage], step)
        if (self.out / "run.json").is_file():  # of the stages that are over
            before = json.loads((self.out / "run.json").read_text())
            self.report |= {"stages": before["stages"], "health": before["health"]}
        logger.info("going on from stage %s, step %d", self.labels[stage], step)
        if step >= self.config.stages[stage].steps:
            return stage + 1, 0, {}
        return stage, step, parts


def _fabric(config: TrainConfig) -> Fabric:
    """One process here, or what torchrun says."""
    devices, nodes = config.devices, 1
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    strategy = "ddp" if devices * nodes > 1 else "auto"
    return Fabric(
        accelerator=config.accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=config.precision,  # type: ignore[arg-type]
    )


@contextmanager
def _stop_requests() -> Iterator[Any]:
    """Gives a function that says whether SIGINT or SIGTERM came; a second one ends at once."""
    requested = False

    def request(number: int, frame: object) -> None:
        nonlocal requested
        requested = True
        logger.warning("finishing this step, then saving; once more ends at once")
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, request)
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals(worker: int) -> None:
    """Loader processes are ended by the trainer, not by the terminal's Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _set_learning_rates(
    optimiser: torch.optim.Optimizer, stage: StageConfig, step: int
) -> list[float]:
    """Linear warm-up, then a half cosine to a hundredth."""
    if step < stage.warmup:
        factor = (step + 1) / stage.warmup
    else:
        progress = (step - stage.warmup) / max(stage.steps - stage.warmup, 1)
        factor = 0.01 + 0.99 * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress))))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor
    return [group["lr"] for group in optimiser.param_groups]


def _progress(enabled: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(20),
        TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"), disable=not enabled,
    )  # fmt: skip


def _shown(values: dict[str, float]) -> str:
    """The few figures that fit beside a bar."""
    names = ("total", "fusion", "consistency", "information", "agreement", "weight_semantics")
    return " ".join(f"{name[:6]} {values[name]:.3f}" for name in names if name in values)


def _stack(crops: CropDataset) -> dict[str, Tensor]:
    items = [crops[index] for index in range(len(crops))]
    names = ("visible", "thermal")
    return {name: unit(torch.stack([item[name] for item in items])) for name in names}


def _bytes(images: Tensor) -> Any:
    return (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _full_size(labels: Tensor) -> Any:
    """Class ids at stride 4 -> (N, H, W) uint8."""
    return labels.byte().repeat_interleave(4, 1).repeat_interleave(4, 2).cpu().numpy()


def _machine(fabric: Fabric) -> str:
    device = fabric.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return (
        f"{fabric.world_size} process(es) on {device.type} ({name}), {os.cpu_count()} cores, "
        f"PyTorch {torch.__version__}"
    )


def _described(config: Any) -> str:
    return f"network {config.network}, size {config.size}, {config.classes} classes"
