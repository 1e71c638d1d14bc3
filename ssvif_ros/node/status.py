"""The keys of the node's diagnostics, and its state as a reader sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from diagnostic_msgs.msg import DiagnosticStatus

STATUS_NAME = "fusion_node: fusion"  # the end of the status name


class Key(str, Enum):
    """Keys of the diagnostics. The values are labels for people; code uses the names."""

    ENGINE = "engine"
    BUILDING = "building a better engine for"
    ENGINE_NOT_USED = "engine not used"
    PAIRS = "pairs"
    FUSED = "fused"
    DROPPED_BUSY = "dropped, engine busy"
    DROPPED_PREPARING = "dropped, engine preparing"
    DROPPED_BAD_IMAGE = "dropped, bad image"
    SKIPPED_UNHEARD = "skipped, no one listens"
    RESETS = "pairing resets"
    FUSED_PER_SECOND = "fused per second"
    LAST_PROBLEM = "last problem"
    THERMAL_STATE = "thermal stream"
    SATURATED = "thermal pixels at the largest count, %"
    CAMERAS = "cameras shown"
    STOOD_STILL = "visible alone, thermal stands still"
    VISIBLE_ALONE = "visible alone, thermal missing"
    THERMAL_ALONE = "thermal alone, visible missing"
    HELD = "with a held image"
    THERMAL_TOO_OLD = "no thermal image young enough"
    DRIFT = "calibration off by pixels"
    THERMAL_AGE = "thermal age p50 ms"
    WORK = "work per pair p50 ms"
    LATENCY_P50 = "latency p50 ms"
    LATENCY_P95 = "latency p95 ms"
    WAIT = "of it: wait for the worker, p50 ms"
    CONVERT = "of it: messages to arrays, p50 ms"
    INFER = "of it: engine, p50 ms"
    PUBLISH = "of it: outputs, p50 ms"
    MODEL = "model"
    MEMORY = "memory MB"


class StreamKey(str, Enum):
    """Keys that each camera has; `of` gives the key of one camera."""

    RECEIVED = "received"
    RATE = "images per second"
    GAP = "longest gap in the last second, ms"
    MISSING = "never arrived"
    LOST = "lost, says DDS"
    REFUSED = "with a stamp below zero"

    def of(self, camera: str) -> str:
        """The key for `visible` or `thermal`."""
        return f"{camera} {self.value}"


# The causes for which the node loses a pair, by their names in results.
LOSSES = {
    "engine busy": Key.DROPPED_BUSY,
    "engine preparing": Key.DROPPED_PREPARING,
    "bad image": Key.DROPPED_BAD_IMAGE,
    "no one listened yet": Key.SKIPPED_UNHEARD,
}


def cameras_shown(missing: str, on_missing: str) -> str:
    """What the outputs show, in words.

    Args:
        missing: `visible` or `thermal` if this camera alone is silent; otherwise empty.
        on_missing: the parameter.
    """
    if not missing:
        return "both"
    if on_missing == "hold":
        return f"both, {missing} held"
    return "thermal alone" if missing == "visible" else "visible alone"


def advice_if_slow(engine: str) -> str:
    """What helps a machine that cannot fuse all pairs.

    Args:
        engine: in words, as in the diagnostics.
    """
    first = "smaller images" if "half size" in engine else "working_size: half"
    return f"{first}, fewer images a second or a GPU would help"


@dataclass(frozen=True)
class NodeState:
    """The state of a node, from its diagnostics.

    Attributes:
        message: the status in words.
        pairs: matched so far.
        fused: of these.
        lost: the others, by cause.
        engine: the engine in words.
        problem: the last problem with a pair; empty if there was none.
        values: everything, by key.
    """

    message: str
    pairs: int
    fused: int
    lost: dict[str, int]
    engine: str
    problem: str
    values: Mapping[str, str]

    @classmethod
    def of(cls, status: DiagnosticStatus) -> NodeState:
        """Read a status message of the node."""
        values = {item.key: item.value for item in status.values}
        return cls(
            status.message,
            int(values[Key.PAIRS.value]),
            int(values[Key.FUSED.value]),
            {cause: int(values[key.value]) for cause, key in LOSSES.items()},
            values[Key.ENGINE.value],
            values[Key.LAST_PROBLEM.value],
            values,
        )
