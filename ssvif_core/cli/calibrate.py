"""`ssvif calibrate`: where the thermal camera looks in the visible image, and when."""

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
from ssvif_core.cameras.model import (
    Camera,
    CameraPair,
    load_camera_pair,
    save_camera_pair,
)
from ssvif_core.errors import InputError
from ssvif_core.recordings.bag_pairs import bag_cameras, bag_images, choose_topics
from ssvif_core.recordings.bags import Bag
from ssvif_core.recordings.layouts import find_pairs, is_bag
from ssvif_core.recordings.reading import read_sources
from ssvif_core.recordings.video import video_pairs
from ssvif_core.types import Pair

REFUSED = 3  # exit code: the recording cannot tell


def calibrate(
    source: Annotated[Path, typer.Argument(help="Bag, folder of pairs, or of two videos.")],
    out: Annotated[Path, typer.Option(help="Calibration to write.")] = Path("camera_pair.yaml"),
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            "--target",
            help="checkerboard:9x6:0.04 or circles:4x11:0.03 (inner corners, metres).",
        ),
    ] = None,
    distance: Annotated[float, typer.Option(help="Metres at which a board's mapping fits.")] = 10,
    plane: Annotated[
        bool, typer.Option(help="Fit a homography to a board held at the working distance.")
    ] = False,
    delay: Annotated[
        bool, typer.Option("--time-offset", help="Find the delay between the streams as well.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Calibration that is about right: saves the search; its lenses and delay count."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep-mapping", help="Keep that of --start; for --time-offset alone.")
    ] = False,
    visible: Annotated[str | None, typer.Option(help="Visible topic of the bag.")] = None,
    thermal: Annotated[str | None, typer.Option(help="Thermal topic of the bag.")] = None,
    slop: Annotated[float, typer.Option(help="Stamp difference in a pair, s.")] = 0.1,
    every: Annotated[int, typer.Option(min=1, help="Of videos and bags, every n-th pair.")] = 10,
    picture: Annotated[
        Path | None, typer.Option(help="PNG: before and after; default beside the calibration.")
    ] = None,
) -> None:
    """Calibrate a visible and a thermal camera from a recording, with or without a board.

    Exit code 3 if the recording cannot tell the mapping, and nothing is written then; or only the
    delay, and then the mapping is written.
    """
    console = Console(stderr=True)
    if (visible is None) != (thermal is None):
        raise InputError("--visible and --thermal belong together; one is missing")
    if keep and not (start and delay):
        raise InputError("--keep-mapping needs --start, and --time-offset to have something to do")
    picture = picture or out.with_suffix(".png")
    for path in (out, picture):
        if not path.parent.is_dir():
            raise InputError(f"{path.parent}: no such folder, and {path.name} is to go there")
    topics = (visible, thermal) if visible and thermal else None
    begin = load_camera_pair(start) if start else None
    # First, so that pairs are of one moment each; without a mapping it is a little less exact.
    found_delay = _delay(source, topics, begin, console) if delay else None
    seconds = begin.time_offset if begin else 0.0
    seconds = found_delay if found_delay is not None else seconds
    pairs = _pairs(source, topics, slop, every, round(seconds * 1e9), console)
    if keep:
        found = begin
    else:
        cameras = _cameras(source, topics, begin)
        if board is not None:
            found = _from_board(pairs, _board(board), cameras, distance, plane, console)
        else:
            found = _from_scene(pairs, cameras, begin, console)
        if found is not None and found_delay is not None:
            again = _delay(source, topics, found, console)
            seconds = again if again is not None else seconds
    if found is None or (keep and found_delay is None):
        sys.exit(REFUSED)
    found = replace(found, time_offset=seconds)
    save_camera_pair(found, out)
    _, png = cv2.imencode(".png", before_and_after(pairs, found))
    picture.write_bytes(png.tobytes())
    console.print(f"{out}: look at {picture} before you use it", highlight=False)
    if delay and found_delay is None:
        sys.exit(REFUSED)


