"""The TensorRT engine in processes that find the stand-ins of test/standins."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from build_requests import damage_byte
from gpu_runs import SIZES, Run

from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of
from ssvif_core.types import Pair


@pytest.fixture
def pair_folder(drive_pairs: list[Pair], tmp_path: Path) -> Path:
    for index, pair in enumerate(drive_pairs[::4]):
        for name, image in (("vi", pair.visible), ("ir", pair.thermal)):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"{index}.png"), image)
    return tmp_path


def fuse(folder: Path, out: str) -> tuple[object, ...]:
    return ("fuse", "--visible", folder / "vi", "--thermal", folder / "ir", "--out", folder / out)


def fused(ssvif: Run, folder: Path, out: str, *options: object) -> list[np.ndarray]:
    ssvif(*fuse(folder, out), *options)
    return [cv2.imread(str(path)) for path in sorted((folder / out).glob("*.png"))]


@pytest.mark.slow
def test_runs_with_and_without_a_cuda_graph_give_what_onnxruntime_gives(
    ssvif: Run, pair_folder: Path
) -> None:
    expected = fused(ssvif, pair_folder, "ort", "--engine", "onnxruntime")
    captured = fused(ssvif, pair_folder, "trt", "--engine", "tensorrt", "--precision", "fp32")
    # An engine that runs without a CUDA graph says so.
    output = ssvif("engine", "bench", "--engine", "tensorrt", "--runs", 1, *SIZES)
    assert "no CUDA graph" not in output
    engine = pair_folder / "range.engine"
    ssvif("engine", "build", "--visible", "160x120:320x240:640x480", "--thermal",
          "80x64:160x128:320x256", "--precision", "fp32", "--out", engine)  # fmt: skip
    plain = fused(ssvif, pair_folder, "range", "--model", engine)
    assert len(expected) == 3
    for a, b, c in zip(expected, captured, plain, strict=True):
        assert (a == b).all() and (a == c).all()


@pytest.mark.slow
def test_an_engine_file_must_fit_the_machine_and_the_sizes(ssvif: Run, pair_folder: Path) -> None:
    engine = pair_folder / "mine.engine"
    ssvif("engine", "build", "--precision", "fp32", *SIZES, "--out", engine)
    command = (*fuse(pair_folder, "out"), "--model", engine)
    output = ssvif(*command, code=2)
    assert "built for visible 160x120, thermal 80x64 16 bit" in output and "320x240" in output
    assert "built with tensorrt 10.3.0, but this machine has tensorrt 10.4" in ssvif(
        *command, code=2, STANDIN_VERSION="10.4"
    )
    damage_byte(engine)
    assert "the engine is damaged" in ssvif(*command, code=2)
    engine.with_suffix(".json").unlink()
    assert "mine.json beside it does not describe this engine" in ssvif(*command, code=2)


@pytest.mark.slow
def test_an_engine_below_its_floor_is_refused_every_time(ssvif: Run) -> None:
    half = (*SIZES, "--precision", "fp16")
    output = ssvif("engine", "build", *half, code=2, STANDIN_ERROR="20")
    assert "agrees too little with float32" in output
    output = ssvif("engine", "verify", *half, "--engine", "tensorrt", code=2)
    assert "agrees too little with float32" in output and "building" not in output


@pytest.mark.slow
def test_tensorrt_is_never_called_without_a_device(ssvif: Run, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    for no_device in ({"CUDA_VISIBLE_DEVICES": ""}, {"LD_PRELOAD": ""}):
        environment = {"STANDIN_TOUCHED": str(touched), **no_device}
        output = ssvif("engine", "build", *SIZES, code=2, **environment)
        assert "the CUDA driver finds no GPU" in output or "no CUDA device" in output
        output = ssvif("engine", "bench", "--runs", 1, *SIZES, **environment)
        assert "openvino" in output and "skipped: engine tensorrt: " in output
    assert "works here" in ssvif("doctor", STANDIN_TOUCHED=str(touched), LD_PRELOAD="")
    assert not touched.exists()
    ssvif("engine", "build", *SIZES, STANDIN_TOUCHED=str(touched))
    assert touched.exists()


@pytest.mark.slow
def test_a_model_without_a_float32_file_runs_unchecked_with_a_warning(
    ssvif: Run, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.fp16.onnx"
    alone.write_bytes(file_of(DEFAULT_MODEL, "fp16").read_bytes())
    output = ssvif("engine", "build", *SIZES, "--model", alone)
    assert "is used unchecked: no float32 file or CPU engine" in output
    output = ssvif("engine", "bench", "--runs", 1, *SIZES, "--model", alone)
    assert "tensorrt 10.3.0 (fp16" in output
    output = ssvif("engine", "bench", "--engine", "openvino", *SIZES, "--model", alone, code=2)
    assert "alone.fp16.onnx: this engine has no such precision; expected " in output


@pytest.mark.slow
def test_auto_does_not_build_for_a_command(ssvif: Run) -> None:
    output = ssvif("engine", "bench", "--runs", 1, *SIZES)
    assert "openvino" in output
    assert "skipped: engine tensorrt must be built for these sizes" in output
    ssvif("engine", "build", *SIZES)
    assert "Stand-in GPU" in ssvif("engine", "bench", "--runs", 1, *SIZES)
