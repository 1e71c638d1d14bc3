"""Export of a model to the raw-in raw-out ONNX file that the engines run (needs torch)."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from ssvif_core.cameras.model import aligned
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.errors import InputError, ModelError
from ssvif_core.graph.agreement import FLOORS, Agreement, Outputs, agreement, is_accepted
from ssvif_core.graph.model_file import METADATA_KEY, ModelNote, file_of
from ssvif_core.graph.quantise import quantised
from ssvif_core.graph.raw_graph import RawFusion
from ssvif_core.models import Model
from ssvif_core.models.blocks import fold
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Pair, SamplingMap

# From 20 on GridSample has another name for its mode, which OpenVINO does not know.
OPSET = 18
INPUTS = ("visible", "thermal", "thermal_range", "grid", "coverage")
OUTPUTS = ("fused", "labels", "confidence")
PRECISIONS = ("fp32", "fp16", "int8")
ADVICE = {
    "fp32": "Please report this with the versions from `ssvif doctor`",
    "fp16": "Values beyond half's range? Use fp32 for this model",
    "int8": "Calibrate on more pairs, of day and night; or use fp16",
}


def raw_module(model: Model, dtype: torch.dtype = torch.float32) -> RawFusion:
    """The raw-in raw-out module of a model, blocks folded, in evaluation mode."""
    folded = fold(copy.deepcopy(model)).to(dtype)
    return RawFusion(folded.fusion, folded.labeller, dtype).eval()  # type: ignore[attr-defined, arg-type]


def run_module(
    module: RawFusion, pair: Pair, thermal_range: np.ndarray, sampling: SamplingMap | None = None
) -> Outputs:
    """Fused, labels, confidence of one pair by PyTorch: the reference of every engine.

    sampling: registration; None takes cameras that see the same field of view.
    """
    feed = _feed(pair, thermal_range, sampling)
    with torch.no_grad():
        fused, labels, confidence = module(*(torch.from_numpy(x) for x in feed.values()))
    return fused[0].numpy(), labels[0].numpy(), confidence[0].numpy()


def export_model(
    model: Model,
    path: Path,
    check: Sequence[Pair],
    precisions: Sequence[str] = ("fp32",),
    calibrate: Iterable[Pair] = (),
) -> dict[Path, Agreement]:
    """Write the ONNX files of a model, each after it was found to agree with the module on pairs.

    One file serves every image size and 8 and 16 bit thermal images.

    Args:
        path: of the fp32 file; others lie beside it, see `file_of`.
        check: pairs to verify on, real ones if there are any.
        precisions: `fp32`; `fp16`: the network in half, both ends float; `int8`: convolutions
            between quantisers.
        calibrate: with int8, pairs of the cameras it will run on, for the ranges of activations.

    Returns:
        By file, the agreement of ONNX Runtime's result with the float32 module's.

    Raises:
        InputError: another precision, or int8 without pairs to calibrate on.
        ModelError: an agreement is below the floor of its precision; that file is not written.
    """
    feeds = [_feed(pair, _range_of(pair)) for pair in calibrate]
    for precision in precisions:
        if precision not in ADVICE:
            raise InputError(f"precision '{precision}'; expected {', '.join(ADVICE)}")
    if "int8" in precisions and not feeds:
        raise InputError(
            "precision int8: no pairs to calibrate on; give --calibrate a folder of pairs of "
            "your cameras, as `ssvif pairs` lists them"
        )
    reference = raw_module(model)
    single = _exported(reference) if {"fp32", "int8"} & set(precisions) else None
    found = {}
    for precision in precisions:
        if precision == "fp16":
            proto = _exported(raw_module(model, torch.float16))
        else:
            assert single is not None
            proto = quantised(single, feeds) if precision == "int8" else single
        note = ModelNote(model.config.size, tuple(model.names), precision)
        onnx.helper.set_model_props(proto, {METADATA_KEY: note.as_json()})
        file = file_of(path, precision)
        found[file] = _write_verified(proto, reference, file, check, precision)
    return found


def _write_verified(
    proto: onnx.ModelProto, reference: RawFusion, file: Path, check: Sequence[Pair], precision: str
) -> Agreement:
    data = proto.SerializeToString()
    found = _agreement(reference, data, check)
    if not is_accepted(found, precision):
        raise ModelError(
            f"the exported {precision} graph agrees too little with the float32 module on "
            f"{len(check)} pairs: {found}; expected at least {FLOORS[precision]}. {file.name} was "
            "not written. " + ADVICE[precision]
        )
    temporary = file.with_suffix(".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, file)
    return found


def _exported(module: RawFusion) -> onnx.ModelProto:
    example = (
        torch.zeros(1, 480, 640, 3, dtype=torch.uint8),
        torch.zeros(1, 256, 320, 2, dtype=torch.uint8),
        torch.tensor([0.0, 255.0]),
        torch.zeros(1, 480, 640, 2),
        torch.ones(1, 480, 640),
    )
    size = {name: torch.export.Dim(name, min=8, max=8192) for name in ("H", "W", "h", "w")}
    byte_count = torch.export.Dim("bytes", min=1, max=2)
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
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=(
                {1: size["H"], 2: size["W"]},
                {1: size["h"], 2: size["w"], 3: byte_count},
                None,
                {1: size["H"], 2: size["W"]},
                {1: size["H"], 2: size["W"]},
            ),
        )
    proto = program.model_proto  # type: ignore[union-attr]
    for name in ("visible", "thermal"):
        _cast_first(proto.graph, name)
    _whole_shapes(proto.graph)
    return proto


def _whole_shapes(graph: onnx.GraphProto) -> None:
    """Cut parts of shapes by Slice nodes.

    A Shape node may name a start and an end since opset 15. The parser of TensorRT 8.6 passes over
    them without a word, and crashes later on.
    """
    for index, node in reversed(list(enumerate(graph.node))):
        ends = {each.name: each.i for each in node.attribute}
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
    """Let nothing but its cast read a uint8 input, not even its shape: TensorRT allows no more."""
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
        fused, labels, confidence = session.run(list(OUTPUTS), _feed(pair, thermal_range))
        return run_module(module, pair, thermal_range), (fused[0], labels[0], confidence[0])

    return agreement(map(both, pairs))


def _range_of(pair: Pair) -> np.ndarray:
    return ThermalGain(smoothing=0).update(pair.thermal)


def _feed(
    pair: Pair, thermal_range: np.ndarray, sampling: SamplingMap | None = None
) -> dict[str, np.ndarray]:
    if sampling is None:
        height, width = pair.visible.shape[:2]
        sizes = (width, height), pair.thermal.shape[::-1]
        sampling = sampling_map(aligned(*sizes), *sizes)
    thermal = np.ascontiguousarray(pair.thermal).view(np.uint8)
    return {
        "visible": np.ascontiguousarray(pair.visible)[None],
        "thermal": thermal.reshape(1, *pair.thermal.shape, -1),
        "thermal_range": thermal_range,
        "grid": sampling.grid[None],
        "coverage": sampling.coverage[None],
    }
