"""Networks (torch). `Model` is what ships: the fusion network F and the feature head S_f."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ssvif_core.errors import InputError, ModelError
from ssvif_core.models.fusion_net import FusionNet
from ssvif_core.models.heads import FeatureHead

SIZES: dict[str, dict[str, Any]] = {
    "s": {"widths": (16, 24, 40, 64), "depths": (1, 2, 2)},
    "m": {"widths": (24, 40, 64, 96), "depths": (2, 2, 3)},
}


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a `Model`; stored beside its weights."""

    size: str = "s"
    classes: int = 16

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise InputError(f"model size '{self.size}'; expected one of {', '.join(SIZES)}")
        if not 2 <= self.classes <= 255:
            raise InputError(f"{self.classes} pseudo-classes; expected 2 to 255")


class Model(nn.Module):
    """Fusion network and feature head."""

    def __init__(self, config: ModelConfig = ModelConfig()) -> None:
        super().__init__()
        self.config = config
        self.fusion = FusionNet(**SIZES[config.size])
        self.head = FeatureHead(self.fusion.channels, config.classes)


def save_model(model: Model, path: Path) -> None:
    """Write weights and architecture as one safetensors file."""
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, path, metadata={"ssvif": json.dumps(asdict(model.config))})


def load_model(path: Path) -> Model:
    """A model from a safetensors file of `save_model`, in evaluation mode.

    Raises:
        ModelError: the file is missing, damaged, not ours, or of another architecture.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if "ssvif" not in metadata:
            raise ModelError(f"{path}: weights without our architecture note; not an ssvif model")
        model = Model(ModelConfig(**json.loads(metadata["ssvif"])))
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"{path}: does not hold the weights of an ssvif model of this version ({error}); "
            "train or export it again"
        ) from error
    return model.eval()
