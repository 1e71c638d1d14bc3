"""float32 graph -> int8 graph, with pairs of quantise and dequantise nodes around convolutions.

This is the only form of int8 that every engine reads: TensorRT 11 has no calibrators any more.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnxruntime import quantization as ort_quantization

from ssvif_core.types import AnyArray

# Parts of the weight names of layers that stay float. They read pixels, their outputs become the
# fused image, or they decide the label. The stem reads luma, chroma and exposure: one scale for all
# of them costs OpenVINO 20 dB. The block at stride 2 before the fused image is worth 3 dB.
FLOAT_LAYERS = ("_kernel", "stem", "lateral2", "up2", "mix_offset", "mix_gain", "detail",
                "classify", "naming", "whole")  # fmt: skip


Feed = dict[str, AnyArray]  # the inputs of the graph by name


class _Feeds(ort_quantization.CalibrationDataReader):
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def quantised(proto: onnx.ModelProto, feeds: Iterable[Feed]) -> onnx.ModelProto:
    """The graph with int8 convolutions. Its activations on `feeds` set their ranges.

    Weights are symmetric per channel, activations are symmetric per tensor, biases stay float.
    ONNX Runtime writes other schemes as well, but TensorRT's parser reads only this one. Weights
    have 7 bits (-64 to 64): CPUs without VNNI add two 8-bit products in 16 bits. With full weights
    the sum would saturate there, and the image would be wrong without an error.
    """
    float_nodes = _float_nodes(proto)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, source)
        with _quiet():
            ort_quantization.quantize_static(
                source,
                target,
                _Feeds(feeds),
                quant_format=ort_quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=float_nodes,
                per_channel=True,
                reduce_range=True,
                weight_type=ort_quantization.QuantType.QInt8,
                activation_type=ort_quantization.QuantType.QInt8,
                calibrate_method=ort_quantization.CalibrationMethod.MinMax,
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "CalibMovingAverage": True,
                },
            )
        result = onnx.load(target)
    del result.metadata_props[:]  # the exporter writes its own note
    _read_float(result.graph, float_nodes)
    return result


def _read_float(graph: onnx.GraphProto, names: list[str]) -> None:
    """Let these nodes read what lies before the quantise node of their input.

    The quantiser gives the rounded values to all readers of a tensor, also to those that it keeps
    float.
    """
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        source = producers.get(node.input[0]) if node.name in names else None
        if source is not None and source.op_type == "DequantizeLinear":
            node.input[0] = producers[source.input[0]].input[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the quantiser's warnings to the root logger, which ask for steps already done."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _float_nodes(proto: onnx.ModelProto) -> list[str]:
    return [
        node.name
        for node in proto.graph.node
        if node.op_type == "Conv" and any(name in node.input[1] for name in FLOAT_LAYERS)
    ]
