"""`ssvif fuse`: fuse two folders of images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console
from rich.progress import track

from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.errors import InputError
from ssvif_core.overlay import colours_of, draw_overlay
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.layouts import pair_folders
from ssvif_core.recordings.sources import PairSource
from ssvif_core.thermal import ThermalConfig
from ssvif_core.types import Pair, UInt8Array


def fuse(
    visible: Annotated[Path, typer.Option(help="Folder of visible images.")],
    thermal: Annotated[Path, typer.Option(help="Folder of thermal images with the same names.")],
    out: Annotated[Path, typer.Option(help="Folder for the fused images.")],
    labels: Annotated[Path | None, typer.Option(help="Folder for images of class ids.")] = None,
    overlay: Annotated[Path | None, typer.Option(help="Folder for overlays.")] = None,
    engine: Annotated[str, typer.Option(help="auto, tensorrt, openvino or onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16, bf16 or int8.")] = "auto",
    model: Annotated[Path | None, typer.Option(help="ONNX file; default: shipped model.")] = None,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Strength of the overlay.")] = 0.4,
    calibration: Annotated[
        Path | None, typer.Option(help="camera_pair.yaml; default: aligned cameras.")
    ] = None,
) -> None:
    """Fuse two folders of images, paired by name, into PNGs of the visible image's size.

    Exit code 2 if an image has no partner or cannot be read. All other pairs are fused.
    """
    console = Console(stderr=True)
    listing = pair_folders(visible, thermal)
    problems = [f"{path}: has no partner of the same name" for path in listing.unpaired]
    for folder in (out, labels, overlay):
        if folder is not None:
            _make_folder(folder)
    camera_pair = load_camera_pair(calibration) if calibration else None
    # No smoothing over time: images of a folder are no video.
    thermal_config = ThermalConfig(smoothing=0.0)
    pipeline = FusionPipeline(model, engine, precision, thermal_config, calibration=camera_pair)
    pipeline.check()
    fused_count = 0
    for source in track(listing.pairs, "fusing", console=console):
        try:
            _fuse_pair(pipeline, source, out, labels, overlay, alpha)
            fused_count += 1
        except InputError as error:
            problems.append(str(error))
    console.print(f"{fused_count} pairs fused into {out}")
    for problem in problems:
        print(f"ssvif: {problem}", file=sys.stderr)  # without rich: names may look like markup
    if problems:
        sys.exit(2)


def _fuse_pair(
    pipeline: FusionPipeline,
    source: PairSource,
    out: Path,
    labels: Path | None,
    overlay: Path | None,
    alpha: float,
) -> None:
    try:
        pair = Pair(read_visible(source.visible), read_thermal(source.thermal))
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from error
    fusion = pipeline(pair)
    file_name = f"{source.name}.png"
    _write(out / file_name, fusion.fused)
    if labels is not None:
        _write(labels / file_name, fusion.labels)
    if overlay is not None:
        colours = colours_of(pipeline.class_names)
        _write(overlay / file_name, draw_overlay(fusion.fused, fusion.labels, colours, alpha))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be created ({error.strerror}); choose another"
        ) from error


def _write(path: Path, image: UInt8Array) -> None:
    _, png = cv2.imencode(".png", image)
    try:
        path.write_bytes(png.tobytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
