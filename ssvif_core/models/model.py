"""The model: fusion network F, feature head S_f and their names; what ships."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ssvif_core.errors import InputError, ModelError
from ssvif_core.files import write_atomically
from ssvif_core.models.fusion import FusionFeatures, fused_colour
from ssvif_core.models.heads import NamedHead, Naming
from ssvif_core.models.registry import fusion_networks


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a `Model`; stored beside its weights.

    Attributes:
        network: name of a registered fusion network; see `models/networks/`.
        size: one of the network's sizes.
        classes: number of pseudo-classes.
    """

    network: str = "fast"
    size: str = "s"
    classes: int = 16

    def __post_init__(self) -> None:
        networks = fusion_networks()
        if self.network not in networks:
            raise InputError(f"network '{self.network}'; expected one of {', '.join(networks)}")
        sizes = networks[self.network].sizes
        if self.size not in sizes:
            raise InputError(f"model size '{self.size}'; expected one of {', '.join(sizes)}")
        if not 2 <= self.classes <= 255:
            raise InputError(f"{self.classes} pseudo-classes; expected 2 to 255")

    def __str__(self) -> str:
        return f"network {self.network}, size {self.size}, {self.classes} classes"


@dataclass(frozen=True)
class Prediction:
    """What a `Model` gives for a batch.

    Attributes:
        fused: fused colour images, (B, 3, H, W) BGR in [0, 1].
        logits: of the classes in `Model.names`, (B, classes, H/4, W/4).
        features: the features of F.
    """

    fused: Tensor
    logits: Tensor
    features: FusionFeatures


class Model(nn.Module):
    """Fusion network and feature head.

    Attributes:
        fusion: F.
        head: S_f.
        naming: turns pseudo-classes and features into named classes; None without names.
        names: names of the classes that `labeller` gives. Without a naming, pseudo-classes have
            numbers.

    >>> import torch
    >>> model = Model(ModelConfig("trunk"), names=("background", "person"))
    >>> prediction = model(torch.rand(1, 3, 64, 96), torch.rand(1, 1, 64, 96))
    >>> tuple(prediction.fused.shape), tuple(prediction.logits.shape)
    ((1, 3, 64, 96), (1, 2, 16, 24))
    """

    def __init__(self, config: ModelConfig = ModelConfig(), names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.config = config
        registered = fusion_networks()[config.network]
        self.fusion, self.head = registered.build(config.size, config.classes)
        self.naming = self._new_naming(len(names)) if names else None
        self.names = names or tuple(f"class {index}" for index in range(config.classes))

    def forward(self, visible: Tensor, thermal: Tensor) -> Prediction:
        """Fuse and segment a batch.

        Args:
            visible: (B, 3, H, W) BGR in [0, 1]; H and W are multiples of 16.
            thermal: (B, 1, H, W) in [0, 1].
        """
        features: FusionFeatures = self.fusion(visible, thermal)
        fused = fused_colour(visible, features.change.float())
        return Prediction(fused, self.labeller(features), features)

    def name(self, names: tuple[str, ...], weight: Tensor, bias: Tensor) -> None:
        """Give named classes from now on.

        Args:
            weight, bias: (classes, channels) and (classes,), of a linear layer on
                `heads.described`.
        """
        self.naming, self.names = self._new_naming(len(names)), names
        self.naming.set(weight, bias)

    def _new_naming(self, classes: int) -> Naming:
        return Naming((self.head.width, *self.fusion.channels), classes)

    @property
    def labeller(self) -> nn.Module:
        """`FusionFeatures` -> logits of the classes in `names`, (B, classes, H/4, W/4)."""
        return self.head if self.naming is None else NamedHead(self.head, self.naming)


def save_model(model: Model, path: Path) -> None:
    """Write weights, architecture and names as one safetensors file.

    Raises:
        OSError: the file cannot be written. An older file is unchanged.
    """
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    note: dict[str, Any] = asdict(model.config)
    if model.naming is not None:
        note["names"] = model.names
    write_atomically(path, save(weights, metadata={"ssvif": json.dumps(note)}))


def load_model(path: Path) -> Model:
    """Read a model that `save_model` wrote; it comes in evaluation mode.

    Raises:
        ModelError: the file is missing, damaged, foreign, or of another architecture.
    """
    inside = path / "model.safetensors"
    if inside.is_file():
        raise ModelError(f"{path}: a folder; expected a file of weights: give {inside}")
    if path.suffix == ".onnx":
        raise ModelError(
            f"{path}: an exported graph; expected weights: give the .safetensors file that it was "
            "exported from"
        )
    if not path.is_file():
        raise ModelError(
            f"{path}: no such file of weights; `ssvif train` and `ssvif adapt` write "
            "model.safetensors into their folder when they end"
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if "ssvif" not in metadata:
            raise ModelError(f"{path}: weights without our architecture note; not an ssvif model")
        note = json.loads(metadata["ssvif"])
        names = tuple(note.pop("names", ()))
        model = Model(ModelConfig(**note), names)
        model.load_state_dict(load_file(path))
    except (
        SafetensorError, RuntimeError, TypeError, ValueError, AttributeError, InputError,
    ) as error:  # fmt: skip
        raise ModelError(
            f"{path}: does not hold the weights of an ssvif model of this version "
            f"({str(error)[:200]}); train or export it again"
        ) from error
    return model.eval()
