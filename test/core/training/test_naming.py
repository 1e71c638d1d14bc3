"""Naming: from pseudo-classes to named classes, with `ssvif name` and in the exported graph."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from scenes import people_and_cars
from typer.testing import CliRunner

from ssvif_core.cli import app
from ssvif_core.errors import InputError, ModelError
from ssvif_core.labels.prelabels import labelme_text, outlines
from ssvif_core.models import Model, ModelConfig, load_model, save_model
from ssvif_core.models.heads import described
from ssvif_core.training.naming import IGNORE, check_ids, fit_naming
from ssvif_core.training.overlay import scores
from ssvif_core.training.prediction import features_of, fuse_and_label

NAMES = ("background", "person", "car")


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


def test_a_naming_is_one_linear_layer_over_embedding_and_features(model: Model) -> None:
    named = Model()
    named.load_state_dict(model.state_dict())
    width = named.head.width + sum(named.fusion.channels)
    weight, bias = torch.randn(len(NAMES), width), torch.randn(len(NAMES))
    named.name(NAMES, weight, bias)
    visible, thermal, _ = people_and_cars(0)
    features = features_of(named, visible, thermal)
    channels = described(named.head, features)
    expected = torch.einsum("nc,bchw->bnhw", weight, channels) + bias[:, None, None]
    torch.testing.assert_close(named.labeller(features), expected, rtol=1e-4, atol=1e-3)


def test_names_from_some_images_fit_other_images(model: Model) -> None:
    named = Model()
    named.load_state_dict(model.state_dict())
    named.name(NAMES, *fit_naming(model, [people_and_cars(seed) for seed in range(6)], NAMES))
    visible, thermal, mask = people_and_cars(99)
    labels = named.labeller(features_of(named, visible, thermal)).argmax(1)[0].numpy()
    is_inner = (
        cv2.erode(np.where(mask > 0, 255, 0).astype(np.uint8), np.ones((9, 9)))[2::4, 2::4] > 0
    )
    truth = mask[2::4, 2::4]
    assert (labels[is_inner] == truth[is_inner]).mean() > 0.9
    assert (labels[truth == 0] == 0).mean() > 0.8


def test_the_exposure_of_an_image_names_no_pixel() -> None:
    """It is a channel of the trunk that is the same all over an image.

    Here the image with more people is a little brighter. A naming that reads this would take all
    pixels of a bright image for people.
    """
    torch.manual_seed(0)
    named = Model(ModelConfig("trunk")).eval()
    labelled = []
    for seed, brightness in ((0, 0.17), (1, 0.1)):  # the exposure begins to count at 0.15
        visible, thermal, mask = people_and_cars(seed)
        dark = [np.clip(image * (brightness * 255 / image.mean()), 0, 255).astype(np.uint8)
                for image in (visible, thermal)]  # fmt: skip
        labelled.append((*dark, mask if seed == 0 else cv2.erode(mask, np.ones((9, 9)))))
    exposures = [features_of(named, *pair[:2]).stride4[0, -1] for pair in labelled]
    assert all(each.std() < 1e-6 for each in exposures) and exposures[0][0, 0] > 0.1
    weight, _ = fit_naming(named, labelled, NAMES)
    is_used = (weight != 0).any(0)
    assert not is_used[named.head.width + named.fusion.channels[0] - 1]
    assert is_used.float().mean() > 0.9


@pytest.mark.slow
def test_names_are_stored_with_the_weights_and_in_the_graph(model: Model, tmp_path: Path) -> None:
    from ssvif_core.graph.export import export_model
    from ssvif_core.types import Pair

    named = Model()
    named.load_state_dict(model.state_dict())
    channels = named.head.width + sum(named.fusion.channels)
    named.name(NAMES, torch.randn(3, channels), torch.zeros(3))
    save_model(named, tmp_path / "named.safetensors")
    loaded = load_model(tmp_path / "named.safetensors")
    assert loaded.names == NAMES
    visible, thermal, _ = people_and_cars(0)
    export_model(loaded, tmp_path / "named.onnx", [Pair(visible, thermal)])
    notes = {p.key: p.value for p in onnx.load(tmp_path / "named.onnx").metadata_props}
    assert '"person"' in "".join(notes.values())


def test_an_error_names_a_class_without_a_labelled_pixel(model: Model) -> None:
    with pytest.raises(InputError, match="no labelled pixel of bus"):
        fit_naming(model, [people_and_cars(0)], (*NAMES, "bus"))


def test_unknown_ids_are_reported_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    mask = np.array([[0, 1, 7, 255]], np.uint8)
    assert check_ids(mask, NAMES, "a.png").tolist() == [[0, 1, IGNORE, 255]]
    assert "a.png: ids [7] have no name" in caplog.text
    with pytest.raises(InputError, match="b.png: no pixel has a known class id"):
        check_ids(np.full((2, 2), 9, np.uint8), NAMES, "b.png")


@pytest.mark.slow
def test_the_command_reads_masks_and_reports_missing_labels(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m.safetensors")
    for folder in ("vi", "ir", "mask"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for seed in range(3):
        for folder, image in zip(("vi", "ir", "mask"), people_and_cars(seed), strict=True):
            cv2.imwrite(str(tmp_path / "data" / folder / f"{seed}.png"), image)
    command = [sys.executable, "-m", "ssvif_core.cli", "name", str(tmp_path / "m.safetensors"),
               str(tmp_path / "data"), "--out", str(tmp_path / "named.safetensors")]  # fmt: skip
    run = subprocess.run([*command, "--names", ",".join(NAMES)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert load_model(tmp_path / "named.safetensors").names == NAMES
    # The rest runs in this process, because a new one takes seconds to import torch.
    runner, arguments = CliRunner(), command[3:]
    assert (
        runner.invoke(app, [*arguments, "--names", "background,person,background"]).exit_code == 0
    )
    assert load_model(tmp_path / "named.safetensors").names == ("background", "person")
    problem = runner.invoke(app, [*arguments, "--labels", str(tmp_path)]).exception
    assert isinstance(problem, InputError) and "no labels for the 3 pairs" in str(problem)


def test_every_fifth_labelled_image_is_left_out_and_scored(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m.safetensors")
    for folder in ("vi", "ir", "mask"):
        (tmp_path / folder).mkdir()
    for seed in range(7):
        for folder, image in zip(("vi", "ir", "mask"), people_and_cars(seed), strict=True):
            cv2.imwrite(str(tmp_path / folder / f"{seed}.png"), image)
    command = ["name", str(tmp_path / "m.safetensors"), str(tmp_path), "--names", ",".join(NAMES),
               "--out", str(tmp_path / "named.safetensors")]  # fmt: skip
    result = CliRunner().invoke(app, command)
    scored = re.search(r"IoU on 1 labelled images that were left out: (.*)", result.output)
    assert scored is not None and "from 6 labelled images" in result.output
    shown = dict(part.rsplit(" ", 1) for part in scored[1].split(", "))
    named = load_model(tmp_path / "named.safetensors")
    expected = scores(named, [people_and_cars(4)], torch.device("cpu")).iou
    assert shown == {name: f"{iou:.2f}" for name, iou in zip(NAMES, expected, strict=True)}
    result = CliRunner().invoke(app, [*command, "--hold-out", "0"])
    assert "IoU" not in result.output and "from 7 labelled images" in result.output


def test_the_command_reads_boxes(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m.safetensors")
    for folder in ("vi", "ir", "boxes"):
        (tmp_path / folder).mkdir()
    for seed in range(3):
        visible, thermal, mask = people_and_cars(seed)
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


def test_the_command_reads_what_labelling_programs_write(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Here labelme's files; test/core/labels has all forms."""
    save_model(model, tmp_path / "m.safetensors")
    for folder in ("vi", "ir", "labels"):
        (tmp_path / folder).mkdir()
    for seed in range(3):
        visible, thermal, mask = people_and_cars(seed)
        cv2.imwrite(str(tmp_path / "vi" / f"{seed}.png"), visible)
        cv2.imwrite(str(tmp_path / "ir" / f"{seed}.png"), thermal)
        text = labelme_text(outlines(mask, ("background", "person", "bus")), "x.png", *mask.shape)
        (tmp_path / "labels" / f"{seed}.json").write_text(text)
    (tmp_path / "labels" / "other.json").write_text(labelme_text([], "x.png", 9, 9))
    command = ["name", str(tmp_path / "m.safetensors"), str(tmp_path), "--names",
               "background,person", "--labels", str(tmp_path / "labels"),
               "--out", str(tmp_path / "named.safetensors")]  # fmt: skip
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "1 of 4 labels fit no pair: other" in caplog.text
    assert "the classes bus of the labels have no name and are ignored" in caplog.text
    visible, thermal, mask = people_and_cars(1)
    _, ids = fuse_and_label(load_model(tmp_path / "named.safetensors"), visible, thermal)
    assert (ids[mask == 1] == 1).mean() > 0.6 and (ids[mask == 0] == 0).mean() > 0.8
    for file in (tmp_path / "labels").glob("[012].json"):
        file.unlink()
    problem = CliRunner().invoke(app, command).exception
    assert isinstance(problem, InputError) and "are they labels of other images" in str(problem)


@pytest.mark.parametrize("note", ["{", "[1]", '{"size": "xxl"}'])
def test_an_error_about_a_damaged_note_names_the_file(
    model: Model, tmp_path: Path, note: str
) -> None:
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, tmp_path / "m.safetensors", metadata={"ssvif": note})
    with pytest.raises(ModelError, match="m.safetensors: "):
        load_model(tmp_path / "m.safetensors")
