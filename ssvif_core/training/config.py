"""Settings of a training run: dataclasses read from YAML."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ssvif_core.errors import InputError
from ssvif_core.files import parse_yaml, read_yaml
from ssvif_core.losses.consistency import ConsistencyConfig
from ssvif_core.losses.fusion import FusionLossWeights, TargetConfig
from ssvif_core.losses.weighting import WEIGHTINGS
from ssvif_core.models import ModelConfig
from ssvif_core.training.data.cache import CACHES
from ssvif_core.training.data.geometry import GeometryConfig
from ssvif_core.training.data.views import ViewConfig

STAGES = ("fusion", "consistency", "joint", "regions")
PRECISIONS = ("32-true", "bf16-mixed")
VERSION = 1
ConfigT = TypeVar("ConfigT")
# What may change while a run goes on: where it computes, what it logs, how fast it learns.
MAY_CHANGE = (
    "version", "out", "cache", "accelerator", "devices", "precision", "workers", "log_every",
    "save_every", "epoch", "health.*", "stages.*.steps", "stages.*.learning_rate",
    "stages.*.fusion_learning_rate",
)  # fmt: skip


@dataclass(frozen=True)
class StageConfig:
    """Settings of one stage.

    The stage `fusion` (1a) trains F on L_fus. The stage `consistency` (1b) trains S_f and S_p on
    L_csc + L_MI, with F frozen. The stage `joint` (2) trains all three on all losses. The stage
    `regions` trains F and S_f to tell regions apart, and holds the fused image.
    """

    name: str = "fusion"
    steps: int = 1000
    batch: int = 8  # samples of a step, over all processes
    accumulate: int = 1  # a batch is computed in this number of parts, to save memory
    crop: int = 160  # side in pixels, a multiple of 16
    salient: float = 0.0  # share of the crops around salient places of the thermal image
    learning_rate: float = 1e-3  # the largest one, after the warm-up
    fusion_learning_rate: float = 1e-4  # of F in the joint stage
    warmup: int = 100  # steps
    weighting: str = "dwa"  # of the joint stage: dwa, fixed or uncertainty
    ramp: float = 0.3  # share of the joint stage over which L_csc + L_MI rises to its full weight

    def __post_init__(self) -> None:
        if self.name not in STAGES:
            raise InputError(f"stage '{self.name}'; expected one of {', '.join(STAGES)}")
        for name in ("steps", "batch", "accumulate", "crop", "warmup"):
            if getattr(self, name) < 1:
                raise InputError(f"stage {self.name}: {name}={getattr(self, name)}; expected >= 1")
        for name in ("learning_rate", "fusion_learning_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"stage {self.name}: {name}={getattr(self, name)}; expected 0 to 1"
                )
        if not 0 <= self.salient <= 1:
            raise InputError(f"stage {self.name}: salient={self.salient}; expected 0 to 1")
        if self.batch % self.accumulate:
            raise InputError(
                f"stage {self.name}: batch={self.batch} cannot be cut into "
                f"accumulate={self.accumulate} equal parts; expected a multiple of accumulate"
            )
        if self.weighting not in WEIGHTINGS:
            raise InputError(
                f"weighting '{self.weighting}'; expected one of {', '.join(WEIGHTINGS)}"
            )


@dataclass(frozen=True)
class HealthConfig:
    """Gates of the health figures, which are examined once per epoch."""

    # Figures below these gates stop a run.
    entropy: float = 0.3  # of the classes, as a share of the largest possible entropy
    live_classes: float = 0.25  # share of the classes that hold more than 0.1 % of the pixels
    patience: int = 3  # number of bad epochs in a row that stop the run
    # These gates do not stop a run; the summary reports them.
    agreement: float = 0.3  # share of pixels on which the branches agree
    luma_information: float = 0.6  # share of the classes that luma explains

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise InputError(f"health: patience={self.patience}; expected >= 1")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run: what it reads, trains and writes."""

    version: int = VERSION
    data: list[str] = field(default_factory=list)  # folders, videos or bags of pairs
    split: str = ""  # split file, which names the training and the validation pairs
    frame_step: int = 10  # use every n-th frame of videos and bags
    # Visible and thermal topic of bags; an empty list chooses them by name.
    topics: list[str] = field(default_factory=list)
    # camera_pair.yaml of `ssvif calibrate`, for all data; empty: both cameras see the same. Only
    # what both see is learned from.
    calibration: str = ""
    slop: float = 0.02  # largest stamp difference in a bag's pair, seconds
    thermal_time_offset: float = 0.0  # seconds to add to a bag's thermal stamps
    visible_bits: int = 0  # of a bag's visible camera with 16-bit images; 0 finds them
    thermal_crop: str = ""  # part of a bag's thermal messages: x,y,width,height
    cache: str = "ram"  # ram, disk or none; see `PairDataset`
    out: str = "runs/default"  # folder of the run
    init: str = ""  # weights file of an earlier run to start from
    seed: int = 0
    accelerator: str = "auto"
    devices: int = 1  # per host; torchrun overrides it
    precision: str = "32-true"  # or bf16-mixed, for GPUs
    workers: int = 1  # processes that cut crops
    log_every: int = 50  # steps
    save_every: int = 500  # steps
    epoch: int = 250  # steps until health is examined and pictures are written
    model: ModelConfig = ModelConfig()
    stages: list[StageConfig] = field(default_factory=lambda: [StageConfig()])
    views: ViewConfig = ViewConfig()
    geometry: GeometryConfig = GeometryConfig()
    loss: FusionLossWeights = FusionLossWeights()
    target: TargetConfig = TargetConfig()
    consistency: ConsistencyConfig = ConsistencyConfig()
    health: HealthConfig = HealthConfig()

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError(f"stages is empty; expected some of {', '.join(STAGES)}")
        if self.workers < 0:
            raise InputError(f"workers={self.workers}; expected >= 0")
        if self.precision not in PRECISIONS:
            raise InputError(
                f"precision '{self.precision}'; expected one of {', '.join(PRECISIONS)}"
            )
        for name in ("frame_step", "devices", "log_every", "save_every", "epoch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; expected >= 1")
        if not 0 < self.slop < math.inf:
            raise InputError(f"slop={self.slop}; expected seconds above 0")
        if not math.isfinite(self.thermal_time_offset):
            raise InputError(f"thermal_time_offset={self.thermal_time_offset}; expected seconds")
        if len(self.topics) not in (0, 2):
            raise InputError(f"topics={self.topics}; expected the visible and the thermal topic")
        if self.cache not in CACHES:
            raise InputError(f"cache '{self.cache}'; expected one of {', '.join(CACHES)}")


