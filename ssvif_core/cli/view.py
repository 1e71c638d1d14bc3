"""`ssvif view`: a recording, or the running node, in the viewer Rerun."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

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
    find_listings,
)
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.decode import Crop, Reading
from ssvif_core.recordings.reading import read_sources
from ssvif_core.recordings.sources import Listing
from ssvif_core.thermal import ThermalConfig, to_grey
from ssvif_core.types import Shapes
from ssvif_core.viewer import FUSED, THERMAL, VISIBLE, Viewer

LIVE = "live"
TIMES, CLASSES, COUNTS = "ms", "% of the image", "thermal counts"  # graphs


def view(
    recording: Annotated[
        str, typer.Argument(help="Bag, or folder of videos or pairs; or `live`: the running node.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write a file for `rerun` instead of opening a window.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="ONNX file of `ssvif export`; default: the shipped model.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or int8.")] = "auto",
    working_size: WorkingSize = "full",
    calibration: Calibration = None,
    every: Annotated[int, typer.Option(min=1, help="Every n-th pair of videos and bags.")] = 1,
    visible: Annotated[str | None, typer.Option(help="Visible topic.")] = None,
    thermal: Annotated[str | None, typer.Option(help="Thermal topic.")] = None,
    node: Annotated[str, typer.Option(help="With live: name of the node.")] = "/fusion_node",
    slop: Slop = 0.02,
    thermal_time_offset: ThermalTimeOffset = 0.0,
    visible_bits: VisibleBits = 0,
    thermal_crop: ThermalCrop = "",
) -> None:
    """Look at a fusion over time: both inputs, fused image, labels, times and diagnostics.

    It needs `pip install rerun-sdk`. The viewer sends figures of its use to its makers, unless
    you run `rerun analytics disable`.
    """
    if recording == LIVE:
        _load_live()(out, node, visible, thermal)
        return
    cameras = load_camera_pair(calibration) if calibration else None
    (listing,) = find_listings(
        [Path(recording)], every, (visible, thermal), slop, thermal_time_offset,
        Reading(visible_bits, Crop.parse(thermal_crop)), cameras,
    )  # fmt: skip
    # Images of a folder are no video, so nothing is smoothed over time.
    thermal_config = ThermalConfig() if listing.is_video else ThermalConfig(smoothing=0.0)
    pipeline = FusionPipeline(
        model, engine, precision, thermal_config, calibration=cameras, working_size=working_size
    )
    pipeline.check()
    with Viewer(out, (TIMES, CLASSES, COUNTS)) as viewer:
        problems = list(listing.problems) + _show(listing, pipeline, viewer)
    if out is not None:
        typer.echo(f"{out}: {len(listing.pairs)} pairs; open it with `rerun {out}`")
    for problem in problems:
        print(f"ssvif: {problem}", file=sys.stderr)
    if problems:
        sys.exit(2)


def _show(listing: Listing, pipeline: FusionPipeline, viewer: Viewer) -> list[str]:
    """Fuse all pairs of a recording and show them; returns what cannot be read."""
    problems, first = [], None
    viewer.classes(pipeline.class_names)
    pairs = track(
        read_sources(listing.pairs), "showing", len(listing.pairs), console=Console(stderr=True)
    )
    for index, pair in pairs:
        name = listing.pairs[index].name
        try:
            if isinstance(pair, InputError):
                raise pair
            pipeline.prepare(Shapes.of(pair))  # creating an engine is no time of a pair
            started = time.perf_counter()
            fusion = pipeline(pair)
            taken_ms = 1000 * (time.perf_counter() - started)
        except InputError as error:
            problems.append(f"{name}: {error}")
            viewer.note(problems[-1])
            continue
        first = pair.visible_stamp if first is None else first
        viewer.at((pair.visible_stamp - first) * 1e-9, index)
        frame = pipeline.frame
        assert frame is not None  # of this pair
        viewer.picture(VISIBLE, pair.visible)
        viewer.picture(THERMAL, to_grey(frame.thermal, frame.range, *pair.thermal.shape))
        viewer.picture(FUSED, fusion.fused)
        viewer.labels(fusion.labels)
        viewer.figure(TIMES, "engine", taken_ms)
        late_ms = (pair.thermal_stamp - pair.visible_stamp) * 1e-6
        viewer.figure(TIMES, "thermal after visible", late_ms)
        for name_of_end, count in zip(("black", "white"), frame.range.ravel(), strict=True):
            viewer.figure(COUNTS, name_of_end, float(count))
        for number, each in enumerate(pipeline.class_names[1:], 1):
            viewer.figure(CLASSES, each, 100 * float((fusion.labels == number).mean()))
        if pipeline.state.value != "live":
            viewer.note(f"{name}: thermal stream {pipeline.state.value}")
    return problems


def _load_live() -> Callable[[Path | None, str, str | None, str | None], None]:
    try:
        (live,) = (point.load() for point in entry_points(group="ssvif.live"))
    except (ImportError, ValueError) as error:
        raise SsvifError(
            f"`ssvif view live` needs ROS 2, which cannot be imported here ({error}); source your "
            "ROS installation, or run `make setup` in the checkout"
        ) from error
    show: Callable[[Path | None, str, str | None, str | None], None] = live
    return show
