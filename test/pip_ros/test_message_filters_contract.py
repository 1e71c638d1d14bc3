"""The behaviour of `message_filters` that ssvif_ros needs, from ROS's package and our stand-in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import message_filters
import pytest
import rclpy
from hypothesis import given, settings
from hypothesis import strategies as st
from message_filters import (
    ApproximateTimeSynchronizer,
    Cache,
    SimpleFilter,
    Subscriber,
    TimeSynchronizer,
)
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import Image

MS = 1_000_000  # nanoseconds
REAL = not getattr(message_filters, "STAND_IN", False)
Pair = tuple[Image, ...]


def image(milliseconds: int, frame_id: str = "") -> Image:
    msg = Image()
    msg.header.stamp = Time(nanoseconds=milliseconds * MS).to_msg()
    msg.header.frame_id = frame_id
    return msg


def stamp_ms(msg: Image) -> int:
    return Time.from_msg(msg.header.stamp).nanoseconds // MS


def at(milliseconds: int) -> Time:
    return Time.from_msg(Time(nanoseconds=milliseconds * MS).to_msg())


def exact_sync(
    count: int, queue_size: int
) -> tuple[TimeSynchronizer, list[SimpleFilter], list[Pair]]:
    return _collect(count, lambda fs: TimeSynchronizer(fs, queue_size))


def approximate_sync(
    count: int, queue_size: int, slop: float, **options: Any
) -> tuple[ApproximateTimeSynchronizer, list[SimpleFilter], list[Pair]]:
    return _collect(count, lambda fs: ApproximateTimeSynchronizer(fs, queue_size, slop, **options))


def _collect(count: int, make: Callable[[list[SimpleFilter]], Any]) -> Any:
    """A synchroniser, its input filters, and the list of its outputs."""
    inputs = [SimpleFilter() for _ in range(count)]
    sync = make(inputs)
    out: list[Pair] = []
    sync.registerCallback(lambda *messages: out.append(messages))
    return sync, inputs, out


def stamps(out: list[Pair]) -> list[tuple[int, ...]]:
    return [tuple(map(stamp_ms, messages)) for messages in out]


# ---------------------------------------------------------------- SimpleFilter


def test_callbacks_get_messages_and_their_own_arguments_in_order() -> None:
    source, calls = SimpleFilter(), []
    first = source.registerCallback(lambda *args: calls.append(("first", *args)), "x", 7)
    second = source.registerCallback(lambda *args: calls.append(("second", *args)))
    assert (first, second) == (0, 1)
    source.signalMessage("left", "right")
    assert calls == [("first", "left", "right", "x", 7), ("second", "left", "right")]


# ----------------------------------------------------------------------- Cache


def test_a_new_cache_is_empty() -> None:
    cache = Cache(SimpleFilter())
    assert cache.getLast() is None
    assert cache.getLastestTime() is None
    assert cache.getOldestTime() is None
    assert cache.getElemAfterTime(at(0)) is None
    assert cache.getElemBeforeTime(at(0)) is None
    assert cache.getInterval(at(0), at(0)) == []


def test_a_cache_keeps_the_last_messages_and_passes_all_on() -> None:
    source, passed = SimpleFilter(), []
    cache = Cache(source, 3)
    cache.registerCallback(passed.append)
    messages = [image(t) for t in (10, 20, 30, 40)]
    for msg in messages:
        source.signalMessage(msg)
    assert [id(m) for m in passed] == [id(m) for m in messages]
    assert cache.getOldestTime() == at(20)
    assert cache.getLastestTime() == at(40)
    assert cache.getLast() is messages[3]
    assert list(map(stamp_ms, cache.getInterval(at(20), at(30)))) == [20, 30]
    assert stamp_ms(cache.getElemAfterTime(at(21))) == 30
    assert stamp_ms(cache.getElemAfterTime(at(30))) == 30
    assert stamp_ms(cache.getElemBeforeTime(at(39))) == 30
    assert cache.getElemBeforeTime(at(19)) is None
    assert cache.getElemAfterTime(at(41)) is None


def test_a_cache_keeps_the_order_of_arrival() -> None:
    source = SimpleFilter()
    cache = Cache(source, 2)
    for t in (30, 10, 20):
        source.signalMessage(image(t))
    assert (cache.getOldestTime(), cache.getLastestTime()) == (at(10), at(20))


def test_a_cache_refuses_an_interval_that_ends_before_it_starts() -> None:
    with pytest.raises(AssertionError):
        Cache(SimpleFilter()).getInterval(at(2), at(1))


def test_a_cache_takes_messages_without_header_only_if_allowed() -> None:
    source = SimpleFilter()
    strict, lenient = Cache(source, 1), Cache(source, cache_size=1, allow_headerless=True)
    source.signalMessage("no header")
    assert strict.getLast() is None
    assert lenient.getLast() == "no header"


# ------------------------------------------------------------ TimeSynchronizer


def test_exact_pairs_equal_stamps_in_any_order() -> None:
    _, (a, b), out = exact_sync(2, 10)
    left, right = [image(t) for t in (1, 2)], [image(t) for t in (2, 1)]
    a.signalMessage(left[0])
    a.signalMessage(left[1])
    b.signalMessage(right[1])
    b.signalMessage(right[0])
    assert [tuple(map(id, p)) for p in out] == [
        (id(left[0]), id(right[1])),
        (id(left[1]), id(right[0])),
    ]


def test_exact_needs_every_input() -> None:
    _, (a, b, c), out = exact_sync(3, 10)
    a.signalMessage(image(5))
    b.signalMessage(image(5))
    assert out == []
    c.signalMessage(image(6))
    assert out == []
    c.signalMessage(image(5))
    assert stamps(out) == [(5, 5, 5)]


def test_exact_drops_the_smallest_stamp_of_a_full_queue() -> None:
    _, (a, b), out = exact_sync(2, 2)
    for t in (3, 1, 2):
        a.signalMessage(image(t))
    for t in (1, 2, 3):
        b.signalMessage(image(t))
    assert stamps(out) == [(2, 2), (3, 3)]


def test_exact_needs_a_header() -> None:
    _, (a, _), _ = exact_sync(2, 2)
    with pytest.raises(AttributeError):
        a.signalMessage("no header")


@pytest.mark.xfail(REAL, reason="ROS Jazzy does this since message_filters 4.11.10", strict=False)
def test_exact_drops_messages_older_than_its_output() -> None:
    _, (a, b), out = exact_sync(2, 10)
    for source, t in ((a, 1), (a, 2), (b, 2), (b, 1)):
        source.signalMessage(image(t))
    assert stamps(out) == [(2, 2)]


# ------------------------------------------------- ApproximateTimeSynchronizer


def test_the_difference_must_be_less_than_the_slop() -> None:
    _, (a, b), out = approximate_sync(2, 10, 0.010)
    a.signalMessage(image(100))
    b.signalMessage(image(110))
    assert out == []
    b.signalMessage(image(109))
    assert stamps(out) == [(100, 109)]


def test_a_slop_of_zero_never_matches() -> None:
    _, (a, b), out = approximate_sync(2, 10, 0.0)
    a.signalMessage(image(100))
    b.signalMessage(image(100))
    assert out == []


def test_the_nearest_message_is_taken() -> None:
    _, (a, b), out = approximate_sync(2, 10, 0.1)
    for t in (0, 30, 60):
        a.signalMessage(image(t))
    b.signalMessage(image(40))
    assert stamps(out) == [(30, 40)]
    b.signalMessage(image(41))
    assert stamps(out)[1:] == [(60, 41)]


def test_three_messages_must_lie_within_the_slop() -> None:
    _, (a, b, c), out = approximate_sync(3, 10, 0.010)
    a.signalMessage(image(0))
    b.signalMessage(image(8))
    c.signalMessage(image(16))  # near b, too far from a
    assert out == []
    a.signalMessage(image(9))
    assert stamps(out) == [(9, 8, 16)]


def test_candidates_of_the_last_input_are_tried_first() -> None:
    _, (a, b, c), out = approximate_sync(3, 10, 0.010)
    for source, t in ((b, 1), (b, 9), (c, 8), (c, 12)):
        source.signalMessage(image(t))
    a.signalMessage(image(4))
    # b at 1 is tried first, and c at 8 fits to it, so b at 9 is not tried.
    assert stamps(out) == [(4, 1, 8)]


def test_a_full_queue_drops_the_smallest_stamp_even_if_it_is_new() -> None:
    """So nothing matches after a bag has looped, until the stamps are as large as before."""
    _, (a, b), out = approximate_sync(2, 2, 0.010)
    for t in (1000, 1100):
        a.signalMessage(image(t))
        b.signalMessage(image(t + 50))
    for t in (0, 100, 200):
        a.signalMessage(image(t))
        b.signalMessage(image(t))
    assert out == []


def test_a_message_with_the_same_stamp_replaces_the_first() -> None:
    _, (a, b), out = approximate_sync(2, 10, 0.010)
    a.signalMessage(image(0, "first"))
    a.signalMessage(image(0, "second"))
    b.signalMessage(image(0))
    b.signalMessage(image(1))
    assert [p[0].header.frame_id for p in out] == ["second"]


def test_messages_without_header_are_dropped_unless_allowed() -> None:
    _, (a, b), out = approximate_sync(2, 10, 60.0)
    a.signalMessage("no header")
    b.signalMessage("nor here")
    assert out == []
    _, (a, b), out = approximate_sync(2, 10, 60.0, allow_headerless=True)
    a.signalMessage("no header")
    b.signalMessage("nor here")
    assert out == [("no header", "nor here")]


def test_stamps_may_be_rclpy_times() -> None:
    _, (a, b), out = approximate_sync(2, 10, 0.010)
    message = SimpleNamespace(header=SimpleNamespace(stamp=at(3)))
    a.signalMessage(message)
    b.signalMessage(image(4))
    assert out[0][0] is message


def test_slop_and_queues_can_be_read() -> None:
    sync, (a, _), _ = approximate_sync(2, 10, 0.25)
    assert sync.slop == Duration(seconds=0.25)
    assert sync.queue_size == 10
    a.signalMessage(image(3))
    assert [sorted(q) for q in sync.queues] == [[3 * MS], []]


def test_add_and_connectInput_can_be_called_directly() -> None:
    sync, (old, _), out = approximate_sync(2, 10, 0.010)
    a, b = SimpleFilter(), SimpleFilter()
    sync.connectInput([a, b])
    sync.add(image(0), sync.queues[0], 0)
    b.signalMessage(image(1))
    sync.add(image(10), sync.queues[1])  # without an index, the set need only lie near
    sync.add(image(11), sync.queues[0])
    old.signalMessage(image(11))  # goes to a queue that is not used any more
    assert stamps(out) == [(0, 1), (11, 10)]


@pytest.mark.parametrize("make", [exact_sync, lambda n, q: approximate_sync(n, q, 0.01)])
def test_the_lock_is_held_while_the_callback_runs(make: Callable[..., Any]) -> None:
    sync, (a, b), out = make(2, 10)
    held = []
    sync.registerCallback(lambda *args: held.append((sync.lock.locked(), args[2])), "own argument")
    a.signalMessage(image(0))
    b.signalMessage(image(0))
    assert held == [(True, "own argument")]
    assert not sync.lock.locked()
    assert len(out) == 1


@pytest.mark.xfail(REAL, reason="ROS never releases the lock", strict=False)
@pytest.mark.parametrize("make", [exact_sync, lambda n, q: approximate_sync(n, q, 0.01)])
def test_a_callback_that_raises_releases_lock_and_messages(make: Callable[..., Any]) -> None:
    sync, (a, b), out = make(2, 10)
    broken = sync.registerCallback(lambda *_: 1 / 0)
    a.signalMessage(image(0))
    with pytest.raises(ZeroDivisionError):
        b.signalMessage(image(0))
    assert not sync.lock.locked()
    del sync.callbacks[broken]
    a.signalMessage(image(100))
    b.signalMessage(image(100))
    assert stamps(out) == [(0, 0), (100, 100)]


# ------------------------------------------------------------------ properties

arrivals = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), max_size=60)


@settings(max_examples=150)
@given(arrivals, st.integers(1, 6), st.integers(1, 30), st.integers(2, 3))
def test_every_set_is_within_the_slop_and_uses_each_message_once(
    events: list[tuple[int, int]], queue_size: int, slop: int, count: int
) -> None:
    sync, inputs, out = approximate_sync(count, queue_size, slop / 1000)
    used: set[int] = set()
    alive = []  # keeps the messages alive, so that no id is used again
    for source, t in events:
        source %= count
        msg = image(t, str(source))
        alive.append(msg)
        before = len(out)
        inputs[source].signalMessage(msg)
        assert len(out) - before <= 1
        for messages in out[before:]:
            assert messages[source] is msg
            times = list(map(stamp_ms, messages))
            assert max(times) - min(times) < slop
            assert [m.header.frame_id for m in messages] == [str(i) for i in range(count)]
            assert used.isdisjoint(map(id, messages))
            used.update(map(id, messages))
        assert all(len(queue) <= queue_size for queue in sync.queues)
        # The queues hold no message that was output.
        assert used.isdisjoint(id(m) for queue in sync.queues for m in queue.values())


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_two_cameras_with_jitter_give_all_pairs_in_order(
    jitter: list[tuple[int, int]], random: Any
) -> None:
    period, slop = 40, 19  # ms; frames of a pair lie within 18 ms, others 22 ms or more apart
    streams = [
        [image(1000 + period * k + offsets[side]) for k, offsets in enumerate(jitter)]
        for side in (0, 1)
    ]
    _, inputs, out = approximate_sync(2, len(jitter), slop / 1000)
    pending = [list(reversed(s)) for s in streams]
    while any(pending):
        side = random.choice([i for i in (0, 1) if pending[i]])
        inputs[side].signalMessage(pending[side].pop())
    assert [tuple(map(id, p)) for p in out] == [
        (id(x), id(y)) for x, y in zip(*streams, strict=True)
    ]


@settings(max_examples=100)
@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.booleans())
def test_exact_gives_all_common_stamps_in_order(
    left: set[int], right: set[int], left_first: bool
) -> None:
    _, (a, b), out = exact_sync(2, 50)
    streams = [(t, source) for source, ts in ((a, left), (b, right)) for t in sorted(ts)]
    if not left_first:  # in order of time
        streams.sort(key=lambda item: item[0])
    for t, source in streams:
        source.signalMessage(image(t))
    assert stamps(out) == [(t, t) for t in sorted(left & right)]


# ------------------------------------------------------------------ Subscriber


@pytest.fixture(scope="module")
def ros() -> Iterator[tuple[Any, SingleThreadedExecutor]]:
    """A node in a context of its own, and its executor."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("message_filters_contract", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


