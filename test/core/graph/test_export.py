"""Exported files: each precision agrees with float32 or is not written. The note in a file is read
without an ONNX library, and any content is handled."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssvif_core.engines import create_engine, precision_of
from ssvif_core.engines.onnxruntime import OnnxRuntimeEngine
from ssvif_core.engines.tensorrt.engine import TensorRtEngine
from ssvif_core.engines.verify import generated_pairs, measure, reference_engine
from ssvif_core.errors import EngineError, InputError, ModelError
from ssvif_core.graph.agreement import FLOORS, agreement, is_accepted
from ssvif_core.graph.export import PRECISIONS, export_model, raw_module, run_module
from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of, float_file_of, read_note
from ssvif_core.models import Model, ModelConfig, load_model
from ssvif_core.recordings.reading import sample_pairs
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Pair, Shapes

SHAPES = Shapes(240, 320, 128, 160, 2)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_shipped_files_agree_with_float32_on_generated_pairs(precision: str) -> None:
    # ONNX Runtime runs all three files, also those for engines that lack a device here.
    file = file_of(DEFAULT_MODEL, precision)
    reference = reference_engine(float_file_of(file), SHAPES)
    assert reference is not None
    engine = OnnxRuntimeEngine(file, SHAPES, precision)
    result = measure(engine, reference, generated_pairs(SHAPES))
    assert is_accepted(result, precision), result
    assert read_note(file).precision == precision


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_shipped_files_agree_with_float32_on_real_pairs(precision: str, shared: Path) -> None:
    pairs = sample_pairs(shared / "msrs/test", 6)
    shapes = Shapes.of(pairs[0])
    reference = reference_engine(DEFAULT_MODEL, shapes)
    assert reference is not None
    engine = OnnxRuntimeEngine(file_of(DEFAULT_MODEL, precision), shapes, precision)
    result = measure(engine, reference, pairs)
    assert is_accepted(result, precision), result


@pytest.mark.machine
def test_an_int8_file_that_is_wrong_on_this_cpu_is_refused(tmp_path: Path) -> None:
    """Wrong scales play the part of saturation on other CPUs."""
    for precision in ("fp32", "int8"):
        file = file_of(DEFAULT_MODEL, precision)
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = tmp_path / DEFAULT_MODEL.name
    assert create_engine("onnxruntime", model, SHAPES, "int8").info.precision == "int8"
    proto = onnx.load(file_of(model, "int8"))
    scales = [tensor for tensor in proto.graph.initializer if tensor.name.endswith("_scale")]
    for scale in scales:
        values = onnx.numpy_helper.to_array(scale)
        scale.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(0.7), scale.name))
    onnx.save(proto, file_of(model, "int8"))
    with pytest.raises(EngineError, match="agrees too little with float32.*another precision"):
        create_engine("onnxruntime", model, SHAPES, "int8")
    assert create_engine("onnxruntime", model, SHAPES, "fp32").info.precision == "fp32"


def test_int8_weights_leave_room_for_cpus_without_vnni() -> None:
    """Such a CPU adds two products of an unsigned byte and a weight in a signed 16-bit number."""
    proto = onnx.load(file_of(DEFAULT_MODEL, "int8"))
    kernels = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
    ]
    assert len(kernels) > 10
    largest = max(int(np.abs(kernel.astype(int)).max()) for kernel in kernels)
    assert 2 * 255 * largest <= 32767, largest


@pytest.mark.parametrize("precision", PRECISIONS)
def test_files_have_no_node_that_tensorrt_8_6_misreads(precision: str) -> None:
    """On a GPU, its parser ignored the start and end of Shape nodes, and crashed at Range."""
    nodes = onnx.load(file_of(DEFAULT_MODEL, precision)).graph.node
    shapes = [node for node in nodes if node.op_type == "Shape"]
    assert shapes and not any(node.attribute for node in shapes)
    assert not {node.op_type for node in nodes} & {"Range", "ReduceMean", "ReduceMax"}


def test_labels_of_few_classes_have_smooth_borders(drive_pairs: list[Pair]) -> None:
    """Enlarged logits give steps of 2 pixels, and not of 4."""
    torch.manual_seed(0)
    module = raw_module(Model(ModelConfig("trunk"), ("background", "person")).eval())
    _, labels, confidence = run_module(module, drive_pairs[0], np.array((0, 65535), np.float32))
    height, width = labels.shape
    cells = labels.reshape(height // 2, 2, width // 2, 2)
    assert (cells == cells[:, :1, :, :1]).all()
    blocks = labels.reshape(height // 4, 4, width // 4, 4)
    assert not (blocks == blocks[:, :1, :, :1]).all()
    assert 127 <= confidence[confidence > 0].min()  # the larger probability of two classes


def test_arithmetic_in_half_agrees_with_float32(drive_pairs: list[Pair]) -> None:
    """Here PyTorch computes in half. ONNX Runtime's CPU kernels compute in float."""
    model = load_model(DEFAULT_MODEL.with_suffix(".safetensors"))
    single, half = raw_module(model), raw_module(model, torch.float16)
    result = agreement(
        (run_module(single, pair, limits), run_module(half, pair, limits))
        for pair in drive_pairs[::4]
        for limits in [ThermalGain(smoothing=0).update(pair.thermal)]
    )
    assert is_accepted(result, "fp16"), result


