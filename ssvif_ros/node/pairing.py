"""Two image topics -> the newest pair.

Messages are only handed over here. `message_filters` matches them inside its callback, under its
lock, so nothing slow or fragile may happen there: the pair goes into a slot that holds the latest
one, from which a worker takes it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from message_filters import ApproximateTimeSynchronizer, SimpleFilter
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from ssvif_core.types import stamp_of

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

# Stamps that fall back by more than this are a jump (a bag loops); by less, late messages.
JUMP_BACK = 250_000_000  # ns


@dataclass(frozen=True)
class MatchedMessages:
    """A matched pair of messages and when its second one arrived (`time.monotonic`)."""

    visible: Image
    thermal: Image
    arrival: float


class LatestSlot:
    """Holds the newest pair only: a robot that is late must see the present, not a backlog.

    Attributes:
        preparing: set while the taker makes an engine, so that what is lost then is told apart.
        replaced, replaced_preparing: pairs that a newer one replaced, otherwise and meanwhile.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pair: MatchedMessages | None = None
        self._closed = False
        self.preparing = False
        self.replaced = 0
        self.replaced_preparing = 0

    def put(self, pair: MatchedMessages) -> None:
        """Offer a pair; one that still waits is replaced and counted."""
        with self._condition:
            if self._pair is not None:
                self.replaced += not self.preparing
                self.replaced_preparing += self.preparing
            self._pair = pair
            self._condition.notify()

    def take(self) -> MatchedMessages | None:
        """The newest pair, as soon as there is one; None once the slot is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._pair is not None or self._closed)
            pair, self._pair = self._pair, None
            return pair

    def close(self) -> None:
        """Wake the taker for the last time."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()


class Stream:
    """One camera's topic: its subscription and what was seen on it."""

    def __init__(self, name: str, topic: str) -> None:
        self.name, self.topic = name, topic
        self.filter = SimpleFilter()
        self.subscription: Any = None
        self.reliability: ReliabilityPolicy | None = None
        self.received = 0
        self.missing = 0
        self.incompatible = 0
        self.lost = 0
        self.refused = 0
        self.last_stamp: int | None = None
        self.last_arrival: float | None = None
        self.recent: deque[Image] = deque(maxlen=10)
        self._periods: deque[int] = deque(maxlen=31)

    def note(self, message: Image) -> bool:
        """Count a message; True if its stamp jumped back."""
        stamp = stamp_of(message.header)
        self.received += 1
        self.last_arrival = time.monotonic()
        step = 0 if self.last_stamp is None else stamp - self.last_stamp
        if -JUMP_BACK <= step < 0:  # overtaken on the way, and counted as missing since
            self.missing = max(0, self.missing - 1)
            return False
        self.last_stamp = stamp
        if step < 0:
            self._periods.clear()
            return True
        if step > 0:
            if len(self._periods) >= 5:
                period = median(self._periods)
                # Longer silences are pauses, not losses.
                if 1.5 * period < step < max(20 * period, 2_000_000_000):
                    self.missing += round(step / period) - 1
            self._periods.append(step)
        return False

    def refuse(self) -> None:
        """Count a message that cannot be paired by its stamp."""
        self.refused += 1
        self.last_arrival = time.monotonic()

    @property
    def silence(self) -> float | None:
        """Seconds since the last message; None before the first."""
        return None if self.last_arrival is None else time.monotonic() - self.last_arrival


