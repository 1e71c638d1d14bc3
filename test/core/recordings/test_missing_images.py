"""Images that never arrived: counted where they are lost, and never where nothing is lost."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.recordings.missing_images import MissingImages

START = 1_000_000_000_000  # ns
MS = 1_000_000


def missing(stamps: list[int]) -> int:
    images = MissingImages()
    for stamp in stamps:
        images.note(START + stamp)
    return images.count


def regular(count: int, rate: float) -> list[int]:
    return [round(index * 1e9 / rate) for index in range(count)]


def late(stamps: list[int], rate: float, jitter: float, seed: int) -> list[int]:
    draw = random.Random(seed)
    return [stamp + round(draw.uniform(0, jitter) * 1e9 / rate) for stamp in stamps]


@settings(max_examples=30)
@given(st.sampled_from([9, 30, 60, 120]), st.floats(0, 0.45), st.integers(0, 10**6))
def test_late_stamps_are_no_loss(rate: int, jitter: float, seed: int) -> None:
    """A driver that stamps on arrival stamps some images late. One mistake in 200 is allowed."""
    assert missing(late(regular(200, rate), rate, jitter, seed)) <= 1


def test_a_stall_is_no_loss() -> None:
    """Five images wait in a driver and get their stamps together."""
    stamps = regular(100, 30)
    stamps[40:45] = [stamps[44] + index * MS for index in range(5)]
    assert missing(stamps) == 0


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


def test_a_camera_that_changes_to_an_odd_rate_loses_nothing() -> None:
    fast = regular(60, 30)
    assert missing(fast + [fast[-1] + stamp for stamp in regular(60, 20)[1:]]) <= 1


@settings(max_examples=40)
@given(
    stream=st.sampled_from([(9, 0.1), (9, 0.25), (30, 0.02), (30, 0.4), (60, 0.2), (120, 0.35)]),
    jitter=st.floats(0, 0.3),
    seed=st.integers(0, 10**6),
)
def test_losses_are_counted(stream: tuple[int, float], jitter: float, seed: int) -> None:
    """At 9 Hz, a third and more would make holes of a second, which are pauses."""
    rate, share = stream
    draw = random.Random(seed)
    stamps = late(regular(600, rate), rate, jitter, seed)
    lost = {index for index in range(20, 595) if draw.random() < share}
    counted = missing([stamp for index, stamp in enumerate(stamps) if index not in lost])
    assert counted == pytest.approx(len(lost), abs=max(6, 0.05 * len(lost)))


@pytest.mark.parametrize("rate", [15, 30, 60, 120])
def test_a_burst_is_counted(rate: int) -> None:
    """Twelve images in a row, as when a robot changes its access point."""
    stamps = regular(200, rate)
    assert missing(stamps[:50] + stamps[62:120] + stamps[132:]) == 24


def test_a_loss_is_counted_at_once() -> None:
    assert missing(regular(30, 30)[:20] + regular(30, 30)[22:23]) == 2
