"""`ssvif calibrate`: find the camera pair of a recording, and its time offset."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from rich.console import Console

from ssvif_core.calibration.board import Board, calibrate_from_board
from ssvif_core.calibration.picture import before_and_after
from ssvif_core.calibration.scene import calibrate_from_scene
from ssvif_core.calibration.time_offset import time_offset
from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.yaml_file import load_camera_pair, save_camera_pair
from ssvif_core.errors import InputError
from ssvif_core.recordings.bag_pairs import bag_cameras, bag_images, choose_topics
from ssvif_core.recordings.bags import Bag
from ssvif_core.recordings.layouts import find_pairs, is_bag
from ssvif_core.recordings.reading import read_sources
from ssvif_core.recordings.video import video_pairs
from ssvif_core.types import AnyArray, Pair, Shapes

REFUSED = 3  # exit code: the recording does not show the mapping or the time offset

_Topics = tuple[str, str] | None
_Cameras = tuple[Camera | None, Camera | None]


def calibrate(
    source: Annotated[Path, typer.Argument(help="Bag, folder of pairs, or folder of two videos.")],
    out: Annotated[Path, typer.Option(help="Camera pair to write.")] = Path("camera_pair.yaml"),
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            "--target",
            help="checkerboard:9x6:0.04 or circles:4x11:0.03 (inner corners or circles; metres).",
        ),
    ] = None,
    distance: Annotated[
        float, typer.Option(help="Metres at which a board's mapping is exact.")
    ] = 10,
    plane: Annotated[
        bool, typer.Option(help="Fit a homography to a board held at the working distance.")
    ] = False,
    delay: Annotated[
        bool, typer.Option("--time-offset", help="Measure the time offset as well.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Camera pair that is about right. It replaces the search, and its known lenses "
            "and time offset are used."
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep-mapping", help="Keep the mapping of --start and find the time offset only."
        ),
    ] = False,
    visible: Annotated[str | None, typer.Option(help="Visible topic of the bag.")] = None,
    thermal: Annotated[str | None, typer.Option(help="Thermal topic of the bag.")] = None,
    slop: Annotated[
        float, typer.Option(help="Largest difference of the stamps of a pair, s.")
    ] = 0.1,
    every: Annotated[int, typer.Option(min=1, help="Use every n-th pair of videos and bags.")] = 10,
    picture: Annotated[
        Path | None,
        typer.Option(help="PNG of the images before and after; default: beside --out."),
    ] = None,
) -> None:
    """Calibrate a visible and a thermal camera from a recording, with or without a board.

    Exit code 3: the recording does not show the mapping, and nothing is written; or it does not
    show the time offset, and only the mapping is written.
    """
    console = Console(stderr=True)
    if (visible is None) != (thermal is None):
        raise InputError("--visible and --thermal belong together; give both")
    if keep and not (start and delay):
        raise InputError("--keep-mapping needs --start and --time-offset; give both")
    picture = picture or out.with_suffix(".png")
    for path in (out, picture):
        if not path.parent.is_dir():
            raise InputError(f"{path.parent}: no such folder for {path.name}; create it first")
    topics = (visible, thermal) if visible and thermal else None
    start_pair = load_camera_pair(start) if start else None
    # The time offset comes first, so that pairs show one moment. It is less exact without mapping.
    measured_s = _measure_offset(source, topics, start_pair, console) if delay else None
    offset_s = start_pair.time_offset if start_pair else 0.0
    offset_s = offset_s if measured_s is None else measured_s
    pairs = _pairs(source, topics, slop, every, round(offset_s * 1e9), console)
    if keep:
        camera_pair = start_pair
    else:
        cameras = _known_cameras(source, topics, start_pair)
        if board is not None:
            camera_pair = _from_board(pairs, _board(board), cameras, distance, plane, console)
        else:
            camera_pair = _from_scene(pairs, cameras, start_pair, console)
        if camera_pair is not None and measured_s is not None:
            again_s = _measure_offset(source, topics, camera_pair, console)
            offset_s = offset_s if again_s is None else again_s
    if camera_pair is None or (keep and measured_s is None):
        sys.exit(REFUSED)
    camera_pair = replace(camera_pair, time_offset=offset_s)
    save_camera_pair(camera_pair, out)
    _, png = cv2.imencode(".png", before_and_after(pairs, camera_pair))
    picture.write_bytes(png.tobytes())
    console.print(f"{out}: look at {picture} before you use it", highlight=False)
    if delay and measured_s is None:
        sys.exit(REFUSED)


def _pairs(
    source: Path, topics: _Topics, slop_s: float, every: int, offset_ns: int, console: Console
) -> list[Pair]:
    """At most 60 pairs, spread evenly over the recording, with the sizes of the first one."""
    listing = find_pairs(source, every, topics, round(slop_s * 1e9), True, offset_ns).pairs
    count = min(len(listing), 60)
    chosen = [listing[int(i)] for i in np.linspace(0, len(listing) - 1, count).round()]
    pairs: list[Pair] = []
    for index, pair in read_sources(chosen):
        if isinstance(pair, InputError):
            console.print(f"{chosen[index].name}: {pair}", markup=False)
        elif not pairs or Shapes.of(pair).sizes == Shapes.of(pairs[0]).sizes:
            pairs.append(pair)
        else:
            console.print(f"{chosen[index].name}: another size than the first pair; left out")
    if not pairs:
        raise InputError(f"{source}: none of its pairs can be read; expected at least one")
    return pairs


def _known_cameras(source: Path, topics: _Topics, start: CameraPair | None) -> _Cameras:
    """The cameras of the start; without a known lens, those of the bag's camera_info topics."""
    recorded: _Cameras = (None, None)
    if is_bag(source):
        with Bag(source, recover=True) as bag:
            chosen = choose_topics(bag, topics)
        recorded = bag_cameras(source, chosen, recover=True)
    if start is None:
        return recorded
    known = start.visible.without_estimated_lens, start.thermal.without_estimated_lens
    visible, thermal = (
        camera if camera.matrix is not None or info is None else info
        for camera, info in zip(known, recorded, strict=True)
    )
    return visible, thermal


