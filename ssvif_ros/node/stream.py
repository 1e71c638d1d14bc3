"""One camera's topic: how to subscribe to it, and what came on it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from message_filters import SimpleFilter
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from ssvif_core.recordings.missing_images import MissingImages
from ssvif_core.types import stamp_of
from ssvif_ros.node.messages import CameraMessage

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

# Stamps that go back by more than this are a jump (a bag loops). By less, messages came late.
JUMP_BACK_NS = 250_000_000
IMAGE_TYPE, COMPRESSED_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
COMPRESSED = "/compressed"  # what image_transport appends to the name of a topic


class Stream:
    """What came on the topic of one camera.

    Args:
        topic: its full name.
        kept: messages that are remembered.

    Attributes:
        received: number of messages.
        incompatible: publishers that do not fit the subscription.
        lost: messages that DDS reports as lost.
        refused: messages whose stamps cannot be used.
        wrong_type: of the messages of a publisher on the topic, if it sends no images.
        last_stamp: of the last message, ns. last_arrival: its arrival, by `time.monotonic`.
        subscribed_at: the same clock; None while there is no subscription.
        recent: the last messages.
    """

    def __init__(self, name: str, topic: str, kept: int = 10) -> None:
        self.name, self.topic = name, topic
        self.filter = SimpleFilter()
        self.received = 0
        self.incompatible = 0
        self.lost = 0
        self.refused = 0
        self.wrong_type = ""
        self.last_stamp: int | None = None
        self.last_arrival: float | None = None
        self.subscribed_at: float | None = None
        self.recent: deque[CameraMessage] = deque(maxlen=kept)
        self._missing = MissingImages()
        self._longest_gap_s = 0.0
        self._lags_ns: deque[int] = deque(maxlen=30)

    def note(self, message: CameraMessage) -> bool:
        """Count a message; return whether its stamp jumped back."""
        stamp = stamp_of(message.header)
        self.received += 1
        now = time.monotonic()
        if self.last_arrival is not None:
            self._longest_gap_s = max(self._longest_gap_s, now - self.last_arrival)
        self.last_arrival = now
        step_ns = 0 if self.last_stamp is None else stamp - self.last_stamp
        if -JUMP_BACK_NS <= step_ns < 0:
            self._missing.overtaken()
            return False
        self.last_stamp = stamp
        if step_ns < 0:
            self._missing.restart()
            self._lags_ns.clear()
        self._missing.note(stamp)
        self._lags_ns.append(stamp - time.time_ns())
        return step_ns < 0

    def take_longest_gap(self) -> float:
        """The longest time between two messages since the last call, seconds."""
        gap_s, self._longest_gap_s = self._longest_gap_s, 0.0
        return gap_s

    def refuse(self) -> None:
        """Count a message whose stamp cannot be used."""
        self.refused += 1
        self.last_arrival = time.monotonic()

    @property
    def lag_ns(self) -> float:
        """Stamps minus the time of this machine, median of the last images."""
        return median(self._lags_ns) if self._lags_ns else 0.0

    @property
    def is_lag_steady(self) -> bool:
        """Whether enough images came since the start, or since time jumped, for `lag_ns`."""
        return len(self._lags_ns) == self._lags_ns.maxlen

    @property
    def missing(self) -> int:
        """Images that never arrived, judged by the stamps."""
        return self._missing.count

    def rest(self) -> None:
        """Forget when messages came, because nothing is subscribed to now."""
        self.subscribed_at = self.last_arrival = None
        self._missing.restart()
        self._lags_ns.clear()

    @property
    def waiting_s(self) -> float:
        """Seconds without a message since the last one, or since the subscription."""
        started = self.last_arrival or self.subscribed_at
        return 0.0 if started is None else time.monotonic() - started

    @property
    def silence(self) -> float | None:
        """Seconds since the last message; None before the first."""
        return None if self.last_arrival is None else time.monotonic() - self.last_arrival


@dataclass(frozen=True)
class Source:
    """What can be subscribed to: a topic, of raw or compressed images, and its reliability."""

    topic: str
    is_compressed: bool
    reliability: ReliabilityPolicy

    @property
    def kind(self) -> str:
        """Reliability and transport in words."""
        compressed = ", compressed" if self.is_compressed else ""
        return str(self.reliability.name).lower().replace("_", " ") + compressed


class Subscriber:
    """Subscribes to the topic of a stream, as its publishers offer it.

    Args:
        node: the node that subscribes.
        topic: of the stream as it was given; rclpy remaps it.
        transport: `raw`, `compressed`, or `auto`, which takes compressed images if no one
            publishes raw ones.
        qos: `auto` (reliable if every publisher offers it, otherwise best effort, like rosbag2's
            recorder), `reliable` or `best_effort`.
        depth: messages that may wait.
        receive: gets each message.
    """

    def __init__(
        self, node: Node, stream: Stream, topic: str, transport: str, qos: str, depth: int,
        receive: Callable[[Stream, CameraMessage], None],
    ) -> None:  # fmt: skip
        self._node, self._stream = node, stream
        self._transport, self._qos, self._depth = transport, qos, depth
        self._receive = receive
        self._topic = topic
        self._source: Source | None = None
        self._subscription: Any = None

    def drop(self) -> None:
        """Subscribe to nothing."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._source = None
        self._stream.rest()

    def choose(self) -> None:
        """Subscribe when publishers are known, and again when they offer something else."""
        if self._stream.subscribed_at is None:
            self._stream.subscribed_at = time.monotonic()
        source = self._offered()
        if source is None or source == self._source:
            return
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._source = source
        self._subscription = self._node.create_subscription(
            CompressedImage if source.is_compressed else Image,
            source.topic,
            lambda message: self._receive(self._stream, message),
            QoSProfile(
                history=HistoryPolicy.KEEP_LAST, depth=self._depth, reliability=source.reliability
            ),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda _event: self._note_incompatible(),
                message_lost=lambda event: self._note_lost(event.total_count),
            ),
        )
        self._node.get_logger().info(
            f"{self._stream.name}: subscribed to {self._subscription.topic_name} ({source.kind})"
        )

    def _offered(self) -> Source | None:
        """The best that is offered; None while there is nothing to subscribe to."""
        topic = self._topic
        types = self._types(topic)
        self._note_type(types)
        is_compressed = COMPRESSED_TYPE in types or self._stream.topic.endswith(COMPRESSED)
        if not is_compressed and self._prefers_compressed(types):
            topic, is_compressed = self._beside, True
        reliability = self._reliability(topic)
        return reliability and Source(topic, is_compressed, reliability)

    def _prefers_compressed(self, types: set[str]) -> bool:
        """Whether to take the compressed topic beside one whose publishers have these types."""
        if self._transport != "auto":
            return self._transport == "compressed"
        return IMAGE_TYPE not in types and COMPRESSED_TYPE in self._types(self._beside)

    @property
    def _beside(self) -> str:
        """The compressed topic beside that of the stream."""
        return self._stream.topic + COMPRESSED

    def _types(self, topic: str) -> set[str]:
        infos = self._node.get_publishers_info_by_topic(topic)
        return {info.topic_type for info in infos}

    def _note_type(self, types: set[str]) -> None:
        wrong = sorted(types - {IMAGE_TYPE, COMPRESSED_TYPE})
        if wrong and self._stream.wrong_type != wrong[0]:
            self._node.get_logger().error(
                f"{self._stream.name}: {self._stream.topic} has messages of type {wrong[0]}; "
                f"expected {IMAGE_TYPE} or {COMPRESSED_TYPE}; is the topic right?"
            )
        self._stream.wrong_type = wrong[0] if wrong else ""

    def _reliability(self, topic: str) -> ReliabilityPolicy | None:
        if self._qos == "reliable":
            return ReliabilityPolicy.RELIABLE
        if self._qos == "best_effort":
            return ReliabilityPolicy.BEST_EFFORT
        infos = self._node.get_publishers_info_by_topic(topic)
        offered = {info.qos_profile.reliability for info in infos}
        if not offered:
            return None
        if offered == {ReliabilityPolicy.RELIABLE}:
            return ReliabilityPolicy.RELIABLE
        return ReliabilityPolicy.BEST_EFFORT

    def _note_lost(self, total: int) -> None:
        self._stream.lost = total

    def _note_incompatible(self) -> None:
        self._stream.incompatible += 1
        self._node.get_logger().warning(
            f"{self._stream.name}: a publisher on {self._stream.topic} offers only best effort, "
            "but qos is 'reliable', so none of its images arrive; set qos to auto"
        )
