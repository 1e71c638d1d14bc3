"""The stage `regions`: embeddings of regions, learned without labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_trainer import config

from ssvif_core.models import load_model
from ssvif_core.training.config import StageConfig, TrainConfig
from ssvif_core.training.stages.regions import region_contrast_loss, regions_of
from ssvif_core.training.trainer import Trainer


def test_a_region_is_of_one_colour_and_one_warmth() -> None:
    """A red left half, and a warm square that the visible image does not show."""
    visible, thermal = np.zeros((128, 128, 3), np.uint8), np.full((128, 128), 60, np.uint8)
    visible[:, :64] = 40, 40, 200
    visible[:, 64:] = 120, 120, 120
    thermal[32:96, 80:112] = 200
    truth = (visible[..., 2] == 200) + 2 * (thermal == 200)
    images = torch.from_numpy(visible).permute(2, 0, 1)[None], torch.from_numpy(thermal)[None, None]
    ids = regions_of(*images)[0].numpy()
    assert ids.shape == (32, 32) and len(np.unique(ids)) >= 8
    small = truth[2::4, 2::4]
    pure = sum(np.bincount(small[ids == region]).max() for region in np.unique(ids))
    assert pure / small.size > 0.95


def test_no_number_is_in_two_images() -> None:
    torch.manual_seed(0)
    images = [torch.randint(256, (3, channels, 64, 64), dtype=torch.uint8) for channels in (3, 1)]
    numbers = [set(ids.flatten().tolist()) for ids in regions_of(*images)]
    assert len(set.union(*numbers)) == sum(map(len, numbers))


def test_the_loss_asks_for_the_same_region_in_the_teacher() -> None:
    torch.manual_seed(0)
    regions = torch.arange(16).view(1, 4, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)
    embeddings = torch.randn(1, 8, 16, 16)
    means = torch.stack([embeddings[0, :, regions[0] == each].mean(1) for each in range(16)], 1)
    flat = means[:, regions[0]][None]
    assert region_contrast_loss(flat, flat, regions) < 0.1
    assert region_contrast_loss(flat.flip(2), flat, regions) > 2
    # Regions of fewer than four cells do not count.
    regions[0, 0, 0] = 99
    assert region_contrast_loss(flat, flat, regions) < 0.1


def run_of(data: Path, out: Path, steps: int) -> TrainConfig:
    stage = StageConfig("regions", steps, batch=4, crop=64, warmup=2, learning_rate=2e-3)
    return replace(config(data, out), stages=[stage])


@pytest.mark.slow
def test_the_embedding_learns_and_the_fused_image_stays(data: Path, tmp_path: Path) -> None:
    trainer = Trainer(run_of(data, tmp_path, 40))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    visible, thermal = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        image = trainer.model.eval()(visible, thermal).fused
    model = load_model(trainer.run())
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [row["regions"] for row in rows if "regions" in row]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.3
    with torch.no_grad():
        assert (model(visible, thermal).fused - image).abs().mean() < 0.01
    after = model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert any(name.startswith("head.") for name in changed)
    assert not any(name.startswith("head.classify") for name in changed)
    assert all(parameter.requires_grad for parameter in trainer.model.head.parameters())


@pytest.mark.slow
def test_a_stopped_stage_continues_bit_for_bit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = load_file(Trainer(run_of(data, tmp_path / "uninterrupted", 6)).run())
    trainer = Trainer(run_of(data, tmp_path / "stopped", 6))
    backward, calls = trainer.fabric.backward, 0

    def killed_backward(loss: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        backward(loss)

    monkeypatch.setattr(trainer.fabric, "backward", killed_backward)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    resumed = load_file(Trainer(run_of(data, tmp_path / "stopped", 6)).run())
    for name, value in uninterrupted.items():
        assert torch.equal(value, resumed[name]), name
