"""Bundles: whole or not there, and every change of a byte is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ssvif_core.bundle import Bundle, differences, load_bundle, read_parameters, write_bundle
from ssvif_core.cameras.model import aligned
from ssvif_core.cameras.yaml_file import save_camera_pair
from ssvif_core.cli import app
from ssvif_core.errors import InputError, ModelError
from ssvif_core.graph.model_file import DEFAULT_WEIGHTS, file_of, read_note

FILES = {
    "model.safetensors": b"weights", "model.onnx": b"graph", "model.fp16.onnx": b"half",
    "camera_pair.yaml": b"cameras", "figures/adapt.json": b'{"figures": {"MI": {"new": 3.5}}}',
}  # fmt: skip
PARAMETERS = {"thermal_gain": "temperature", "thermal_high": 60.0}


def bundle(path: Path, **changes: object) -> Bundle:
    values: dict[str, object] = {
        "files": FILES, "names": ("background", "person"), "parameters": PARAMETERS,
        "agreement": {"model.onnx": "fused 90 dB"}, "made": "2026-11-27", **changes,
    }  # fmt: skip
    return write_bundle(path, **values)  # type: ignore[arg-type]


def test_what_was_put_in_comes_back(tmp_path: Path) -> None:
    written = bundle(tmp_path / "b")
    read = load_bundle(tmp_path / "b")
    assert read == written
    assert read.model == tmp_path / "b/model.onnx" and read.names == ("background", "person")
    assert read.calibration == tmp_path / "b/camera_pair.yaml"
    assert read.parameters == PARAMETERS
    shown = read.describe()
    for text in ("person", "model.onnx  fused 90 dB", "thermal_high: 60.0", "MI: new: 3.5"):
        assert text in shown
    assert bundle(tmp_path / "c", files={"model.onnx": b""}).calibration is None


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "b"
    bundle(path)
    return path


@given(data=st.data())
@settings(max_examples=150)
def test_one_flipped_bit_anywhere_is_told_with_the_file(data: st.DataObject, sound: Path) -> None:
    file = data.draw(st.sampled_from(sorted(p for p in sound.rglob("*") if p.is_file())))
    content = file.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(changed)
    try:
        before = json.loads(content) if file.name == "manifest.json" else None
        if before is not None and _json(bytes(changed)) == before:
            return  # a space became a line break, say
        with pytest.raises(InputError, match=f"{file.name}.*copy the bundle again"):
            load_bundle(sound)
    finally:
        file.write_bytes(content)
    load_bundle(sound)


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


@pytest.mark.parametrize("cut", [0, 1, -1])
def test_a_file_that_was_cut_off_is_told(cut: int, tmp_path: Path) -> None:
    bundle(tmp_path / "b")
    (tmp_path / "b/model.onnx").write_bytes(FILES["model.onnx"][:cut])
    (tmp_path / "b/camera_pair.yaml").unlink()
    with pytest.raises(InputError, match=r"model.onnx has changed.*camera_pair.yaml cannot be re"):
        load_bundle(tmp_path / "b")


def test_what_is_no_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: no such folder; expected a bundle"):
        load_bundle(tmp_path / "none")
    with pytest.raises(InputError, match="no manifest.json in it; expected a bundle"):
        load_bundle(tmp_path)
    for text in ("", "[1]", "{}", '{"sha256": 3}', "[" * 100_000):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(InputError, match="manifest.json: (damaged|has changed)"):
            load_bundle(tmp_path)


def test_a_bundle_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full after two files."""
    from ssvif_core import bundle as module

    written, whole = [], module.write_atomically

    def write(path: Path, data: bytes) -> None:
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(path)
        whole(path, data)

    monkeypatch.setattr(module, "write_atomically", write)
    with pytest.raises(InputError, match="b: the bundle cannot be written .No space left"):
        bundle(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    bundle(tmp_path / "b")
    with pytest.raises(InputError, match="is not empty; choose a new folder"):
        bundle(tmp_path / "b")


def test_differences_name_files_and_values(tmp_path: Path) -> None:
    old = bundle(tmp_path / "old")
    files = {**FILES, "model.onnx": b"new graph", "figures/adapt.json": b'{"figures": {"MI": 1}}'}
    del files["camera_pair.yaml"]
    new = bundle(tmp_path / "new", files=files, parameters={"thermal_gain": "auto"})
    assert differences(old, old) == []
    assert differences(old, new) == [
        f"camera_pair.yaml: only in {tmp_path / 'old'}",
        "figures/adapt.json: differs",
        "model.onnx: differs",
        "thermal_gain: temperature -> auto",
        "thermal_high: 60.0 -> -",
        "figures/adapt.json: figures: MI: new: 3.5 -> -",
        "figures/adapt.json: figures: MI: - -> 1",
    ]
    result = CliRunner().invoke(app, ["bundle", "diff", str(old.path), str(new.path)])
    assert result.exit_code == 1 and "model.onnx: differs" in result.output
    result = CliRunner().invoke(app, ["bundle", "diff", str(old.path), str(old.path)])
    assert result.exit_code == 0 and "both hold the same" in result.output


def test_only_the_parameters_of_cameras_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(
        "fusion_node:\n  ros__parameters:\n    thermal_gain: plateau\n    engine: tensorrt\n"
        "    thermal_crop: 0,0,80,60\n"
    )
    assert read_parameters(file) == {"thermal_gain": "plateau", "thermal_crop": "0,0,80,60"}
    file.write_text("thermal_gain: plateau\n")
    with pytest.raises(InputError, match="no ros__parameters in it"):
        read_parameters(file)


# --- the commands


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for number in range(9):
        ground = cv2.resize(random.integers(0, 255, (12, 16, 3), np.uint8), (128, 96))
        for kind, image in (("vi", ground), ("ir", ground[..., 0])):
            (root / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(root / kind / f"{number}.png"), image)
    return root


@pytest.fixture
def quick_export(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Files without content; returns the precisions that fail. test/ros/replay has the real one."""
    failing: set[str] = set()

    def export(_model: object, path: Path, _check: object, precisions: list[str], pairs: object):
        (precision,) = precisions
        if precision in failing:
            raise ModelError(f"{precision} agrees too little")
        assert pairs or precision != "int8"
        file = file_of(path, precision)
        file.write_bytes(precision.encode())
        return {file: f"fused 50 dB in {precision}"}

    monkeypatch.setattr("ssvif_core.graph.export.export_model", export)
    return failing


def test_the_command_makes_a_bundle_of_an_adapted_model(
    pairs: Path, tmp_path: Path, quick_export: set[str]
) -> None:
    run = tmp_path / "adapted"
    run.mkdir()
    shutil.copy(DEFAULT_WEIGHTS, run / "model.safetensors")
    (run / "adapt.json").write_text(json.dumps({"recordings": [str(pairs)], "kept": "new"}))
    save_camera_pair(aligned((96, 128), (96, 128)), tmp_path / "camera_pair.yaml")
    (tmp_path / "my.yaml").write_text("/**:\n  ros__parameters:\n    thermal_smoothing: 0.5\n")
    command = ["deploy", str(run), "--calibration", str(tmp_path / "camera_pair.yaml"),
               "--parameters", str(tmp_path / "my.yaml"), "--out"]  # fmt: skip
    result = CliRunner().invoke(app, [*command, str(tmp_path / "b")])
    assert result.exit_code == 0, result.output
    made = load_bundle(tmp_path / "b")
    assert set(made.hashes) == {
        "model.safetensors", "model.onnx", "model.fp16.onnx", "model.int8.onnx",
        "camera_pair.yaml", "figures/adapt.json",
    }  # fmt: skip
    assert made.parameters == {"thermal_smoothing": 0.5}
    assert made.names == ("background", "person", "bicycle", "car")
    assert made.agreement["model.int8.onnx"] == "fused 50 dB in int8"
    shown = CliRunner().invoke(app, ["bundle", "show", str(made.path)]).output
    assert "figures/adapt.json: kept: new" in shown
    verified = CliRunner().invoke(app, ["bundle", "verify", str(made.path)]).output
    assert "all 6 files are as they were made" in verified
    with pytest.raises(ModelError, match="a bundle; expected an ONNX file: give .*model.onnx"):
        read_note(made.path)


def test_precisions_that_cannot_be_made_are_left_out_and_told(
    tmp_path: Path, quick_export: set[str]
) -> None:
    """Without pairs there is no int8; and here fp16 agrees too little with float32."""
    quick_export.add("fp16")
    command = ["deploy", str(DEFAULT_WEIGHTS), "--out", str(tmp_path / "b")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "int8: left out, since it needs pairs of your cameras; give --pairs" in result.output
    assert "fp16: left out: fp16 agrees too little" in result.output
    assert set(load_bundle(tmp_path / "b").hashes) == {"model.safetensors", "model.onnx"}


def test_a_damaged_file_to_put_in_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "bad.yaml").write_text("visible: 3\n")
    weights, out = str(DEFAULT_WEIGHTS), str(tmp_path / "b")
    for option, file in (("--figures", "bad.json"), ("--calibration", "bad.yaml")):
        command = ["deploy", weights, option, str(tmp_path / file), "--out", out]
        problem = CliRunner().invoke(app, command).exception
        assert isinstance(problem, InputError) and file in str(problem)
    assert not (tmp_path / "b").exists()
