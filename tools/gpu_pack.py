"""Writes what tools/gpu_check.py needs: models, pairs, float32 results. This needs no GPU.

    python tools/gpu_pack.py gpu_pack [--pairs FOLDER]

Models: `s`, the shipped one; `m`, the same network in its larger size; `dense`, a full-resolution
network with SeAFusion's published structure. The last two have random weights and are only timed.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import onnx
import torch
import typer
from onnxscript import optimizer

from ssvif_core.cameras.model import aligned
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.engines.verify import generated_pairs
from ssvif_core.graph.contract import input_shapes
from ssvif_core.graph.export import PRECISIONS, export_model, raw_module, run_module
from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of
from ssvif_core.models import Model, ModelConfig, load_model
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Pair, Shapes

# Common cameras: VGA with a Boson 320, HD and Full HD with a Boson 640.
VGA = Shapes(480, 640, 256, 320, 2)
HD = Shapes(720, 1280, 512, 640, 2)
FULL_HD = Shapes(1080, 1920, 512, 640, 2)
# Model, shapes, precisions. The most important cases come first, as time may be short.
CASES = (
    ("s", VGA, ("fp16",)),
    ("dense", VGA, ("fp16",)),
    ("s", VGA, ("int8", "fp32")),
    ("s", HD, ("fp16",)),
    ("s", FULL_HD, ("fp16",)),
    ("m", VGA, ("fp16",)),
    ("s", HD, ("int8", "fp32")),
    ("s", FULL_HD, ("int8", "fp32")),
    ("dense", VGA, ("fp32",)),
)
NETWORKS = {
    "m": ModelConfig("trunk", "m"),
    "dense": ModelConfig("dense"),
}
NAMES = ("background", "person", "bicycle", "car")


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    pairs: Annotated[
        Path | None, typer.Option(help="Real pairs, which are resized; default: generated ones.")
    ] = None,
    count: Annotated[
        int, typer.Option(help="Pairs of 640x480; a tenth of this for larger sizes.")
    ] = 3,
    models: Annotated[str, typer.Option(help="Models to write: s, m, dense.")] = "s,m,dense",
    parts: Annotated[str, typer.Option(help="Parts to write: models, references.")] = (
        "models,references"
    ),
) -> None:
    """Write the folder that tools/gpu_check.py takes."""
    real = None
    if pairs is not None:
        from ssvif_core.recordings.reading import sample_pairs

        real = list(sample_pairs(pairs, count))
    write_pack(out, real, count, tuple(models.split(",")), tuple(parts.split(",")))
    megabytes = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    typer.echo(f"{out}: {megabytes:.0f} MB")


def write_pack(
    out: Path,
    real: list[Pair] | None,
    count: int,
    names: tuple[str, ...],
    parts: tuple[str, ...] = ("models", "references"),
) -> None:
    """Write models and references into a folder.

    Export the models with the locked version of ONNX Runtime. The references can be written later.

    Args:
        real: real pairs; None generates pairs.
        count: pairs of 640x480.
        names: of the models.
        parts: `models`, `references` or both.
    """
    out.mkdir(parents=True, exist_ok=True)
    models = {name: model_of(name) for name in names}
    cases = [
        {"name": _case(name, shapes), "model": name, "shapes": asdict(shapes),
         "precisions": precisions, **_work(models[name], shapes)}
        for name, shapes, precisions in CASES if name in models
    ]  # fmt: skip
    (out / "cases.json").write_text(json.dumps(cases, indent=2) + "\n")
    if "models" in parts:
        generated = list(generated_pairs(VGA))
        for name, model in models.items():
            if name == "s":
                for precision in PRECISIONS:
                    source = file_of(DEFAULT_MODEL, precision)
                    shutil.copy(source, file_of(out / "s.onnx", precision))
            else:
                needed = {p for n, _, precisions in CASES if n == name for p in precisions}
                export_model(model, out / f"{name}.onnx", generated, sorted(needed), generated)
        for name, shapes, precisions in CASES:
            for precision in precisions if name in models else ():
                source, target = (file_of(out / f"{stem}.onnx", precision)
                                  for stem in (name, _case(name, shapes)))  # fmt: skip
                bind(source, shapes, target)
    if "references" in parts:
        for name, shapes in dict.fromkeys((name, shapes) for name, shapes, _ in CASES):
            if name in models:
                number = count if shapes == VGA else max(count // 10, 2)
                pairs = list(generated_pairs(shapes, number)) if real is None else [
                    _resized(pair, shapes) for pair in real[:number]
                ]  # fmt: skip
                _write_reference(out / f"{_case(name, shapes)}.npz", models[name], pairs, shapes)


def bind(file: Path, shapes: Shapes, target: Path) -> None:
    """Write the same graph for one set of shapes, with constants for all that depends on them.

    TensorRT 8.6 needs this, because its parser ignores the start and the end of Shape nodes.
    """
    proto = onnx.load(file)
    notes = {entry.key: entry.value for entry in proto.metadata_props}
    inputs = input_shapes(shapes)
    for tensor in proto.graph.input:
        if tensor.name in inputs:
            axes = tensor.type.tensor_type.shape.dim
            for axis, size in zip(axes, inputs[tensor.name], strict=True):
                axis.dim_value = size
    bound = optimizer.optimize(proto, num_iterations=4, onnx_shape_inference=True)
    _drop_empty_pads(bound.graph)
    onnx.helper.set_model_props(bound, notes)
    onnx.save(bound, target)


def _drop_empty_pads(graph: onnx.GraphProto) -> None:
    """Remove Pad nodes that add nothing. Sizes that are multiples of the stride have them."""
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Pad"]:
        if not values[node.input[1]].any():
            for other in graph.node:
                names = [node.input[0] if n == node.output[0] else n for n in other.input]
                other.input[:] = names
            graph.node.remove(node)


def model_of(name: str) -> Model:
    """The PyTorch model of a name in `CASES`."""
    if name == "s":
        return load_model(DEFAULT_MODEL.with_suffix(".safetensors"))
    torch.manual_seed(0)
    return Model(NETWORKS[name], NAMES).eval()


def _case(name: str, shapes: Shapes) -> str:
    return f"{name}-{shapes.width}x{shapes.height}x{8 * shapes.thermal_bytes}"


def _resized(pair: Pair, shapes: Shapes) -> Pair:
    """A real pair in these sizes, with thermal images converted to 8 or 16 bit."""
    visible = cv2.resize(pair.visible, (shapes.width, shapes.height))
    thermal = cv2.resize(pair.thermal, (shapes.thermal_width, shapes.thermal_height))
    if thermal.dtype.itemsize == shapes.thermal_bytes:
        return Pair(visible, thermal)
    grey = thermal if thermal.dtype == np.uint8 else (thermal >> 8).astype(np.uint8)
    return Pair(visible, grey if shapes.thermal_bytes == 1 else grey.astype(np.uint16) * 257)


def _write_reference(path: Path, model: Model, pairs: list[Pair], shapes: Shapes) -> None:
    """Write inputs and float32 outputs of pairs, all with the same sampling map."""
    module = raw_module(model)
    sizes = shapes.sizes
    sampling = sampling_map(aligned(*sizes), *sizes)
    ranges = [ThermalGain(smoothing=0).update(pair.thermal) for pair in pairs]
    results = [run_module(module, pair, thermal_range, sampling)
               for pair, thermal_range in zip(pairs, ranges, strict=True)]  # fmt: skip
    fused, labels, confidence = map(np.stack, zip(*results, strict=True))
    np.savez(
        path, visible=np.stack([pair.visible for pair in pairs]),
        thermal=np.stack([pair.thermal for pair in pairs]), thermal_range=np.stack(ranges),
        grid=sampling.grid, coverage=sampling.coverage,
        fused=fused, labels=labels, confidence=confidence,
    )  # fmt: skip


def _work(model: Model, shapes: Shapes) -> dict[str, int]:
    """The work that every engine must do for one pair.

    FLOPs of the convolutions, their feature values (each read once and written once), weights, and
    bytes of the messages.
    """
    module = raw_module(model)
    total = {"flops": 0, "values": 0}

    def count(layer: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        assert isinstance(layer, torch.nn.Conv2d)
        total["flops"] += 2 * output.numel() * layer.weight[0].numel()
        total["values"] += inputs[0].numel() + output.numel()

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    (pair,) = generated_pairs(shapes, 1)
    run_module(module, pair, np.array((0, 65535), np.float32))
    pixels = shapes.width * shapes.height
    return {
        **total,
        "weights": sum(parameter.numel() for parameter in module.parameters()),
        "message_bytes": pixels * 3 + pair.thermal.nbytes + pixels * (3 + 1 + 1),
    }


if __name__ == "__main__":
    typer.run(main)