class Pairing:
    """Subscribes to both cameras and puts matched pairs into `slot`.

    Args:
        node: the node that subscribes.
        slop: largest difference of stamps within a pair, seconds, exclusive.
        queue_size: messages kept of each camera while they wait for their partner.
        qos: `auto` (reliable if every publisher offers it, else best effort, as rosbag2's
            recorder does), `reliable` or `best_effort`.
        on_reset: called when time jumped, so that nothing of before is smoothed into now.
        max_age: None pairs each thermal image once, with the nearest visible one; else every
            visible image is paired with the nearest thermal one that is here, at most so old, s.

    `offset` (ns), which may change, is added to the thermal stamps: they are then of the visible
    camera's time.
    """

    def __init__(
        self,
        node: Node,
        visible_topic: str,
        thermal_topic: str,
        slop: float,
        queue_size: int,
        qos: str,
        slot: LatestSlot,
        on_reset: Callable[[], None],
        max_age: float | None = None,
    ) -> None:
        self._max_age, self.offset, self.too_old = max_age, 0, 0
        self._node, self._slop, self._queue_size, self._qos = node, slop, queue_size, qos
        self._slot, self._on_reset = slot, on_reset
        self.visible, self.thermal = (
            Stream("visible", visible_topic),
            Stream("thermal", thermal_topic),
        )
        for stream in self.streams:
            stream.recent = deque(maxlen=queue_size)
        self.pairs = 0
        self.resets = 0
        self._synchroniser = self._new_synchroniser()
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jump_handle = node.get_clock().create_jump_callback(
            threshold, post_callback=lambda _jump: self._reset("the clock jumped back")
        )
        # By a steady clock: with use_sim_time and no /clock yet the node would never subscribe.
        self._timer = node.create_timer(
            0.1, self._choose_subscriptions, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._choose_subscriptions()

    @property
    def streams(self) -> tuple[Stream, Stream]:
        return self.visible, self.thermal

    def _new_synchroniser(self) -> ApproximateTimeSynchronizer:
        # Fresh filters too: an old synchroniser stays registered with the old ones.
        for stream in self.streams:
            stream.filter = SimpleFilter()
        synchroniser = ApproximateTimeSynchronizer(
            [stream.filter for stream in self.streams], self._queue_size, self._slop
        )
        synchroniser.registerCallback(self._hand_over)
        return synchroniser

    def _hand_over(self, visible: Image, thermal: Image) -> None:
        self.pairs += 1
        self.visible.recent.clear()
        self.thermal.recent.clear()
        self._slot.put(MatchedMessages(visible, thermal, time.monotonic()))

    def _receive(self, stream: Stream, message: Image) -> None:
        if stamp_of(message.header) < 0:  # no time of ROS: rclpy raises where it meets one
            stream.refuse()
            return
        if stream is self.thermal and self.offset:
            stamp = max(stamp_of(message.header) + self.offset, 0)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        if stream.note(message):
            self._reset(f"stamps of {stream.topic} jumped back", jumped=stream)
        stream.recent.append(message)
        if self._max_age is None:
            stream.filter.signalMessage(message)
        elif stream is self.visible:
            self._pair_with_newest(message, self._max_age)

    def _pair_with_newest(self, visible: Image, max_age: float) -> None:
        """The thermal image of the time nearest to the visible one's, among those that are here."""
        stamp = stamp_of(visible.header)
        age, thermal = min(
            ((abs(stamp - stamp_of(m.header)), m) for m in self.thermal.recent),
            key=lambda one: one[0],
            default=(0, None),
        )
        if thermal is None or age > max_age * 1e9:
            self.too_old += 1
            return
        self.pairs += 1
        self._slot.put(MatchedMessages(visible, thermal, time.monotonic()))

    def _reset(self, reason: str, jumped: Stream | None = None) -> None:
        """Start the matching anew: its queues would evict everything after a jump back.

        One camera jumps before the other, so what the other has already sent of the new time is
        kept.
        """
        self.resets += 1
        self._node.get_logger().info(f"{reason}: pairing starts anew")
        self._synchroniser = self._new_synchroniser()
        self._on_reset()
        for stream in self.streams:
            kept = []
            if jumped not in (None, stream) and jumped.last_stamp is not None:
                kept = [
                    m
                    for m in stream.recent
                    if abs(stamp_of(m.header) - jumped.last_stamp) < 1_000_000_000
                ]
            stream.recent = deque(kept, maxlen=self._queue_size)
            for message in kept:
                stream.filter.signalMessage(message)

    def _choose_subscriptions(self) -> None:
        """Subscribe once publishers are known, and again when what they offer has changed."""
        for stream in self.streams:
            wanted = self._reliability(stream.topic)
            if wanted is None or wanted == stream.reliability:
                continue
            if stream.subscription is not None:
                self._node.destroy_subscription(stream.subscription)
            stream.reliability = wanted
            stream.subscription = self._node.create_subscription(
                Image,
                stream.topic,
                lambda message, stream=stream: self._receive(stream, message),
                QoSProfile(
                    history=HistoryPolicy.KEEP_LAST, depth=self._queue_size, reliability=wanted
                ),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=lambda _event, stream=stream: self._incompatible(stream),
                    message_lost=lambda event, stream=stream: self._lost(stream, event.total_count),
                ),
            )
            self._node.get_logger().info(
                f"{stream.name}: subscribed to {stream.subscription.topic_name} "
                f"({wanted.name.lower().replace('_', ' ')})"
            )

    def _reliability(self, topic: str) -> ReliabilityPolicy | None:
        if self._qos != "auto":
            return (
                ReliabilityPolicy.RELIABLE
                if self._qos == "reliable"
                else ReliabilityPolicy.BEST_EFFORT
            )
        offered = {
            info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(topic)
        }
        if not offered:
            return None
        if offered == {ReliabilityPolicy.RELIABLE}:
            return ReliabilityPolicy.RELIABLE
        return ReliabilityPolicy.BEST_EFFORT

    def _lost(self, stream: Stream, total: int) -> None:
        stream.lost = total

    def _incompatible(self, stream: Stream) -> None:
        stream.incompatible += 1
        self._node.get_logger().warning(
            f"{stream.name}: a publisher on {stream.topic} offers only best effort, and qos is "
            "'reliable', so nothing of it arrives; set qos to auto"
        )
