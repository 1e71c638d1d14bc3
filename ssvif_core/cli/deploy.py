"""`ssvif deploy`: a trained model and its cameras as one bundle; `ssvif bundle` looks at it."""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from ssvif_core.bundle import (
    CALIBRATION,
    FIGURES,
    MODEL,
    WEIGHTS,
    differences,
    load_bundle,
    read_parameters,
    write_bundle,
)
from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.cli.export import CHECK_PAIRS, INT8_PAIRS, generated_pairs
from ssvif_core.errors import InputError, ModelError, SsvifError
from ssvif_core.files import require_empty
from ssvif_core.recordings.reading import sample_pairs
from ssvif_core.types import Pair

LARGEST_FIGURES = 1_000_000  # bytes of a file

app = typer.Typer(help="Look at bundles of `ssvif deploy`.", no_args_is_help=True)


def deploy(
    model: Annotated[
        Path, typer.Argument(help="Folder of `ssvif adapt` or `train`, or a file of weights.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the bundle.")],
    calibration: Annotated[
        Path | None, typer.Option(help="camera_pair.yaml of the cameras.")
    ] = None,
    parameters: Annotated[
        Path | None,
        typer.Option(help="Parameter file of the node, for the thermal gain and the like."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Recording of the cameras, for int8; default: that of `ssvif adapt`."),
    ] = None,
    figures: Annotated[
        list[Path] | None,
        typer.Option(help="More JSON files to put in, such as results of `ssvif evaluate`."),
    ] = None,
) -> None:
    """Put a model, its ONNX files, calibration, gain and figures into one folder with hashes.

    `fusion_node` takes it as the parameter `bundle`, and checks every file. A precision that agrees
    too little with float32 is left out.
    """
    try:
        from ssvif_core.graph.export import export_model
        from ssvif_core.models import load_model
    except ImportError as error:
        raise SsvifError(
            f"`ssvif deploy` needs the training extra ({error}); run `make setup-train`"
        ) from error
    require_empty(out)
    weights = model / WEIGHTS if model.is_dir() else model
    named = load_model(weights)
    files = {WEIGHTS: weights.read_bytes()}
    if calibration is not None:
        load_camera_pair(calibration)
        files[CALIBRATION] = calibration.read_bytes()
    given = read_parameters(parameters) if parameters is not None else {}
    results = sorted(model.glob("*.json")) if model.is_dir() else []
    for file in [*results, *(figures or [])]:
        files[f"{FIGURES}/{file.name}"] = _figures(file)
    samples = _samples(pairs, files)
    checked, ranges = samples[::7][:CHECK_PAIRS], [s for i, s in enumerate(samples) if i % 7]
    if not ranges:
        typer.echo("int8: left out, since it needs pairs of your cameras; give --pairs")
    agreement: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for precision in ("fp32", "fp16", "int8")[: 3 if ranges else 2]:
            try:
                exported = export_model(
                    named, Path(scratch) / MODEL, checked or generated_pairs(), (precision,), ranges
                )
            except ModelError as error:
                if precision == "fp32":
                    raise
                typer.echo(f"{precision}: left out: {error}")
                continue
            for file, result in exported.items():
                files[file.name] = file.read_bytes()
                agreement[file.name] = str(result)
    bundle = write_bundle(
        out, files, tuple(named.names), given, agreement, f"{date.today()}, ssvif_ros {_version()}"
    )
    typer.echo(bundle.describe())
    typer.echo(f"ros2 launch ssvif_ros fusion.launch.py bundle:={out}")


def _figures(file: Path) -> bytes:
    try:
        data = file.read_bytes()
        json.loads(data)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error})") from error
    if len(data) > LARGEST_FIGURES:
        raise InputError(f"{file}: {len(data)} bytes; expected figures of less than 1 MB")
    return data


def _samples(pairs: Path | None, files: dict[str, bytes]) -> list[Pair]:
    """Pairs of the cameras: of the given recording, or of the one that `adapt.json` names."""
    recordings = [pairs] if pairs is not None else []
    adapted = files.get(f"{FIGURES}/adapt.json")
    if pairs is None and adapted is not None:
        facts: Any = json.loads(adapted)
        named = [Path(name) for name in facts.get("recordings", [])]
        recordings = [path for path in named if path.exists()]
    each = (CHECK_PAIRS + INT8_PAIRS) // max(len(recordings), 1)
    return [pair for path in recordings for pair in sample_pairs(path, each)]


def _version() -> str:
    try:
        return version("ssvif_ros")
    except PackageNotFoundError:  # a checkout that is not installed
        return "of a checkout"


Folder = Annotated[Path, typer.Argument(help="Bundle of `ssvif deploy`.")]


@app.command()
def show(bundle: Folder) -> None:
    """Show what a bundle holds: classes, files, parameters and figures."""
    typer.echo(load_bundle(bundle).describe())


@app.command()
def verify(bundle: Folder) -> None:
    """Check every file against its hash. Exit code 2 if one is missing or has changed."""
    found = load_bundle(bundle)
    typer.echo(f"{bundle}: all {len(found.hashes)} files are as they were made")


@app.command()
def diff(first: Folder, second: Folder) -> None:
    """Show what differs between two bundles. Exit code 1 if something does."""
    lines = differences(load_bundle(first), load_bundle(second))
    typer.echo("\n".join(lines) if lines else "both hold the same")
    if lines:
        sys.exit(1)
