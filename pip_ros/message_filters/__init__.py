"""Stand-in for ROS 2 Jazzy's Python `message_filters`, for machines without a ROS install.

Filters hand messages on to callbacks; the synchronisers gather one message from each of several
filters. Names are camelCase because the ROS package's are.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.clock import ROSClock
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

__all__ = [
    "ApproximateTimeSynchronizer",
    "Cache",
    "SimpleFilter",
    "Subscriber",
    "TimeSynchronizer",
]

STAND_IN = True  # only here, never in ROS: tells which of the two was imported

Queue = dict[int, Any]  # stamp in nanoseconds -> message


def _header_time(msg: Any) -> Time | None:
    """Return the time in `msg.header.stamp`, or None when the message has no such field."""
    stamp = getattr(getattr(msg, "header", None), "stamp", None)
    if stamp is None or hasattr(stamp, "nanoseconds"):
        return stamp
    return Time.from_msg(stamp)


def _time_of(msg: Any, allow_headerless: bool, logger_name: str) -> Time | None:
    """Return the header's time, else the time now if allowed, else None after a warning."""
    time = _header_time(msg)
    if time is not None:
        return time
    if allow_headerless:
        return ROSClock().now()
    logger: Any = get_logger(logger_name)
    logger.warning(
        f"dropped a {type(msg).__name__}: it has no header.stamp to go by. Give the message a "
        "header, or pass allow_headerless=True to use its arrival time instead"
    )
    return None


class SimpleFilter:
    """Base of all filters: keeps callbacks and calls them with each output."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Call `cb(*messages, *args)` on every output; return the connection's number."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Hand the messages to every callback, in the order they were registered."""
        # A copy, so that a callback may register another one.
        for cb, args in tuple(self.callbacks.values()):
            cb(*msg, *args)


class Subscriber(SimpleFilter):
    """A ROS subscription as a filter.

    Arguments are those of `Node.create_subscription` with the node first and no callback;
    `qos_profile` (keyword) is 10 unless given. Whatever else is asked of this object is asked of
    the rclpy subscription in `sub`.
    """

    def __init__(self, node: Any, msg_type: Any, topic: str, /, **kwargs: Any) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        kwargs.setdefault("qos_profile", 10)
        self.sub = node.create_subscription(msg_type, topic, self.callback, **kwargs)

    def callback(self, msg: Any) -> None:
        """Pass a received message on."""
        self.signalMessage(msg)

    def getTopic(self) -> str:
        """Return the topic's name as it was given to the constructor."""
        return self.topic

    def __getattr__(self, name: str) -> Any:
        """Look `name` up on the subscription, once there is one."""
        if name == "sub":  # not made yet: looking it up on itself would never end
            raise AttributeError("the subscription is not made yet; ask after the constructor")
        return getattr(self.sub, name)


class Cache(SimpleFilter):
    """Keeps the last `cache_size` messages in order of arrival, and passes each one on.

    `allow_headerless` keeps messages without a header under the time they arrived; without it
    they are dropped with a warning.
    """

    def __init__(self, f: Any, cache_size: int = 1, allow_headerless: bool = False) -> None:
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self.cache_msgs: list[Any] = []
        self.cache_times: list[Time] = []
        self.connectInput(f)

    def connectInput(self, f: Any) -> None:
        """Take messages from the filter `f`."""
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        """Store one message, drop the one that came first if full, and pass it on."""
        time = _time_of(msg, self.allow_headerless, "message_filters_cache")
        if time is None:
            return
        self.cache_times.append(time)
        self.cache_msgs.append(msg)
        if len(self.cache_msgs) > self.cache_size:
            del self.cache_msgs[0], self.cache_times[0]
        self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:
        """Return the messages from `from_stamp` to `to_stamp`, both ends included.

        Raises AssertionError when the ends are the wrong way round.
        """
        assert from_stamp <= to_stamp, (
            f"interval from {from_stamp} to {to_stamp} ends before it starts; swap the two"
        )
        return [m for m, t in self._entries() if from_stamp <= t <= to_stamp]

    def getElemAfterTime(self, stamp: Time) -> Any | None:
        """Return the first message that came with `stamp` or later, None if there is none."""
        return next((m for m, t in self._entries() if t >= stamp), None)

    def getElemBeforeTime(self, stamp: Time) -> Any | None:
        """Return the last message that came with `stamp` or earlier, None if there is none."""
        return next((m for m, t in reversed(self._entries()) if t <= stamp), None)

    def getLastestTime(self) -> Time | None:  # spelled as ROS spells it
        """Return the time of the message that came last, None when empty."""
        return self.cache_times[-1] if self.cache_times else None

    def getOldestTime(self) -> Time | None:
        """Return the time of the message that came first, None when empty."""
        return self.cache_times[0] if self.cache_times else None

    def getLast(self) -> Any | None:
        """Return the first message that is not older than the last one, None when empty."""
        latest = self.getLastestTime()
        return None if latest is None else self.getElemAfterTime(latest)

    def _entries(self) -> list[tuple[Any, Time]]:
        return list(zip(self.cache_msgs, self.cache_times, strict=True))