def _from_scene(
    pairs: Sequence[Pair], cameras: _Cameras, start: CameraPair | None, console: Console
) -> CameraPair | None:
    with console.status("searching"):
        result = calibrate_from_scene(pairs, *cameras, start=start)
    console.print(
        f"{result.frames} frames, worth {result.independent:.1f} independent ones: "
        f"{100 * result.agreement:.0f} % of the patches agree, standard deviation "
        f"{result.deviation:.1f} pixels at the worst corner, {result.beyond:.1f} times as good as "
        "any other mapping",
        highlight=False,
    )
    if result.pair is None:
        console.print(f"not calibrated: {result.reason}", style="bold", highlight=False)
        return None
    made = {
        "method": "scene", "date": str(date.today()), "frames": result.frames,
        "agreement": round(result.agreement, 2), "deviation_px": round(result.deviation, 2),
    }  # fmt: skip
    return replace(result.pair, made=made)


def _board(text: str) -> Board:
    parts: list[Any] = text.split(":")
    try:
        kind, counts, size = parts
        columns, rows = (int(n) for n in counts.split("x"))
        return Board(kind, columns, rows, float(size))
    except ValueError as error:
        raise InputError(
            f"--board {text}; expected, for example, checkerboard:9x6:0.04 (inner corners; metres)"
        ) from error


def _from_board(
    pairs: Sequence[Pair],
    board: Board,
    cameras: _Cameras,
    distance: float,
    plane: bool,
    console: Console,
) -> CameraPair | None:
    with console.status(f"looking for the {board}"):
        result = calibrate_from_board(pairs, board, *cameras, distance=distance, plane=plane)
    console.print(
        f"{len(result.used)} views used, {len(result.rejected)} left out; reprojection error "
        f"{result.visible_error:.2f} px visible, {result.thermal_error:.2f} px thermal, mapping "
        f"{result.mapping_error:.2f} px; coverage {100 * result.visible_coverage:.0f} % and "
        f"{100 * result.thermal_coverage:.0f} %",
        highlight=False,
    )
    for index, reason in result.rejected.items():
        console.print(f"pair {index}: {reason}", markup=False, highlight=False)
    for problem in result.problems:
        console.print(f"not calibrated: {problem}", style="bold", highlight=False)
    return result.pair if result.good else None


def _measure_offset(
    source: Path, topics: _Topics, camera_pair: CameraPair | None, console: Console
) -> float | None:
    """The time offset in seconds; None, with a message, if the recording does not show it."""
    homography = None
    if camera_pair is not None:
        # Approximates the mapping between sent images, which have distortion, by a homography.
        width, height = camera_pair.thermal.image_size
        corners = np.array([[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]) * (width, height)
        mapped = camera_pair.to_visible(corners).astype(np.float32)
        if np.isfinite(mapped).all():
            homography = cv2.getPerspectiveTransform(corners.astype(np.float32), mapped)
    streams = _streams(source, topics)
    with console.status("comparing motion"):
        try:
            offset = time_offset(*streams, homography)
        except InputError as error:  # for example too short; the mapping may still be found
            console.print(f"no time offset found: {error}", style="bold", highlight=False)
            return None
    if not offset.confident:
        console.print(f"no time offset found: {offset.reason}", style="bold", highlight=False)
        return None
    console.print(
        f"time offset {1000 * offset.seconds:.1f} ms (standard deviation "
        f"{1000 * offset.uncertainty:.1f} ms), from {offset.reason}",
        highlight=False,
    )
    return offset.seconds


def _streams(
    source: Path, topics: _Topics
) -> tuple[Iterator[tuple[int, AnyArray]], Iterator[tuple[int, AnyArray]]]:
    if is_bag(source):
        with Bag(source, recover=True) as bag:
            chosen = choose_topics(bag, topics)
        visible, thermal = (bag_images(source, chosen[n], n == 1, recover=True) for n in (0, 1))
        return visible, thermal
    first = find_pairs(source, 1).pairs[0]
    if first.frame is None:
        raise InputError(f"{source}: --time-offset needs a bag or two videos, not single images")
    return (
        ((p.visible_stamp, p.visible) for p in video_pairs(first.visible, first.thermal)),
        ((p.thermal_stamp, p.thermal) for p in video_pairs(first.visible, first.thermal)),
    )