def test_int8_needs_pairs_for_its_ranges(drive_pairs: list[Pair], tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="needs pairs for the ranges.*; give --int8-pairs a folder"
    ):
        export_model(Model().eval(), tmp_path / "m.onnx", drive_pairs[:1], ["int8"])
    with pytest.raises(InputError, match="precision 'fp8'; expected fp32, fp16, int8"):
        export_model(Model().eval(), tmp_path / "m.onnx", drive_pairs[:1], ["fp8"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_that_agrees_too_little_is_not_written(
    drive_pairs: list[Pair], tmp_path: Path
) -> None:
    model = load_model(DEFAULT_MODEL.with_suffix(".safetensors"))
    dark = [Pair(np.zeros_like(drive_pairs[0].visible), np.zeros_like(drive_pairs[0].thermal))]
    with pytest.raises(ModelError, match="agrees too little .*m.int8.onnx was not written. Give"):
        export_model(model, tmp_path / "m.onnx", drive_pairs[:2], ["fp32", "int8"], dark)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_auto_takes_the_first_precision_of_the_engine_that_the_model_has(tmp_path: Path) -> None:
    assert precision_of(OnnxRuntimeEngine, DEFAULT_MODEL, "auto") == ("fp32", DEFAULT_MODEL)
    half, small = (file_of(DEFAULT_MODEL, precision) for precision in ("fp16", "int8"))
    assert precision_of(TensorRtEngine, small, "auto") == ("int8", small)
    assert precision_of(TensorRtEngine, DEFAULT_MODEL, "auto") == ("fp16", half)
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(DEFAULT_MODEL.read_bytes())
    assert precision_of(TensorRtEngine, alone, "auto") == ("fp32", alone)
    assert create_engine("auto", DEFAULT_MODEL, SHAPES, "int8").info.precision == "int8"
    with pytest.raises(ModelError, match=r"alone.int8.onnx: no such model file.*--precision"):
        create_engine("onnxruntime", alone, SHAPES, "int8")


def test_agreement_is_psnr_and_the_share_of_equal_labels() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    labels = np.zeros((4, 4), np.uint8)
    other = labels.copy()
    other[0] = 1
    result = agreement([((grey, labels, labels), (grey + 1, other, labels))])
    assert result.psnr == pytest.approx(48.13, abs=0.01)
    assert result.labels == 0.75
    assert result.confidence == math.inf
    same = agreement([((grey, labels, labels), (grey, labels, labels))])
    assert all(is_accepted(same, precision) for precision in FLOORS)
    with pytest.raises(ValueError, match="no pairs to compare"):
        agreement([])


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_as_a_model(tmp_path_factory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="any.onnx: "):
        read_note(path)


@given(st.data())
def test_a_model_that_is_cut_anywhere_is_never_misread(
    tmp_path_factory, data: st.DataObject
) -> None:
    whole = DEFAULT_MODEL.read_bytes()
    path = tmp_path_factory.getbasetemp() / "cut.onnx"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    try:
        assert read_note(path) == read_note(
            DEFAULT_MODEL
        )  # it was cut after the note, at the end of a field
    except ModelError:
        pass
