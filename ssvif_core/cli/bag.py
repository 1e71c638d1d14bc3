"""`ssvif bag`: show what a bag holds, and make bags from videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ssvif_core.recordings.bags import THERMAL_TOPIC, VISIBLE_TOPIC, Bag, write_pairs
from ssvif_core.recordings.video import frame_count, video_pairs

app = typer.Typer(help="Show what a bag holds, or make a bag from videos.", no_args_is_help=True)


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
    total = min(frame_count(visible), frame_count(thermal))
    pairs = track(video_pairs(visible, thermal), "writing", total, console=console)
    count = write_pairs(out, pairs, visible_topic, thermal_topic)
    text = f"{out}: {count} pairs on {visible_topic} and {thermal_topic}"
    console.print(text, soft_wrap=True, highlight=False)
