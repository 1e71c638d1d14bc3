"""The demo: a drive through the real node, and what there is to see of it."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table
from rosbags.image import message_to_cvimage

from ssvif_core.errors import InputError
from ssvif_core.recordings.bags import THERMAL_TOPIC, VISIBLE_TOPIC, Bag, decode, write_pairs
from ssvif_core.recordings.video import VideoWriter, frame_count, video_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Pair, stamp_of
from ssvif_ros.node.messages import thermal_array, visible_array
from ssvif_ros.replay.replay import FUSED, OVERLAY, ReplayOptions, ReplayResult, replay

MOMENTS = 6
THERMAL_DELAY = 4_000_000  # ns, the generated thermal camera's against the visible one's


@dataclass(frozen=True)
class DemoInput:
    """A bag and the topics in it."""

    bag: Path
    visible: str = VISIBLE_TOPIC
    thermal: str = THERMAL_TOPIC


def run_demo(
    source: DemoInput | None, out: Path, console: Console, frames: int = 240, slop: float = 0.02
) -> None:
    """Replay `source`, or a generated drive, through the node; leave pictures and figures in `out`.

    Raises:
        SsvifError: the input cannot be used, `out` cannot be written, or the node failed.
    """
    if source is not None and out.resolve() in source.bag.resolve().parents:
        raise InputError(
            f"{source.bag} lies in {out}, which the demo empties; give another --out, or move it"
        )
    if source is not None:
        with Bag(source.bag) as bag:  # before the last results are gone
            bag.require(source.visible, source.thermal)
    out = fresh_folder(out)
    if source is None:
        source = DemoInput(out / "drive")
        write_pairs(source.bag, generated_drive(frames, console))
    recording = out / "outputs"
    options = ReplayOptions(source.bag, source.visible, source.thermal, recording, slop)
    with Progress(console=console) as bar:
        task = bar.add_task("replaying through the node", total=None)
        result = replay(options, lambda n, of: bar.update(task, completed=n, total=of))
    show(result, console)
    (out / "result.json").write_text(
        json.dumps({"machine": machine(), **result.figures()}, indent=2) + "\n"
    )
    if not result.pairs_fused:
        raise InputError(
            f"{source.bag}: none of {result.pairs_in_bag} pairs was fused; "
            f"{result.diagnostics['last problem'] or result.diagnostics['message']}"
        )
    make_pictures(source, recording, out, console)
    console.print(f"{out}: fused.mp4, overlay.mp4, contact_sheet.png, result.json")


def fresh_folder(out: Path) -> Path:
    """`out`, emptied of an earlier demo.

    Raises:
        InputError: it cannot be written, or holds something that is not an earlier demo's.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        ours = {
            "drive",
            "input",
            "outputs",
            "fused.mp4",
            "overlay.mp4",
            "contact_sheet.png",
            "result.json",
        }
        found = sorted(path.name for path in out.iterdir())
        # Names alone do not prove it: only a demo leaves this file beside them.
        foreign = [name for name in found if name not in ours or "result.json" not in found]
        if foreign:
            raise InputError(
                f"{out} holds {foreign[0]}, which is no earlier demo's; give an empty folder"
            )
        for path in out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (out / "result.json").touch()
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); give another --out") from (
            error
        )
    return out


def generated_drive(frames: int, console: Console) -> Iterator[Pair]:
    """Our generator's drive through day, glare, smoke and night, as pairs."""
    scenes = DriveGenerator(DriveConfig(frames=frames))
    for index in track(range(frames), "generating a drive", console=console):
        scene = scenes.frame(index)
        stamp = 1_000_000_000 + round(scene.stamp * 1e9)
        yield Pair(scene.visible, scene.thermal, stamp, stamp + THERMAL_DELAY)


def bag_from_videos(visible: Path, thermal: Path, bag: Path, console: Console) -> int:
    """Turn two synchronised videos into a bag; returns the number of pairs.

    Raises:
        InputError: a video cannot be read, or the bag not be written.
    """
    total = min(frame_count(visible), frame_count(thermal))
    pairs = track(video_pairs(visible, thermal), "writing the bag", total, console=console)
    return write_pairs(bag, pairs)


