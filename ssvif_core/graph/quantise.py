"""float32 graph -> int8 graph, by fake quantisation around its convolutions (needs onnxruntime).

Q/DQ pairs are the one form of int8 that every engine takes: TensorRT 11 has no calibrators left.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization as ort_quantization

# Weights of layers that stay float: those that read pixels, and those whose outputs are summed
# into the picture or compared for the label. They are a few percent of the work.
FLOAT_LAYERS = ("luma_kernel", "chroma_kernel", "mix_offset", "mix_gain", "detail", "classify",
                "naming", "whole")  # fmt: skip


class _Feeds(ort_quantization.CalibrationDataReader):
    def __init__(self, feeds: Iterable[dict[str, np.ndarray]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        return next(self._feeds, None)


def quantised(proto: onnx.ModelProto, feeds: Iterable[dict[str, np.ndarray]]) -> onnx.ModelProto:
    """`proto` with int8 convolutions, ranges from its activations on `feeds`.

    Weights are symmetric by channel, activations symmetric by tensor, biases float: the only
    scheme that TensorRT's parser takes of those that ONNX Runtime writes. Weights have 7 bits
    (-64 to 64). CPUs without VNNI add two products of 8 bits in 16 bits, and with full weights the
    sum would saturate: the picture would be wrong there without a word.
    """
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
                nodes_to_exclude=_float_nodes(proto),
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
        made = onnx.load(target)
    # The quantiser leaves a mark of its own; the note is ours to write.
    del made.metadata_props[:]
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises, by warnings to the root logger, steps that are done already."""
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
