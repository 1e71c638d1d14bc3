"""The contract of the graph, and the shipped files that must follow it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from ssvif_core.graph.contract import INPUTS, OUTPUTS, TensorSpec, input_shapes, new_outputs
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.types import Shapes

SHAPES = Shapes(height=48, width=64, thermal_height=32, thermal_width=40, thermal_bytes=2)
FILES = sorted(DEFAULT_MODEL.parent.glob("*.onnx"))


def spec_of(tensor: onnx.ValueInfoProto) -> TensorSpec:
    """Name, type and axes of an input or output of an ONNX file."""
    tensor_type = tensor.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
    axes = tuple(axis.dim_param or axis.dim_value for axis in tensor_type.shape.dim)
    return TensorSpec(tensor.name, dtype, axes)


def test_the_three_precisions_are_shipped() -> None:
    assert [file.name for file in FILES] == [
        "ssvif_s.fp16.onnx", "ssvif_s.int8.onnx", "ssvif_s.onnx",
    ]  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_shipped_files_have_the_inputs_and_outputs_of_the_contract(file: Path) -> None:
    graph = onnx.load(file).graph
    for tensors, specs in ((graph.input, INPUTS), (graph.output, OUTPUTS)):
        assert [tensor.name for tensor in tensors] == [spec.name for spec in specs]
        for tensor, spec in zip(map(spec_of, tensors), specs, strict=True):
            assert tensor.dtype == spec.dtype, spec.name
            assert len(tensor.axes) == len(spec.axes), spec.name
            for axis, expected in zip(tensor.axes, spec.axes, strict=True):
                if isinstance(expected, int):
                    assert axis == expected, spec.name
                else:
                    assert isinstance(axis, str), f"{spec.name}: axis {expected} is fixed to {axis}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_inputs_of_shipped_files_share_the_axes_of_the_contract(file: Path) -> None:
    """An axis has one name in the contract, so it has one name in the file."""
    names: dict[str, set[object]] = {}
    for tensor, spec in zip(map(spec_of, onnx.load(file).graph.input), INPUTS, strict=True):
        for axis, expected in zip(tensor.axes, spec.axes, strict=True):
            if isinstance(expected, str):
                names.setdefault(expected, set()).add(axis)
    assert sorted(names) == ["H", "W", "bytes", "h", "w"]
    assert all(len(symbols) == 1 for symbols in names.values()), names
    assert len(set.union(*names.values())) == len(names)


def test_shapes_follow_the_cameras() -> None:
    assert input_shapes(SHAPES) == {
        "visible": (1, 48, 64, 3), "thermal": (1, 32, 40, 2), "grid": (1, 48, 64, 2),
        "coverage": (1, 48, 64),
    }  # fmt: skip
    assert [spec.name for spec in INPUTS if spec.is_fixed] == ["thermal_range"]


def test_new_outputs_have_the_shapes_and_types_of_a_fusion() -> None:
    outputs = new_outputs(SHAPES)
    assert outputs.fused.shape == (48, 64, 3)
    assert outputs.labels.shape == outputs.confidence.shape == (48, 64)
    assert {outputs.fused.dtype, outputs.labels.dtype, outputs.confidence.dtype} == {
        np.dtype(np.uint8)
    }
