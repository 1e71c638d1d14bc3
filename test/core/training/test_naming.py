"""From pseudo-classes to names: `ssvif name`, and what export makes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from typer.testing import CliRunner

from ssvif_core.cli import app
from ssvif_core.errors import InputError, ModelError
from ssvif_core.models import Model, load_model, save_model
from ssvif_core.models.heads import described
from ssvif_core.recordings.labels import mask_of_boxes
from ssvif_core.training.naming import (
    IGNORE,
    check_ids,
    features_of,
    fit_naming,
)
from ssvif_core.training.tuning import TuningConfig, tune

NAMES = ("background", "person", "car")


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hot people and bright blue cars on grey, with their ids."""
    random = np.random.default_rng(seed)
    visible = random.integers(70, 90, (96, 128, 3), dtype=np.uint8)
    thermal = random.integers(40, 60, (96, 128), dtype=np.uint8)
    mask = np.zeros((96, 128), np.uint8)
    for kind in (1, 2):
        y, x = random.integers(0, 64), random.integers(0, 32) + 64 * (kind - 1)
        mask[y : y + 32, x : x + 32] = kind
    thermal[mask == 1] = 220
    visible[mask == 2] = (250, 60, 20)
    return visible, thermal, mask


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


def test_a_naming_is_one_linear_layer_over_embedding_and_features(model: Model) -> None:
    named = Model()
    named.load_state_dict(model.state_dict())
    channels = named.head.width + sum(named.fusion.channels)
    weight, bias = torch.randn(len(NAMES), channels), torch.randn(len(NAMES))
    named.name(NAMES, weight, bias)
    visible, thermal, _ = scene(0)
    features = features_of(named, visible, thermal)
    told = described(named.head, features)
    expected = torch.einsum("nc,bchw->bnhw", weight, told) + bias[:, None, None]
    torch.testing.assert_close(named.labeller(features), expected, rtol=1e-4, atol=1e-3)


def test_names_learned_on_some_images_hold_on_others(model: Model) -> None:
    named = Model()
    named.load_state_dict(model.state_dict())
    named.name(NAMES, *fit_naming(model, [scene(seed) for seed in range(6)], NAMES))
    visible, thermal, mask = scene(99)
    labels = named.labeller(features_of(named, visible, thermal)).argmax(1)[0].numpy()
    inner = cv2.erode(np.where(mask > 0, 255, 0).astype(np.uint8), np.ones((9, 9)))[2::4, 2::4] > 0
    truth = mask[2::4, 2::4]
    assert (labels[inner] == truth[inner]).mean() > 0.9
    assert (labels[truth == 0] == 0).mean() > 0.8


def test_tuning_learns_what_a_linear_layer_cannot_read_and_leaves_the_image() -> None:
    torch.manual_seed(1)  # features from which a linear layer reads the classes badly
    named = Model().eval()
    examples = [scene(seed) for seed in range(4)]
    named.name(NAMES, *fit_naming(named, examples, NAMES))

    def error_and_image() -> tuple[float, torch.Tensor]:
        visible, thermal, mask = scene(99)
        with torch.no_grad():
            features = features_of(named, visible, thermal)
            ids = torch.from_numpy(mask[2::4, 2::4].astype(int))[None]
            return float(F.cross_entropy(named.labeller(features), ids)), features.change

    error, image = error_and_image()
    done: list[int] = []
    pairs = [(visible, thermal) for visible, thermal, _ in examples]
    tune(named, examples, pairs, TuningConfig(steps=40, batch=3, kept=1, crop=64), done.append)
    tuned_error, tuned_image = error_and_image()
    assert done == list(range(1, 41)) and not named.training
    assert tuned_error < 0.7 * error
    assert float((tuned_image - image).abs().mean()) < 0.01


def test_only_a_named_model_is_tuned(model: Model) -> None:
    with pytest.raises(InputError, match="without names; name its classes first"):
        tune(model, [scene(0)], [scene(0)[:2]])


def test_names_go_with_the_weights_and_into_the_graph(model: Model, tmp_path: Path) -> None:
    from ssvif_core.graph.export import export_model
    from ssvif_core.types import Pair

    named = Model()
    named.load_state_dict(model.state_dict())
    channels = named.head.width + sum(named.fusion.channels)
    named.name(NAMES, torch.randn(3, channels), torch.zeros(3))
    save_model(named, tmp_path / "named.safetensors")
    again = load_model(tmp_path / "named.safetensors")
    assert again.names == NAMES
    visible, thermal, _ = scene(0)
    export_model(again, tmp_path / "named.onnx", [Pair(visible, thermal)])
    notes = {p.key: p.value for p in onnx.load(tmp_path / "named.onnx").metadata_props}
    assert '"person"' in "".join(notes.values())