def show(result: ReplayResult, console: Console) -> None:
    """The result as a table."""
    table = Table(title="Through the node")
    table.add_column("what")
    table.add_column("figure", justify="right")
    rows: list[tuple[str, object]] = [
        ("pairs in the bag", result.pairs_in_bag),
        ("pairs fused", result.pairs_fused),
    ]
    rows += [(f"dropped: {why}", count) for why, count in result.dropped.items()]
    rows += [(f"latency {name}, ms", value) for name, value in result.latency_ms.items()]
    rows += [("frames per second", result.frames_per_second), ("engine", result.engine)]
    for what, figure in rows:
        table.add_row(what, str(figure))
    console.print(table)


def make_pictures(source: DemoInput, recording: Path, out: Path, console: Console) -> None:
    """`fused.mp4`, `overlay.mp4` and `contact_sheet.png` from the recorded outputs."""
    with Bag(recording) as bag:
        stamps = sorted({stamp_of(decode(m).header) for m in bag.messages([OVERLAY])})
        period = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 1e9 / 30
        chosen = [stamps[int((i + 0.5) * len(stamps) / MOMENTS)] for i in range(MOMENTS)]
        sheet: dict[int, dict[str, np.ndarray]] = {stamp: {} for stamp in chosen}
        videos = {FUSED: "fused.mp4", OVERLAY: "overlay.mp4"}
        for topic, name in videos.items():
            with VideoWriter(out / name, 1e9 / period) as video:
                for message in track(
                    bag.messages([topic]), f"writing {name}", len(stamps), console=console
                ):
                    image = decode(message)
                    picture = message_to_cvimage(image, "bgr8")
                    video.write(picture)
                    stamp = stamp_of(image.header)
                    if stamp in sheet:
                        sheet[stamp][topic] = picture
    _add_sources(source, sheet)
    cv2.imwrite(
        str(out / "contact_sheet.png"),
        contact_sheet(
            [
                [row[t] for t in (source.visible, source.thermal, FUSED, OVERLAY)]
                for row in sheet.values()
                if len(row) == 4
            ]
        ),
    )


def _add_sources(source: DemoInput, sheet: dict[int, dict[str, np.ndarray]]) -> None:
    """Add to each moment its visible image and the thermal one nearest in time."""
    gain = ThermalGain()
    nearest = dict.fromkeys(sheet, 10**18)
    with Bag(source.bag) as bag:
        for message in bag.messages([source.visible, source.thermal]):
            image = decode(message)
            stamp = stamp_of(image.header)
            if message.topic == source.visible:
                if stamp in sheet:
                    sheet[stamp].setdefault(source.visible, visible_array(image))
                continue
            thermal = thermal_array(image)
            low, high = gain.update(thermal, stamp)  # for every frame: it is smoothed over time
            for moment, row in sheet.items():
                if abs(stamp - moment) < nearest[moment]:
                    nearest[moment] = abs(stamp - moment)
                    grey = np.clip((thermal - low) / (high - low) * 255, 0, 255).astype(np.uint8)
                    row[source.thermal] = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)


def contact_sheet(
    rows: list[list[np.ndarray]],
    titles: tuple[str, ...] = ("visible", "thermal", "fused", "overlay"),
    width: int = 480,
) -> np.ndarray:
    """Pictures in rows under titles, (H, W, 3) uint8; every picture gets the first one's shape."""
    if not rows:
        raise InputError("nothing was recorded, so there is nothing to show")
    height = round(width * rows[0][0].shape[0] / rows[0][0].shape[1])
    header = np.full((40, width * len(titles), 3), 255, np.uint8)
    for column, title in enumerate(titles):
        cv2.putText(
            header,
            title,
            (column * width + 10, 28),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.8,
            (0, 0, 0),
            1,
            cv2.LINE_AA,
        )
    strips = [
        np.hstack([cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in row])
        for row in rows
    ]
    return np.vstack([header, *strips])


def machine() -> str:
    """This machine in words: processor, cores, system."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        if names:
            model = f"{names[0]}, {len(names)} cores"
    return f"{model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
