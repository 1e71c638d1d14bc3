"""Networks (torch). `Model` is what ships: the fusion network F and the feature head S_f."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ssvif_core.errors import InputError, ModelError
from ssvif_core.models.dense_net import DenseFusionNet
from ssvif_core.models.fusion_net import FusionNet
from ssvif_core.models.heads import FeatureHead, NamedHead, Naming
from ssvif_core.models.trunk_net import TrunkHead, TrunkNet

SIZES: dict[str, dict[str, Any]] = {
    "s": {"widths": (16, 24, 40, 64), "depths": (1, 2, 2)},
    "m": {"widths": (24, 40, 64, 96), "depths": (2, 2, 3)},
}
TRUNK_SIZES: dict[str, dict[str, Any]] = {
    "s": {"widths": (16, 32, 48, 64), "depths": (1, 2, 3)},
    "m": {"widths": (24, 48, 72, 112), "depths": (2, 3, 4)},
}
NETWORKS = ("fast", "trunk", "dense")


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a `Model`; stored beside its weights.

    network: `trunk` and `fast` are ours, in two sizes each: one trunk for fusion and classes, or a
        fusion network whose features classes are read from; `dense` is in the manner of SeAFusion,
        and has one size.
    """

    network: str = "fast"
    size: str = "s"
    classes: int = 16

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise InputError(f"network '{self.network}'; expected one of {', '.join(NETWORKS)}")
        if self.size not in SIZES:
            raise InputError(f"model size '{self.size}'; expected one of {', '.join(SIZES)}")
        if not 2 <= self.classes <= 255:
            raise InputError(f"{self.classes} pseudo-classes; expected 2 to 255")


class Model(nn.Module):
    """Fusion network and feature head; with a naming, its names and the layer that gives them.

    names: of the classes that `labeller` gives; numbered pseudo-classes without a naming.
    """

    def __init__(self, config: ModelConfig = ModelConfig(), names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.config = config
        self.fusion: FusionNet | DenseFusionNet
        self.head: FeatureHead | TrunkHead
        if config.network == "trunk":
            self.fusion = TrunkNet(**TRUNK_SIZES[config.size])
            self.head = TrunkHead(self.fusion.channels, config.classes)
        else:
            self.fusion = FusionNet(**SIZES[config.size]) if config.network == "fast" else (
                DenseFusionNet())  # fmt: skip
            self.head = FeatureHead(self.fusion.channels, config.classes)
        self.naming = self._naming(len(names)) if names else None
        self.names = names or tuple(f"class {index}" for index in range(config.classes))

    def name(self, names: tuple[str, ...], weight: Tensor, bias: Tensor) -> None:
        """Give named classes from now on.

        weight (classes, channels), bias (classes,): of a linear layer over `heads.described`.
        """
        self.naming, self.names = self._naming(len(names)), names
        self.naming.set(weight, bias)

    def _naming(self, classes: int) -> Naming:
        return Naming((self.head.width, *self.fusion.channels), classes)

    @property
    def labeller(self) -> nn.Module:
        """`FusionFeatures` -> logits of the classes in `names`, (B, classes, H/4, W/4)."""
        return self.head if self.naming is None else NamedHead(self.head, self.naming)


def save_model(model: Model, path: Path) -> None:
    """Write weights, architecture and names as one safetensors file."""
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    note: dict[str, Any] = asdict(model.config)
    if model.naming is not None:
        note["names"] = model.names
    save_file(weights, path, metadata={"ssvif": json.dumps(note)})


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
