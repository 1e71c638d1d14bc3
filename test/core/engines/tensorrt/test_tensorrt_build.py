"""ONNX file -> engine, with the real parser and builder of tensorrt_rtx."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import torch
from build_requests import RANGE, SHAPES, request_of
from onnx import TensorProto, helper

from ssvif_core.engines.tensorrt.build import BuildRequest, build, keep_float
from ssvif_core.engines.tensorrt.cache import EngineKey, open_engine, store_engine
from ssvif_core.engines.tensorrt.flavour import Flavour
from ssvif_core.errors import EngineError, InputError, ModelError
from ssvif_core.graph.export import PRECISIONS, export_model
from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of
from ssvif_core.models import Model, ModelConfig
from ssvif_core.types import Pair

MODEL = DEFAULT_MODEL.read_bytes()


@pytest.fixture(scope="module")
def size_m(drive_pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of size m, in all precisions."""
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    torch.manual_seed(0)
    export_model(Model(ModelConfig(size="m")).eval(), path, drive_pairs[:2], PRECISIONS,
                 drive_pairs[::4])  # fmt: skip
    return path


def build_file(flavour: Flavour, model: Path) -> None:
    build(flavour, request_of(model=model), model.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", ["s", "m"])
@pytest.mark.parametrize(
    ("capability", "shapes"),
    [("8.6", (SHAPES,)), ("8.9", (replace(SHAPES, thermal_bytes=1),)), ("8.9", RANGE)],
    ids=["16 bit", "8 bit", "range"],
)
def test_every_export_builds(
    precision: str, size: str, capability: str, shapes: tuple, rtx: Flavour, request, tmp_path: Path
) -> None:
    model = DEFAULT_MODEL if size == "s" else request.getfixturevalue("size_m")
    usual = shapes[len(shapes) // 2]
    order = BuildRequest(file_of(model, precision), precision, usual,
                         compute_capability=capability)  # fmt: skip
    if len(shapes) == 3:
        order = replace(order, smallest=shapes[0], largest=shapes[2])
    path = tmp_path / "m.engine"
    store_engine(path, rtx, order, None)
    stored = open_engine(path)
    assert stored.key == EngineKey.of(rtx, order, None)
    assert (stored.key.smallest, stored.key.largest) == (shapes[0], shapes[-1])
    assert (stored.key.compute_capability, stored.key.precision) == (capability, precision)
    assert (stored.note.size, stored.note.precision) == (size, precision)
    assert stored.tensors == {
        "visible": "uint8", "thermal": "uint8", "thermal_range": "float32", "grid": "float32",
        "coverage": "float32", "fused": "uint8", "labels": "uint8", "confidence": "uint8",
    }  # fmt: skip
    assert len(stored.read()) > 100_000


@pytest.mark.parametrize("precision", PRECISIONS)
def test_images_go_into_and_out_of_the_network_as_bytes(precision: str, rtx: Flavour) -> None:
    api = rtx.api
    builder = api.Builder(rtx.logger())
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.OnnxParser(network, builder.logger)
    assert parser.parse(file_of(DEFAULT_MODEL, precision).read_bytes())
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    assert {tensor.name: tensor.dtype for tensor in inputs} == {
        "visible": api.uint8, "thermal": api.uint8, "thermal_range": api.float32,
        "grid": api.float32, "coverage": api.float32,
    }  # fmt: skip
    assert {tensor.name: tensor.dtype for tensor in outputs} == dict.fromkeys(
        ("fused", "labels", "confidence"), api.uint8
    )
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    types = {layer.get_output(0).dtype for layer in layers
             if layer.type == api.LayerType.CONVOLUTION}  # fmt: skip
    assert types == {api.float16 if precision == "fp16" else api.float32}
    quantisers = sum(layer.type == api.LayerType.QUANTIZE for layer in layers)
    assert (quantisers > 20) == (precision == "int8")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_files_have_no_operator_that_tensorrt_8_6_misreads(precision: str) -> None:
    # From opset 18 on these take their axes as an input, which its parser does not look at.
    types = {node.op_type for node in onnx.load(file_of(DEFAULT_MODEL, precision)).graph.node}
    assert not types & {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"}


def save(path: Path, *nodes: onnx.NodeProto, dtype: int = TensorProto.FLOAT) -> Path:
    x = helper.make_tensor_value_info("x", dtype, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", dtype, None)
    model = helper.make_model(
        helper.make_graph(list(nodes), "wrong", [x], [y]),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)], ir_version=9,
    )  # fmt: skip
    onnx.save(model, path)
    return path


def test_errors_of_the_parser_name_the_file_and_the_node(rtx: Flavour, tmp_path: Path) -> None:
    strange = save(tmp_path / "strange.onnx",
                   helper.make_node("Swirl", ["x"], ["y"], "layer 7", domain="mine"))  # fmt: skip
    with pytest.raises(ModelError, match=r"strange.onnx: .*node 'layer 7' \(Swirl\): "):
        build_file(rtx, strange)
    turn = helper.make_node("Transpose", ["x"], ["y"], "turn", perm=[0, 2, 3, 1])
    bytes_first = save(tmp_path / "bytes.onnx", turn, dtype=TensorProto.UINT8)
    with pytest.raises((ModelError, EngineError), match="bytes.onnx: .*(?i:uint8)"):
        build_file(rtx, bytes_first)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="text.onnx: tensorrt_rtx .* cannot parse this file"):
        build_file(rtx, tmp_path / "text.onnx")


def test_requests_that_a_flavour_cannot_fulfil_are_refused(rtx: Flavour) -> None:
    with pytest.raises(InputError, match="compute capability '5.0'; expected one of .*8.6"):
        build(rtx, request_of(compute_capability="5.0"), MODEL)
    with pytest.raises(InputError, match="has no hardware- or version-compatible engines"):
        build(rtx, request_of(hardware_compatible=True), MODEL)
    classic = replace(rtx, name="tensorrt", version="10.3.0")
    with pytest.raises(InputError, match="tensorrt 10.3.0 builds only for the GPU of this machine"):
        build(classic, request_of(), MODEL)


class Layer:
    """A layer of a network, as TensorRT 8.6 shows it."""

    def __init__(self, layer_type: str, dtype: str) -> None:
        self.type, self.dtype, self.is_kept = layer_type, dtype, False
        self.precision: str | None = None

    def get_output(self, _index: int) -> Layer:
        return self

    def set_output_type(self, _index: int, dtype: str) -> None:
        self.is_kept = dtype == self.precision == "float"


@pytest.mark.parametrize(
    ("precision", "kept"), [("fp16", [3, 5, 7]), ("int8", [3, 5])], ids=["fp16", "int8"]
)
def test_tensorrt_8_6_keeps_layers_in_float_that_are_float_in_the_file(
    precision: str, kept: list[int]
) -> None:
    types = SimpleNamespace(
        CONSTANT="constant", SHAPE="shape", GRID_SAMPLE="grid sample", CAST="cast",
        QUANTIZE="quantize", DEQUANTIZE="dequantize",
    )  # fmt: skip
    api = SimpleNamespace(LayerType=types, float32="float")
    layers = [Layer("constant", "float"), Layer("cast", "float"), Layer("dequantize", "float"),
              Layer("sum", "float"), Layer("shape", "int"), Layer("grid sample", "float"),
              Layer("convolution", "half"),
              Layer("sum", "float")]  # fmt: skip
    network = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    keep_float(api, network, precision)
    assert [i for i, layer in enumerate(layers) if layer.is_kept] == kept
