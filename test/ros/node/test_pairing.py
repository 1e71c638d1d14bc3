"""Pairing without a network: the slot and the counters of a stream."""

from __future__ import annotations

import threading

from harness import PERIOD, START, image, scene

from ssvif_ros.node.pairing import LatestSlot, MatchedMessages, Stream

VISIBLE, THERMAL = scene()


def pair(index: int) -> MatchedMessages:
    stamp = START + index * PERIOD
    return MatchedMessages(image(VISIBLE, "bgr8", stamp), image(THERMAL, "mono16", stamp), 0.0)


def test_the_slot_holds_the_newest_pair_and_counts_the_replaced() -> None:
    slot, pairs = LatestSlot(), [pair(i) for i in range(3)]
    for each in pairs:
        slot.put(each)
    assert slot.take() is pairs[2]
    assert slot.replaced == 2


def test_closing_the_slot_wakes_its_taker() -> None:
    slot, taken = LatestSlot(), []
    taker = threading.Thread(target=lambda: taken.append(slot.take()))
    taker.start()
    slot.close()
    taker.join(timeout=5)
    assert taken == [None]


def feed(stream: Stream, *indices: int) -> list[bool]:
    return [stream.note(image(VISIBLE, "bgr8", START + i * PERIOD)) for i in indices]


def test_a_stream_tells_jumps_back_from_late_messages() -> None:
    assert feed(Stream("visible", "x"), 0, 1, 2, 1, 3) == [False] * 5
    assert feed(Stream("visible", "x"), *range(20), 0)[-1]


def test_a_stream_counts_what_never_arrived_but_not_pauses() -> None:
    stream = Stream("visible", "x")
    feed(stream, *range(8), 10, 11)
    assert stream.missing == 2
    feed(stream, 500)
    assert stream.missing == 2
