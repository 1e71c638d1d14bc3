"""`ssvif bag`: show what a bag holds, and make bags from videos."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ssvif_core.cameras.model import Camera
from ssvif_core.cli.options import Slop, nanoseconds
from ssvif_core.errors import InputError
from ssvif_core.recordings.bags import THERMAL_TOPIC, VISIBLE_TOPIC, Bag, write_pairs
from ssvif_core.recordings.inspection import inspect
from ssvif_core.recordings.video import pair_count, video_pairs

PARTLY = 3

app = typer.Typer(
    help="Show what a bag holds, check it, or make a bag from videos.", no_args_is_help=True
)


@app.command()
def info(
    bag: Annotated[Path, typer.Argument(help="rosbag2 folder or file, or ROS 1 .bag.")],
) -> None:
    """List the topics of a bag, with the size and encoding of the images."""
    console = Console()
    with Bag(bag) as reader:
        table = Table(title=f"{bag}: {reader.count} messages, {reader.duration:.1f} s")
        for column in ("topic", "type", "messages", "images"):
            table.add_column(column)
        for topic in reader.topics():
            table.add_row(topic.name, topic.type, str(topic.count), topic.frames)
    console.print(table)


@app.command()
def check(
    bag: Annotated[Path, typer.Argument(help="rosbag2 folder or file, or ROS 1 .bag.")],
    visible: Annotated[str | None, typer.Option(help="Visible topic.")] = None,
    thermal: Annotated[str | None, typer.Option(help="Thermal topic.")] = None,
    slop: Slop = 0.02,
) -> None:
    """Say in plain words what a bag's cameras send, and how the node can fuse it.

    Exit code 3 if the node cannot fuse it as it is.
    """
    if (visible is None) != (thermal is None):
        raise InputError("--visible and --thermal belong together; give both")
    topics = (visible, thermal) if visible and thermal else None
    report = inspect(bag, topics, nanoseconds(slop, "slop", least=1))
    for name, stream, camera in zip(
        ("visible", "thermal"), (report.visible, report.thermal), report.cameras, strict=True
    ):
        typer.echo(f"{name}: {stream.topic}")
        typer.echo(
            f"  {len(stream.stamps_ns)} images, {stream.rate_hz:.1f} Hz, "
            f"{stream.what or 'none of them readable'}"
        )
        typer.echo(f"  camera_info: {_lens(camera)}")
        for problem in stream.problems:
            typer.echo(f"  ! {problem}")
    typer.echo(f"pairs within {1000 * slop:.0f} ms: {report.pairs}")
    for problem in report.problems:
        typer.echo(f"! {problem}")
    for parameter, value in report.parameters.items():
        typer.echo(f"set in my.yaml: {parameter}: {value}")
    typer.echo(f"to fuse it live: {report.launch_line}")
    if not report.is_usable:
        sys.exit(PARTLY)


def _lens(camera: Camera | None) -> str:
    if camera is None:
        return "none in the bag"
    size = f"{camera.width}x{camera.height}"
    if camera.matrix is None:
        return f"{size}, without calibration"
    return f"{size}, {camera.distortion_model} with {len(camera.distortion)} coefficients"


@app.command("from-video")
def from_video(
    visible: Annotated[Path, typer.Argument(help="Visible video.")],
    thermal: Annotated[
        Path, typer.Argument(help="Thermal video, synchronised with the visible one.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the new bag.")],
    visible_topic: str = VISIBLE_TOPIC,
    thermal_topic: str = THERMAL_TOPIC,
) -> None:
    """Write two synchronised videos as a rosbag2 (mcap)."""
    console = Console(stderr=True)
    total = pair_count(visible, thermal)
    pairs = track(video_pairs(visible, thermal), "writing", total, console=console)
    count = write_pairs(out, pairs, visible_topic, thermal_topic)
    text = f"{out}: {count} pairs on {visible_topic} and {thermal_topic}"
    console.print(text, soft_wrap=True, highlight=False)
