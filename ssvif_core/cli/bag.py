"""`ssvif bag`: what is in a bag, and bags from videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ssvif_core.recordings.bags import THERMAL_TOPIC, VISIBLE_TOPIC, Bag, write_pairs
from ssvif_core.recordings.video import frame_count, video_pairs

app = typer.Typer(help="Look into bags and make them.", no_args_is_help=True)


@app.command()
def info(
    bag: Annotated[Path, typer.Argument(help="rosbag2 folder or file, or ROS 1 .bag.")],
) -> None:
    """List a bag's topics, with the size and encoding of images."""
    console = Console()
    with Bag(bag) as opened:
        table = Table(title=f"{bag}: {opened.count} messages, {opened.duration:.1f} s")
        for column in ("topic", "type", "messages", "images"):
            table.add_column(column)
        for topic in opened.topics():
            table.add_row(topic.name, topic.type, str(topic.count), topic.frames)
    console.print(table)


@app.command("from-video")
def from_video(
    visible: Annotated[Path, typer.Argument(help="Visible video.")],
    thermal: Annotated[Path, typer.Argument(help="Thermal video, synchronised with it.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new bag.")],
    visible_topic: str = VISIBLE_TOPIC,
    thermal_topic: str = THERMAL_TOPIC,
) -> None:
    """Turn two synchronised videos into a rosbag2 (mcap)."""
    console = Console(stderr=True)
    total = min(frame_count(visible), frame_count(thermal))
    pairs = track(video_pairs(visible, thermal), "writing", total, console=console)
    count = write_pairs(out, pairs, visible_topic, thermal_topic)
    console.print(f"{out}: {count} pairs on {visible_topic} and {thermal_topic}")
