"""`ssvif export`: a trained model -> the ONNX files that the engines run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssvif_core.errors import InputError, SsvifError
from ssvif_core.recordings.reading import sample_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair

CHECK_PAIRS, INT8_PAIRS = 8, 48  # largest numbers, spread over all pairs


def export(
    weights: Annotated[Path, typer.Argument(help="safetensors file of `ssvif train`.")],
    out: Annotated[
        Path, typer.Argument(help="ONNX file to write; model.fp16.onnx beside it for fp16.")
    ],
    precision: Annotated[
        str, typer.Option(help="fp32, fp16 (GPUs) or int8; separate several by commas.")
    ] = "fp32",
    check: Annotated[
        Path | None,
        typer.Option(help="Pairs to verify on; default: some int8 pairs, or generated ones."),
    ] = None,
    int8_pairs: Annotated[
        Path | None,
        typer.Option("--int8-pairs", "--calibrate", help="Pairs of your cameras for int8 ranges."),
    ] = None,
) -> None:
    """Export a model. Each precision is compared with PyTorch in float32 before it is written.

    Pairs are folders, videos or bags, as `ssvif pairs` lists them.
    """
    try:
        from ssvif_core.graph.export import export_model
        from ssvif_core.models import load_model
    except ImportError as error:
        raise SsvifError(
            f"`ssvif export` needs the training extra ({error}); run `make setup-train`"
        ) from error
    if not out.parent.is_dir():
        raise InputError(
            f"{out.parent}: no such folder; create it, or choose another for {out.name}"
        )
    model = load_model(weights)
    ranges = [] if int8_pairs is None else sample_pairs(int8_pairs, INT8_PAIRS + CHECK_PAIRS)
    if check is not None:
        checked = sample_pairs(check, CHECK_PAIRS)
    elif len(ranges) > 1:
        every = max(2, len(ranges) // CHECK_PAIRS)
        checked = ranges[::every]
        ranges = [pair for i, pair in enumerate(ranges) if i % every]
    else:
        checked = generated_pairs()
        typer.echo("verifying on generated pairs; --check FOLDER takes pairs of your cameras")
    precisions = [name.strip() for name in precision.split(",")]
    for path, agreement in export_model(model, out, checked, precisions, ranges).items():
        typer.echo(f"{path}: compared with float32 on {len(checked)} pairs: {agreement}")


def generated_pairs() -> list[Pair]:
    """Pairs to verify on, where there are none of the cameras."""
    drive = DriveGenerator(DriveConfig(condition="drive", frames=CHECK_PAIRS))
    return [Pair(scene.visible, scene.thermal) for scene in map(drive.frame, range(CHECK_PAIRS))]
