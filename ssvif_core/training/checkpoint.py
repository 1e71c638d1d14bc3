"""Checkpoints: folders of safetensors files and one JSON file, written whole or not at all."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssvif_core.errors import InputError, SsvifError
from ssvif_core.models import Model, load_model
from ssvif_core.models.pixel_net import PixelNet

VERSION = 2  # raise it when files, names or the random numbers of a run change
logger = logging.getLogger(__name__)
Parts = dict[str, dict[str, Tensor]]  # tensors by name, by name of the part


class TrainingError(SsvifError):
    """Training cannot go on; the last good checkpoint is kept."""


@dataclass(frozen=True)
class Saved:
    """The content of a checkpoint; without arguments, the start of a run.

    Attributes:
        stage, step: index of the stage and number of its finished steps, where the run continues.
        parts: state of the networks, the optimiser and the stage.
        name: of the stage.
        path: folder of the checkpoint.
    """

    stage: int = 0
    step: int = 0
    parts: Parts = field(default_factory=dict)
    name: str = ""
    path: Path = Path()

    def require_stage_of(self, names: list[str]) -> None:
        """Check that the checkpoint is of a configuration with these stages.

        Raises:
            TrainingError: the stages are different.
        """
        if self.stage >= len(names) or names[self.stage] != self.name:
            raise TrainingError(
                f"{self.path}: checkpoint of stage {self.stage}, {self.name}, but the stages of "
                f"the configuration are {', '.join(names)}; choose another `out`"
            )

    def load_networks(self, model: Model, pixel_net: PixelNet) -> None:
        """Load the weights into the networks.

        Raises:
            TrainingError: the checkpoint has another architecture.
        """
        try:
            model.load_state_dict(self.parts["model"])
            pixel_net.load_state_dict(self.parts["pixel_net"])
        except (RuntimeError, KeyError) as error:
            raise TrainingError(
                f"{self.path}: has another architecture than {model.config}; choose another "
                f"`out`, or the model settings of the first run ({str(error).splitlines()[0]})"
            ) from error


class Checkpoint:
    """The newest state below `folder`: `STAGE-STEP/` with a file for each part and `state.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, stage: int, name: str, step: int, parts: Parts) -> None:
        """Write a new checkpoint, then remove the previous one.

        Args:
            stage, name: index and name of the stage.
            step: number of its finished steps.

        Raises:
            TrainingError: the checkpoint cannot be written. The previous one still exists.
        """
        path = self.folder / f"{stage}-{step:07d}"
        unfinished = self.folder / "unfinished"
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            for part, tensors in parts.items():
                save_file(
                    {key: value.contiguous() for key, value in tensors.items()},
                    unfinished / f"{part}.safetensors",
                )
            state = {"version": VERSION, "stage": stage, "name": name, "step": step}
            (unfinished / "state.json").write_text(json.dumps(state))
            shutil.rmtree(path, ignore_errors=True)
            unfinished.rename(path)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            last = self.newest()
            kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
            raise TrainingError(
                f"{path}: cannot be written ({error}); {kept}. Make room, then run the same "
                "command again: it continues from there"
            ) from error
        for other in self._complete():
            if other != path:
                shutil.rmtree(other, ignore_errors=True)

    def newest(self) -> Path | None:
        """The folder of the newest complete checkpoint, or None."""
        return max(self._complete(), key=_position, default=None)

    def load(self) -> Saved | None:
        """The newest checkpoint, or None.

        Raises:
            TrainingError: the checkpoint is damaged or of a newer version.
        """
        path = self.newest()
        if path is None:
            return None
        try:
            state: dict[str, Any] = json.loads((path / "state.json").read_text())
            parts = {file.stem: load_file(file) for file in path.glob("*.safetensors")}
            version = state["version"]
            saved = Saved(state["stage"], state["step"], parts, state["name"], path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise TrainingError(
                f"{path}: damaged checkpoint ({error}); remove it to start the run anew"
            ) from error
        if version > VERSION:
            raise TrainingError(
                f"{path}: checkpoint of version {version}; this release reads up to {VERSION}; "
                "update ssvif, or choose another `out`"
            )
        if version < VERSION:
            logger.warning(
                "%s: checkpoint of version %s; this release draws other crops and views from the "
                "same seed, so the run goes on, but its result is not that of one release",
                path, version,
            )  # fmt: skip
        return saved

    def _complete(self) -> list[Path]:
        return [file.parent for file in self.folder.glob("[0-9]*-[0-9]*/state.json")]


def _position(path: Path) -> tuple[int, int]:
    """Stage and step of a checkpoint's folder."""
    stage, step = path.name.split("-")
    return int(stage), int(step)


def load_weights(model: Model, path: Path) -> None:
    """Load F from an earlier run, and S_f if the number of pseudo-classes is the same.

    Raises:
        InputError: the weights have another architecture.
        ModelError: the file cannot be read.
    """
    earlier = load_model(path)
    if replace(earlier.config, classes=2) != replace(model.config, classes=2):
        raise InputError(
            f"{path}: weights of {earlier.config}, but the configuration asks for {model.config}; "
            "change `model` or `init`"
        )
    model.fusion.load_state_dict(earlier.fusion.state_dict())
    if earlier.config == model.config:
        model.head.load_state_dict(earlier.head.state_dict())


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of AdamW as named tensors, so that no pickle is needed."""
    return {
        f"{index}.{name}": value
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the state that `optimiser_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
