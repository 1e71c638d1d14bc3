"""A bag through the real node, as a robot would: node, player and recorder as processes.

What the demo, the benchmark and the tests of timing share.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String

from ssvif_core.errors import EngineError, InputError
from ssvif_core.recordings.bags import IMAGE_TYPE, Bag, decode
from ssvif_core.types import stamp_of
from ssvif_ros.node.messages import thermal_array
from ssvif_ros.replay.recorder import Recorder
from ssvif_ros.transport import use_transport_profile

FUSED, OVERLAY = "/fusion_node/fused/image", "/fusion_node/segmentation/overlay"
LABEL_INFO = "/fusion_node/segmentation/label_info"


@dataclass(frozen=True)
class ReplayOptions:
    """What is replayed and how; `parameters` go to the node.

    offset: ns that the node adds to thermal stamps, by its calibration.
    """

    bag: Path
    visible: str
    thermal: str
    recording: Path
    slop: float = 0.02
    offset: int = 0
    rate: float = 1.0
    best_effort: bool = False
    topics: tuple[str, ...] = (FUSED, OVERLAY)
    parameters: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class PairTiming:
    """One pair of the bag: its stamps (ns), when its later image was sent (s, epoch; None: not at
    all), and ms from then until its fused image arrived in another process (None: it did not)."""

    visible_stamp: int
    thermal_stamp: int
    sent: float | None
    latency: float | None


@dataclass(frozen=True)
class ReplayResult:
    """What came of it. Latencies in ms, as in `PairTiming`; `frames_per_second` from first to last
    arrival. `causes`: (s, epoch; pairs lost until then by cause), about once a second."""

    pairs_in_bag: int
    pairs_fused: int
    dropped: dict[str, int]
    latency_ms: dict[str, float | None]
    frames_per_second: float
    engine: str
    node_cpu_share: float
    node_memory_mb: dict[str, float]
    diagnostics: dict[str, str]
    traces: tuple[PairTiming, ...] = ()
    causes: tuple[tuple[float, dict[str, int]], ...] = ()

    def figures(self) -> dict[str, Any]:
        """All but what is of single pairs and moments, for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if name not in ("traces", "causes")}


# What the node counts of lost pairs -> what we call it.
CAUSES = {
    "dropped, engine busy": "engine busy",
    "dropped, engine preparing": "engine preparing",
    "dropped, bad image": "bad image",
    "skipped, no one listens": "no one listened yet",
}


