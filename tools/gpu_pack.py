"""What tools/gpu_check.py needs, made on a machine without a GPU: models, pairs, float32 results.

    python tools/gpu_pack.py gpu_pack [--pairs FOLDER]

Size m has no trained weights: it is there for its speed, with random ones.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer

from ssvif_core.data.reading import sample_pairs
from ssvif_core.engines.verify import generated_pairs
from ssvif_core.graph.export import PRECISIONS, export_model, raw_module, run_module
from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of
from ssvif_core.models import Model, ModelConfig, load_model
from ssvif_core.registration.camera_pair import aligned
from ssvif_core.registration.sampling import sampling_map
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Pair, Shapes

# Visible and thermal cameras as they are sold: VGA with a Boson 320, SXGA with a Boson 640.
SHAPES = (
    Shapes(480, 640, 256, 320, 2),
    Shapes(480, 640, 256, 320, 1),
    Shapes(1024, 1280, 512, 640, 2),
)


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    pairs: Annotated[
        Path | None, typer.Option(help="Real pairs, resized; default: generated ones.")
    ] = None,
    count: Annotated[int, typer.Option(help="Pairs of each size.")] = 3,
    sizes: Annotated[str, typer.Option(help="Of the network.")] = "s,m",
) -> None:
    """Write the folder that tools/gpu_check.py takes."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    models = {}
    if "s" in sizes.split(","):
        models["s"] = load_model(DEFAULT_MODEL.with_suffix(".safetensors"))
        for precision in PRECISIONS:
            shutil.copy(file_of(DEFAULT_MODEL, precision), file_of(out / "s.onnx", precision))
    if "m" in sizes.split(","):
        models["m"] = Model(ModelConfig(size="m")).eval()
        generated = list(generated_pairs(SHAPES[0]))
        export_model(models["m"], out / "m.onnx", generated, PRECISIONS, generated)
    cases = []
    for shapes in SHAPES:
        made = list(generated_pairs(shapes, count)) if pairs is None else [
            _resized(pair, shapes) for pair in sample_pairs(pairs, count)
        ]  # fmt: skip
        for size, model in models.items():
            name = f"{size}-{shapes.width}x{shapes.height}x{8 * shapes.thermal_bytes}"
            _write_reference(out / f"{name}.npz", model, made, shapes)
            cases.append({"name": name, "size": size, "shapes": asdict(shapes),
                          **_work(model, shapes)})  # fmt: skip
    (out / "cases.json").write_text(json.dumps(cases, indent=2) + "\n")
    megabytes = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    typer.echo(f"{out}: {len(cases)} cases, {megabytes:.0f} MB")


def _resized(pair: Pair, shapes: Shapes) -> Pair:
    """A real pair in the sizes of the cameras; of 8 bit thermal images 16 bit counts, or back."""
    visible = cv2.resize(pair.visible, (shapes.width, shapes.height))
    thermal = cv2.resize(pair.thermal, (shapes.thermal_width, shapes.thermal_height))
    if thermal.dtype.itemsize == shapes.thermal_bytes:
        return Pair(visible, thermal)
    grey = thermal if thermal.dtype == np.uint8 else (thermal >> 8).astype(np.uint8)
    return Pair(visible, grey if shapes.thermal_bytes == 1 else grey.astype(np.uint16) * 257)


def _write_reference(path: Path, model: Model, pairs: list[Pair], shapes: Shapes) -> None:
    """Inputs and float32 outputs of pairs; all of one registration."""
    module = raw_module(model)
    sizes = (shapes.width, shapes.height), (shapes.thermal_width, shapes.thermal_height)
    sampling = sampling_map(aligned(*sizes), *sizes)
    ranges = [ThermalGain(smoothing=0).update(pair.thermal) for pair in pairs]
    results = [run_module(module, pair, each, sampling)
               for pair, each in zip(pairs, ranges, strict=True)]  # fmt: skip
    fused, labels, confidence = (np.stack(each) for each in zip(*results, strict=True))
    np.savez_compressed(
        path, visible=np.stack([pair.visible for pair in pairs]),
        thermal=np.stack([pair.thermal for pair in pairs]), thermal_range=np.stack(ranges),
        grid=sampling.grid, coverage=sampling.coverage,
        fused=fused, labels=labels, confidence=confidence,
    )  # fmt: skip


def _work(model: Model, shapes: Shapes) -> dict[str, int]:
    """FLOPs of the convolutions, their feature values (read once and written once), weights, and
    bytes of the messages: what no engine can do without."""
    module = raw_module(model)
    total = {"flops": 0, "values": 0}

    def count(layer: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        weight = layer.weight  # type: ignore[attr-defined]
        total["flops"] += 2 * output.numel() * weight[0].numel()  # type: ignore[index]
        total["values"] += inputs[0].numel() + output.numel()

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    (pair,) = generated_pairs(shapes, 1)
    run_module(module, pair, np.array((0, 65535), np.float32))
    pixels = shapes.width * shapes.height
    return {
        **total,
        "weights": sum(each.numel() for each in module.parameters()),
        "message_bytes": pixels * 3 + pair.thermal.nbytes + pixels * (3 + 1 + 1),
    }


if __name__ == "__main__":
    typer.run(main)
