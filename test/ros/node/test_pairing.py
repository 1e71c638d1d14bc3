"""Parts of the pairing without a network: the slot, and the counters of a stream."""

from __future__ import annotations

import threading

from harness import PERIOD, START, image, scene

from ssvif_ros.node.pairing import LatestSlot, MatchedMessages
from ssvif_ros.node.stream import Stream

VISIBLE, THERMAL = scene()


def match(index: int) -> MatchedMessages:
    stamp = START + index * PERIOD
    return MatchedMessages(image(VISIBLE, "bgr8", stamp), image(THERMAL, "mono16", stamp), 0.0)


def test_the_slot_holds_the_newest_match_and_counts_replaced_ones() -> None:
    slot, matches = LatestSlot(), [match(index) for index in range(3)]
    for item in matches:
        slot.put(item)
    assert slot.take() is matches[2]
    assert slot.replaced == 2


def test_closing_the_slot_ends_the_wait_for_a_match() -> None:
    slot, results = LatestSlot(), []
    waiting = threading.Thread(target=lambda: results.append(slot.take()))
    waiting.start()
    slot.close()
    waiting.join(timeout=5)
    assert results == [None]


def feed(stream: Stream, *indices: int) -> list[bool]:
    """Give images with these numbers to a stream; returns whether each stamp jumped back."""
    return [stream.note(image(VISIBLE, "bgr8", START + i * PERIOD)) for i in indices]


def test_a_stream_distinguishes_jumps_back_from_late_messages() -> None:
    assert feed(Stream("visible", "x"), 0, 1, 2, 1, 3) == [False] * 5
    assert feed(Stream("visible", "x"), *range(20), 0)[-1]


def test_what_was_only_overtaken_is_not_missing() -> None:
    stream, order = Stream("visible", "x"), list(range(100))
    for number in range(20, 90, 7):
        order[number], order[number + 1] = order[number + 1], order[number]
    feed(stream, *order)
    assert stream.missing == 0


def test_a_stream_counts_missing_images_but_not_pauses() -> None:
    stream = Stream("visible", "x")
    feed(stream, *range(8), 10, 11)
    assert stream.missing == 2
    feed(stream, 500)
    assert stream.missing == 2
