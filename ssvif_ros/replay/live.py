"""`ssvif view live`: the running node in the viewer Rerun."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from ssvif_core.errors import SsvifError
from ssvif_core.thermal import ThermalGain, to_grey
from ssvif_core.types import UInt8Array, stamp_of
from ssvif_core.viewer import FUSED, LABELS, THERMAL, VISIBLE, Viewer
from ssvif_ros.node.messages import thermal_array, visible_array
from ssvif_ros.node.status import STATUS_NAME
from ssvif_ros.transport import use_transport_profile

FIGURES = "diagnostics"  # the graph
PATIENCE_S = 10.0  # for the first fused image
# Best effort, which also receives from reliable publishers.
CAMERA = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def show_live(out: Path | None, node: str, visible: str | None, thermal: str | None) -> None:
    """Show what cameras and node publish, until a signal comes.

    Args:
        out: file to write; None opens the viewer's window.
        node: name of the node.
        visible, thermal: topics of the cameras; None takes the node's default topics.

    Raises:
        SsvifError: the viewer cannot be opened.
        InputError: the file cannot be written.
    """
    use_transport_profile()
    rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        with Viewer(out, (FIGURES,)) as viewer:
            listener = rclpy.create_node("ssvif_view")
            live = Live(listener, viewer, node, visible, thermal)
            with suppress(KeyboardInterrupt):
                rclpy.spin(listener)
    finally:
        rclpy.try_shutdown()
    print(f"{live.fused} fused images shown")


class Live:
    """Passes messages on to a viewer.

    Attributes:
        fused: number of fused images so far.
    """

    def __init__(
        self, node: Node, viewer: Viewer, fusion: str, visible: str | None, thermal: str | None
    ) -> None:
        self._node, self._viewer, self._fusion = node, viewer, fusion.rstrip("/")
        self._first: int | None = None
        self._gain = ThermalGain()
        self.fused = 0

        def subscribe(kind: Any, topic: str, take: Any, qos: QoSProfile = CAMERA) -> None:
            node.create_subscription(kind, topic, take, qos)

        for name, read, topic in (
            (VISIBLE, visible_array, visible or "visible/image_raw"),
            (THERMAL, self._grey, thermal or "thermal/image_raw"),
            (FUSED, visible_array, f"{self._fusion}/fused/image"),
            (LABELS, thermal_array, f"{self._fusion}/segmentation/labels"),
        ):
            subscribe(Image, topic, partial(self._image, name, read))
        subscribe(String, f"{self._fusion}/segmentation/label_info", self._classes, LATCHED)
        subscribe(DiagnosticArray, "/diagnostics", self._diagnostics, QoSProfile(depth=10))
        self._timer = node.create_timer(PATIENCE_S, self._tell_nothing)

    def _at(self, message: Any) -> None:
        stamp = stamp_of(message.header)
        self._first = stamp if self._first is None else self._first
        self._viewer.at((stamp - self._first) * 1e-9)

    def _image(self, name: str, read: Callable[[Image], UInt8Array], message: Image) -> None:
        self._at(message)
        try:
            pixels = read(message)
        except SsvifError as error:
            self._viewer.note(f"{name}: {error}")
            return
        if name == LABELS:
            self._viewer.labels(pixels)
        else:
            self._viewer.picture(name, pixels)
        self.fused += name == FUSED

    def _grey(self, message: Image) -> UInt8Array:
        counts = thermal_array(message)
        return to_grey(counts, self._gain.update(counts), *counts.shape)

    def _classes(self, message: String) -> None:
        self._viewer.classes([each["name"] for each in json.loads(message.data)["classes"]])

    def _diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.endswith(STATUS_NAME):
                continue
            self._at(message)
            self._viewer.note(status.message)
            for item in status.values:
                with suppress(ValueError):  # a text
                    self._viewer.figure(FIGURES, item.key, float(item.value))

    def _tell_nothing(self) -> None:
        self._timer.cancel()
        if not self.fused:
            print(
                f"no fused image on {self._fusion}/fused/image yet; is the node running, and do "
                "both cameras send? `ros2 topic list` shows the topics; --node, --visible and "
                "--thermal name others",
                file=sys.stderr,
            )
