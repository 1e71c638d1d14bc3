"""Images that never arrived: counted where they are lost, and never where nothing is lost."""

from __future__ import annotations

import random

from harness import START, image, scene
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_ros.node.pairing import Stream

VISIBLE, _ = scene()
MS = 1_000_000


def missing(stamps: list[int]) -> int:
    stream = Stream("visible", "x")
    for stamp in stamps:
        stream.note(image(VISIBLE, "bgr8", START + stamp))
    return stream.missing


def regular(count: int, rate: float) -> list[int]:
    return [round(index * 1e9 / rate) for index in range(count)]


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([9, 30, 60, 120]), st.floats(0, 0.45), st.integers(0, 10**6))
def test_late_stamps_are_no_loss(rate: int, jitter: float, seed: int) -> None:
    """A driver that stamps on arrival stamps some images late."""
    late = random.Random(seed)
    period = 1e9 / rate
    assert (
        missing([stamp + round(late.uniform(0, jitter) * period) for stamp in regular(200, rate)])
        == 0
    )


def test_a_pause_is_no_loss() -> None:
    before = regular(60, 30)
    pause = before[-1] + 1300 * MS
    assert missing(before + [pause + stamp for stamp in regular(60, 30)]) == 0


def test_repeated_stamps_are_no_loss() -> None:
    """A driver that reads a 9 Hz camera at 30 Hz and keeps the stamps."""
    stamps = [stamp // (111 * MS) * (111 * MS) for stamp in regular(200, 30)]
    assert missing(stamps) == 0


def test_a_camera_that_changes_its_rate_loses_nothing() -> None:
    """As with automatic exposure at night: 30 Hz, then 15 Hz."""
    fast = regular(60, 30)
    assert missing(fast + [fast[-1] + stamp for stamp in regular(60, 15)[1:]]) <= 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_single_losses_are_counted(seed: int) -> None:
    draw = random.Random(seed)
    lost = {index for index in range(20, 190) if index % 10 == 0 and draw.random() < 0.7}
    stamps = [stamp for index, stamp in enumerate(regular(200, 30)) if index not in lost]
    assert missing(stamps) == len(lost)


def test_what_was_only_overtaken_is_no_loss() -> None:
    stamps = regular(100, 30)
    for index in range(20, 90, 7):
        stamps[index], stamps[index + 1] = stamps[index + 1], stamps[index]
    assert missing(stamps) == 0
