"""Checkpoints: a folder of safetensors and one JSON file, written whole or not at all."""

from __future__ import annotations

import json
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

VERSION = 1
Parts = dict[str, dict[str, Tensor]]


class TrainingError(SsvifError):
    """Training cannot go on; the last good checkpoint is kept."""


@dataclass(frozen=True)
class Saved:
    """The content of a checkpoint; without arguments, the start of a run.

    Attributes:
        stage, step: where the run goes on.
        parts: named tensors, by part; `state_dict` of networks, optimiser and stage.
        name: of the stage.
        path: folder of the checkpoint.
    """

    stage: int = 0
    step: int = 0
    parts: Parts = field(default_factory=dict)
    name: str = ""
    path: Path = Path()

    def require_stage_of(self, names: list[str]) -> None:
        """Raise TrainingError if the stages of a configuration are others."""
        if self.stage >= len(names) or names[self.stage] != self.name:
            raise TrainingError(
                f"{self.path}: is of stage {self.stage}, {self.name}, but the stages of the "
                f"configuration are {', '.join(names)}; choose another `out`"
            )

    def load_networks(self, model: Model, pixel_net: PixelNet) -> None:
        """Put the weights into the networks.

        Raises:
            TrainingError: they are of another architecture.
        """
        try:
            model.load_state_dict(self.parts["model"])
            pixel_net.load_state_dict(self.parts["pixel_net"])
        except (RuntimeError, KeyError) as error:
            raise TrainingError(
                f"{self.path}: is of another architecture than {model.config}; choose another "
                f"`out`, or the model of the first run ({str(error).splitlines()[0]})"
            ) from error


class Checkpoint:
    """The newest state below `folder`: `STAGE-STEP/` with one file a part and `state.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, stage: int, name: str, step: int, parts: Parts) -> None:
        """Write a new checkpoint, then remove the one before.

        Raises:
            TrainingError: it cannot be written (no space); the one before is still there.
        """
        path = self.folder / f"{stage}-{step:07d}"
        fresh = self.folder / "unfinished"
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            for part, tensors in parts.items():
                save_file(
                    {key: value.contiguous() for key, value in tensors.items()},
                    fresh / f"{part}.safetensors",
                )
            state = {"version": VERSION, "stage": stage, "name": name, "step": step}
            (fresh / "state.json").write_text(json.dumps(state))
            shutil.rmtree(path, ignore_errors=True)
            fresh.rename(path)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(fresh, ignore_errors=True)
            last = self.newest()
            kept = f"the last good checkpoint is {last}" if last else "there is no earlier one"
            raise TrainingError(
                f"{path}: cannot be written ({error}); {kept}. Make room, then run the same "
                "command: it goes on from there"
            ) from error
        for other in self._complete():
            if other != path:
                shutil.rmtree(other, ignore_errors=True)

    def newest(self) -> Path | None:
        """The newest complete checkpoint, or none."""
        return max(self._complete(), key=_position, default=None)

    def load(self) -> Saved | None:
        """The newest checkpoint, or none.

        Raises:
            TrainingError: it is damaged, or of a newer version.
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
                "update, or choose another `out`"
            )
        return saved

    def _complete(self) -> list[Path]:
        return [file.parent for file in self.folder.glob("[0-9]*-[0-9]*/state.json")]


def _position(path: Path) -> tuple[int, int]:
    stage, step = path.name.split("-")
    return int(stage), int(step)


def load_weights(model: Model, path: Path) -> None:
    """Start from the weights of an earlier run: F, and S_f if it has as many pseudo-classes.

    Raises:
        InputError: they are of another architecture.
        ModelError: the file cannot be read.
    """
    start = load_model(path)
    if replace(start.config, classes=2) != replace(model.config, classes=2):
        raise InputError(
            f"{path}: weights of {start.config}, but the configuration asks for {model.config}; "
            "change model or init"
        )
    model.fusion.load_state_dict(start.fusion.state_dict())
    if start.config == model.config:
        model.head.load_state_dict(start.head.state_dict())


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state as named tensors. So no pickle is needed."""
    return {
        f"{index}.{name}": value
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore what `optimiser_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
