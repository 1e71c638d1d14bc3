"""What the node reports about itself once a second on /diagnostics (REP 107)."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer

from ssvif_core.pipeline import FusionPipeline
from ssvif_core.thermal import StreamState
from ssvif_ros.node.calibration import Calibration
from ssvif_ros.node.interface import DIAGNOSTICS
from ssvif_ros.node.pairing import LatestSlot, Pairing
from ssvif_ros.node.parameters import FusionParameters
from ssvif_ros.node.prometheus import PrometheusFile
from ssvif_ros.node.status import Key, StreamKey, advice_if_slow, cameras_shown
from ssvif_ros.node.stream import Stream

DRIFT_S = 300.0  # after which the comparison begins anew
SLOW_SHARE = 0.1  # of the pairs; if more are replaced by newer ones, the machine is slow
STEPS = (Key.WAIT, Key.CONVERT, Key.INFER, Key.PUBLISH)  # of the latency
LONGEST = 600  # characters of a text in diagnostics
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass
class Counters:
    """What the worker has done.

    Attributes:
        fused, failed: pairs. unheard: pairs while no one listened.
        stood_still: pairs that show the visible image alone, since the thermal stream stood still.
        visible_alone, thermal_alone, held: images while one camera was missing.
        engine: in words. building, not_used: see `FusionPipeline`.
        problem: the last error with a pair.
        thermal_state: of the last pair. thermal_doubt, thermal_saturated: see `ThermalStream`.
        latencies_s: from match to publishing, of the last pairs.
        ages_s: between the stamps of a pair, of the last pairs.
        work_s: time that the worker needed, of the last pairs. steps_s: the same by step.
        model: name and hash of the model file.
    """

    fused: int = 0
    unheard: int = 0
    failed: int = 0
    engine: str = "not prepared yet"
    building: str = ""
    not_used: str = ""
    problem: str = ""
    stood_still: int = 0
    visible_alone: int = 0
    thermal_alone: int = 0
    held: int = 0
    thermal_state: str = StreamState.LIVE.value
    thermal_doubt: str = ""
    thermal_saturated: float = 0.0
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=300))
    ages_s: deque[float] = field(default_factory=lambda: deque(maxlen=300))
    work_s: deque[float] = field(default_factory=lambda: deque(maxlen=300))
    steps_s: dict[Key, deque[float]] = field(
        default_factory=lambda: {step: deque(maxlen=300) for step in STEPS}
    )
    model: str = ""

    def note_engine(self, engine: str, pipeline: FusionPipeline) -> None:
        """Note which engine serves, and what happens to a better one."""
        self.engine, self.building, self.not_used = engine, pipeline.building, pipeline.not_used
        self.model = pipeline.model_name


class StatusPublisher:
    """Publishes the status of the node on /diagnostics."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, DIAGNOSTICS.name, 10)

    def publish(self, level: bytes, message: str, values: Mapping[str, object]) -> None:
        """Publish a status."""
        status = DiagnosticStatus(
            level=level,
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: fusion",
            message=_short(message),
            hardware_id="",
            values=[KeyValue(key=key, value=_short(str(value))) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)


def every_second(node: Node, work: Callable[[], None]) -> Timer:
    """Call `work` once a second by a steady clock.

    With use_sim_time and a paused bag, the node's own clock stands still.
    """
    return node.create_timer(1.0, work, clock=Clock(clock_type=ClockType.STEADY_TIME))


class Diagnostics:
    """Publishes the state of a node at 1 Hz. Its worst problem is the status message.

    It is made for the time in which the node is active.
    """

    def __init__(
        self,
        node: Node,
        publisher: StatusPublisher,
        pairing: Pairing,
        slot: LatestSlot,
        counters: Counters,
        calibration: Calibration,
        parameters: FusionParameters,
    ) -> None:
        self._calibration = calibration
        self._node, self._pairing, self._slot = node, pairing, slot
        self._counters, self._parameters = counters, parameters
        self._last = self._counts()
        # When the difference of the cameras' clocks was first looked at, and what it was (s).
        self._clocks: tuple[float, float] | None = None
        self._publisher = publisher
        self._prometheus: PrometheusFile | None = None
        if parameters.prometheus_file:
            path = Path(parameters.prometheus_file).expanduser()
            self._prometheus = PrometheusFile(path, node.get_fully_qualified_name())
        every_second(node, self.publish)

    def publish(self) -> None:
        """Publish the present state."""
        level, message = self._state()
        values = self._values()
        self._publisher.publish(level, message, values)
        if self._prometheus is not None:
            try:
                self._prometheus.write(values)
            except OSError as error:
                self._node.get_logger().warning(
                    f"prometheus_file: {error}", throttle_duration_sec=60.0
                )
        self._last = self._counts()

    def _counts(self) -> dict[str, int]:
        counters, streams = self._counters, self._pairing.streams
        return {
            "received": min(stream.received for stream in streams),
            "missing": sum(stream.missing for stream in streams),
            "pairs": self._pairing.pairs,
            "fused": counters.fused,
            "failed": counters.failed,
            "unheard": counters.unheard,
            "replaced": self._slot.replaced,
            "stood still": counters.stood_still,
            "too old": self._pairing.too_old,
            **{f"refused {stream.name}": stream.refused for stream in streams},
            **{stream.name: stream.received for stream in streams},
        }

    def _state(self) -> tuple[bytes, str]:
        """Level and message: the worst problem of the last second."""
        new = {name: count - self._last[name] for name, count in self._counts().items()}
        if new["failed"]:
            return ERROR, self._counters.problem
        if not self._pairing.is_subscribed:
            return OK, "no one listens to the outputs, so nothing is received"
        warning = (
            self._namesakes()
            or self._refused(new)
            or self._silence()
            or self._unpaired(new)
            or self._drift()
            or self._thermal(new)
            or self._calibration.problem
        )
        if warning == WAITING:
            return OK, warning
        if warning:
            return WARN, warning
        if self._slot.preparing:
            return OK, "preparing the engine"
        if new["pairs"] and not (new["fused"] or new["unheard"]):
            return WARN, "pairs arrive, but none was fused in the last second; the engine is busy"
        if new["missing"] > 0:
            return WARN, self._missing(new["missing"])
        if new["fused"] and new["replaced"] > SLOW_SHARE * new["pairs"]:
            return WARN, self._slow(new)
        if new["fused"]:
            return OK, "fusing"
        return OK, "no one listens to the outputs" if new["unheard"] else "waiting for pairs"

    def _namesakes(self) -> str:
        own = (self._node.get_name(), self._node.get_namespace())
        count = self._node.get_node_names_and_namespaces().count(own)
        if count < 2:
            return ""
        return (
            f"{count} nodes are named {self._node.get_fully_qualified_name()}, so each output is "
            "published several times; stop the others, or give each a name or a namespace"
        )

    def _refused(self, new: dict[str, int]) -> str:
        for stream in self._pairing.streams:
            if count := new[f"refused {stream.name}"]:
                return (
                    f"{count} {stream.name} images in the last second have a stamp below zero and "
                    "are left out; let the driver stamp with the system's clock"
                )
        return ""

    @property
    def _cameras(self) -> str:
        return cameras_shown(self._pairing.missing, self._parameters.on_missing)

    def _silence(self) -> str:
        limit_s = self._parameters.camera_timeout
        silent = [
            stream
            for stream in self._pairing.streams
            if stream.silence is None or stream.silence > limit_s
        ]
        shown = f"; shown: {self._cameras}" if self._pairing.missing else ""
        for stream in silent:
            if stream.wrong_type:
                return f"{stream.topic} has messages of type {stream.wrong_type}, and no images"
        if len(silent) == 2:
            if all(stream.silence is None for stream in silent):
                return WAITING
            return "no images from either camera; are the cameras, or the bag, still running?"
        for stream in silent:
            if stream.silence is None:
                return f"no {stream.name} image yet on {stream.topic}; {_advice(stream)}{shown}"
            return f"no {stream.name} image for {stream.silence:.1f} s on {stream.topic}{shown}"
        return ""

    def _unpaired(self, new: dict[str, int]) -> str:
        if new["received"] < 5 or new["pairs"]:
            return ""
        visible, thermal = self._pairing.streams
        for stream in (visible, thermal):
            if stream.last_stamp == 0:
                return f"no pairs: the {stream.name} stamps are 0; let the driver set them"
        offset_s, slop_s = (visible.lag_ns - thermal.lag_ns) * 1e-9, self._parameters.slop
        if abs(offset_s) < slop_s:
            return (
                f"no pairs: stamps of the cameras are never nearer than slop ({slop_s} s); "
                "raise slop, or use pairing: visible_rate"
            )
        side = "behind" if offset_s > 0 else "ahead of"
        constant = self._pairing.own_offset_s + offset_s
        advice = f", or set thermal_time_offset: {constant:.3f}" if abs(constant) < 1e6 else ""
        return (
            f"no pairs: thermal stamps are {abs(offset_s):.3f} s {side} the visible ones, and slop "
            f"is {slop_s} s; let both drivers stamp with one clock{advice}"
        )

    def _drift(self) -> str:
        """Whether the clocks have moved apart, by more than half the slop, since the start."""
        visible, thermal = self._pairing.streams
        if not (visible.is_lag_steady and thermal.is_lag_steady):
            self._clocks = None
            return ""
        now_s, apart_s = time.monotonic(), (thermal.lag_ns - visible.lag_ns) * 1e-9
        if self._clocks is None or now_s - self._clocks[0] > DRIFT_S:
            self._clocks = now_s, apart_s
        elapsed_s, moved_s = now_s - self._clocks[0], apart_s - self._clocks[1]
        if elapsed_s < 10 or abs(moved_s) < 0.5 * self._parameters.slop:
            return ""
        return (
            f"the clocks of the cameras drift apart by {1000 * moved_s / elapsed_s:.1f} ms in a "
            "second; let both drivers stamp with one clock"
        )

    def _thermal(self, new: dict[str, int]) -> str:
        if new["fused"] and self._counters.thermal_doubt:
            return self._counters.thermal_doubt
        if new["stood still"]:
            return (
                f"the thermal stream is {self._counters.thermal_state} (flat-field correction?): "
                f"{new['stood still']} pairs in the last second show the visible image alone"
            )
        if new["too old"]:
            return (
                f"{new['too old']} visible images in the last second had no thermal image younger "
                "than thermal_max_age; raise it, or use pairing: nearest"
            )
        return ""

    def _slow(self, new: dict[str, int]) -> str:
        work_ms = 1000 * np.median(list(self._counters.work_s))
        return (
            f"the node needs {work_ms:.0f} ms for a pair, and {new['pairs']} pairs came in "
            f"the last second: {new['fused']} were fused, always the newest; "
            f"{advice_if_slow(self._counters.engine)}"
        )

    def _missing(self, count: int) -> str:
        return (
            f"{count} images never arrived in the last second; set "
            "FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds.xml for the camera drivers too; the "
            "documentation has a page 'Images that never arrive'"
        )

    def _values(self) -> dict[str, object]:
        counters, pairing = self._counters, self._pairing
        values: dict[str, object] = {
            Key.ENGINE.value: counters.engine,
            Key.BUILDING.value: counters.building,
            Key.ENGINE_NOT_USED.value: counters.not_used,
        }
        for stream in pairing.streams:
            values |= {
                StreamKey.RECEIVED.of(stream.name): stream.received,
                StreamKey.RATE.of(stream.name): stream.received - self._last[stream.name],
                StreamKey.GAP.of(stream.name): round(1000 * stream.take_longest_gap()),
                StreamKey.MISSING.of(stream.name): stream.missing,
                StreamKey.LOST.of(stream.name): stream.lost,
                StreamKey.REFUSED.of(stream.name): stream.refused,
            }
        drift = self._calibration.drift
        values |= {
            Key.PAIRS.value: pairing.pairs,
            Key.FUSED.value: counters.fused,
            Key.DROPPED_BUSY.value: self._slot.replaced,
            Key.DROPPED_PREPARING.value: self._slot.replaced_preparing,
            Key.DROPPED_BAD_IMAGE.value: counters.failed,
            Key.SKIPPED_UNHEARD.value: counters.unheard,
            Key.RESETS.value: pairing.resets,
            Key.FUSED_PER_SECOND.value: counters.fused - self._last["fused"],
            Key.LAST_PROBLEM.value: counters.problem,
            Key.THERMAL_STATE.value: counters.thermal_state,
            Key.SATURATED.value: f"{100 * counters.thermal_saturated:.1f}",
            Key.CAMERAS.value: self._cameras,
            Key.STOOD_STILL.value: counters.stood_still,
            Key.VISIBLE_ALONE.value: counters.visible_alone,
            Key.THERMAL_ALONE.value: counters.thermal_alone,
            Key.HELD.value: counters.held,
            Key.THERMAL_TOO_OLD.value: pairing.too_old,
            Key.DRIFT.value: "not known" if drift is None else f"{drift:.1f}",
            Key.MODEL.value: counters.model,
            Key.MEMORY.value: round(_memory_mb()),
        }
        for step, seconds in counters.steps_s.items():
            if seconds:
                values[step.value] = f"{1000 * np.median(list(seconds)):.1f}"
        if counters.ages_s:
            values[Key.THERMAL_AGE.value] = f"{1000 * np.median(list(counters.ages_s)):.1f}"
        if counters.work_s:
            values[Key.WORK.value] = f"{1000 * np.median(list(counters.work_s)):.1f}"
        if counters.latencies_s:
            p50, p95 = np.percentile(list(counters.latencies_s), (50, 95)) * 1000
            values |= {Key.LATENCY_P50.value: f"{p50:.1f}", Key.LATENCY_P95.value: f"{p95:.1f}"}
        return values


WAITING = "waiting for images"


def _memory_mb() -> float:
    """Resident memory of this process; 0 where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _advice(stream: Stream) -> str:
    if stream.incompatible:
        return "its publisher offers only best effort: set qos to auto"
    return f"is the camera running, and is {stream.name}_topic or the remapping right?"


def _short(text: str) -> str:
    """At most `LONGEST` characters: texts quote messages, which may contain anything."""
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
