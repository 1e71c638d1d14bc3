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
from ssvif_ros.node.parameters import FusionParameters
from ssvif_ros.node.stream import Stream, Subscriber

KEPT_NS = 1_000_000_000  # messages within this time of a jump are kept
LINGER_S = 2.0  # after which nothing is received any more, if no one wants it


@dataclass(frozen=True)
class MatchedMessages:
    """A visible and a thermal message that belong together, or one while the other is missing.

    Attributes:
        arrival: when the second of them came, by `time.monotonic`.
        held: `visible` or `thermal` if this is an old image, used because no new one comes.
    """

    visible: CameraMessage | None
    thermal: CameraMessage | None
    arrival: float
    held: str = ""


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

    With `pairing: nearest`, each thermal image is in one pair, with the nearest visible one. With
    `visible_rate`, every visible image is paired with the nearest thermal one that has come. While
    one camera is silent, the images of the other are handed over alone (`on_missing`).

    Args:
        node: the node that subscribes.
        parameters: topics, qos, transport, `pairing`, and limits that may change.
        is_wanted: whether images are needed now. They are not received otherwise.

    Attributes:
        offset_s: what is added to thermal stamps in all.
        missing: `visible` or `thermal` while this camera alone is silent; otherwise empty.
        on_missing: called when that changes.
        on_reset: called when time jumps, so that old images do not influence new ones.
        pairs: matches so far. resets: jumps so far.
        too_old: visible images without a thermal one that is young enough.
    """

    def __init__(
        self,
        node: Node,
        parameters: FusionParameters,
        slot: LatestSlot,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._node, self._parameters, self._slot = node, parameters, slot
        self._is_wanted, self._wanted_at = is_wanted, time.monotonic()
        self._slop_s = parameters.slop
        self.too_old = 0
        self.missing = ""
        self.own_offset_s = parameters.thermal_time_offset
        self.set_offset(0.0)
        self.on_reset: Callable[[], None] = lambda: None
        self.on_missing: Callable[[str], None] = lambda _camera: None
        topics = parameters.visible_topic, parameters.thermal_topic
        self.visible, self.thermal = (
            Stream(name, node.resolve_topic_name(topic), parameters.queue_size)
            for name, topic in zip(("visible", "thermal"), topics, strict=True)
        )
        self._last: dict[str, CameraMessage] = {}
        self._sending_since: dict[str, float] = {}  # by camera; without a longer pause
        self._subscribers = [
            Subscriber(
                node, stream, topic, parameters.image_transport, parameters.qos,
                parameters.queue_size, self._receive,
            )
            for stream, topic in zip(self.streams, topics, strict=True)
        ]  # fmt: skip
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
            0.1, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def close(self) -> None:
        """Give up what the node itself does not destroy."""
        self._jump_handle.unregister()

    @property
    def streams(self) -> tuple[Stream, Stream]:
        """The visible and the thermal stream."""
        return self.visible, self.thermal

    @property
    def is_subscribed(self) -> bool:
        """Whether images are received, or will be when someone sends them."""
        return self.visible.subscribed_at is not None

    def set_offset(self, calibrated_s: float) -> None:
        """Add the time offset of a calibration (seconds) to thermal stamps from now on."""
        self.offset_s = calibrated_s + self.own_offset_s
        self._offset_ns = round(self.offset_s * 1e9)

    def _new_synchroniser(self) -> ApproximateTimeSynchronizer:
        # New filters too, because the old ones keep the old synchroniser registered.
        for stream in self.streams:
            stream.filter = SimpleFilter()
        synchroniser = ApproximateTimeSynchronizer(
            [stream.filter for stream in self.streams], self._parameters.queue_size, self._slop_s
        )
        synchroniser.registerCallback(self._hand_over)
        return synchroniser

    def _hand_over(self, visible: CameraMessage, thermal: CameraMessage) -> None:
        self.pairs += 1
        self.visible.recent.clear()
        self.thermal.recent.clear()
        self._slot.put(MatchedMessages(visible, thermal, time.monotonic()))

    def _receive(self, stream: Stream, message: CameraMessage) -> None:
        if stream.last_arrival is None or stream.waiting_s > self._parameters.camera_timeout:
            self._sending_since[stream.name] = time.monotonic()
        if stamp_of(message.header) < 0:  # rclpy raises for such a time
            stream.refuse()
            return
        if stream is self.thermal and self._offset_ns:
            stamp = max(stamp_of(message.header) + self._offset_ns, 0)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        if stream.note(message):
            self._reset(f"stamps of {stream.topic} jumped back", jumped=stream)
        stream.recent.append(message)
        self._last[stream.name] = message
        if self._slop_s != self._parameters.slop:
            self._slop_s = self._parameters.slop
            self._synchroniser = self._new_synchroniser()
        if self.missing:
            self._hand_over_alone(stream, message)
        if self._parameters.pairing == "nearest":
            stream.filter.signalMessage(message)
        elif stream is self.visible:
            self._pair_with_nearest(message)

    def _pair_with_nearest(self, visible: CameraMessage) -> None:
        """Pair a visible image with the nearest thermal image that has come."""
        stamp = stamp_of(visible.header)
        age_ns, thermal = min(
            ((abs(stamp - stamp_of(message.header)), message) for message in self.thermal.recent),
            key=lambda candidate: candidate[0],
            default=(0, None),
        )
        if thermal is None or age_ns > self._parameters.thermal_max_age * 1e9:
            self.too_old += not self.missing
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
            stream.recent = deque(kept, maxlen=self._parameters.queue_size)
            for message in kept:
                stream.filter.signalMessage(message)

    # --- ten times a second

    def _look(self) -> None:
        now = time.monotonic()
        if self._is_wanted():
            self._wanted_at = now
        if now - self._wanted_at > LINGER_S:
            for subscriber in self._subscribers:
                subscriber.drop()
        else:
            for subscriber in self._subscribers:
                subscriber.choose()
        self._watch()

    def _watch(self) -> None:
        """Find out whether one camera alone is silent.

        The other must have sent for as long: cameras, and bags after a pause, do not start at once.
        """
        limit_s, now = self._parameters.camera_timeout, time.monotonic()
        thermal_limit_s = limit_s
        if self._parameters.pairing == "visible_rate":  # older thermal images are still fused
            thermal_limit_s = max(limit_s, self._parameters.thermal_max_age)
        limits_s = limit_s, thermal_limit_s
        silent = [
            stream
            for stream, limit in zip(self.streams, limits_s, strict=True)
            if stream.waiting_s > limit
        ]
        missing = ""
        if len(silent) == 1 and self._parameters.on_missing != "stop":
            other = self.thermal if silent[0] is self.visible else self.visible
            if now - self._sending_since.get(other.name, now) > limit_s:
                missing = silent[0].name
        if missing != self.missing:
            self.missing = missing
            self.on_missing(missing)

    def _hand_over_alone(self, stream: Stream, message: CameraMessage) -> None:
        """Hand over an image whose partner is missing, with the partner's last one on `hold`."""
        if stream.name == self.missing:  # it is back
            self._watch()
            return
        held = self._last.get(self.missing) if self._parameters.on_missing == "hold" else None
        images = {stream.name: message, self.missing: held}
        self._slot.put(
            MatchedMessages(
                images["visible"], images["thermal"], time.monotonic(),
                held="" if held is None else self.missing,
            )
        )  # fmt: skip
