"""A bag through the real node, as on a robot: node, player and recorder.

The demo, the benchmark and the tests of timing share this module.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
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
from ssvif_core.recordings.bag_pairs import choose_topics
from ssvif_core.recordings.bags import COMPRESSED_TYPE, IMAGE_TYPE, Bag, decode
from ssvif_core.recordings.decode import Crop, thermal_image
from ssvif_core.recordings.time_pairing import mutual_pairs, pairs_at_visible_rate
from ssvif_core.types import AnyArray, stamp_of
from ssvif_ros.node.messages import visible_array
from ssvif_ros.node.parameters import FusionParameters
from ssvif_ros.node.status import STATUS_NAME, NodeState
from ssvif_ros.replay.player import Sent, read_report
from ssvif_ros.replay.process import PythonProcess, environment, private_domain
from ssvif_ros.replay.recorder import Recorder
from ssvif_ros.transport import use_transport_profile

FUSED, OVERLAY = "/fusion_node/fused/image", "/fusion_node/segmentation/overlay"
LABEL_INFO = "/fusion_node/segmentation/label_info"
NOT_PAIRED = "not paired or lost on the way"
PATIENCE_S = 120.0  # for the node to become ready, and for its counters to settle

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReplayOptions:
    """What is replayed, and how.

    Attributes:
        bag: its raw images go to the node.
        visible, thermal: topics of the bag.
        recording: folder for the bag of the node's outputs.
        slop_s: largest stamp difference in a pair.
        offset_ns: what the node's calibration adds to thermal stamps.
        rate: speed; 1.0 is as recorded.
        best_effort: play as cameras do.
        topics: outputs to record.
        parameters: of the node.
    """

    bag: Path
    visible: str
    thermal: str
    recording: Path
    slop_s: float = 0.02
    offset_ns: int = 0
    rate: float = 1.0
    best_effort: bool = False
    topics: tuple[str, ...] = (FUSED, OVERLAY)
    parameters: dict[str, object] = field(default_factory=dict)

    @property
    def thermal_crop(self) -> Crop | None:
        """The part of thermal messages that the node takes."""
        return Crop.parse(str(self.parameters.get("thermal_crop", "")).strip("'"))

    @property
    def at_visible_rate(self) -> bool:
        """Whether every visible image is paired when it comes."""
        return self.parameters.get("pairing") == "visible_rate"


@dataclass(frozen=True)
class PairTiming:
    """One pair of the bag.

    Attributes:
        visible_stamp, thermal_stamp: ns.
        sent_s: when the image was sent that made the pair (epoch): the later one, or at visible
            rate the visible one. None if it was not sent.
        latency_ms: from then to the arrival of its fused image in another process; None if none
            arrived.
    """

    visible_stamp: int
    thermal_stamp: int
    sent_s: float | None
    latency_ms: float | None


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replay.

    Attributes:
        pairs_in_bag: by the node's rule of pairing.
        pairs_fused: of these.
        dropped: the others, by cause.
        latency_ms: percentiles of `PairTiming.latency_ms`.
        frames_per_second: from the first to the last arrival.
        engine: in words.
        node_cpu_share: of one core, while images came.
        node_memory_mb: at start and end.
        diagnostics: the node's last state.
        traces: of every pair.
        causes: about once a second, the time (s, epoch) and the pairs lost so far by cause.
    """

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
        """Everything but the lists of pairs and moments, for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if name not in ("traces", "causes")}


@dataclass(frozen=True)
class _Survey:
    """What the bag holds: stamps of its pairs (ns), and the image sizes as node parameters."""

    pairs: list[tuple[int, int]]
    sizes: dict[str, int]


def replay(options: ReplayOptions, progress: Progress) -> ReplayResult:
    """Play `options.bag` to a new fusion node and record its outputs.

    Args:
        progress: is called with the number of fused images so far and of pairs in the bag.

    Raises:
        InputError: the bag cannot be used.
        EngineError: the node did not start, or it ended.
    """
    survey = _survey(options)
    domain = private_domain()
    context = Context()
    with environment(domain):
        use_transport_profile()
        rclpy.init(context=context)
        node = rclpy.create_node("ssvif_replay", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    watch = _Watch(node)
    spinner = threading.Thread(target=executor.spin, daemon=True)
    with Recorder(node, options.recording, dict.fromkeys(options.topics, Image)) as recorder:
        spinner.start()
        try:
            with _fusion_node(options, survey.sizes, domain) as process:
                watch.wait_ready(process)
                memory_mb = {"start": process.memory_mb}
                cpu_s = process.cpu_s
                show = lambda count: progress(count, len(survey.pairs))  # noqa: E731
                sent = _play(options, domain, process, recorder, show)
                state = watch.wait_settled(process)
                cpu_s = process.cpu_s - cpu_s
                memory_mb["end"] = process.memory_mb
        finally:
            executor.shutdown()
            spinner.join(timeout=5)
            node.destroy_node()
            rclpy.shutdown(context=context)
        arrivals = recorder.arrivals[options.topics[0]]
    traces = _traces(survey.pairs, options, sent, arrivals)
    span_s = max(arrivals.values()) - min(arrivals.values()) if len(arrivals) > 1 else 0.0
    return ReplayResult(
        pairs_in_bag=len(survey.pairs),
        pairs_fused=state.fused,
        # Live, the nearest image may not have come yet, so the node may pair a few images more.
        dropped={**state.lost, NOT_PAIRED: max(len(survey.pairs) - state.pairs, 0)},
        latency_ms=_percentiles(traces),
        frames_per_second=round((len(arrivals) - 1) / span_s, 2) if span_s else 0.0,
        engine=state.engine,
        # Before and after the images, the node idles.
        node_cpu_share=round(cpu_s / max(sent[-1].time - sent[0].time, 1e-3), 3),
        node_memory_mb=memory_mb,
        diagnostics={**state.values, "message": state.message},
        traces=traces,
        causes=tuple(watch.causes),
    )


def _survey(options: ReplayOptions) -> _Survey:
    stamps: dict[str, list[int]] = {options.visible: [], options.thermal: []}
    first: dict[str, AnyArray] = {}
    with Bag(options.bag) as bag:
        choose_topics(bag, (options.visible, options.thermal))
        for topic in bag.topics():
            is_of_images = topic.count and topic.type in (IMAGE_TYPE, COMPRESSED_TYPE)
            if topic.name in stamps and not is_of_images:
                raise InputError(
                    f"{options.bag}: topic {topic.name} has {topic.count} messages of "
                    f"{topic.type}; expected images ({IMAGE_TYPE} or {COMPRESSED_TYPE})"
                )
        problems: dict[str, InputError] = {}
        for message in bag.messages(stamps):
            try:
                image = decode(message)
                if message.topic not in first:
                    is_thermal = message.topic == options.thermal
                    first[message.topic] = (
                        thermal_image(image, options.thermal_crop)
                        if is_thermal
                        else visible_array(image)
                    )
                stamps[message.topic].append(stamp_of(image.header))
            except InputError as error:  # the node counts a damaged image as bad
                problems.setdefault(message.topic, error)
    for name in stamps:
        if name not in first:
            raise InputError(f"{options.bag}: {name}: {problems[name]}")
    visible, thermal = (np.array(stamps[name]) for name in (options.visible, options.thermal))
    pairs = _expected_pairs(options, visible, thermal)
    if not pairs:
        raise InputError(
            f"{options.bag}: no stamps of {options.visible} and {options.thermal} are nearer "
            f"than slop {options.slop_s} s; raise it with --slop, or check the cameras' clocks"
        )
    colours, counts = first[options.visible], first[options.thermal]
    sizes = {
        "visible_width": colours.shape[1],
        "visible_height": colours.shape[0],
        "thermal_width": counts.shape[1],
        "thermal_height": counts.shape[0],
        "thermal_bits": 8 * counts.dtype.itemsize,
    }
    return _Survey([(int(visible[v]), int(thermal[t])) for v, t in pairs], sizes)


def _expected_pairs(
    options: ReplayOptions, visible_ns: Any, thermal_ns: Any
) -> list[tuple[int, int]]:
    """The pairs that the node should make, by its own rule of pairing."""
    if not options.at_visible_rate:
        slop_ns = round(options.slop_s * 1e9)
        return mutual_pairs(visible_ns, thermal_ns, slop_ns, options.offset_ns)
    age_s = options.parameters.get("thermal_max_age", FusionParameters.thermal_max_age)
    max_age_ns = round(float(str(age_s)) * 1e9)
    return pairs_at_visible_rate(visible_ns, thermal_ns, max_age_ns, options.offset_ns)


def _fusion_node(
    options: ReplayOptions, sizes: dict[str, int], domain: dict[str, str]
) -> PythonProcess:
    parameters = {
        "visible_topic": options.visible,
        "thermal_topic": options.thermal,
        "slop": float(options.slop_s),
        "lazy": "false",  # the first images must not be missed
        **sizes,
        **options.parameters,
    }
    arguments = ["--ros-args"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={value}"]
    return PythonProcess("ssvif_ros.node.fusion_node", arguments, domain)


def _play(
    options: ReplayOptions,
    domain: dict[str, str],
    node: PythonProcess,
    recorder: Recorder,
    show: Callable[[int], None],
) -> list[Sent]:
    """Play the bag in another process; gives what was sent when."""
    arrived = recorder.arrivals[options.topics[0]]
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "sent.json"
        arguments = [
            "play", str(options.bag), "--wait", "30", "--rate", str(options.rate),
            "--report", str(report), "--topic", options.visible, "--topic", options.thermal,
        ]  # fmt: skip
        if options.best_effort:
            arguments.append("--best-effort")
        player = PythonProcess("ssvif_core.cli", arguments, domain)
        try:
            while player.is_running and node.is_running:
                with recorder.changed:
                    recorder.changed.wait(timeout=0.5)
                show(len(arrived))
        finally:
            if player.is_running:  # interrupted, or the node has ended: no one listens any more
                player.kill()
        node.require_running("fusion node")
        code = player.wait()
        if code:
            raise InputError(f"the player ended with code {code}: {player.log}")
        return read_report(report)


class _Watch:
    """Waits for the node to become ready, and for its counters to settle."""

    def __init__(self, node: Node) -> None:
        self._changed = threading.Condition()
        self._is_ready = False
        self._states: list[NodeState] = []
        self.causes: list[tuple[float, dict[str, int]]] = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, LABEL_INFO, self._on_ready, latched)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_ready(self, _message: String) -> None:
        with self._changed:
            self._is_ready = True
            self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            for status in message.status:
                if status.name.endswith(STATUS_NAME):
                    state = NodeState.of(status)
                    self._states = [*self._states[-2:], state]
                    self.causes.append((time.time(), state.lost))
            self._changed.notify_all()

    def _wait(self, process: PythonProcess, is_done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while not is_done():
                self._changed.wait(timeout=0.2)
                process.require_running("fusion node")
                if time.monotonic() > deadline:
                    raise EngineError(f"the fusion node was not {what} within {PATIENCE_S:.0f} s")

    def wait_ready(self, process: PythonProcess) -> None:
        """Wait for the engine (label_info is latched then) and for diagnostics."""
        self._wait(process, lambda: self._is_ready and bool(self._states), "ready")

    def wait_settled(self, process: PythonProcess) -> NodeState:
        """Wait for two diagnostics in a row with the same counts; gives the last state."""
        with self._changed:
            self._states = []

        def is_settled() -> bool:
            last = [(state.pairs, state.fused) for state in self._states[-2:]]
            return len(last) == 2 and last[0] == last[1]

        self._wait(process, is_settled, "settled")
        return self._states[-1]


def _traces(
    pairs: list[tuple[int, int]],
    options: ReplayOptions,
    sent: list[Sent],
    arrivals: dict[int, float],
) -> tuple[PairTiming, ...]:
    times = {(image.topic, image.stamp): image.time for image in sent}
    traces = []
    for visible, thermal in pairs:
        moments = [times.get((options.visible, visible))]
        if not options.at_visible_rate:  # then the pair is made when the visible image comes
            moments.append(times.get((options.thermal, thermal)))
        sent_s = None if None in moments else max(moment for moment in moments if moment)
        arrived_s = arrivals.get(visible)
        is_known = sent_s is not None and arrived_s is not None
        latency_ms = 1000 * (arrived_s - sent_s) if is_known else None  # type: ignore[operator]
        traces.append(PairTiming(visible, thermal, sent_s, latency_ms))
    return tuple(traces)


def _percentiles(traces: tuple[PairTiming, ...]) -> dict[str, float | None]:
    latencies = [trace.latency_ms for trace in traces if trace.latency_ms is not None]
    percentiles: dict[str, float | None] = dict.fromkeys(("p50", "p95", "p99"))
    if latencies:
        for name in percentiles:
            percentiles[name] = round(float(np.percentile(latencies, int(name[1:]))), 2)
    return percentiles