def replay(options: ReplayOptions, progress: Callable[[int, int], None]) -> ReplayResult:
    """Play `options.bag` to a new fusion node and record its outputs.

    progress: called with (fused images arrived, pairs in the bag).

    Raises:
        InputError: the bag cannot be used.
        EngineError: the node did not start, or died.
    """
    pairs, sizes = _survey(options)
    environment = _private_domain()
    context = Context()
    with _environment(environment):
        use_transport_profile()
        rclpy.init(context=context)
        node = rclpy.create_node("ssvif_replay", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    watch = _Watch(node)
    spinner = threading.Thread(target=executor.spin, daemon=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        Recorder(node, options.recording, {topic: Image for topic in options.topics}) as recorder,
    ):
        spinner.start()
        try:
            with _fusion_node(options, sizes, environment) as process:
                watch.wait_ready(process)
                memory_start = _memory_mb(process.pid)
                cpu_start = _cpu_seconds(process.pid)
                sent = _play(
                    options, environment, Path(scratch), process, recorder, progress, len(pairs)
                )
                last = watch.wait_settled(process)
                cpu = _cpu_seconds(process.pid) - cpu_start
                memory = {"start": memory_start, "end": _memory_mb(process.pid)}
        finally:
            executor.shutdown()
            spinner.join(timeout=5)
            node.destroy_node()
            rclpy.shutdown(context=context)
        return _result(
            options, pairs, sent, recorder.arrivals[options.topics[0]], last, cpu, memory,
            tuple(watch.causes),
        )  # fmt: skip


def match_stamps(visible: list[int], thermal: list[int], slop: float) -> list[tuple[int, int]]:
    """Pairs of stamps (ns) nearer than `slop` seconds, each stamp at most once, in order."""
    pairs, j = [], 0
    for stamp in visible:
        while j < len(thermal) and thermal[j] <= stamp - slop * 1e9:
            j += 1
        if j == len(thermal):
            break
        best = j
        while best + 1 < len(thermal) and abs(thermal[best + 1] - stamp) < abs(
            thermal[best] - stamp
        ):
            best += 1
        if abs(thermal[best] - stamp) < slop * 1e9:
            pairs.append((stamp, thermal[best]))
            j = best + 1
    return pairs


def _survey(options: ReplayOptions) -> tuple[list[tuple[int, int]], dict[str, int]]:
    """The pairs of the bag, and the image sizes as node parameters."""
    stamps: dict[str, list[int]] = {options.visible: [], options.thermal: []}
    first: dict[str, object] = {}
    with Bag(options.bag) as bag:
        bag.require(options.visible, options.thermal)
        for topic in bag.topics():
            if topic.name in stamps and (topic.type != IMAGE_TYPE or not topic.count):
                raise InputError(
                    f"{options.bag}: topic {topic.name} has {topic.count} messages of "
                    f"{topic.type}; expected images ({IMAGE_TYPE}); record the raw images, or "
                    "republish compressed ones with image_transport"
                )
        for message in bag.messages(stamps):
            image = decode(message)
            first.setdefault(message.topic, image)
            stamps[message.topic].append(stamp_of(image.header))
    visible, thermal = first[options.visible], first[options.thermal]
    counts = thermal_array(thermal)  # type: ignore[arg-type]
    meant = [stamp + options.offset for stamp in stamps[options.thermal]]
    pairs = [
        (stamp, other - options.offset)
        for stamp, other in match_stamps(stamps[options.visible], meant, options.slop)
    ]
    if not pairs:
        raise InputError(
            f"{options.bag}: no stamps of {options.visible} and {options.thermal} are nearer "
            f"than slop {options.slop} s; raise it with --slop, or check the cameras' clocks"
        )
    return pairs, {
        "visible_width": visible.width,  # type: ignore[attr-defined]
        "visible_height": visible.height,  # type: ignore[attr-defined]
        "thermal_width": counts.shape[1],
        "thermal_height": counts.shape[0],
        "thermal_bits": 8 * counts.dtype.itemsize,
    }


def _private_domain() -> dict[str, str]:
    """Environment in which nothing leaves this machine or meets other ROS programs on it."""
    return {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": str(random.randint(1, 100)),
    }


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    old = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _fusion_node(
    options: ReplayOptions, sizes: dict[str, int], environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    parameters = {
        "visible_topic": options.visible,
        "thermal_topic": options.thermal,
        "slop": float(options.slop),
        **sizes,
        **options.parameters,
    }
    command = [sys.executable, "-m", "ssvif_ros.node.fusion_node", "--ros-args"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = _Tail(process)
    process.log = log  # type: ignore[attr-defined]
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        log.join()


class _Tail:
    """Reads a process's log so that it never blocks; keeps the last lines for error messages."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines = [*self.lines[-20:], line.rstrip()]

    def join(self) -> None:
        self._thread.join(timeout=5)


class _Watch:
    """Waits for the node to be ready, and for its counters to come to rest."""

    def __init__(self, node: Node) -> None:
        self._changed = threading.Condition()
        self._ready = False
        self.causes: list[tuple[float, dict[str, int]]] = []
        self._states: list[dict[str, str]] = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, LABEL_INFO, self._on_ready, latched)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_ready(self, _message: String) -> None:
        with self._changed:
            self._ready = True
            self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            for status in message.status:
                if status.name.endswith("fusion_node: fusion"):
                    state = {item.key: item.value for item in status.values}
                    self._states = [*self._states[-2:], {**state, "message": status.message}]
                    lost = {name: int(state[key]) for key, name in CAUSES.items()}
                    self.causes.append((time.time(), lost))
            self._changed.notify_all()

    def _wait(self, process: subprocess.Popen[str], done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 120
        with self._changed:
            while not done():
                self._changed.wait(timeout=0.2)
                if process.poll() is not None:
                    lines = "\n".join(process.log.lines)  # type: ignore[attr-defined]
                    raise EngineError(
                        f"the fusion node ended (code {process.returncode}):\n{lines}"
                    )
                if time.monotonic() > deadline:
                    raise EngineError(f"the fusion node was not {what} within 120 s")

    def wait_ready(self, process: subprocess.Popen[str]) -> None:
        """Until the engine is made (label_info is latched then) and diagnostics come."""
        self._wait(process, lambda: self._ready and bool(self._states), "ready")

    def wait_settled(self, process: subprocess.Popen[str]) -> dict[str, str]:
        """Until two diagnostics in turn count the same; returns the last."""
        with self._changed:
            self._states = []

        def settled() -> bool:
            if len(self._states) < 2:
                return False
            return len({(s["pairs"], s["fused"]) for s in self._states[-2:]}) == 1

        self._wait(process, settled, "settled")
        return self._states[-1]


def _play(
    options: ReplayOptions,
    environment: dict[str, str],
    scratch: Path,
    node: subprocess.Popen[str],
    recorder: Recorder,
    progress: Callable[[int, int], None],
    total: int,
) -> list[tuple[str, int, float]]:
    report = scratch / "sent.json"
    command = [
        sys.executable, "-m", "ssvif_core.cli", "play", str(options.bag), "--wait", "30",
        "--rate", str(options.rate), "--report", str(report),
        "--topic", options.visible, "--topic", options.thermal,
    ]  # fmt: skip
    if options.best_effort:
        command.append("--best-effort")
    player = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    arrived = recorder.arrivals[options.topics[0]]
    try:
        while player.poll() is None and node.poll() is None:
            with recorder.changed:
                recorder.changed.wait(timeout=0.5)
            progress(len(arrived), total)
    finally:
        if player.poll() is None:  # interrupted, or the node has ended: nobody listens any more
            player.kill()
    if node.poll() is not None:
        player.communicate()
        lines = "\n".join(node.log.lines)  # type: ignore[attr-defined]
        raise EngineError(f"the fusion node ended (code {node.returncode}):\n{lines}")
    _, log = player.communicate()
    if player.returncode:
        raise InputError(f"the player ended with code {player.returncode}: {log.strip()}")
    return [tuple(row) for row in json.loads(report.read_text())]


def _result(
    options: ReplayOptions,
    pairs: list[tuple[int, int]],
    sent: list[tuple[str, int, float]],
    arrivals: dict[int, float],
    state: dict[str, str],
    cpu: float,
    memory: dict[str, float],
    causes: tuple[tuple[float, dict[str, int]], ...],
) -> ReplayResult:
    times = {(topic, stamp): when for topic, stamp, when in sent}
    traces = tuple(_trace(pair, options, times, arrivals) for pair in pairs)
    latencies = [trace.latency for trace in traces if trace.latency is not None]
    percentiles = dict.fromkeys(("p50", "p95", "p99"))
    if latencies:
        for name in percentiles:
            percentiles[name] = round(float(np.percentile(latencies, int(name[1:]))), 2)
    fused = int(state["fused"])
    span = max(arrivals.values()) - min(arrivals.values()) if len(arrivals) > 1 else 0.0
    return ReplayResult(
        pairs_in_bag=len(pairs),
        pairs_fused=fused,
        dropped={
            **{name: int(state[key]) for key, name in CAUSES.items()},
            "not paired or lost on the way": len(pairs) - int(state["pairs"]),
        },
        latency_ms=percentiles,
        frames_per_second=round((len(arrivals) - 1) / span, 2) if span else 0.0,
        engine=state["engine"],
        # Of one core, while images came: before and after, the node idles.
        node_cpu_share=round(cpu / max(sent[-1][2] - sent[0][2], 1e-3), 3),
        node_memory_mb=memory,
        diagnostics=state,
        traces=traces,
        causes=causes,
    )


def _trace(
    pair: tuple[int, int],
    options: ReplayOptions,
    times: dict[tuple[str, int], float],
    arrivals: dict[int, float],
) -> PairTiming:
    visible, thermal = pair
    moments = [times.get((options.visible, visible)), times.get((options.thermal, thermal))]
    known = [moment for moment in moments if moment is not None]
    sent = max(known) if len(known) == 2 else None
    arrived = arrivals.get(visible)
    latency = None if sent is None or arrived is None else 1000 * (arrived - sent)
    return PairTiming(visible, thermal, sent, latency)


def _memory_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def _cpu_seconds(pid: int) -> float:
    """Processor time a process has used, user and system, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
