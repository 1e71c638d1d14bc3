"""Exports a model to the ONNX file that the engines run. This needs PyTorch."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from ssvif_core.cameras.model import aligned
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.errors import InputError, ModelError
from ssvif_core.files import write_atomically
from ssvif_core.graph.agreement import FLOORS, Agreement, Outputs, agreement, is_accepted
from ssvif_core.graph.contract import INPUT_NAMES, INPUTS, OUTPUT_NAMES
from ssvif_core.graph.model_file import METADATA_KEY, ModelNote, file_of
from ssvif_core.graph.quantise import Feed, quantised
from ssvif_core.graph.raw_graph import MAX_SIDE, RawFusion
from ssvif_core.models import Model
from ssvif_core.models.blocks import fold
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Float32Array, Pair, SamplingMap, Shapes

# From opset 20 GridSample's mode has another name, which OpenVINO does not know.
OPSET = 18
PRECISIONS = ("fp32", "fp16", "int8")
ADVICE = {
    "fp32": "Please report this with the versions from `ssvif doctor`",
    "fp16": "Some values may exceed the range of half. Use fp32 for this model",
    "int8": "Give more int8 pairs, of day and night, or use fp16",
}


def raw_module(model: Model, dtype: torch.dtype = torch.float32) -> RawFusion:
    """The graph of a model as a PyTorch module, with folded blocks, in evaluation mode."""
    folded = copy.deepcopy(model)
    fold(folded).to(dtype)
    return RawFusion(folded.fusion, folded.labeller, dtype).eval()


def run_module(
    module: RawFusion, pair: Pair, thermal_range: Float32Array, sampling: SamplingMap | None = None
) -> Outputs:
    """Run one pair in PyTorch. Every engine is compared with this result.

    Args:
        thermal_range: (2,), the counts shown as black and as white.
        sampling: the registration; None means that both cameras have the same field of view.

    Returns:
        Fused image, labels and confidence, as in `Fusion`.
    """
    feed = _feed(pair, thermal_range, sampling)
    with torch.no_grad():
        fused, labels, confidence = module(*map(torch.from_numpy, feed.values()))
    return fused[0].numpy(), labels[0].numpy(), confidence[0].numpy()


def export_model(
    model: Model,
    path: Path,
    check: Sequence[Pair],
    precisions: Sequence[str] = ("fp32",),
    int8_pairs: Iterable[Pair] = (),
) -> dict[Path, Agreement]:
    """Write the ONNX files of a model. Each is compared with the PyTorch module first.

    One file serves every image size, and thermal images of 8 and 16 bits.

    Args:
        path: of the fp32 file; the others lie beside it, see `file_of`.
        check: pairs for the comparison, real ones if possible.
        precisions: `fp32`; `fp16`, with the network in half; `int8`, with quantised convolutions.
        int8_pairs: for int8, pairs of the cameras that it will run on. They set the ranges of the
            activations.

    Returns:
        By file, the agreement of ONNX Runtime with the float32 module.

    Raises:
        InputError: an unknown precision, or int8 without pairs.
        ModelError: an agreement is below the floor of its precision; that file is not written.
    """
    feeds = [_feed(pair, _range_of(pair)) for pair in int8_pairs]
    for precision in precisions:
        if precision not in ADVICE:
            raise InputError(f"precision '{precision}'; expected {', '.join(ADVICE)}")
    if "int8" in precisions and not feeds:
        raise InputError(
            "precision int8 needs pairs for the ranges of its activations; give --int8-pairs a "
            "folder of pairs of your cameras, as `ssvif pairs` lists them"
        )
    reference = raw_module(model)
    single = _exported(reference) if {"fp32", "int8"} & set(precisions) else None
    agreements = {}
    for precision in precisions:
        if precision == "fp16":
            proto = _exported(raw_module(model, torch.float16))
        else:
            assert single is not None
            proto = quantised(single, feeds) if precision == "int8" else single
        note = ModelNote(model.config.size, tuple(model.names), precision)
        onnx.helper.set_model_props(proto, {METADATA_KEY: note.as_json()})
        file = file_of(path, precision)
        agreements[file] = _write_verified(proto, reference, file, check, precision)
    return agreements


def _write_verified(
    proto: onnx.ModelProto, reference: RawFusion, file: Path, check: Sequence[Pair], precision: str
) -> Agreement:
    data = proto.SerializeToString()
    result = _agreement(reference, data, check)
    if not is_accepted(result, precision):
        raise ModelError(
            f"the exported {precision} graph agrees too little with the float32 module on "
            f"{len(check)} pairs: {result}; expected at least {FLOORS[precision]}. {file.name} was "
            "not written. " + ADVICE[precision]
        )
    write_atomically(file, data)
    return result


def _exported(module: RawFusion) -> onnx.ModelProto:
    # These sizes are an example. The exported graph takes all sizes within the limits below.
    shapes = Shapes(height=480, width=640, thermal_height=256, thermal_width=320, thermal_bytes=2)
    example = tuple(
        torch.zeros(spec.shape(shapes), dtype=getattr(torch, spec.dtype.name)) for spec in INPUTS
    )
    axes: dict[str, Any] = {name: torch.export.Dim(name, min=8, max=MAX_SIDE) for name in "HWhw"}
    axes["bytes"] = torch.export.Dim("bytes", min=1, max=2)
    dynamic = [
        {index: axes[axis] for index, axis in enumerate(spec.axes) if isinstance(axis, str)}
        for spec in INPUTS
    ]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            input_names=list(INPUT_NAMES),
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=tuple(dynamic),
        )
    assert program is not None
    proto = program.model_proto
    for name in ("visible", "thermal"):
        _cast_first(proto.graph, name)
    _whole_shapes(proto.graph)
    return proto


def _whole_shapes(graph: onnx.GraphProto) -> None:
    """Replace partial Shape nodes by whole ones with a Slice node after them.

    Since opset 15 a Shape node may have a start and an end. The parser of TensorRT 8.6 silently
    ignores them and crashes later.
    """
    for index, node in reversed(list(enumerate(graph.node))):
        ends = {attribute.name: attribute.i for attribute in node.attribute}
        if node.op_type != "Shape" or not ends:
            continue
        (part,), whole = node.output, f"{node.output[0]}_whole"
        limits = []
        for name, value in (("start", ends.get("start", 0)), ("end", ends.get("end", 1 << 31))):
            limits.append(f"{part}_{name}")
            graph.initializer.append(
                onnx.numpy_helper.from_array(np.array([value], np.int64), limits[-1])
            )
        cut = onnx.helper.make_node("Slice", [whole, *limits], [part])
        del node.attribute[:]
        node.output[0] = whole
        graph.node.insert(index + 1, cut)


def _cast_first(graph: onnx.GraphProto, name: str) -> None:
    """Let only the cast read a uint8 input, because TensorRT refuses even a Shape node on it."""
    (cast,) = (node for node in graph.node if node.op_type == "Cast" and name in node.input)
    for node in graph.node:
        if node.op_type == "Shape" and name in node.input:
            node.input[0] = cast.output[0]
    first = onnx.NodeProto()
    first.CopyFrom(cast)
    graph.node.remove(cast)
    graph.node.insert(0, first)


def _agreement(module: RawFusion, data: bytes, pairs: Iterable[Pair]) -> Agreement:
    session = onnxruntime.InferenceSession(data)

    def both(pair: Pair) -> tuple[Outputs, Outputs]:
        thermal_range = _range_of(pair)
        fused, labels, confidence = session.run(list(OUTPUT_NAMES), _feed(pair, thermal_range))
        return run_module(module, pair, thermal_range), (fused[0], labels[0], confidence[0])

    return agreement(map(both, pairs))


def _range_of(pair: Pair) -> Float32Array:
    return ThermalGain(smoothing=0).update(pair.thermal)


def _feed(pair: Pair, thermal_range: Float32Array, sampling: SamplingMap | None = None) -> Feed:
    if sampling is None:
        sizes = Shapes.of(pair).sizes
        sampling = sampling_map(aligned(*sizes), *sizes)
    thermal = np.ascontiguousarray(pair.thermal).view(np.uint8)
    return {
        "visible": np.ascontiguousarray(pair.visible)[None],
        "thermal": thermal.reshape(1, *pair.thermal.shape, -1),
        "thermal_range": thermal_range,
        "grid": sampling.grid[None],
        "coverage": sampling.coverage[None],
    }
