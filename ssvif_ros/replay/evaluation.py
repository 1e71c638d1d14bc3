"""`ssvif evaluate --through-ros`: figures of a bag that is played to the real node."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from ssvif_core.cameras.yaml_file import save_camera_pair
from ssvif_core.errors import InputError
from ssvif_core.evaluation.plan import Settings
from ssvif_core.evaluation.results import RobotRun
from ssvif_core.recordings.bag_pairs import BagStream, choose_topics
from ssvif_core.recordings.bags import (
    THERMAL_TOPIC,
    VISIBLE_TOPIC,
    Bag,
    header_stamp,
    write_pairs,
)
from ssvif_core.types import Pair
from ssvif_ros.replay.replay import FUSED, ReplayOptions, ReplayResult, replay


def through_node(path: Path, settings: Settings, rate: float, console: Console) -> RobotRun:
    """Play a bag at `rate` to a new node with the model and engine of the settings.

    Raises:
        InputError: `path` is not a bag, or it cannot be used.
        EngineError: the node did not start, or it ended.
    """
    with tempfile.TemporaryDirectory(prefix="ssvif_evaluate_") as scratch:
        bag, topics = playable(path, settings, Path(scratch))
        parameters: dict[str, object] = {
            "engine": settings.engine,
            "precision": settings.precision,
            "working_size": settings.working_size,
            "thermal_time_offset": settings.thermal_time_offset,
        }
        if bag == path:  # in a new bag the images are read already
            parameters["visible_bits"] = settings.reading.visible_bits
            if settings.reading.thermal_crop is not None:
                parameters["thermal_crop"] = f"'{settings.reading.thermal_crop}'"
        (model,) = settings.models.values()
        if model is not None:
            parameters["model"] = str(model.resolve())
        if settings.calibration is not None:
            parameters["calibration_file"] = str(Path(scratch) / "camera_pair.yaml")
            save_camera_pair(settings.calibration, Path(scratch) / "camera_pair.yaml")
        options = ReplayOptions(
            bag, *topics, Path(scratch) / "outputs", settings.slop_ns * 1e-9, settings.offset_ns,
            rate, topics=(FUSED,), parameters=parameters,
        )  # fmt: skip
        with Progress(console=console) as bar:
            task = bar.add_task(f"{path.name} through the node", total=None)
            result = replay(options, lambda n, of: bar.update(task, completed=n, total=of))
    return robot_run(path.name, rate, result, settings.offset_ns)


def robot_run(name: str, rate: float, result: ReplayResult, offset_ns: int = 0) -> RobotRun:
    """The result of a replay in the terms of an evaluation; times count from the first image."""
    traces = result.traces
    begin_s = min((trace.sent_s for trace in traces if trace.sent_s is not None), default=0.0)
    period_s = _period([trace.visible_stamp for trace in traces])
    timeline = tuple(
        # An image that was never sent (the player stopped early) is placed by its stamp.
        (
            (trace.sent_s - begin_s) if trace.sent_s is not None else number * period_s / rate,
            trace.latency_ms,
        )
        for number, trace in enumerate(traces)
    )
    return RobotRun(
        bag=name,
        rate=rate,
        engine=result.engine,
        pairs=result.pairs_in_bag,
        fused=result.pairs_fused,
        dropped=result.dropped,
        stamp_differences=tuple(
            abs(trace.visible_stamp - trace.thermal_stamp - offset_ns) * 1e-6 for trace in traces
        ),
        latencies=tuple(trace.latency_ms for trace in traces if trace.latency_ms is not None),
        frames_per_second=result.frames_per_second,
        cpu=result.node_cpu_share,
        memory_mb=(result.node_memory_mb["start"], result.node_memory_mb["end"]),
        timeline=timeline,
        # The node reports before the first image, too.
        causes=tuple((time - begin_s, lost) for time, lost in result.causes if time >= begin_s),
    )


def _period(stamps: list[int]) -> float:
    """Mean time between two pairs, seconds."""
    return (stamps[-1] - stamps[0]) * 1e-9 / (len(stamps) - 1) if len(stamps) > 1 else 0.0


def playable(path: Path, settings: Settings, scratch: Path) -> tuple[Path, tuple[str, str]]:
    """A bag that can be played: whole, with images of different stamps.

    That is the given bag, or a new one with its pairs. The player takes only whole bags, and the
    stamps identify the images. On a robot the camera drivers care for that.
    """
    with Bag(path, recover=True) as bag:
        topics = choose_topics(bag, settings.topics)
        if not bag.broken and _distinct(bag, topics):
            return path, topics
    stream = BagStream(path, topics, settings.slop_ns, settings.offset_ns, True, settings.reading)
    pairs = stream.pairs(dict(enumerate(stream.matches())))
    readable = (pair for _, pair in pairs if isinstance(pair, Pair))
    write_pairs(scratch / "bag", readable, offset_ns=settings.offset_ns)
    return scratch / "bag", (VISIBLE_TOPIC, THERMAL_TOPIC)


def _distinct(bag: Bag, topics: tuple[str, str]) -> bool:
    """Whether all images of a topic have different stamps; some drivers leave them at 0.

    A damaged message has none.
    """
    try:
        stamps = [(message.topic, header_stamp(message)) for message in bag.messages(topics)]
    except InputError:
        return False
    return len(set(stamps)) == len(stamps)
