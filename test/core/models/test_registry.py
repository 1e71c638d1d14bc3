"""A new fusion network needs one class with a decorator. Everything else works with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.errors import InputError
from ssvif_core.graph.agreement import is_accepted
from ssvif_core.graph.export import export_model
from ssvif_core.graph.model_file import read_note
from ssvif_core.losses.fusion import FusionLoss
from ssvif_core.models import Model, ModelConfig, load_model, registry, save_model
from ssvif_core.models.fusion import FusionFeatures, FusionNetwork, luma_of
from ssvif_core.models.registry import fusion_network, fusion_networks
from ssvif_core.types import Pair


@pytest.fixture
def mean_network() -> Iterator[type[FusionNetwork]]:
    """A small network, registered as `mean`: a weighted mean of both lumas."""

    @fusion_network("mean", sizes={"s": {"width": 4}, "m": {"width": 8}})
    class MeanNet(FusionNetwork):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.channels = (width, width, width)
            self.down = nn.Conv2d(2, width, 4, 4)
            self.share = nn.Conv2d(width, 1, 1)

        def forward(self, visible: Tensor, thermal: Tensor) -> FusionFeatures:
            luma = luma_of(visible)
            x4 = torch.relu(self.down(torch.cat([luma, thermal], 1)))
            share = torch.sigmoid(F.interpolate(self.share(x4), scale_factor=4.0, mode="bilinear"))
            x8 = F.avg_pool2d(x4, 2)
            return FusionFeatures(share * (thermal - luma), x4, x8, F.avg_pool2d(x8, 2))

    yield MeanNet
    del registry._registered["mean"]


def test_a_registered_network_is_found_and_built(mean_network: type[FusionNetwork]) -> None:
    assert fusion_networks()["mean"].network is mean_network
    torch.manual_seed(0)
    model = Model(ModelConfig("mean", "m", classes=5))
    assert isinstance(model.fusion, mean_network) and model.fusion.channels == (8, 8, 8)
    prediction = model(torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96))
    assert prediction.fused.shape == (2, 3, 64, 96)
    assert prediction.logits.shape == (2, 5, 16, 24)


def test_a_registered_network_trains(mean_network: type[FusionNetwork]) -> None:
    torch.manual_seed(0)
    model, loss = Model(ModelConfig("mean")), FusionLoss()
    optimiser = torch.optim.Adam(model.fusion.parameters(), 1e-2)
    visible, thermal = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    before = {name: value.clone() for name, value in model.fusion.named_parameters()}

    def total_loss() -> Tensor:
        luma = luma_of(visible)
        fused = luma + model.fusion(visible, thermal).change
        return loss(fused, luma, thermal)["total"]

    first = total_loss()
    first.backward()
    optimiser.step()
    assert total_loss() < first
    for name, parameter in model.fusion.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.slow
def test_a_registered_network_is_saved_and_exported(
    mean_network: type[FusionNetwork], drive_pairs: list[Pair], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save_model(Model(ModelConfig("mean", classes=3)), tmp_path / "mean.safetensors")
    model = load_model(tmp_path / "mean.safetensors")
    assert isinstance(model.fusion, mean_network)
    path = tmp_path / "mean.onnx"
    agreements = export_model(model, path, drive_pairs[:2])
    assert is_accepted(agreements[path], "fp32")
    assert read_note(path).names == ("class 0", "class 1", "class 2")


def test_unknown_networks_are_refused(mean_network: type[FusionNetwork]) -> None:
    with pytest.raises(InputError, match="network 'men'; expected one of .*mean"):
        ModelConfig("men")
    with pytest.raises(InputError, match="model size 'l'; expected one of s, m"):
        ModelConfig("mean", "l")


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'trunk' is registered twice; choose another name"):

        @fusion_network("trunk", sizes={"s": {}})
        class OtherTrunk(FusionNetwork):
            pass

    assert fusion_networks()["trunk"].network.__name__ == "TrunkNet"