def load_config(path: Path, overrides: list[str]) -> TrainConfig:
    """Read a YAML file and apply overrides such as `seed=3` or `model.size=m`.

    Raises:
        InputError: the file cannot be read, a key is unknown (the message names the most similar
            one), or a value has another type or is out of range.
    """
    values = read_yaml(path, yaml.SafeLoader) or {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: {values!r:.60}; expected keys and values")
    for override in overrides:
        _override(values, override)
    version = values.get("version", VERSION)
    if isinstance(version, int) and version > VERSION:  # its keys may be unknown here
        raise InputError(
            f"{path}: configuration of version {version}; this release reads up to {VERSION}; "
            "update ssvif, or write the file anew from config/train/default.yaml"
        )
    return _build(TrainConfig, values, str(path))


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """How two configurations differ, in words, besides what may change while a run goes on.

    Args:
        before, now: `dataclasses.asdict` of the configurations. Keys that one of them lacks, as
            after an update or with another stage at the end, are no difference.

    >>> differences({"seed": 1, "workers": 1}, {"seed": 2, "workers": 4})
    ['seed was 1 and is 2']
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    return [
        f"{key} was {old[key]} and is {value}"
        for key, value in new.items()
        if key in old and old[key] != value
        and not any(fnmatch(key, pattern) for pattern in MAY_CHANGE)
    ]  # fmt: skip


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Keys such as `stages.0.steps`, with their values. Lists of plain values stay whole."""
    if isinstance(values, dict):
        items: Any = values.items()
    elif isinstance(values, list) and values and isinstance(values[0], dict):
        items = enumerate(values)
    else:
        yield path, list(values) if isinstance(values, tuple) else values
        return
    for key, value in items:
        yield from _flat(value, f"{path}.{key}" if path else str(key))


def _override(values: dict[str, Any], override: str) -> None:
    """Apply the override `key.key=value` to the nested `values` in place."""
    key, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"override '{override}'; expected key=value, as in seed=3")
    value = parse_yaml(text, f"override '{override}'")
    *parents, last = key.split(".")
    branch: Any = values
    for parent in parents:
        if isinstance(branch, list) and parent.isdigit() and int(parent) < len(branch):
            branch = branch[int(parent)]
        elif isinstance(branch, dict):
            branch = branch.setdefault(parent, {})
        else:
            break
    if not isinstance(branch, dict):
        raise InputError(
            f"override '{override}': '{key}' does not exist; expected a key as in seed=3, "
            "model.size=m or stages.0.steps=500"
        )
    branch[last] = value


def _build(config_class: type[ConfigT], values: Any, where: str) -> ConfigT:
    """An instance of a dataclass from keys and values; `where` begins the error messages."""
    if not isinstance(values, dict):
        raise InputError(f"{where}: {values!r}; expected keys and values")
    hints = typing.get_type_hints(config_class)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            similar = difflib.get_close_matches(str(key), hints, 1)
            expected = f"expected one of {', '.join(hints)}"
            advice = f"did you mean '{similar[0]}'?" if similar else expected
            raise InputError(f"{where}: unknown key '{key}'; {advice}")
        arguments[key] = _convert(hints[key], value, f"{where}: {key}")
    return config_class(**arguments)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """A YAML value as the type `hint`."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise InputError(f"{where}={value!r}; expected a list")
        return [_convert(typing.get_args(hint)[0], item, where) for item in value]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as a text
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InputError(f"{where}={value!r}; expected {hint.__name__}")
    return value
