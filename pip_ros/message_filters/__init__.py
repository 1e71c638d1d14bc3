"""Stand-in for ROS 2 Jazzy's Python `message_filters`, for machines without a ROS installation.

Filters pass messages to callbacks. Synchronisers collect one message from each of several filters.
Names are camelCase, as in the ROS package.
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

STAND_IN = True  # the real package does not have this name

Queue = dict[int, Any]  # stamp in nanoseconds -> message


def _header_time(msg: Any) -> Time | None:
    """The time in `msg.header.stamp`; None if the message has no such field."""
    stamp = getattr(getattr(msg, "header", None), "stamp", None)
    if stamp is None or hasattr(stamp, "nanoseconds"):
        return stamp
    return Time.from_msg(stamp)


def _time_of(msg: Any, allow_headerless: bool, logger_name: str) -> Time | None:
    """The header's time; without a header, the present time if allowed, or None with a warning."""
    time = _header_time(msg)
    if time is not None:
        return time
    if allow_headerless:
        return ROSClock().now()
    logger: Any = get_logger(logger_name)
    logger.warning(
        f"dropped a {type(msg).__name__} without header.stamp; give the message a header, or pass "
        "allow_headerless=True to use its arrival time"
    )
    return None


class SimpleFilter:
    """Base of all filters: calls the registered callbacks with each output.

    >>> source = SimpleFilter()
    >>> source.registerCallback(print, "own argument")
    0
    >>> source.signalMessage("visible", "thermal")
    visible thermal own argument
    """

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Call `cb(*messages, *args)` for every output; return the number of the connection."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Pass the messages to all callbacks, in the order of their registration."""
        # Iterate over a copy, so that a callback may register another one.
        for cb, args in tuple(self.callbacks.values()):
            cb(*msg, *args)


class Subscriber(SimpleFilter):
    """A ROS subscription as a filter.

    The arguments are the node and those of `Node.create_subscription` without the callback. The
    keyword `qos_profile` is 10 by default. Other attributes are those of the rclpy subscription,
    which is in `sub`.
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
        """The topic's name as the constructor got it."""
        return self.topic

    def __getattr__(self, name: str) -> Any:
        """An attribute of the subscription."""
        if name == "sub":  # without this, the look-up before `sub` is set would recurse forever
            raise AttributeError("there is no subscription yet; use it after the constructor")
        return getattr(self.sub, name)


class Cache(SimpleFilter):
    """Keeps the last `cache_size` messages in order of arrival, and passes every message on.

    With `allow_headerless`, messages without a header get the time of their arrival. Otherwise
    they are dropped with a warning.

    >>> source = SimpleFilter()
    >>> cache = Cache(source, cache_size=2, allow_headerless=True)
    >>> for message in ("first", "second", "third"):
    ...     source.signalMessage(message)
    >>> cache.getLast(), cache.cache_msgs
    ('third', ['second', 'third'])
    """

    def __init__(self, f: Any, cache_size: int = 1, allow_headerless: bool = False) -> None:
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self.cache_msgs: list[Any] = []
        self.cache_times: list[Time] = []
        self.connectInput(f)

    def connectInput(self, f: Any) -> None:
        """Receive the messages of the filter `f`."""
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        """Store a message and pass it on; a full cache drops the message that arrived first."""
        time = _time_of(msg, self.allow_headerless, "message_filters_cache")
        if time is None:
            return
        self.cache_times.append(time)
        self.cache_msgs.append(msg)
        if len(self.cache_msgs) > self.cache_size:
            del self.cache_msgs[0], self.cache_times[0]
        self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:
        """The messages from `from_stamp` to `to_stamp`, including both.

        Raises:
            AssertionError: `from_stamp` is later than `to_stamp`.
        """
        assert from_stamp <= to_stamp, (
            f"the interval from {from_stamp} to {to_stamp} ends before it starts; swap the stamps"
        )
        return [m for m, t in self._entries() if from_stamp <= t <= to_stamp]

    def getElemAfterTime(self, stamp: Time) -> Any | None:
        """The message with `stamp` or later that arrived first; None if there is none."""
        return next((m for m, t in self._entries() if t >= stamp), None)

    def getElemBeforeTime(self, stamp: Time) -> Any | None:
        """The message with `stamp` or earlier that arrived last; None if there is none."""
        return next((m for m, t in reversed(self._entries()) if t <= stamp), None)

    def getLastestTime(self) -> Time | None:  # ROS spells it so
        """The time of the message that arrived last; None if the cache is empty."""
        return self.cache_times[-1] if self.cache_times else None

    def getOldestTime(self) -> Time | None:
        """The time of the message that arrived first; None if the cache is empty."""
        return self.cache_times[0] if self.cache_times else None

    def getLast(self) -> Any | None:
        """The first message that is not older than the last one; None if the cache is empty."""
        latest = self.getLastestTime()
        return None if latest is None else self.getElemAfterTime(latest)

    def _entries(self) -> list[tuple[Any, Time]]:
        return list(zip(self.cache_msgs, self.cache_times, strict=True))


