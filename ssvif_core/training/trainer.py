"""The trainer: one loop over stages and steps.

Lightning Fabric carries device, precision and processes. A stage knows what it trains and on which
losses (`training.stages`). A batch depends on seed and step alone, so a checkpoint needs no random
state.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer
from torch import Tensor

from ssvif_core.errors import InputError, SsvifError
from ssvif_core.files import write_atomically
from ssvif_core.losses.fusion import FusionLoss
from ssvif_core.models import Model, save_model
from ssvif_core.models.pixel_net import PixelNet
from ssvif_core.training.checkpoint import (
    Checkpoint,
    Saved,
    TrainingError,
    load_optimiser,
    load_weights,
    optimiser_tensors,
)
from ssvif_core.training.config import StageConfig, TrainConfig, differences
from ssvif_core.training.data.crops import CropDataset, stacked
from ssvif_core.training.data.loader import load_batches
from ssvif_core.training.data.pairs import PairDataset
from ssvif_core.training.data.sets import read_pairs
from ssvif_core.training.health import CollapseWatch, verdicts
from ssvif_core.training.monitor import Monitor, progress_bar
from ssvif_core.training.processes import (
    any_of,
    averaged,
    create_fabric,
    describe_machine,
    gathered,
    same_everywhere,
    stop_requests,
)
from ssvif_core.training.report import Report
from ssvif_core.training.stages import STAGES, Batch, Losses, Networks, Stage
from ssvif_core.training.summary import write_summary

logger = logging.getLogger(__name__)

VALIDATION_CROPS = 8
VALIDATION_SIZE = 160
SETTLING_CROPS = 32
PICTURES = 4
SETTINGS = "settings.json"  # of the run, in its folder


class Interrupted(SsvifError):
    """The user stopped the run; its state is saved."""


@dataclass(frozen=True)
class _Run:
    """What a run has while it runs. `monitor`: only the first process has one."""

    training: PairDataset
    validation: tuple[Tensor, Tensor]
    monitor: Monitor | None
    stop_requested: Callable[[], bool]

    def log(self, label: str, step: int, **values: float) -> None:
        if self.monitor is not None:
            self.monitor.scalars(label, step, **values)


class Trainer:
    """Runs the stages of a configuration. If `out` has a checkpoint, the run goes on from it.

    It leaves in `out`: `settings.json`, `model.safetensors`, a model of each finished stage,
    `log.jsonl`, `tensorboard/`, `pictures/`, `run.json`, `summary.html`, and `checkpoints/` with
    the newest state.

    Raises:
        InputError: the configuration does not fit the weights it starts from.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.out = Path(config.out)
        self.fabric = create_fabric(config)
        self.fabric.launch()
        self.fabric.seed_everything(config.seed, verbose=False)
        self.model = Model(config.model)
        if config.init:
            load_weights(self.model, Path(config.init))
        self.pixel_net = PixelNet(config.model.classes)
        self.fusion_loss = FusionLoss(config.loss, config.target)
        self.labels = [f"{index} {stage.name}" for index, stage in enumerate(config.stages)]
        self.checkpoint = Checkpoint(self.out / "checkpoints")
        self.watch = CollapseWatch(config.health)
        self.report = Report(describe_machine(self.fabric))

    def run(self) -> Path:
        """Train all stages; returns the path of the model file.

        Raises:
            InputError: `out` holds a run of other settings.
            TrainingError: a loss is not a number, the classes collapsed, or a file cannot be
                written.
            Interrupted: SIGINT or SIGTERM came; the state is saved.
        """
        self._require_same_settings()
        training, validation = read_pairs(self.config)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            if self.fabric.is_global_zero:
                settings = json.dumps(asdict(self.config), indent=2)
                write_atomically(self.out / SETTINGS, settings)
        except OSError as error:
            raise InputError(f"out={self.out}: the folder cannot be made ({error})") from error
        monitor = Monitor(self.out, self.labels) if self.fabric.is_global_zero else None
        crops = stacked(CropDataset(validation, VALIDATION_SIZE, 1, VALIDATION_CROPS))
        path = self.out / "model.safetensors"
        start = self._restore(monitor)
        try:
            with stop_requests() as stop_requested:
                run = _Run(training, crops, monitor, stop_requested)
                for index in range(start.stage, len(self.config.stages)):
                    self._run_stage(run, index, start if index == start.stage else Saved())
            if monitor is not None:
                save_model(self.model, path)
                facts = {"training pairs": len(training), **asdict(self.report),
                         "configuration": asdict(self.config)}  # fmt: skip
                write_summary(self.out, facts)
                monitor.close()
        except OSError as error:
            raise TrainingError(
                f"{self.out}: cannot be written ({error}); the last good checkpoint is "
                f"{self.checkpoint.newest()}. Make room, then run the same command: it goes on "
                "from there"
            ) from error
        return path

    def _require_same_settings(self) -> None:
        """Refuse to go on with a run of other settings, which would overwrite its model.

        Raises:
            InputError: the settings differ; names them.
        """
        path = self.out / SETTINGS
        if self.checkpoint.newest() is None or not path.is_file():
            return
        try:
            before = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}); choose another `out`") from error
        changed = differences(before, asdict(self.config))
        if changed:
            raise InputError(
                f"{self.out} holds a run of other settings: {'; '.join(changed)}. To go on with "
                "it, give its settings; to train anew, choose another `out`, or remove the folder"
            )

    def _run_stage(self, run: _Run, index: int, start: Saved) -> None:
        """Train one stage: steps, epochs, checkpoints."""
        config, settings, label = self.config, self.config.stages[index], self.labels[index]
        stage = self._stage(settings)
        optimiser = torch.optim.AdamW(stage.parameter_groups(), weight_decay=1e-4)
        if start.parts:
            load_optimiser(optimiser, start.parts["optimiser"])
            stage.load_state(start.parts)
            self.watch.bad_epochs = int(start.parts["epoch"]["bad_epochs"])
        module, optimiser = self.fabric.setup(stage, optimiser)
        seed = config.seed + 1000 * index
        batches = load_batches(
            self.fabric, run.training, settings, seed, config.workers, start.step
        )
        began = time.monotonic()
        figures: dict[str, float] = {}
        values: dict[str, float] = {}
        with progress_bar(label, settings.steps, start.step, self.fabric.is_global_zero) as show:
            for step in range(start.step, settings.steps):
                done, is_last = step + 1, step + 1 == settings.steps
                rate = stage.set_learning_rates(optimiser, step)
                logs = done % config.log_every == 0 or is_last
                losses = self._step(stage, module, optimiser, batches, step, logs, label)
                stage.end_step(losses)
                if logs:
                    values = {name: float(loss) for name, loss in losses.items()}
                    values |= stage.log_values()
                    speed = (done - start.step) / (time.monotonic() - began)
                    run.log(label, done, **values, learning_rate=rate, rate=speed)
                show(done, values)
                if done % config.epoch == 0 or is_last:
                    stage.end_epoch(step % config.epoch + 1, partial(averaged, self.fabric))
                    figures = self._examine(run, stage, label, done)
                stops = any_of(self.fabric, run.stop_requested())
                if is_last:
                    # Before the checkpoint: a file that cannot be written now is written when the
                    # run goes on.
                    self._end_stage(run, stage, index, done - start.step, began, figures)
                if done % config.save_every == 0 or is_last or stops:
                    self._save(index, done, optimiser, stage)
                if stops and not is_last:
                    raise Interrupted(
                        f"stopped in stage {label} after step {done}; everything is saved in "
                        f"{self.checkpoint.newest()}: the same command goes on from there"
                    )

    def _step(
        self,
        stage: Stage,
        module: _FabricModule,
        optimiser: _FabricOptimizer,
        batches: Iterator[Batch],
        step: int,
        measure: bool,
        label: str,
    ) -> Losses:
        """One step of the optimiser; its losses, the means over the parts of the batch."""
        parts = stage.settings.accumulate
        where = f"stage {label}, step {step + 1}"
        optimiser.zero_grad()
        means: Losses = {}
        for part in range(parts):
            is_last = part == parts - 1
            with self.fabric.no_backward_sync(module, enabled=not is_last):
                losses: Losses = module(next(batches), step, measure=measure and is_last)
                self._require_finite(losses["total"], where, "loss")
                self.fabric.backward(losses["total"] / parts)
            for name, loss in losses.items():
                share = loss.detach() / parts
                means[name] = means[name] + share if part else share
        norm = self.fabric.clip_gradients(module, optimiser, max_norm=1.0, error_if_nonfinite=False)
        assert norm is not None
        self._require_finite(norm, where, "norm of the gradient")
        optimiser.step()
        return means

    def _stage(self, settings: StageConfig) -> Stage:
        networks = Networks(self.model, self.pixel_net, self.fusion_loss)
        gather = partial(gathered, self.fabric)
        return STAGES[settings.name](networks, self.config, settings, gather)

    def _require_finite(self, value: Tensor, where: str, what: str) -> None:
        if not torch.isfinite(value):
            raise TrainingError(
                f"{where}: the {what} is {value.item()}; the last good checkpoint "
                f"is {self.checkpoint.newest()}. Lower learning_rate, then run the same command: "
                "it goes on from there"
            )

    def _examine(self, run: _Run, stage: Stage, label: str, step: int) -> dict[str, float]:
        """Health figures and pictures of the validation crops; stops a collapsed run."""
        visible, thermal = (images.to(self.fabric.device) for images in run.validation)
        seen = stage.examine(visible, thermal)
        run.log(label, step, **seen.figures)
        if run.monitor is not None:
            run.monitor.pictures(label, step, *seen.pictures(visible, thermal, PICTURES))
        if seen.labels:
            reason = self.watch.look(seen.figures)
            if reason:
                raise TrainingError(f"stage {label}, step {step}: {reason}")
        return seen.figures

    def _end_stage(
        self,
        run: _Run,
        stage: Stage,
        index: int,
        steps: int,
        began: float,
        figures: dict[str, float],
    ) -> None:
        stage.settle(CropDataset(run.training, VALIDATION_SIZE, self.config.seed, SETTLING_CROPS))
        label = self.labels[index]
        self.report.add_stage(label, steps, time.monotonic() - began, self.fabric.device)
        self.report.health += verdicts(label, figures, self.config.health)
        if run.monitor is not None:
            save_model(self.model, self.out / f"stage{index}_{stage.name}.safetensors")
            self.report.save(self.out / "run.json")

    def _save(self, index: int, step: int, optimiser: torch.optim.Optimizer, stage: Stage) -> None:
        state = stage.state(partial(averaged, self.fabric))
        if not self.fabric.is_global_zero:
            return
        state["epoch"]["bad_epochs"] = torch.tensor(self.watch.bad_epochs)
        parts = {
            "model": self.model.state_dict(),
            "pixel_net": self.pixel_net.state_dict(),
            "optimiser": optimiser_tensors(optimiser),
            **state,
        }
        self.checkpoint.save(index, stage.name, step, parts)

    def _restore(self, monitor: Monitor | None) -> Saved:
        """Where the run begins; the networks are as the newest checkpoint has them."""
        saved = self.checkpoint.load()
        place = (saved.stage, saved.step) if saved else (-1, -1)
        if not same_everywhere(self.fabric, place):
            raise TrainingError(
                f"{self.out}: not all processes find the same checkpoint there; choose an `out` "
                "in a folder that all hosts share"
            )
        if saved is None:
            if monitor is not None:
                monitor.rewind(self.labels[0], 0)
            return Saved()
        saved.require_stage_of([stage.name for stage in self.config.stages])
        saved.load_networks(self.model, self.pixel_net)
        if monitor is not None:
            monitor.rewind(self.labels[saved.stage], saved.step)
        self.report.continue_from(self.out / "run.json")
        logger.info("going on from stage %s, step %d", self.labels[saved.stage], saved.step)
        if saved.step >= self.config.stages[saved.stage].steps:
            return Saved(saved.stage + 1)
        return saved
