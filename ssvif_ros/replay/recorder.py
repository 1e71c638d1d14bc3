"""Records topics into a rosbag2 (mcap), and when each image arrived."""

from __future__ import annotations

import struct
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import StoragePlugin, Writer

from ssvif_core.recordings.bags import TYPES


class Recorder:
    """Writes what arrives on topics, without decoding it. Use it as a context manager.

    Args:
        node: a node that is spun elsewhere.
        path: folder of the new bag.
        topics: topic -> message class.

    Attributes:
        arrivals: topic -> header stamp (ns) -> time of arrival (s, epoch).
        changed: notified at every message.
    """

    def __init__(self, node: Node, path: Path, topics: dict[str, type[Any]]) -> None:
        self.arrivals: dict[str, dict[int, float]] = defaultdict(dict)
        self.changed = threading.Condition()
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._open = True
        qos = QoSProfile(depth=30, reliability=ReliabilityPolicy.RELIABLE)
        self._node = node
        self._subscriptions = []
        for topic, message_type in topics.items():
            package = message_type.__module__.split(".")[0]
            connection = self._writer.add_connection(
                topic, f"{package}/msg/{message_type.__name__}", typestore=TYPES
            )
            self._subscriptions.append(
                node.create_subscription(
                    message_type,
                    topic,
                    lambda data, topic=topic, connection=connection: self._receive(
                        topic, connection, data
                    ),
                    qos,
                    raw=True,
                )
            )

    def _receive(self, topic: str, connection: Any, data: bytes) -> None:
        now = time.time()
        seconds, nanoseconds = struct.unpack_from("<iI", data, 4)
        with self.changed:
            if self._open:
                self._writer.write(connection, round(now * 1e9), data)
            self.arrivals[topic][seconds * 1_000_000_000 + nanoseconds] = now
            self.changed.notify_all()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        with self.changed:
            self._open = False
            self._writer.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
