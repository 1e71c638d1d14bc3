"""Two image topics -> the newest matched messages.

This module only hands messages over. `message_filters` matches them inside its callback and under
its lock, so nothing slow or fragile may happen there. The match goes into a slot that holds the
newest one, and the worker takes it from there.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from message_filters import ApproximateTimeSynchronizer, SimpleFilter
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node

from ssvif_core.types import stamp_of
from ssvif_ros.node.messages import CameraMessage
from ssvif_ros.node.stream import Stream, Subscriber

KEPT_NS = 1_000_000_000  # messages within this time of a jump are kept


@dataclass(frozen=True)
class MatchedMessages:
    """A visible and a thermal message that belong together.

    Attributes:
        arrival: when the second of them came, by `time.monotonic`.
    """

    visible: CameraMessage
    thermal: CameraMessage
    arrival: float


class LatestSlot:
    """Holds the newest match only: a late robot must see the present, not a backlog.

    Attributes:
        preparing: whether the worker makes an engine; losses are counted apart meanwhile.
        replaced: matches that a newer one replaced.
        replaced_preparing: the same while an engine was made.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pair: MatchedMessages | None = None
        self._closed = False
        self.preparing = False
        self.replaced = 0
        self.replaced_preparing = 0

    def put(self, pair: MatchedMessages) -> None:
        """Offer a match; one that still waits is replaced and counted."""
        with self._condition:
            if self._pair is not None:
                self.replaced += not self.preparing
                self.replaced_preparing += self.preparing
            self._pair = pair
            self._condition.notify()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def take(self, timeout_s: float | None = None) -> MatchedMessages | None:
        """Wait for the newest match; None when the time is over or the slot is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._pair is not None or self._closed, timeout_s)
            pair, self._pair = self._pair, None
            return pair

    def close(self) -> None:
        """Wake the worker for the last time."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()


class Pairing:
    """Subscribes to both cameras and puts matches into `slot`.

    Args:
        node: the node that subscribes.
        slop_s: the stamps of a pair are less than this apart, seconds.
        queue_size: messages of each camera that may wait for their partner.
        qos, transport: see `Subscriber`.
        max_age_s: with None, each thermal image is in one pair, with the nearest visible one.
            Otherwise every visible image is paired with the nearest thermal one that has come, if
            that is not older, seconds.

        thermal_time_offset_s: is added to thermal stamps, besides that of the calibration.

    Attributes:
        offset_s: what is added to thermal stamps in all.
        on_reset: called when time jumps, so that old images do not influence new ones.
        pairs: matches so far. resets: jumps so far.
        too_old: visible images without a thermal one that is young enough.
    """

    def __init__(
        self,
        node: Node,
        visible_topic: str,
        thermal_topic: str,
        slop_s: float,
        queue_size: int,
        qos: str,
        slot: LatestSlot,
        max_age_s: float | None = None,
        transport: str = "auto",
        thermal_time_offset_s: float = 0.0,
    ) -> None:
        self._max_age_s, self.too_old = max_age_s, 0
        self.own_offset_s = thermal_time_offset_s
        self.set_offset(0.0)
        self._node, self._slop_s, self._queue_size = node, slop_s, queue_size
        self._slot = slot
        self.on_reset: Callable[[], None] = lambda: None
        self.visible, self.thermal = (
            Stream("visible", node.resolve_topic_name(visible_topic), queue_size),
            Stream("thermal", node.resolve_topic_name(thermal_topic), queue_size),
        )
        self._subscribers = [
            Subscriber(node, stream, topic, transport, qos, queue_size, self._receive)
            for stream, topic in zip(self.streams, (visible_topic, thermal_topic), strict=True)
        ]
        self.pairs = 0
        self.resets = 0
        self._synchroniser = self._new_synchroniser()
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jump_handle = node.get_clock().create_jump_callback(
            threshold, post_callback=lambda _jump: self._reset("the clock jumped back")
        )
        # A steady clock: with use_sim_time and no /clock the node would never subscribe.
        self._timer = node.create_timer(
            0.1, self._choose_subscriptions, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._choose_subscriptions()

    @property
    def streams(self) -> tuple[Stream, Stream]:
        """The visible and the thermal stream."""
        return self.visible, self.thermal

    def set_offset(self, calibrated_s: float) -> None:
        """Add the time offset of a calibration (seconds) to thermal stamps from now on."""
        self.offset_s = calibrated_s + self.own_offset_s
        self._offset_ns = round(self.offset_s * 1e9)

    def _new_synchroniser(self) -> ApproximateTimeSynchronizer:
        # New filters too, because the old ones keep the old synchroniser registered.
        for stream in self.streams:
            stream.filter = SimpleFilter()
        synchroniser = ApproximateTimeSynchronizer(
            [stream.filter for stream in self.streams], self._queue_size, self._slop_s
        )
        synchroniser.registerCallback(self._hand_over)
        return synchroniser

    def _hand_over(self, visible: CameraMessage, thermal: CameraMessage) -> None:
        self.pairs += 1
        self.visible.recent.clear()
        self.thermal.recent.clear()
        self._slot.put(MatchedMessages(visible, thermal, time.monotonic()))

    def _receive(self, stream: Stream, message: CameraMessage) -> None:
        if stamp_of(message.header) < 0:  # rclpy raises for such a time
            stream.refuse()
            return
        if stream is self.thermal and self._offset_ns:
            stamp = max(stamp_of(message.header) + self._offset_ns, 0)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        if stream.note(message):
            self._reset(f"stamps of {stream.topic} jumped back", jumped=stream)
        stream.recent.append(message)
        if self._max_age_s is None:
            stream.filter.signalMessage(message)
        elif stream is self.visible:
            self._pair_with_nearest(message, self._max_age_s)

    def _pair_with_nearest(self, visible: CameraMessage, max_age_s: float) -> None:
        """Pair a visible image with the nearest thermal image that has come."""
        stamp = stamp_of(visible.header)
        age_ns, thermal = min(
            ((abs(stamp - stamp_of(message.header)), message) for message in self.thermal.recent),
            key=lambda candidate: candidate[0],
            default=(0, None),
        )
        if thermal is None or age_ns > max_age_s * 1e9:
            self.too_old += 1
            return
        self.pairs += 1
        self._slot.put(MatchedMessages(visible, thermal, time.monotonic()))

    def _reset(self, reason: str, jumped: Stream | None = None) -> None:
        """Start the matching anew, because its queues would drop everything after a jump back.

        One camera jumps before the other. So messages that the other has already sent with the new
        time are kept.
        """
        self.resets += 1
        self._node.get_logger().info(f"{reason}: pairing starts anew")
        self._synchroniser = self._new_synchroniser()
        self.on_reset()
        for stream in self.streams:
            kept = []
            if jumped is not None and jumped is not stream and jumped.last_stamp is not None:
                kept = [
                    message
                    for message in stream.recent
                    if abs(stamp_of(message.header) - jumped.last_stamp) < KEPT_NS
                ]
            stream.recent = deque(kept, maxlen=self._queue_size)
            for message in kept:
                stream.filter.signalMessage(message)

    def _choose_subscriptions(self) -> None:
        for subscriber in self._subscribers:
            subscriber.choose()
