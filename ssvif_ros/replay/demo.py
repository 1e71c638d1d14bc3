"""The demo: a drive through the real node, with figures and pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from ssvif_core.calibration.drift import LOOKED_AT, misalignment
from ssvif_core.errors import InputError
from ssvif_core.machine import describe_machine
from ssvif_core.recordings.bag_pairs import choose_topics
from ssvif_core.recordings.bags import THERMAL_TOPIC, VISIBLE_TOPIC, Bag, write_pairs
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.reading import spread_pairs
from ssvif_core.recordings.video import pair_count, video_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair
from ssvif_ros.node.status import Key, advice_if_slow
from ssvif_ros.replay.pictures import make_pictures
from ssvif_ros.replay.replay import ReplayOptions, ReplayResult, replay

THERMAL_DELAY_NS = 4_000_000  # of the generated thermal camera
# What a demo leaves in its folder.
RESULTS = ("drive", "input", "outputs", "fused.mp4", "overlay.mp4", "contact_sheet.png",
           "result.json")  # fmt: skip


@dataclass(frozen=True)
class DemoInput:
    """A bag and the topics in it."""

    bag: Path
    visible: str = VISIBLE_TOPIC
    thermal: str = THERMAL_TOPIC

    @classmethod
    def of(cls, bag: Path, topics: tuple[str, str] | None = None) -> DemoInput:
        """A bag with these topics, or with those that its names and encodings suggest.

        Raises:
            InputError: the bag cannot be read, or its topics must be given; lists them.
        """
        with Bag(bag) as opened:
            return cls(bag, *choose_topics(opened, topics))


def run_demo(
    source: DemoInput | None,
    out: Path,
    console: Console,
    frames: int = 240,
    slop: float = 0.02,
    working_size: str = "full",
) -> None:
    """Replay `source`, or a generated drive, through the node; write pictures and figures to `out`.

    Raises:
        SsvifError: the input cannot be used, `out` cannot be written, or the node failed.
    """
    if source is not None and out.resolve() in source.bag.resolve().parents:
        raise InputError(
            f"{source.bag} lies in {out}, and the demo empties that folder; give another --out, or "
            "move the bag"
        )
    if source is not None:
        with Bag(source.bag) as bag:  # before the last results are removed
            bag.require(source.visible, source.thermal)
    out = fresh_folder(out)
    if source is None:
        source = DemoInput(out / "drive")
        write_pairs(source.bag, generated_drive(frames, console))
    recording = out / "outputs"
    options = ReplayOptions(
        source.bag, source.visible, source.thermal, recording, slop,
        parameters={"working_size": working_size},
    )  # fmt: skip
    with Progress(console=console) as bar:
        task = bar.add_task("replaying through the node", total=None)
        result = replay(options, lambda n, of: bar.update(task, completed=n, total=of))
    show(result, console)
    for warning in alignment_warnings(source):
        console.print(warning, style="yellow", soft_wrap=True)
    (out / "result.json").write_text(
        json.dumps({"machine": describe_machine(), **result.figures()}, indent=2) + "\n"
    )
    if not result.pairs_fused:
        raise InputError(
            f"{source.bag}: none of {result.pairs_in_bag} pairs was fused; "
            f"{result.diagnostics[Key.LAST_PROBLEM.value] or result.diagnostics['message']}"
        )
    make_pictures(source.bag, source.visible, source.thermal, recording, out, console)
    console.print(f"{out}: fused.mp4, overlay.mp4, contact_sheet.png, result.json", soft_wrap=True)


def alignment_warnings(source: DemoInput) -> Iterator[str]:
    """A sentence if the cameras of a bag do not show the same; the demo knows no calibration."""
    with suppress(InputError):  # the figures count, also if a part of the bag cannot be read
        listing = find_pairs(source.bag, frame_step=1, topics=(source.visible, source.thermal))
        pairs = spread_pairs(listing.pairs, LOOKED_AT)
        text = misalignment(pairs) if pairs else ""
        if text:
            yield text


def fresh_folder(out: Path) -> Path:
    """Make the folder `out`, and remove the results of an earlier demo from it.

    Raises:
        InputError: it cannot be written, or it holds something else.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in out.iterdir())
        # Names alone are no proof. Only a demo writes result.json next to them.
        foreign = [name for name in names if name not in RESULTS or "result.json" not in names]
        if foreign:
            raise InputError(
                f"{out} holds {foreign[0]}, which is not from an earlier demo; give an empty folder"
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
    """A generated drive through day, glare, smoke and night, as pairs."""
    drive = DriveGenerator(DriveConfig(frames=frames))
    for index in track(range(frames), "generating a drive", console=console):
        frame = drive.frame(index)
        stamp = 1_000_000_000 + round(frame.stamp * 1e9)
        yield Pair(frame.visible, frame.thermal, stamp, stamp + THERMAL_DELAY_NS)


def bag_from_videos(visible: Path, thermal: Path, bag: Path, console: Console) -> int:
    """Turn two synchronised videos into a bag; returns the number of pairs.

    Raises:
        InputError: a video cannot be read, or the bag cannot be written.
    """
    total = pair_count(visible, thermal)
    pairs = track(video_pairs(visible, thermal), "writing the bag", total, console=console)
    return write_pairs(bag, pairs)


def show(result: ReplayResult, console: Console) -> None:
    """Print the result as a table."""
    table = Table(title="Through the node")
    table.add_column("what")
    table.add_column("figure", justify="right")
    rows: list[tuple[str, object]] = [
        ("pairs in the bag", result.pairs_in_bag),
        ("pairs fused", result.pairs_fused),
    ]
    rows += [(f"dropped: {cause}", count) for cause, count in result.dropped.items()]
    rows += [(f"latency {name}, ms", value) for name, value in result.latency_ms.items()]
    rows += [("frames per second", result.frames_per_second), ("engine", result.engine)]
    for what, figure in rows:
        table.add_row(what, str(figure))
    console.print(table)
    busy = result.dropped["engine busy"]
    if busy > 0.05 * result.pairs_in_bag:
        work_ms = result.diagnostics.get(Key.WORK.value, "?")
        console.print(
            f"{busy} pairs were dropped: this machine needs {work_ms} ms for a pair, and the node "
            f"fuses the newest one; {advice_if_slow(result.engine)}"
        )