class TimeSynchronizer(SimpleFilter):
    """Outputs one message from each of the filters `fs` when their stamps are equal.

    Each filter has a queue of at most `queue_size` messages. A full queue drops the message with
    the smallest stamp, which may be the new one. The lock is held while callbacks run, so a
    callback must not send messages to the same synchroniser. An exception in a callback releases
    the lock.
    """

    def __init__(self, fs: Sequence[Any], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[Any]) -> None:
        """Receive the messages of the filters `fs`, with new, empty queues."""
        self.queues: list[Queue] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: Queue, my_queue_index: int | None = None) -> None:
        """Store a message, and output a set if it is complete now.

        Raises:
            AttributeError: the message has no header.stamp.
        """
        time = _header_time(msg)
        if time is None:
            raise AttributeError(
                f"a {type(msg).__name__} without header.stamp, which TimeSynchronizer needs; use "
                "ApproximateTimeSynchronizer with allow_headerless=True"
            )
        with self.lock:
            self._store(msg, time.nanoseconds, my_queue)
            complete = set.intersection(*(set(queue) for queue in self.queues))
            if not complete:
                return
            stamp = min(complete)
            messages = self._take([stamp] * len(self.queues))
            # Older messages could only give sets in the wrong order.
            for queue in self.queues:
                for older in [queued for queued in queue if queued < stamp]:
                    del queue[older]
            self.signalMessage(*messages)

    def _store(self, msg: Any, stamp: int, queue: Queue) -> None:
        queue[stamp] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]

    def _take(self, stamps: Sequence[int]) -> list[Any]:
        # Removed before the callback runs, so that a callback that raises does not get them twice.
        return [queue.pop(stamp) for queue, stamp in zip(self.queues, stamps, strict=True)]


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Outputs one message from each of the filters `fs` when their stamps lie close together.

    The difference of the largest and the smallest stamp must be less than `slop` seconds, so equal
    stamps do not match if `slop` is 0. The candidates nearest to the new message are tried first,
    and those of the last filter vary first. With `allow_headerless`, messages without a header get
    the time of their arrival. Otherwise they are dropped with a warning.
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
        """Store a message, and output a set if it is complete now.

        If `my_queue_index` is None, the set need not contain the new message, only lie near it.
        """
        time = _time_of(msg, self.allow_headerless, "message_filters_approx")
        if time is None:
            return
        new_ns: int = time.nanoseconds
        slop_ns: int = self.slop.nanoseconds
        with self.lock:
            self._store(msg, new_ns, my_queue)
            if my_queue_index is not None and new_ns not in my_queue:
                return  # the full queue dropped it, because it had the smallest stamp
            # The candidate stamps of each queue, nearest first. Its own queue gives the new one.
            candidates = [
                [new_ns]
                if index == my_queue_index
                else sorted(
                    (stamp for stamp in queue if abs(stamp - new_ns) <= slop_ns),
                    key=lambda stamp: abs(stamp - new_ns),
                )
                for index, queue in enumerate(self.queues)
            ]
            for stamps in itertools.product(*candidates):
                if max(stamps) - min(stamps) < slop_ns:
                    self.signalMessage(*self._take(stamps))
                    return
