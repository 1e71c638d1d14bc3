"""The commands of `ssvif`, run as separate processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from ssvif_core.cli import app
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.types import Pair


def ssvif(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a user types it."""
    command = [sys.executable, "-m", "ssvif_core.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def folders(tmp_path: Path, drive_pairs: list[Pair]) -> Path:
    """Pairs a to c with different sizes, formats and bit depths."""
    formats = [("a", ".png", ".png", 1.0), ("b", ".jpg", ".tiff", 0.7), ("c", ".bmp", ".jpg", 0.4)]
    for (name, visible, thermal, scale), pair in zip(formats, drive_pairs, strict=False):
        for folder in ("vi", "ir"):
            (tmp_path / folder).mkdir(exist_ok=True)
        image = cv2.resize(pair.visible, None, fx=scale, fy=scale)
        counts = pair.thermal if thermal != ".jpg" else (pair.thermal // 40).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "vi" / (name + visible)), image)
        cv2.imwrite(str(tmp_path / "ir" / (name + thermal)), counts)
    return tmp_path


def test_fuse_writes_pngs_of_the_visible_size(folders: Path) -> None:
    result = ssvif(
        "fuse", "--visible", folders / "vi", "--thermal", folders / "ir", "--out", folders / "out",
        "--labels", folders / "labels", "--overlay", folders / "overlay",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for visible in (folders / "vi").iterdir():
        size = cv2.imread(str(visible)).shape
        for folder in ("out", "labels", "overlay"):
            output = cv2.imread(str(folders / folder / f"{visible.stem}.png"), cv2.IMREAD_UNCHANGED)
            assert output.shape[:2] == size[:2]
            assert output.ndim == (2 if folder == "labels" else 3)


def test_fuse_names_bad_images_and_fuses_the_others(folders: Path) -> None:
    (folders / "vi" / "lonely.png").write_bytes((folders / "vi" / "a.png").read_bytes())
    (folders / "ir" / "c.jpg").write_bytes(b"broken")
    result = ssvif(
        "fuse", "--visible", folders / "vi", "--thermal", folders / "ir", "--out", folders / "out"
    )
    assert result.returncode == 2
    assert "lonely.png: has no partner" in result.stderr
    assert "c.jpg: not a readable image" in result.stderr.replace("\n", " ")
    assert sorted(path.name for path in (folders / "out").iterdir()) == ["a.png", "b.png"]


def test_two_engines_fuse_real_pairs_alike(shared: Path, tmp_path: Path) -> None:
    for folder in ("vi", "ir"):
        (tmp_path / folder).mkdir()
        for path in sorted((shared / "roadscene" / "test" / folder).iterdir())[:5]:
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    for engine in ("openvino", "onnxruntime"):
        result = ssvif(
            "fuse", "--visible", tmp_path / "vi", "--thermal", tmp_path / "ir",
            "--out", tmp_path / engine, "--engine", engine, "--precision", "fp32",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    for path in (tmp_path / "openvino").iterdir():
        a, b = cv2.imread(str(path)), cv2.imread(str(tmp_path / "onnxruntime" / path.name))
        assert (np.abs(a.astype(int) - b) <= 1).mean() > 0.999


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--visible", "{0}/none", "--thermal", "{0}/ir", "--out", "{0}/o"), "no such folder"),
        (("--visible", "{0}/vi", "--thermal", "{0}/ir", "--out", "{0}/vi/a.png/o"), "cannot be"),
        (("--visible", "{0}/vi", "--thermal", "{0}/ir", "--out", "{0}/o", "--engine", "x"),
         "engine 'x'"),
        (("--visible", "{0}/vi", "--thermal", "{0}/ir", "--out", "{0}/o", "--model", "{0}/m"),
         "no such model file"),
    ],
)  # fmt: skip
def test_fuse_explains_bad_options(folders: Path, arguments: tuple[str, ...], text: str) -> None:
    result = ssvif("fuse", *(argument.format(folders) for argument in arguments))
    assert result.returncode == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A folder as `ssvif train` leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    weights = DEFAULT_MODEL.with_suffix(".safetensors")
    (folder / "model.safetensors").write_bytes(weights.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("fuse", "{data}", "--out", "{out}", "--model", "{run}/model.safetensors"),
         "weights; expected an ONNX file: run `ssvif export {run}/model.safetensors model.onnx`"),
        (("fuse", "{data}", "--out", "{out}", "--model", "{run}"),
         "a folder with weights; expected an ONNX file: run `ssvif export {run}/model.safetensors"),
        (("evaluate", "{data}", "--out", "{out}", "--model", "{run}/model.safetensors"),
         "weights; expected an ONNX file"),
        (("export", "{run}", "{out}.onnx"),
         "a folder; expected a file of weights: give {run}/model"),
        (("name", "{onnx}", "{data}", "--out", "{out}.safetensors"),
         "an exported graph; expected weights: give the .safetensors file"),
        (("adapt", "{data}", "--weights", "{onnx}", "--every", "1", "--out", "{out}"),
         "an exported graph; expected weights"),
        (("train", "--config", "shrt"), "shrt: no such configuration; expected a YAML file, or one "
         "of default, regions, sharper, short"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)  # fmt: skip
def test_the_wrong_kind_of_model_file_is_told_with_what_to_type(
    folders: Path, run_folder: Path, tmp_path: Path, arguments: tuple[str, ...], advice: str
) -> None:
    places = {"data": folders, "out": tmp_path / "out", "run": run_folder, "onnx": DEFAULT_MODEL}
    words = [argument.format(**places) for argument in arguments]
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, SsvifError), error
    assert advice.format(**places) in str(error)


def test_the_configuration_of_a_release_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = CliRunner().invoke(app, ["train", "--config", "short", "sede=3"]).exception
    assert isinstance(error, InputError) and "did you mean 'seed'?" in str(error)


def test_bag_info_lists_topics_and_refuses_a_missing_bag(drive_bag: Path) -> None:
    result = ssvif("bag", "info", drive_bag)
    assert result.returncode == 0
    assert "/visible/image_raw" in result.stdout and "320x240 bgr8" in result.stdout
    result = ssvif("bag", "info", drive_bag.parent / "none")
    assert result.returncode == 2 and "no such bag" in result.stderr


def test_bag_from_video_writes_all_frames(shared: Path, tmp_path: Path) -> None:
    clip = "0111_1716.mp4"
    result = ssvif(
        "bag", "from-video", shared / "m3svd/vi" / clip, shared / "m3svd/ir" / clip, tmp_path / "b"
    )
    assert result.returncode == 0, result.stderr
    assert "151 pairs" in result.stderr
    assert "640x480 mono8" in ssvif("bag", "info", tmp_path / "b").stdout


def test_doctor_shows_what_works() -> None:
    result = ssvif("doctor")
    assert result.returncode == 0, result.stderr
    for text in ("openvino", "tensorrt", "ROS:", "shipped model: there", "stand-in"):
        assert text in result.stdout


@pytest.mark.parametrize(
    ("bindings", "driver", "advice"),
    [
        ("13.5.0", (12, 6), "'cuda-bindings>=12,<13'"),
        ("12.9.1", (13, 0), "'cuda-bindings>=13,<14'"),
        ("13.0.1", (13, 2), ""), ("-", (12, 6), ""), ("13.5.0", None, ""),
    ],
)  # fmt: skip
def test_doctor_tells_cuda_bindings_that_do_not_fit(
    bindings: str, driver: tuple[int, int] | None, advice: str
) -> None:
    from ssvif_core.cli.doctor import _cuda_advice

    assert advice in "".join(_cuda_advice(bindings, driver))
    assert bool(advice) == bool(_cuda_advice(bindings, driver))
