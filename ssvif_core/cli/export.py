"""`ssvif export`: a trained model -> the ONNX files the engines run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssvif_core.errors import InputError, SsvifError
from ssvif_core.recordings.reading import sample_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair

CHECKED, CALIBRATED = 8, 48  # pairs, spread over those there are


def export(
    weights: Annotated[Path, typer.Argument(help="safetensors file of `ssvif train`.")],
    out: Annotated[
        Path, typer.Argument(help="ONNX file to write; model.fp16.onnx beside it for fp16.")
    ],
    precision: Annotated[
        str, typer.Option(help="fp32, fp16 (GPUs), int8; several with commas between.")
    ] = "fp32",
    check: Annotated[
        Path | None,
        typer.Option(help="Pairs to verify on; default: some of --calibrate, or generated ones."),
    ] = None,
    calibrate: Annotated[
        Path | None, typer.Option(help="Pairs of your cameras, that int8 takes its ranges from.")
    ] = None,
) -> None:
    """Export a model; each precision is verified against PyTorch in float32 before it is written.

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
        raise InputError(f"{out.parent}: no such folder, and {out.name} is to go there")
    model = load_model(weights)
    calibration = [] if calibrate is None else sample_pairs(calibrate, CALIBRATED + CHECKED)
    if check is not None:
        checked = sample_pairs(check, CHECKED)
    elif len(calibration) > 1:
        every = max(2, len(calibration) // CHECKED)
        checked = calibration[::every]
        calibration = [pair for i, pair in enumerate(calibration) if i % every]
    else:
        checked = _generated()
        typer.echo("verifying on generated scenes; --check FOLDER takes pairs of your cameras")
    precisions = [each.strip() for each in precision.split(",")]
    for path, found in export_model(model, out, checked, precisions, calibration).items():
        typer.echo(f"{path}: on {len(checked)} pairs, beside float32: {found}")


def _generated() -> list[Pair]:
    scenes = DriveGenerator(DriveConfig(condition="drive", frames=CHECKED))
    return [Pair(s.visible, s.thermal) for s in map(scenes.frame, range(CHECKED))]
