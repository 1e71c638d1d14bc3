"""`ssvif fuse`: fuse two folders of images, or a recording."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console
from rich.progress import track

from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.cli.options import (
    Calibration,
    Slop,
    ThermalCrop,
    ThermalTimeOffset,
    VisibleBits,
    WorkingSize,
    nanoseconds,
)
from ssvif_core.errors import InputError
from ssvif_core.overlay import colours_of, draw_overlay
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.decode import Crop, Reading
from ssvif_core.recordings.layouts import find_pairs, pair_folders
from ssvif_core.recordings.reading import read_sources
from ssvif_core.recordings.sources import Listing, PairSource
from ssvif_core.recordings.video import pair_count
from ssvif_core.thermal import ThermalConfig
from ssvif_core.types import Pair, UInt8Array


def fuse(
    out: Annotated[Path, typer.Option(help="Folder for the fused images.")],
    recording: Annotated[
        Path | None, typer.Argument(help="Folder of pairs, bag, or list of pairs (.csv).")
    ] = None,
    visible: Annotated[
        Path | None, typer.Option(help="Folder of visible images, video, or topic of a bag.")
    ] = None,
    thermal: Annotated[
        Path | None,
        typer.Option(help="Folder of thermal images of the same names, video, or topic."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Every n-th pair of videos and bags.")] = 1,
    slop: Slop = 0.02,
    thermal_time_offset: ThermalTimeOffset = 0.0,
    visible_bits: VisibleBits = 0,
    thermal_crop: ThermalCrop = "",
    labels: Annotated[Path | None, typer.Option(help="Folder for images of class ids.")] = None,
    overlay: Annotated[Path | None, typer.Option(help="Folder for overlays.")] = None,
    engine: Annotated[str, typer.Option(help="auto, tensorrt, openvino or onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or int8.")] = "auto",
    working_size: WorkingSize = "full",
    model: Annotated[Path | None, typer.Option(help="ONNX file; default: shipped model.")] = None,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Strength of the overlay.")] = 0.4,
    calibration: Calibration = None,
) -> None:
    """Fuse images, paired by name, or a bag or two videos, into PNGs of the visible image's size.

    Exit code 2 if an image has no partner or cannot be read. All other pairs are fused.
    """
    console = Console(stderr=True)
    camera_pair = load_camera_pair(calibration) if calibration else None
    slop_ns = nanoseconds(slop, "slop", least=1)
    offset_ns = nanoseconds(thermal_time_offset, "thermal time offset")
    offset_ns += round(camera_pair.time_offset * 1e9) if camera_pair else 0
    if recording is not None and (visible is None) == (thermal is None):
        topics = (str(visible), str(thermal)) if visible and thermal else None
        reading = Reading(visible_bits, Crop.parse(thermal_crop))
        listing = find_pairs(recording, every, topics, slop_ns, True, offset_ns, reading)
    else:
        listing = _listing(recording, visible, thermal, every)
    problems = list(listing.problems)
    problems += [f"{path}: has no partner of the same name" for path in listing.unpaired]
    for folder in (out, labels, overlay):
        if folder is not None:
            _make_folder(folder)
    # Images of a folder are no video, so nothing is smoothed over time.
    thermal_config = ThermalConfig() if listing.is_video else ThermalConfig(smoothing=0.0)
    pipeline = FusionPipeline(
        model, engine, precision, thermal_config, calibration=camera_pair,
        working_size=working_size,
    )  # fmt: skip
    pipeline.check()
    fused_count = 0
    pairs = read_sources(listing.pairs)
    stream = listing.pairs[0].stream
    for index, pair in track(pairs, "fusing", len(listing.pairs), console=console):
        source = listing.pairs[index]
        if source.stream != stream:  # another recording, perhaps of another camera
            pipeline.thermal.reset()
            stream = source.stream
        try:
            _fuse_pair(pipeline, source.name, pair, out, labels, overlay, alpha)
            fused_count += 1
        except InputError as error:
            problems.append(str(error))
    console.print(f"{fused_count} pairs fused into {out}")
    for problem in problems:
        print(f"ssvif: {problem}", file=sys.stderr)  # without rich: names may look like markup
    if problems:
        sys.exit(2)


def _listing(
    recording: Path | None, visible: Path | None, thermal: Path | None, every: int
) -> Listing:
    """The pairs of two folders or two videos."""
    if recording is not None or visible is None or thermal is None:
        raise InputError(
            "give a recording (a folder of pairs, a bag or a list of pairs), or both --visible and "
            "--thermal (two folders or two videos; with a bag, its topics)"
        )
    if not (visible.is_file() and thermal.is_file()):
        return pair_folders(visible, thermal)
    pairs = tuple(
        PairSource(f"{visible.stem}_{frame:06d}", visible, thermal, frame=frame)
        for frame in range(0, pair_count(visible, thermal), every)
    )
    return Listing(visible, f"{visible.name} + {thermal.name}", pairs)


def _fuse_pair(
    pipeline: FusionPipeline,
    name: str,
    pair: Pair | InputError,
    out: Path,
    labels: Path | None,
    overlay: Path | None,
    alpha: float,
) -> None:
    if isinstance(pair, InputError):
        raise InputError(f"{name}: {pair}") from pair
    fusion = pipeline(pair)
    file_name = f"{name}.png"
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
        path.parent.mkdir(parents=True, exist_ok=True)  # names may hold folders
        path.write_bytes(png.tobytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
