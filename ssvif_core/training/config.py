"""Settings of a training run: dataclasses read from YAML."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ssvif_core.data.views import ViewConfig
from ssvif_core.errors import InputError
from ssvif_core.losses.fusion import FusionLossWeights, TargetConfig
from ssvif_core.models import ModelConfig


@dataclass(frozen=True)
class StageConfig:
    """One stage: `fusion` trains F on L_fus, `consistency` S_f and S_p with F frozen."""

    name: str = "fusion"
    steps: int = 1000
    batch: int = 8
    crop: int = 160
    learning_rate: float = 1e-3
    warmup: int = 100

    def __post_init__(self) -> None:
        if self.name not in ("fusion", "consistency"):
            raise InputError(f"stage '{self.name}'; expected fusion or consistency")
        for name in ("steps", "batch", "crop", "warmup"):
            if getattr(self, name) < 1:
                raise InputError(f"stage {self.name}: {name}={getattr(self, name)}; expected >= 1")


@dataclass(frozen=True)
class TrainConfig:
    """A run: what it reads, trains and writes."""

    data: list[str] = field(default_factory=list)
    frame_step: int = 10
    out: str = "runs/default"
    init: str = ""  # weights to start from, of an earlier run
    seed: int = 0
    precision: str = "32-true"
    workers: int = 1
    log_every: int = 50
    save_every: int = 500
    model: ModelConfig = ModelConfig()
    stages: list[StageConfig] = field(default_factory=lambda: [StageConfig()])
    views: ViewConfig = ViewConfig()
    loss: FusionLossWeights = FusionLossWeights()
    target: TargetConfig = TargetConfig()


def load_config(path: Path, overrides: list[str]) -> TrainConfig:
    """Read a YAML file and apply overrides such as `seed=3` or `model.size=m`.

    Raises:
        InputError: an unknown key (the nearest right one is named) or an ill-typed value.
    """
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"override '{override}'; expected key=value, as in seed=3")
        *parents, last = key.split(".")
        branch = values
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = yaml.safe_load(value)
    return _build(TrainConfig, values, str(path))


def _build(kind: Any, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"{where}: {values!r}; expected keys and values")
    hints = typing.get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(hints)}"
            raise InputError(f"{where}: unknown key '{key}'; {hint}")
        arguments[key] = _convert(hints[key], value, f"{where}: {key}")
    return kind(**arguments)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise InputError(f"{where}={value!r}; expected a list")
        return [_convert(typing.get_args(hint)[0], item, where) for item in value]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InputError(f"{where}={value!r}; expected {hint.__name__}")
    return value
