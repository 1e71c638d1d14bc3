"""What the node tells of itself once a second on /diagnostics (REP 107)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ssvif_core.thermal import StreamState
from ssvif_ros.node.calibration import Calibration
from ssvif_ros.node.pairing import LatestSlot, Pairing, Stream

SILENT_AFTER = 1.0  # seconds
LONGEST = 600  # characters of a text in diagnostics
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass
class Counters:
    """What the worker has done. `latencies`: seconds from pair to published; `ages`: seconds
    between a pair's stamps; both the newest. `alone`: pairs of which only the visible image was
    shown, since the thermal stream stood still."""

    fused: int = 0
    unwatched: int = 0
    failed: int = 0
    engine: str = "not prepared yet"
    building: str = ""
    not_used: str = ""
    problem: str = ""
    alone: int = 0
    thermal_state: str = StreamState.LIVE.value
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=300))
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=300))


class Diagnostics:
    """Publishes the state of `node` at 1 Hz; its worst problem is the status message."""

    def __init__(
        self,
        node: Node,
        pairing: Pairing,
        slot: LatestSlot,
        counters: Counters,
        calibration: Calibration,
        slop: float,
    ) -> None:
        self._calibration = calibration
        self._node, self._pairing, self._slot = node, pairing, slot
        self._counters, self._slop = counters, slop
        self._last = self._counts()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock of its own: with use_sim_time a paused bag would silence the node.
        self._timer = node.create_timer(
            1.0, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def publish(self) -> None:
        """Publish one DiagnosticArray with the state now."""
        level, message = self._state()
        status = DiagnosticStatus(
            level=level,
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: fusion",
            message=_short(message),
            hardware_id="",
            values=[
                KeyValue(key=key, value=_short(str(value))) for key, value in self._values().items()
            ],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)
        self._last = self._counts()

    def _counts(self) -> dict[str, int]:
        counters, streams = self._counters, self._pairing.streams
        return {
            "received": min(stream.received for stream in streams),
            "missing": sum(stream.missing for stream in streams),
            "pairs": self._pairing.pairs,
            "fused": counters.fused,
            "failed": counters.failed,
            "unwatched": counters.unwatched,
            "alone": counters.alone,
            "too old": self._pairing.too_old,
            **{f"refused {stream.name}": stream.refused for stream in self._pairing.streams},
        }

    def _state(self) -> tuple[bytes, str]:
        """The worst that the last second brought."""
        new = {name: count - self._last[name] for name, count in self._counts().items()}
        silent = [s for s in self._pairing.streams if s.silence is None or s.silence > SILENT_AFTER]
        if new["failed"]:
            return ERROR, self._counters.problem
        for stream in self._pairing.streams:
            if count := new[f"refused {stream.name}"]:
                return WARN, (
                    f"{count} {stream.name} images in the last second have a stamp below zero and "
                    "are left out; let the driver stamp by the system's clock"
                )
        if len(silent) == 2:
            if all(stream.silence is None for stream in silent):
                return OK, "waiting for images"
            return WARN, "no images from either camera; are they, or the bag, still running?"
        for stream in silent:
            if stream.silence is None:
                return WARN, f"no {stream.name} image yet on {stream.topic}; " + _mend(stream)
            return WARN, f"no {stream.name} image for {stream.silence:.1f} s on {stream.topic}"
        if new["received"] >= 5 and not new["pairs"]:
            return WARN, self._apart()
        if new["alone"]:
            return WARN, (
                f"the thermal stream is {self._counters.thermal_state} (flat-field correction?): "
                f"{new['alone']} pairs in the last second show the visible image alone"
            )
        if new["too old"]:
            return WARN, (
                f"{new['too old']} visible images in the last second had no thermal image younger "
                "than thermal_max_age; raise it, or use pairing: nearest"
            )
        if self._calibration.problem:
            return WARN, self._calibration.problem
        if new["missing"] > 0:
            return WARN, (
                f"{new['missing']} images never arrived in the last second; set "
                "FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds.xml for the camera drivers too, "
                "and see 'Images that never arrive' in the README"
            )
        if new["fused"]:
            return OK, "fusing"
        if self._slot.preparing:
            return OK, "preparing the engine"
        if new["unwatched"]:
            return OK, "no one listens to the outputs"
        if new["pairs"]:
            return WARN, "pairs arrive, but none was fused in the last second; the engine is busy"
        return OK, "waiting for pairs"

    def _apart(self) -> str:
        visible, thermal = self._pairing.streams
        apart = abs((visible.last_stamp or 0) - (thermal.last_stamp or 0)) * 1e-9
        return (
            f"no pairs: stamps of the cameras are {apart:.3f} s apart, slop is {self._slop} s; "
            "let both drivers stamp by one clock, or raise slop"
        )

    def _values(self) -> dict[str, object]:
        counters, streams = self._counters, self._pairing.streams
        values: dict[str, object] = {
            "engine": counters.engine,
            "building a better engine for": counters.building,
            "engine not used": counters.not_used,
        }
        for stream in streams:
            values[f"{stream.name} received"] = stream.received
            values[f"{stream.name} never arrived"] = stream.missing
            values[f"{stream.name} lost, says DDS"] = stream.lost
            values[f"{stream.name} with a stamp below zero"] = stream.refused
        values |= {
            "pairs": self._pairing.pairs,
            "fused": counters.fused,
            "dropped, engine busy": self._slot.replaced,
            "dropped, engine preparing": self._slot.replaced_preparing,
            "dropped, bad image": counters.failed,
            "skipped, no one listens": counters.unwatched,
            "pairing resets": self._pairing.resets,
            "fused per second": counters.fused - self._last["fused"],
            "last problem": counters.problem,
            "thermal stream": counters.thermal_state,
            "visible alone": counters.alone,
            "no thermal image young enough": self._pairing.too_old,
            "calibration off by pixels": _or_unknown(self._calibration.drift),
        }
        if counters.ages:
            values["thermal age p50 ms"] = f"{1000 * np.median(list(counters.ages)):.1f}"
        if counters.latencies:
            p50, p95 = np.percentile(list(counters.latencies), (50, 95)) * 1000
            values |= {"latency p50 ms": f"{p50:.1f}", "latency p95 ms": f"{p95:.1f}"}
        return values


def _or_unknown(pixels: float | None) -> str:
    return "not known" if pixels is None else f"{pixels:.1f}"


def _mend(stream: Stream) -> str:
    if stream.incompatible:
        return "its publisher offers only best effort: set qos to auto"
    return f"is the camera running, and the parameter {stream.name}_topic or a remapping right?"


def _short(text: str) -> str:
    """At most `LONGEST` characters: texts quote what messages say, and that may be anything."""
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
