"""Every engine gives what the PyTorch module gives, and explains why a model file is bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssvif_core.engines import ENGINES, create_engine, why_not
from ssvif_core.engines.openvino import OpenVinoEngine
from ssvif_core.errors import EngineError, InputError, ModelError
from ssvif_core.graph.export import raw_module, run_module
from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of
from ssvif_core.models import load_model
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.layouts import pair_folders
from ssvif_core.thermal import ThermalConfig, ThermalGain
from ssvif_core.types import Pair, Shapes

SHAPES = Shapes(48, 64, 32, 40, 2)


@pytest.fixture(scope="module")
def module():
    return raw_module(load_model(DEFAULT_MODEL.with_suffix(".safetensors")))


def assert_agrees(pipeline: FusionPipeline, module, pair: Pair) -> None:
    """99.9 % of the pixels are within one grey level, and 99.9 % have the same class."""
    fusion = pipeline(pair)
    expected = run_module(module, pair, ThermalGain(smoothing=0).update(pair.thermal))
    for ours, theirs in zip((fusion.fused, fusion.confidence), expected[::2], strict=True):
        assert ours.shape == theirs.shape
        assert (np.abs(ours.astype(int) - theirs) <= 1).mean() >= 0.999
    assert (fusion.labels == expected[1]).mean() >= 0.999


def test_agrees_with_pytorch_on_generated_pairs(engine: str, module, drive_pairs) -> None:
    pipeline = FusionPipeline(engine=engine, precision="fp32", thermal=ThermalConfig(smoothing=0))
    for pair in drive_pairs[::3]:
        assert_agrees(pipeline, module, pair)


@pytest.mark.parametrize("folder", ["msrs/test", "roadscene/test"])
def test_agrees_with_pytorch_on_real_pairs(engine: str, folder: str, module, shared: Path) -> None:
    pipeline = FusionPipeline(engine=engine, precision="fp32", thermal=ThermalConfig(smoothing=0))
    for files in pair_folders(shared / folder / "vi", shared / folder / "ir").pairs[::15]:
        assert_agrees(pipeline, module, Pair(read_visible(files.visible),
                                             read_thermal(files.thermal)))  # fmt: skip


@pytest.mark.parametrize("size", [(17, 16, 8, 9), (50, 70, 33, 40), (97, 131, 120, 160)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_size_and_bit_depth(engine: str, size: tuple, dtype: type, module) -> None:
    random = np.random.default_rng(1)
    height, width, thermal_height, thermal_width = size
    pair = Pair(
        random.integers(0, 256, (height, width, 3), dtype=np.uint8),
        random.integers(0, np.iinfo(dtype).max, (thermal_height, thermal_width), dtype=dtype),
    )
    pipeline = FusionPipeline(engine=engine, precision="fp32", thermal=ThermalConfig(smoothing=0))
    assert_agrees(pipeline, module, pair)


def test_outputs_are_in_the_same_buffers_every_time(engine: str) -> None:
    created = create_engine(engine, DEFAULT_MODEL, SHAPES)
    inputs = (np.zeros((48, 64, 3), np.uint8), np.zeros((32, 40), np.uint16))
    first = created.infer(*inputs, np.array((0, 1), np.float32))
    address = first.fused.ctypes.data
    second = created.infer(inputs[0] + 255, inputs[1], np.array((0, 1), np.float32))
    assert second.fused.ctypes.data == address
    assert second.fused.mean() > 150


def test_auto_takes_the_first_engine_that_works(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    assert create_engine("auto", DEFAULT_MODEL, SHAPES).info.name == "openvino"
    monkeypatch.setitem(ENGINES, "openvino", ("no_such_module", "OpenVinoEngine"))
    with caplog.at_level("INFO", logger="ssvif_core"):
        assert create_engine("auto", DEFAULT_MODEL, SHAPES).info.name == "onnxruntime"
    assert "skipped: engine openvino: its library cannot be imported" in caplog.text


@pytest.mark.slow
def test_auto_takes_another_precision_if_the_first_agrees_too_little(
    drive_pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(DEFAULT_MODEL.read_bytes())
    proto = onnx.load(file_of(DEFAULT_MODEL, "int8"))
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("_scale"):  # of quantised values, all wrong by a factor of 3
            wrong = numpy_helper.to_array(tensor) * np.float32(3)
            tensor.CopyFrom(numpy_helper.from_array(wrong, tensor.name))
    onnx.save(proto, file_of(model, "int8"))
    monkeypatch.setattr(OpenVinoEngine, "precisions", ("int8", "fp32"))
    engine = create_engine("openvino", model, Shapes.of(drive_pairs[0]))
    assert engine.info.precision == "fp32"
    assert "(int8, CPU) agrees too little with float32 on this CPU: fused" in caplog.text
    with pytest.raises(EngineError, match="agrees too little.*or use another precision"):
        create_engine("openvino", model, Shapes.of(drive_pairs[0]), "int8")


def test_unknown_engines_and_precisions_are_refused() -> None:
    with pytest.raises(InputError, match="engine 'openvinno'; expected auto or one of"):
        create_engine("openvinno", DEFAULT_MODEL, SHAPES)
    with pytest.raises(
        InputError, match="engine openvino: precision 'f16'; expected (int8, fp32|fp32, int8)"
    ):
        create_engine("openvino", DEFAULT_MODEL, SHAPES, "f16")
    if why_not("tensorrt"):
        with pytest.raises(EngineError, match="engine tensorrt: no (CUDA device|TensorRT)"):
            create_engine("tensorrt", DEFAULT_MODEL, SHAPES)


def test_errors_say_why_a_model_file_is_bad(engine: str, tmp_path: Path) -> None:
    whole = DEFAULT_MODEL.read_bytes()
    cases = {"missing": None, "empty": b"", "truncated": whole[: len(whole) // 2]}
    for name, content in cases.items():
        path = tmp_path / f"{name}.onnx"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError, match=f"{name}.onnx: .*(no such|is empty|truncated)"):
            create_engine(engine, path, SHAPES)


def test_an_onnx_file_of_another_project_is_refused(engine: str, tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "other", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "other.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelError, match="an ONNX file, but not an ssvif model"):
        create_engine(engine, path, SHAPES)
    onnx.helper.set_model_props(model, {"ssvif": '{"format": 99, "size": "s", "names": []}'})
    onnx.save(model, path)
    with pytest.raises(ModelError, match="model format 99, this version reads 2"):
        create_engine(engine, path, SHAPES)


def test_swapped_or_tiny_images_are_refused() -> None:
    with pytest.raises(InputError, match="swapped"):
        Pair(np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(InputError, match="visible image of shape"):
        Pair(np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.uint8))
    with pytest.raises(InputError, match="at least 16x16"):
        Pair(np.zeros((8, 64, 3), np.uint8), np.zeros((48, 64), np.uint8))