def _pairs(
    source: Path,
    topics: tuple[str, str] | None,
    slop: float,
    every: int,
    offset: int,
    console: Console,
) -> list[Pair]:
    """Pairs of the recording, of the first one's sizes; of long ones some, spread evenly."""
    listing = find_pairs(source, every, topics, round(slop * 1e9), True, offset)
    count = min(len(listing.pairs), 60)
    some = [listing.pairs[int(i)] for i in np.linspace(0, len(listing.pairs) - 1, count).round()]
    pairs: list[Pair] = []
    for index, pair in read_sources(some):
        if isinstance(pair, InputError):
            console.print(f"{some[index].name}: {pair}", markup=False)
        elif not pairs or _sizes(pair) == _sizes(pairs[0]):
            pairs.append(pair)
        else:
            console.print(f"{some[index].name}: of another size than the first pair; left out")
    if not pairs:
        raise InputError(f"{source}: none of its pairs can be read")
    return pairs


def _sizes(pair: Pair) -> tuple[Any, Any]:
    return pair.visible.shape, pair.thermal.shape


def _cameras(
    source: Path, topics: tuple[str, str] | None, start: CameraPair | None
) -> tuple[Camera | None, Camera | None]:
    """What is known of the lenses: by the start, else by the bag's camera_info topics."""
    told: tuple[Camera | None, Camera | None] = (None, None)
    if is_bag(source):
        with Bag(source, recover=True) as bag:
            chosen = choose_topics(bag, topics)
        told = bag_cameras(source, chosen, recover=True)
    if start is None:
        return told
    known = start.visible.as_measured, start.thermal.as_measured
    visible, thermal = (
        camera if camera.matrix is not None or info is None else info
        for camera, info in zip(known, told, strict=True)
    )
    return visible, thermal


def _from_scene(
    pairs: Sequence[Pair],
    cameras: tuple[Camera | None, Camera | None],
    start: CameraPair | None,
    console: Console,
) -> CameraPair | None:
    with console.status("searching"):
        result = calibrate_from_scene(pairs, *cameras, start=start)
    console.print(
        f"{result.frames} frames, worth {result.independent:.1f} independent ones: "
        f"{100 * result.agreement:.0f} % of the places agree, standard deviation "
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
    try:
        kind, counts, size = text.split(":")
        columns, rows = (int(n) for n in counts.split("x"))
        return Board(kind, columns, rows, float(size))  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(
            f"--board {text}; expected such as checkerboard:9x6:0.04 (inner corners, metres)"
        ) from error


def _from_board(
    pairs: Sequence[Pair],
    board: Board,
    cameras: tuple[Camera | None, Camera | None],
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
    for index, why in result.rejected.items():
        console.print(f"pair {index}: {why}", markup=False, highlight=False)
    for problem in result.problems:
        console.print(f"not calibrated: {problem}", style="bold", highlight=False)
    return result.pair if result.good else None


def _delay(
    source: Path, topics: tuple[str, str] | None, pair: CameraPair | None, console: Console
) -> float | None:
    """The time offset, s; None if the recording cannot tell it, which is said."""
    homography = None
    if pair is not None:
        # In pixels of the images as they are sent, lenses left aside.
        width, height = pair.thermal.image_size
        corners = np.array([[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]) * (width, height)
        mapped = pair.to_visible(corners).astype(np.float32)
        if np.isfinite(mapped).all():
            homography = cv2.getPerspectiveTransform(corners.astype(np.float32), mapped)
    seen, warm = _streams(source, topics)
    with console.status("comparing motion"):
        try:
            found = time_offset(seen, warm, homography)
        except InputError as error:  # too short, say: no reason to lose the mapping
            console.print(f"no delay found: {error}", style="bold", highlight=False)
            return None
    if not found.confident:
        console.print(f"no delay found: {found.reason}", style="bold", highlight=False)
        return None
    console.print(
        f"time offset {1000 * found.seconds:.1f} ms (standard deviation "
        f"{1000 * found.uncertainty:.1f} ms), from {found.reason}",
        highlight=False,
    )
    return found.seconds


def _streams(
    source: Path, topics: tuple[str, str] | None
) -> tuple[Iterator[tuple[int, np.ndarray]], Iterator[tuple[int, np.ndarray]]]:
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
