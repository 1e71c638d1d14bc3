"""Adaptation: shipped weights learn from a recording, and must prove themselves."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from test_trainer import ROOT
from typer.testing import CliRunner

from ssvif_core.cli import app
from ssvif_core.errors import InputError
from ssvif_core.models import Model, ModelConfig, load_model
from ssvif_core.recordings.video import VideoWriter
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.training.adaptation import AdaptConfig, adapt, judge
from ssvif_core.training.prediction import fuse_and_label

WEIGHTS = ROOT / "ssvif_core/weights/ssvif_s.safetensors"


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Fourteen pairs of a generated drive at night, 160x128."""
    config = DriveConfig(condition="night", visible_size=(160, 128), thermal_size=(160, 128))
    frames = (DriveGenerator(config).frame(8 * number) for number in range(14))
    return [
        (
            frame.visible,
            (np.clip((frame.thermal.astype(float) - 6800) / 4, 0, 255)).astype(np.uint8),
        )
        for frame in frames
    ]


@pytest.fixture(scope="module")
def shipped() -> Model:
    return load_model(WEIGHTS)


def test_the_fusion_loss_of_other_pairs_falls_and_the_names_stay(
    shipped: Model, pairs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    before = {name: value.clone() for name, value in shipped.state_dict().items()}
    steps: list[int] = []
    new = adapt(shipped, pairs[:12], AdaptConfig(steps=40, batch=4, crop=96), steps.append)
    assert steps == list(range(1, 41))
    assert all(torch.equal(value, before[name]) for name, value in shipped.state_dict().items())
    assert new.names == shipped.names and not new.training
    for pair in pairs[12:]:
        assert np.array_equal(fuse_and_label(shipped, *pair)[1], fuse_and_label(new, *pair)[1])
    old_loss, new_loss = judge(shipped, new, pairs[12:]).figures["L_fus"]
    assert new_loss < old_loss


def test_equal_weights_are_not_better(
    shipped: Model, pairs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    verdict = judge(shipped, copy.deepcopy(shipped), pairs[12:])
    assert len(verdict.reasons) == 1
    assert "the fusion loss went from" in verdict.reasons[0]


def test_weights_that_lose_the_image_are_worse(
    shipped: Model, pairs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    dull = copy.deepcopy(shipped)
    with torch.no_grad():
        dull.fusion.mix_gain.weight.zero_()
        dull.fusion.mix_offset.bias.add_(4.0)
    assert any("fell from" in reason for reason in judge(shipped, dull, pairs[12:]).reasons)


def test_weights_that_lose_persons_are_worse(
    shipped: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warm person before grey: the new image is the better one but for the person."""
    visible = np.random.default_rng(0).integers(90, 110, (96, 128, 3)).astype(np.uint8)
    thermal, ids = np.full((96, 128), 60, np.uint8), np.zeros((96, 128), np.uint8)
    thermal[30:70, 50:65], ids[30:70, 50:65] = 220, shipped.names.index("person")
    new = copy.deepcopy(shipped)

    def fuse(model: Model, *_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image = visible.copy()
        image[30:70, 50:65] += np.uint8(60 if model is new else 100)
        return image, ids

    monkeypatch.setattr("ssvif_core.training.adaptation.fuse_and_label", fuse)
    verdict = judge(shipped, new, [(visible, thermal)])
    before, after = verdict.figures["person contrast"]
    assert after == pytest.approx(0.6 * before, rel=0.1)
    assert any(reason.startswith("person contrast fell from") for reason in verdict.reasons)
    ids[:] = 0
    assert "person contrast" not in judge(shipped, new, [(visible, thermal)]).figures


def test_image_and_labels_have_the_size_of_the_pair(shipped: Model) -> None:
    random = np.random.default_rng(0)
    visible = random.integers(0, 256, (61, 75, 3)).astype(np.uint8)
    image, ids = fuse_and_label(shipped, visible, visible[..., 0])
    assert image.shape == (61, 75, 3) and ids.shape == (61, 75)


@pytest.fixture(scope="module")
def recording(
    pairs: list[tuple[np.ndarray, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("recording")
    for number, images in enumerate(pairs):
        for kind, image in zip(("vi", "ir"), images, strict=True):
            (root / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(root / kind / f"{number:02d}.png"), image)
    return root


def run(recording: Path, out: Path, *options: object):
    command = ["adapt", str(recording), "--out", str(out), "--every", "1", *map(str, options)]
    return CliRunner().invoke(app, command)


@pytest.mark.slow
def test_the_command_writes_weights_figures_pictures_and_a_report(
    pairs: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    """Two videos of 30 frames: 27 to learn from, and the last three to judge by."""
    recording, out = tmp_path / "drive", tmp_path / "out"
    for kind, images in zip(("vi", "ir"), zip(*pairs, strict=True), strict=True):
        (recording / kind).mkdir(parents=True)
        with VideoWriter(recording / kind / "clip.mp4", 30) as video:
            for number in range(30):
                image = images[number % len(images)]
                video.write(image if image.ndim == 3 else cv2.merge([image] * 3))
    result = run(recording, out, "--steps", 30)
    facts = json.loads((out / "adapt.json").read_text())
    assert (facts["learned from"], facts["held out"]) == (27, 3)
    assert result.exit_code == (0 if facts["kept"] == "new" else 4), result.output
    assert facts["figures"]["flicker"]["old"] > 0
    assert cv2.imread(str(out / "before_after.png")).shape == (3 * 128, 4 * 160, 3)
    report = (out / "report.html").read_text()
    assert "our model old" in report and "our model new" in report and "#27" in report
    assert f"the {facts['kept']} weights" in report
    weights = load_model(out / "model.safetensors").state_dict()
    shipped = load_model(WEIGHTS).state_dict()
    is_old = all(torch.equal(value, shipped[name]) for name, value in weights.items())
    assert is_old == (facts["kept"] == "old")
    again = run(recording, out)
    assert "is not empty; choose a new folder" in str(again.exception)


def test_a_command_that_is_stopped_says_what_is_there(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ssvif_core.training.adaptation.adapt", stop)
    result = run(recording, tmp_path / "out")
    assert result.exit_code == 130 and f"nothing is written to {tmp_path / 'out'}" in result.output
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("ssvif_core.cli.extract.extract_pairs", stop)
    command = ["extract", str(recording), "--out", str(tmp_path / "extracted")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 130 and "the same command goes on" in result.output


@pytest.mark.slow
def test_worse_weights_are_not_kept(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No steps' worth of learning: the copy is the old model, which is not better."""
    monkeypatch.setattr(
        "ssvif_core.training.adaptation.adapt", lambda model, *_: copy.deepcopy(model)
    )
    nothing = SimpleNamespace(methods=(), problems=(), warnings=())
    monkeypatch.setattr("ssvif_core.cli.adapt._write_report", lambda *_: nothing)
    result = run(recording, tmp_path / "out")
    assert result.exit_code == 4
    assert "the old weights, since the new ones are worse: the fusion loss" in result.output


def test_recordings_that_teach_nothing_are_refused(
    shipped: Model, recording: Path, tmp_path: Path, pairs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    few = tmp_path / "few"
    for kind in ("vi", "ir"):
        (few / kind).mkdir(parents=True)
        for file in sorted((recording / kind).iterdir())[:3]:
            (few / kind / file.name).write_bytes(file.read_bytes())
    error = run(few, tmp_path / "out").exception
    assert isinstance(error, InputError)
    assert "2 pairs to learn from; expected at least 10" in str(error)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="weights of the network dense; expected trunk or fast"):
        adapt(Model(ModelConfig("dense")), pairs)
    noise = np.random.default_rng(0)
    covered = [(v, noise.integers(100, 103, t.shape).astype(np.uint8)) for v, t in pairs]
    with pytest.raises(InputError, match="contrast of 0.8 grey levels; .* is the camera covered"):
        adapt(shipped, covered)
    still = [(pairs[0][0], thermal) for _, thermal in pairs]
    with pytest.raises(InputError, match="all pairs show the same scene: they differ by 0.0"):
        adapt(shipped, still)