def test_a_class_without_a_pixel_is_named(model: Model) -> None:
    with pytest.raises(InputError, match="no labelled pixel of bus"):
        fit_naming(model, [scene(0)], (*NAMES, "bus"))


def test_unknown_ids_are_named_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    mask = np.array([[0, 1, 7, 255]], np.uint8)
    assert check_ids(mask, NAMES, "a.png").tolist() == [[0, 1, IGNORE, 255]]
    assert "a.png: ids [7] have no name" in caplog.text
    with pytest.raises(InputError, match="b.png: no pixel has a known class id"):
        check_ids(np.full((2, 2), 9, np.uint8), NAMES, "b.png")


def test_a_box_counts_inside_and_is_ignored_at_its_border(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.4 0.8\n")
    mask = mask_of_boxes(tmp_path / "a.txt", 100, 100)
    assert mask[50, 50] == 2 and mask[50, 33] == IGNORE and mask[50, 25] == 0
    (tmp_path / "b.txt").write_text("1 0.5 0.5\n")
    with pytest.raises(InputError, match="b.txt, line 1: '1 0.5 0.5'; expected `class x y width"):
        mask_of_boxes(tmp_path / "b.txt", 100, 100)


def test_the_command_names_from_masks_and_says_what_is_missing(
    model: Model, tmp_path: Path
) -> None:
    save_model(model, tmp_path / "m.safetensors")
    for folder in ("vi", "ir", "mask"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for seed in range(3):
        for folder, image in zip(("vi", "ir", "mask"), scene(seed), strict=True):
            cv2.imwrite(str(tmp_path / "data" / folder / f"{seed}.png"), image)
    command = [sys.executable, "-m", "ssvif_core.cli", "name", str(tmp_path / "m.safetensors"),
               str(tmp_path / "data"), "--out", str(tmp_path / "named.safetensors")]  # fmt: skip
    run = subprocess.run([*command, "--names", ",".join(NAMES)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert load_model(tmp_path / "named.safetensors").names == NAMES
    # In this process from here on: starting one with torch takes seconds.
    runner, again = CliRunner(), command[3:]
    assert runner.invoke(app, [*again, "--names", "background,person,background"]).exit_code == 0
    assert load_model(tmp_path / "named.safetensors").names == ("background", "person")
    problem = runner.invoke(app, [*again, "--labels", str(tmp_path)]).exception
    assert isinstance(problem, InputError) and "no labels for the 3 pairs" in str(problem)


def test_the_command_names_from_boxes(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m.safetensors")
    for folder in ("vi", "ir", "boxes"):
        (tmp_path / folder).mkdir()
    for seed in range(3):
        visible, thermal, mask = scene(seed)
        cv2.imwrite(str(tmp_path / "vi" / f"{seed}.png"), visible)
        cv2.imwrite(str(tmp_path / "ir" / f"{seed}.png"), thermal)
        x, y, width, height = cv2.boundingRect((mask == 1).astype(np.uint8))
        down, across = mask.shape
        box = ((x + width / 2) / across, (y + height / 2) / down, width / across, height / down)
        line = " ".join(f"{value:.5f}" for value in box)
        (tmp_path / "boxes" / f"{seed}.txt").write_text(f"0 {line}\n")
    command = ["name", str(tmp_path / "m.safetensors"), str(tmp_path), "--labels",
               str(tmp_path / "boxes"), "--names", "background,person", "--out"]  # fmt: skip
    result = CliRunner().invoke(app, [*command, str(tmp_path / "named.safetensors"), "--tune", "1"])
    assert result.exit_code == 0, result.output
    assert load_model(tmp_path / "named.safetensors").names == ("background", "person")
    (tmp_path / "folder.safetensors").mkdir()
    result = CliRunner().invoke(app, [*command, str(tmp_path / "folder.safetensors")])
    assert isinstance(result.exception, InputError) and "cannot be written" in str(result.exception)


@pytest.mark.parametrize("note", ["{", "[1]", '{"size": "xxl"}'])
def test_a_damaged_note_is_told_with_the_files_name(
    model: Model, tmp_path: Path, note: str
) -> None:
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, tmp_path / "m.safetensors", metadata={"ssvif": note})
    with pytest.raises(ModelError, match="m.safetensors: "):
        load_model(tmp_path / "m.safetensors")
