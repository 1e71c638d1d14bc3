"""The networks: folding, sizes, and the fused image of an untrained network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ssvif_core.errors import InputError, ModelError
from ssvif_core.models import Model, ModelConfig, load_model, save_model
from ssvif_core.models.blocks import RepConv, fold
from ssvif_core.models.fusion import exposure, fused_colour, luma_of, spatial_mean
from ssvif_core.models.networks.fast import FastNet
from ssvif_core.models.pixel_net import PixelNet


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [(8, 8), (4, 6)])
def test_a_folded_block_is_the_same_function(
    stride: int, channels: tuple[int, int], norm: bool
) -> None:
    torch.manual_seed(0)
    block = RepConv(*channels, stride=stride, norm=norm)
    torch.nn.init.normal_(block.conv1.weight)
    x = torch.randn(2, channels[0], 12, 16)
    block(x + 1)  # statistics other than 0 and 1
    block.eval()
    plain = block.folded()
    assert torch.allclose(block(x), plain(x), atol=1e-5)
    assert not any(isinstance(m, RepConv) for m in fold(torch.nn.Sequential(block)).modules())


@pytest.mark.parametrize("network", ["fast", "trunk"])
@pytest.mark.parametrize("size", ["s", "m"])
def test_features_are_at_strides_4_8_16_and_logits_at_stride_4(size: str, network: str) -> None:
    model = Model(ModelConfig(network, size, classes=9))
    features = model.fusion(torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96))
    c4, c8, c16 = model.fusion.channels
    assert features.change.shape == (2, 1, 64, 96)
    assert features.stride4.shape == (2, c4, 16, 24)
    assert features.stride8.shape == (2, c8, 8, 12)
    assert features.stride16.shape == (2, c16, 4, 6)
    assert model.head(features).shape == (2, 9, 16, 24)


def test_an_untrained_network_shows_the_brighter_camera() -> None:
    visible, thermal = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 1, 32, 32), 0.2)
    visible[..., :16], thermal[..., 16:] = 0.8, 0.9
    torch.manual_seed(0)
    fused = luma_of(fused_colour(visible, FastNet()(visible, thermal).change))
    assert torch.allclose(fused[..., :16], torch.tensor(0.8), atol=0.08)
    assert torch.allclose(fused[..., 16:], torch.tensor(0.9), atol=0.08)


def test_exposure_is_the_exposure_of_the_darker_image() -> None:
    bright, middle, dark = (
        spatial_mean(torch.full((1, 1, 8, 8), level)) for level in (0.9, 0.2, 0.1)
    )
    assert exposure(bright, dark).item() == exposure(dark, bright).item() == 0
    assert exposure(bright, bright).item() == 1
    assert exposure(middle, bright).item() == pytest.approx(0.5, abs=1e-5)
    assert exposure(torch.cat([dark, bright]), torch.cat([bright, bright])).flatten().tolist() == [
        0, 1,
    ]  # fmt: skip


def test_the_fused_image_keeps_the_visible_hue() -> None:
    visible = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    fused = fused_colour(visible, torch.full((1, 1, 1, 1), 0.1))
    assert torch.allclose(fused - visible, torch.tensor(0.1))
    assert torch.allclose(luma_of(fused) - luma_of(visible), torch.tensor(0.1), atol=1e-6)


def test_logits_of_the_pixel_network_are_at_stride_4() -> None:
    assert PixelNet(classes=5)(torch.rand(1, 3, 32, 48)).shape == (1, 5, 8, 12)


def test_saved_weights_are_loaded_unchanged(tmp_path: Path) -> None:
    model = Model(ModelConfig(classes=5))
    save_model(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert again.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_errors_say_why_weights_cannot_be_loaded(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(ModelError, match="no such file of weights"):
        load_model(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelError, match="not an ssvif model"):
        load_model(tmp_path / "foreign.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")
    with pytest.raises(ModelError, match="cut.safetensors"):
        load_model(tmp_path / "cut.safetensors")
    save_file(
        {"x": torch.zeros(1)}, tmp_path / "other.safetensors",
        metadata={"ssvif": '{"size": "s", "classes": 4}'},
    )  # fmt: skip
    with pytest.raises(ModelError, match="does not hold the weights"):
        load_model(tmp_path / "other.safetensors")


def test_impossible_architectures_are_refused() -> None:
    with pytest.raises(InputError, match="size 'xl'; expected one of s, m"):
        ModelConfig(size="xl")
    with pytest.raises(InputError, match="1 pseudo-classes"):
        ModelConfig(classes=1)


def test_the_shipped_weights_and_the_shipped_graph_give_the_same() -> None:
    from ssvif_core.graph.export import raw_module, run_module
    from ssvif_core.graph.model_file import DEFAULT_MODEL
    from ssvif_core.pipeline import FusionPipeline
    from ssvif_core.types import Pair

    random = np.random.default_rng(0)
    pair = Pair(
        random.integers(0, 256, (64, 96, 3), dtype=np.uint8),
        random.integers(0, 256, (48, 64), dtype=np.uint8),
    )
    module = raw_module(load_model(DEFAULT_MODEL.with_suffix(".safetensors")))
    expected = run_module(module, pair, np.array((0, 255), np.float32))
    assert np.abs(FusionPipeline(precision="fp32")(pair).fused.astype(int) - expected[0]).max() <= 1
