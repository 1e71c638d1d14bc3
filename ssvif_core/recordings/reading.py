"""Listed pairs -> images, whatever they lie in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from ssvif_core.errors import InputError
from ssvif_core.recordings.bag_pairs import bag_pairs
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.layouts import PairSource, find_pairs
from ssvif_core.recordings.video import video_pairs
from ssvif_core.types import Pair


def read_sources(sources: Sequence[PairSource]) -> Iterator[tuple[int, Pair | InputError]]:
    """The index of each source with its pair, or why it cannot be read.

    Frames of one video or bag that follow each other in `sources` must be in its order.
    """
    for stream, group in itertools.groupby(enumerate(sources), lambda one: _stream(one[1])):
        if stream is not None:
            yield from _read_stream({source.frame or 0: (i, source) for i, source in group})
            continue
        for index, source in group:
            try:
                yield index, Pair(read_visible(source.visible), read_thermal(source.thermal))
            except InputError as error:
                yield index, error


def read_frames(
    source: PairSource, numbers: Sequence[int]
) -> Iterator[tuple[int, Pair | InputError]]:
    """Frames of a source's stream with their numbers; of a video more than those asked for."""
    if source.topics:
        way = source.slop, source.recover, source.offset
        return bag_pairs(source.visible, source.topics, set(numbers), *way)
    return enumerate(video_pairs(source.visible, source.thermal, start=numbers[0]), numbers[0])


def sample_pairs(data: Path, count: int) -> list[Pair]:
    """At most `count` pairs, spread over all that `find_pairs` lists there.

    Raises:
        InputError: there are no pairs, or none can be read.
    """
    sources = find_pairs(data).pairs
    chosen = sources[:: max(1, len(sources) // count)][:count]
    pairs = [pair for _, pair in read_sources(chosen) if isinstance(pair, Pair)]
    if not pairs:
        raise InputError(f"{data}: none of its {len(sources)} pairs can be read")
    return pairs


def _stream(source: PairSource) -> tuple[object, ...] | None:
    return None if source.frame is None else (source.visible, source.thermal, source.topics)


def _read_stream(
    waiting: dict[int, tuple[int, PairSource]],
) -> Iterator[tuple[int, Pair | InputError]]:
    source = next(iter(waiting.values()))[1]
    try:
        for number, pair in read_frames(source, list(waiting)):
            if number in waiting:
                yield waiting.pop(number)[0], pair
            if not waiting:
                return
        broken = InputError(f"{source.visible}: ends early")
    except InputError as error:
        broken = error
    for index, _ in waiting.values():
        yield index, broken
