"""The commands of `ssvif` that need ROS: play and demo."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import rclpy
import typer
from rich.console import Console

from ssvif_core.cli.options import WorkingSize
from ssvif_core.errors import InputError
from ssvif_ros.transport import use_transport_profile


def play(
    bag: Annotated[Path, typer.Argument(help="rosbag2 folder or file, or ROS 1 .bag.")],
    rate: Annotated[float, typer.Option(help="Speed; 1.0 is as recorded.")] = 1.0,
    loop: Annotated[bool, typer.Option(help="Start again at the end, forever.")] = False,
    clock: Annotated[bool, typer.Option(help="Publish /clock.")] = False,
    best_effort: Annotated[bool, typer.Option(help="Offer best effort, as cameras do.")] = False,
    topic: Annotated[list[str] | None, typer.Option(help="Only these topics.")] = None,
    remap: Annotated[list[str] | None, typer.Option(help="/recorded:=/played")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for subscribers.")] = 0.0,
    report: Annotated[Path | None, typer.Option(help="JSON file for what was sent when.")] = None,
) -> None:
    """Publish a bag with its recorded timing (with ROS installed: `ros2 bag play`)."""
    from ssvif_ros.replay.player import PlayOptions, write_report
    from ssvif_ros.replay.player import play as play_bag

    names = {}
    for pair in remap or []:
        old, separator, new = pair.partition(":=")
        if not separator:
            raise InputError(f"--remap {pair}; expected /recorded:=/played")
        names[old] = new
    options = PlayOptions(rate, loop, clock, best_effort, names, tuple(topic or ()), wait)
    use_transport_profile()
    rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sent, left_out = play_bag(bag, options)
    except KeyboardInterrupt:
        return
    finally:
        rclpy.try_shutdown()
    for name in left_out:
        print(f"left out {name}: its message type is not installed", file=sys.stderr)
    if report is not None:
        write_report(report, sent)


def demo(
    bag: Annotated[Path | None, typer.Option(help="Your bag; default: a generated drive.")] = None,
    visible: Annotated[str | None, typer.Option(help="Visible topic; default: by name.")] = None,
    thermal: Annotated[str | None, typer.Option(help="Thermal topic; default: by name.")] = None,
    video: Annotated[Path | None, typer.Option(help="Visible video, instead of a bag.")] = None,
    thermal_video: Annotated[Path | None, typer.Option(help="Its thermal partner.")] = None,
    frames: Annotated[int, typer.Option(min=12, help="Length of the generated drive.")] = 240,
    slop: Annotated[float, typer.Option(help="Largest stamp difference in a pair, s.")] = 0.02,
    working_size: WorkingSize = "full",
    out: Annotated[Path, typer.Option(help="Folder for pictures and figures.")] = Path("demo_out"),
) -> None:
    """Replay a drive through the real node; write videos, a contact sheet and figures."""
    from ssvif_ros.replay.demo import DemoInput, bag_from_videos, fresh_folder, run_demo

    console = Console()
    if (video is None) != (thermal_video is None):
        raise InputError("--video and --thermal-video belong together; give both")
    if (visible is None) != (thermal is None):
        raise InputError("--visible and --thermal belong together; give both")
    source = None
    if video is not None and thermal_video is not None:
        # Next to `out`, because the demo empties that folder.
        folder = out.with_name(out.name + "_bag")
        fresh_folder(folder)
        bag_from_videos(video, thermal_video, folder / "input", console)
        source = DemoInput(folder / "input")
    elif bag is not None:
        source = DemoInput.of(bag, (visible, thermal) if visible and thermal else None)
    run_demo(source, out, console, frames, slop, working_size)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
