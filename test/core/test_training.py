"""Training: configuration, crops, and a run that can be stopped at any time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ssvif_core.data.pairs import CropDataset, read_pairs
from ssvif_core.data.views import ViewConfig, draw_views
from ssvif_core.errors import InputError
from ssvif_core.losses.fusion import FusionLoss
from ssvif_core.models import Model, load_model
from ssvif_core.models.fusion_net import fused_colour, luma_of
from ssvif_core.training.config import StageConfig, TrainConfig, load_config
from ssvif_core.training.trainer import Trainer, TrainingError
from ssvif_core.types import Pair

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, drive_pairs: list[Pair]) -> Path:
    root = tmp_path_factory.mktemp("data")
    for folder in ("vi", "ir"):
        (root / folder).mkdir()
    for index, pair in enumerate(drive_pairs[:6]):
        cv2.imwrite(str(root / "vi" / f"{index}.png"), pair.visible)
        cv2.imwrite(str(root / "ir" / f"{index}.png"), pair.thermal)
    return root


def config(data: Path, out: Path, steps: int = 6, **changes) -> TrainConfig:
    stages = [
        StageConfig("fusion", steps, batch=2, crop=64, warmup=2),
        StageConfig("consistency", steps, batch=2, crop=64, warmup=2),
    ]
    base = TrainConfig([str(data)], out=str(out), workers=0, log_every=1, save_every=3,
                       stages=stages)  # fmt: skip
    return replace(base, **changes)


def loss_of(model: Model, data: Path) -> float:
    """L_fus of a model on whole images."""
    losses = []
    with torch.no_grad():
        for image, heat in read_pairs(data):
            visible = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
            thermal = torch.from_numpy(heat)[None, None] / 255
            fused = luma_of(fused_colour(visible, model.fusion(visible, thermal).change))
            losses.append(float(FusionLoss()(fused, luma_of(visible), thermal)["total"]))
    return float(np.mean(losses))


def test_both_stages_train_what_they_should(data: Path, tmp_path: Path) -> None:
    untrained = Trainer(config(data, tmp_path, steps=60)).model
    trained = load_model(Trainer(config(data, tmp_path, steps=60)).run())
    assert loss_of(trained, data) < 0.9 * loss_of(untrained, data)
    before, after = untrained.state_dict(), trained.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in after if "head" in name)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in log} == {"fusion", "consistency"}
    assert {"consistency", "information", "entropy"} <= set(log[-1])


@pytest.mark.parametrize("stop", [3, 9], ids=["in the first stage", "in the second stage"])
def test_a_stopped_run_goes_on_bit_for_bit(data: Path, tmp_path: Path, stop: int) -> None:
    straight = load_file(Trainer(config(data, tmp_path / "straight")).run())
    trainer = Trainer(config(data, tmp_path / "stopped"))
    done = 0

    def stop_after(**values: object) -> None:
        nonlocal done
        done += 1
        if done == stop + 1:
            raise KeyboardInterrupt

    trainer._log = stop_after  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    resumed = load_file(Trainer(config(data, tmp_path / "stopped")).run())
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    data: Path, tmp_path: Path
) -> None:
    trainer = Trainer(config(data, tmp_path))
    forward = trainer.fusion_loss.forward

    def broken(*images: torch.Tensor) -> dict[str, torch.Tensor]:
        losses = forward(*images)
        steps = sum(1 for _ in (tmp_path / "log.jsonl").open()) if (
            tmp_path / "log.jsonl").exists() else 0  # fmt: skip
        return {**losses, "total": losses["total"] * (float("nan") if steps == 4 else 1.0)}

    trainer.fusion_loss.forward = broken  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="stage fusion, step 4: the loss is nan; the last good"):
        trainer.run()
    assert json.loads((tmp_path / "checkpoint/state.json").read_text())["step"] == 3


def test_a_crop_is_a_function_of_seed_and_number() -> None:
    random = np.random.default_rng(0)
    pairs = [(random.integers(0, 256, (90, 120, 3), dtype=np.uint8),
              random.integers(0, 256, (90, 120), dtype=np.uint8))]  # fmt: skip
    one, two = CropDataset(pairs, 64, 5, 100), CropDataset(pairs, 64, 5, 100)
    for number in (7, 3):
        for key, value in one[number].items():
            assert torch.equal(value, two[number][key])
    assert not torch.equal(one[7]["visible"], one[8]["visible"])


def test_views_of_a_sample_do_not_depend_on_its_batch() -> None:
    visible, thermal, seeds = torch.rand(4, 3, 32, 32), torch.rand(4, 1, 32, 32), torch.arange(4)
    together = draw_views(visible, thermal, seeds, ViewConfig())
    alone = draw_views(visible[2:3], thermal[2:3], seeds[2:3], ViewConfig())
    for whole, part in zip(together, alone, strict=True):
        assert torch.equal(whole[2:3], part)
        assert whole.min() >= 0 and whole.max() <= 1


def test_an_unreadable_image_is_named_and_skipped(data: Path, caplog) -> None:
    bad = data / "vi" / "9.png"
    bad.write_bytes(b"broken")
    (data / "ir" / "9.png").write_bytes(b"broken")
    try:
        assert len(list(read_pairs(data))) == 6
        assert "9.png: not a readable image" in caplog.text
    finally:
        bad.unlink()
        (data / "ir" / "9.png").unlink()


def test_folders_without_pairs_list_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "colour").mkdir()
    with pytest.raises(InputError, match="no pair of folders.*found: colour"):
        list(read_pairs(tmp_path))


def test_the_shipped_configuration_loads_and_takes_overrides() -> None:
    path = ROOT / "config/train/default.yaml"
    loaded = load_config(path, ["seed=7", "model.size=m", "loss.gradient=5"])
    assert (loaded.seed, loaded.model.size, loaded.loss.gradient) == (7, "m", 5.0)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("sed=3", "unknown key 'sed'; did you mean 'seed'?"),
        ("model.sise=m", "unknown key 'sise'; did you mean 'size'?"),
        ("seed=three", "seed='three'; expected int"),
        ("stages=[{name: warm}]", "stage 'warm'; expected fusion or consistency"),
        ("seed", "override 'seed'; expected key=value"),
    ],
)
def test_a_wrong_key_names_the_nearest_right_one(override: str, text: str) -> None:
    with pytest.raises(InputError) as error:
        load_config(ROOT / "config/train/default.yaml", [override])
    assert text in str(error.value)