class TimeSynchronizer(SimpleFilter):
    """Calls back with one message from each of `fs` when their stamps are equal.

    Each filter has a queue of at most `queue_size` messages; a full queue drops its smallest
    stamp, whatever came last. The lock is held while the callback runs, so a callback must not
    feed the same synchroniser; it is let go when the callback raises.
    """

    def __init__(self, fs: Sequence[Any], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[Any]) -> None:
        """Take messages from the filters `fs`, with new, empty queues."""
        self.queues: list[Queue] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: Queue, my_queue_index: int | None = None) -> None:
        """Store one message and call back if it completes a set.

        Raises AttributeError when the message has no header.stamp.
        """
        time = _header_time(msg)
        if time is None:
            raise AttributeError(
                f"a {type(msg).__name__} has no header.stamp, and equal stamps are what "
                "TimeSynchronizer looks for; use ApproximateTimeSynchronizer with "
                "allow_headerless=True"
            )
        with self.lock:
            self._store(msg, time.nanoseconds, my_queue)
            complete = set.intersection(*(set(queue) for queue in self.queues))
            if not complete:
                return
            stamp = min(complete)
            messages = self._take([stamp] * len(self.queues))
            # What is older than a set that was output can only make sets out of order.
            for queue in self.queues:
                for old in [s for s in queue if s < stamp]:
                    del queue[old]
            self.signalMessage(*messages)

    def _store(self, msg: Any, stamp: int, queue: Queue) -> None:
        queue[stamp] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]

    def _take(self, stamps: Sequence[int]) -> list[Any]:
        # Taken out before the callback sees them: one that raises cannot get them twice.
        return [queue.pop(stamp) for queue, stamp in zip(self.queues, stamps, strict=True)]


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Calls back with one message from each of `fs` when their stamps lie close together.

    The largest stamp less the smallest must be below `slop` seconds, strictly: equal stamps never
    match when `slop` is 0. Of several candidates the one nearest to the new message is taken, the
    last filter's candidates tried first. `allow_headerless` gives messages without a header the
    time they arrived; without it they are dropped with a warning.
    """

    def __init__(
        self,
        fs: Sequence[Any],
        queue_size: int,
        slop: float,
        allow_headerless: bool = False,
    ) -> None:
        super().__init__(fs, queue_size)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless

    def add(self, msg: Any, my_queue: Queue, my_queue_index: int | None = None) -> None:
        """Store one message and call back if it completes a set.

        With `my_queue_index` None a set need not hold the new message, only lie near it.
        """
        time = _time_of(msg, self.allow_headerless, "message_filters_approx")
        if time is None:
            return
        new, slop = time.nanoseconds, self.slop.nanoseconds
        with self.lock:
            self._store(msg, new, my_queue)
            if my_queue_index is not None and new not in my_queue:
                return  # the full queue dropped it at once: it was the smallest
            # Per queue the candidate stamps, nearest first; the new message stands for its own.
            candidates = [
                [new]
                if index == my_queue_index
                else sorted((s for s in queue if abs(s - new) <= slop), key=lambda s: abs(s - new))
                for index, queue in enumerate(self.queues)
            ]
            for stamps in itertools.product(*candidates):
                if max(stamps) - min(stamps) < slop:
                    self.signalMessage(*self._take(stamps))
                    return
