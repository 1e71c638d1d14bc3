"""Checkpoints: a folder of safetensors and one JSON file, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssvif_core.errors import SsvifError

VERSION = 1


class TrainingError(SsvifError):
    """Training cannot go on; the last good checkpoint is kept."""


class Checkpoint:
    """The newest state below `folder`, as `STAGE-STEP/` with a file a part and `state.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self, stage: int, name: str, step: int, parts: Mapping[str, dict[str, Tensor]]
    ) -> None:
        """Write beside the last one, then rename, then remove the last one.

        Raises:
            TrainingError: it cannot be written (no space); the last one is still there.
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

    def load(self) -> tuple[int, str, int, dict[str, dict[str, Tensor]]] | None:
        """Stage, its name, step and parts of the newest checkpoint, or none if there is none.

        Raises:
            TrainingError: it is damaged, or of a newer version.
        """
        path = self.newest()
        if path is None:
            return None
        try:
            state: dict[str, Any] = json.loads((path / "state.json").read_text())
            parts = {file.stem: load_file(file) for file in path.glob("*.safetensors")}
            version, stage, step = state["version"], state["stage"], state["step"]
            name = state["name"]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise TrainingError(
                f"{path}: damaged checkpoint ({error}); remove it to start the run anew"
            ) from error
        if version > VERSION:
            raise TrainingError(
                f"{path}: checkpoint of version {version}; this release reads up to {VERSION}; "
                "update, or choose another `out`"
            )
        return stage, name, step, parts

    def _complete(self) -> list[Path]:
        return [file.parent for file in self.folder.glob("[0-9]*-[0-9]*/state.json")]


def _position(path: Path) -> tuple[int, int]:
    stage, step = path.name.split("-")
    return int(stage), int(step)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state as named tensors, so that no pickle is needed."""
    return {
        f"{index}.{name}": value
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
