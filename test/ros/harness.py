"""`Robot`: a fusion node in its own process, with cameras and a listener in this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from ssvif_core.types import AnyArray

TIMEOUT = 120.0  # s; on a busy machine all takes long
START = 1_000_000_000_000  # ns, stamp of the first pair
PERIOD = 33_000_000  # ns


def image(
    pixels: AnyArray, encoding: str, stamp: int, frame: str = "camera", padding: int = 0
) -> Image:
    """An image message of (H, W[, C]) pixels, with `padding` bytes after each row."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = rows.shape[1]
    message.is_bigendian = pixels.dtype.byteorder == ">"
    message.data = array("B", rows.tobytes())
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    message.header.frame_id = frame
    return message


def scene(size: tuple[int, int] = (64, 48), dtype: type = np.uint16) -> tuple[Any, Any]:
    """A visible image with a ramp, and a thermal image with a warm area; size: (width, height)."""
    width, height = size
    ramp = np.linspace(20, 200, width, dtype=np.uint8)
    visible = np.repeat(np.tile(ramp, (height, 1))[..., None], 3, 2)
    cold, warm = (60, 220) if dtype is np.uint8 else (7000, 9000)
    thermal = np.full((height // 2, width // 2), cold, dtype)
    thermal[5:15, 10:20] = warm
    return visible, thermal


class Robot:
    """Publishes the images of two cameras to a node under test, and collects the node's outputs."""

    def __init__(
        self, domain: int, parameters: dict[str, object] | None = None, best_effort: bool = False,
        outputs: tuple[str, ...] = ("fused/image",), wait: bool = True,
        environment: dict[str, str] | None = None, module: str = "ssvif_ros.node.fusion_node",
        remap: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.changed = threading.Condition()
        self.received: dict[str, list[Any]] = {}
        self.diagnostics: list[Any] = []
        self.domain = domain
        environment = {**(environment or os.environ), "ROS_DOMAIN_ID": str(self.domain)}
        command = [sys.executable, "-m", module, "--ros-args"]
        for name, value in (parameters or {}).items():
            command += ["-p", f"{name}:={value}"]
        for old, new in (remap or {}).items():
            command += ["-r", f"{old}:={new}"]
        self._command, self._environment = command, environment
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.log: list[str] = []
        self.reader = threading.Thread(target=self._read_log, daemon=True)
        self.reader.start()
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node("robot", context=self.context)
        reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        qos = QoSProfile(depth=10, reliability=reliability)
        self.visible = self.node.create_publisher(Image, "visible/image_raw", qos)
        self.thermal = self.node.create_publisher(Image, "thermal/image_raw", qos)
        for output in outputs:
            self.listen(output)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.subscribe(String, "/fusion_node/segmentation/label_info", "label_info", latched)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._spinner = threading.Thread(target=self._executor.spin, daemon=True)
        self._spinner.start()
        if wait:
            try:
                self.wait(self._connected, "the node to be ready")
            except AssertionError:
                self.close()
                raise

    def _connected(self) -> bool:
        return (
            bool(self.received.get("label_info"))
            and self.visible.get_subscription_count() > 0
            and self.thermal.get_subscription_count() > 0
            and bool(self.diagnostics)
        )

    def start_twin(self) -> subprocess.Popen[bytes]:
        """Start the same node once more."""
        return subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def listen(self, output: str) -> None:
        """Subscribe to an output of the node; the name is without `~/`."""
        message_type = CompressedImage if output.endswith("compressed") else Image
        self.subscribe(message_type, f"/fusion_node/{output}", output, QoSProfile(depth=10))

    def subscribe(
        self, message_type: type, topic: str, name: str, qos: QoSProfile | int = 10
    ) -> None:
        """Collect the messages of a topic in `received[name]`."""
        self.received[name] = []

        def receive(message: Any) -> None:
            with self.changed:
                self.received[name].append(message)
                self.changed.notify_all()

        self.node.create_subscription(message_type, topic, receive, qos)

    def _diagnose(self, message: DiagnosticArray) -> None:
        with self.changed:
            self.diagnostics += message.status
            self.changed.notify_all()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.changed:
                self.log.append(line)
                self.changed.notify_all()

    def wait(self, done: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> Any:
        """Wait until `done()` is true, and return its result."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while not (result := done()):
                assert self.process.poll() is None, f"the node died:\n{''.join(self.log)}"
                assert time.monotonic() < deadline, f"waited for {what}:\n{''.join(self.log)}"
                self.changed.wait(timeout=0.05)
            return result

    def send(self, visible: Image | None, thermal: Image | None) -> None:
        """Publish the given images."""
        if visible is not None:
            self.visible.publish(visible)
        if thermal is not None:
            self.thermal.publish(thermal)

    def send_pair(self, index: int, **changes: Any) -> None:
        """Publish pair `index` of a stream at 30 Hz; `size` and `dtype` as in `scene`."""
        visible, thermal = scene(**changes)
        thermal[0, 0] += index % 50  # equal images would count as frozen
        stamp = START + index * PERIOD
        encoding = "mono8" if thermal.dtype == np.uint8 else "mono16"
        self.send(
            image(visible, "bgr8", stamp, "visible_frame"),
            image(thermal, encoding, stamp + 2_000_000, "thermal_frame"),
        )

    def fused(self, count: int, output: str = "fused/image") -> list[Any]:
        """Wait for the first `count` images of an output, and return them."""
        self.wait(lambda: len(self.received[output]) >= count, f"{count} images on {output}")
        return self.received[output][:count]

    def fuse(self, index: int, **changes: Any) -> Any:
        """Publish a pair, wait for its fused image and return it."""
        before = len(self.received["fused/image"])
        self.send_pair(index, **changes)
        return self.fused(before + 1)[-1]

    def state(
        self, done: Callable[[dict[str, str], Any], bool], what: str, timeout: float = TIMEOUT
    ) -> dict[str, str]:
        """Wait for new diagnostics for which `done(values, status)` is true, and return them."""
        old_count = len(self.diagnostics)

        def find() -> Any:
            for status in self.diagnostics[old_count:]:
                values = {item.key: item.value for item in status.values}
                if done(values, status):
                    return {**values, "message": status.message}
            return None

        return self.wait(find, f"diagnostics: {what}", timeout)

    def wait_for_log(self, text: str) -> None:
        """Wait until the node's log contains a text."""
        self.wait(lambda: text in "".join(self.log), f"'{text}' in the log")

    @property
    def classes(self) -> list[dict[str, Any]]:
        """The classes that the node published."""
        return json.loads(self.received["label_info"][0].data)["classes"]

    def close(self, signal_number: int = signal.SIGINT) -> int:
        """End the node with Ctrl-C or another signal, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        code = self.process.wait(timeout=TIMEOUT)
        if not self.context.ok():
            return code  # it was closed before
        self._executor.shutdown()
        self._spinner.join(timeout=TIMEOUT)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        return code


def robots(next_domain: Callable[[], int]) -> Iterator[Callable[..., Robot]]:
    """For a fixture: creates robots, each with its own node, and closes them after the test."""
    created: list[Robot] = []

    def create(*arguments: Any, **options: Any) -> Robot:
        created.append(Robot(next_domain(), *arguments, **options))
        return created[-1]

    yield create
    for robot in created:
        robot.close()


Messages = tuple[Image | None, Image | None]


class Cameras:
    """Sends pairs of images at a steady rate in the background.

    Attributes:
        sent: the cameras that send.
        alter: changes what is sent: number, visible, thermal -> visible, thermal (None: nothing).
        number: of the last pair.
    """

    def __init__(
        self,
        robot: Robot,
        period_s: float = PERIOD * 1e-9,
        size: tuple[int, int] = (64, 48),
        sent: tuple[str, ...] = ("visible", "thermal"),
        alter: Callable[[int, Image, Image], Messages] = lambda _, v, t: (v, t),
    ) -> None:
        self.sent = set(sent)
        self.alter = alter
        self.number = 0
        self._robot, self._stop = robot, threading.Event()
        self._period_s, self._scene = period_s, scene(size)
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def stamp(self, number: int) -> int:
        """The stamp of a pair, ns."""
        return START + round(number * self._period_s * 1e9)

    def _send(self) -> None:
        visible, thermal = self._scene
        next_s = time.monotonic()
        while not self._stop.wait(max(0.0, next_s - time.monotonic())):
            next_s = max(next_s + self._period_s, time.monotonic())
            self.number += 1
            stamp = self.stamp(self.number)
            thermal[0, 0] = 7000 + self.number % 50  # equal images would count as frozen
            images = {
                "visible": image(visible, "bgr8", stamp, "visible_frame"),
                "thermal": image(thermal, "mono16", stamp, "thermal_frame"),
            }
            sent = self.sent
            altered = self.alter(self.number, images["visible"], images["thermal"])
            self._robot.send(
                *(
                    each if name in sent else None
                    for name, each in zip(images, altered, strict=True)
                )
            )

    def __enter__(self) -> Cameras:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