def spin_until(executor: SingleThreadedExecutor, done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline, f"after 10 s still waiting for {what}"
        executor.spin_once(timeout_sec=0.05)


def test_a_subscriber_takes_the_arguments_of_a_subscription(ros: Any) -> None:
    node, _ = ros
    plain = Subscriber(node, Image, "contract/plain")
    qos = QoSProfile(depth=3, reliability=ReliabilityPolicy.BEST_EFFORT)
    given_qos = Subscriber(node, Image, "contract/qos", qos_profile=qos)
    try:
        assert plain.getTopic() == plain.topic == "contract/plain"
        assert plain.sub.qos_profile.depth == 10
        assert given_qos.sub.qos_profile.depth == 3
        assert given_qos.sub.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        # Other attributes are those of the subscription.
        assert plain.topic_name == "/contract/plain"
        assert plain.msg_type is Image
        with pytest.raises(AttributeError):
            _ = plain.no_such_thing
    finally:
        node.destroy_subscription(plain.sub)
        node.destroy_subscription(given_qos.sub)


def test_published_images_are_paired(ros: Any) -> None:
    node, executor = ros
    topics = ("contract/visible", "contract/thermal")
    publishers = [node.create_publisher(Image, topic, 10) for topic in topics]
    subscribers = [Subscriber(node, Image, topic) for topic in topics]
    single: list[Image] = []
    subscribers[0].registerCallback(single.append)
    sync = ApproximateTimeSynchronizer(subscribers, 10, 0.005)
    out: list[Pair] = []
    sync.registerCallback(lambda *messages: out.append(messages))
    try:
        spin_until(
            executor,
            lambda: all(p.get_subscription_count() for p in publishers),
            "the publishers to find their subscribers",
        )
        for t in range(5):
            for publisher, offset in zip(publishers, (0, 3), strict=True):
                publisher.publish(image(100 * t + offset))
        spin_until(executor, lambda: len(out) == 5, f"5 pairs, not {len(out)}")
        assert sorted(stamps(out)) == [(100 * t, 100 * t + 3) for t in range(5)]
        assert list(map(stamp_ms, single)) == [100 * t for t in range(5)]
    finally:
        for publisher in publishers:
            node.destroy_publisher(publisher)
        for subscriber in subscribers:
            node.destroy_subscription(subscriber.sub)
