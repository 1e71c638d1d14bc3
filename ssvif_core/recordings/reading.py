"""Sources -> pairs, from files, videos and bags alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from ssvif_core.errors import InputError
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.sources import PairSource
from ssvif_core.recordings.video import video_pairs
from ssvif_core.types import Pair


def read_sources(sources: Sequence[PairSource]) -> Iterator[tuple[int, Pair | InputError]]:
    """The index of each source with its pair, or with the error that says why it cannot be read.

    Frames of one video or bag must follow each other in its order.
    """
    for stream, group in itertools.groupby(enumerate(sources), lambda item: item[1].stream):
        if stream is not None:
            yield from _read_stream({source.frame or 0: (i, source) for i, source in group})
            continue
        for index, source in group:
            try:
                yield index, Pair(read_visible(source.visible), read_thermal(source.thermal))
            except InputError as error:
                yield index, error


def read_frames(source: PairSource, last: int) -> Iterator[tuple[int, Pair | InputError]]:
    """All frames of a source's video or bag up to number `last`, with their numbers.

    Raises:
        InputError: the video or bag cannot be read.
    """
    if source.bag is not None:
        yield from source.bag.numbered(range(last + 1))
        return
    for number, pair in enumerate(video_pairs(source.visible, source.thermal)):
        if number > last:
            return
        yield number, pair


def sample_pairs(data: Path, count: int) -> list[Pair]:
    """At most `count` pairs, spread over all that `find_pairs` lists.

    Raises:
        InputError: there are no pairs, or none can be read.
    """
    sources = find_pairs(data).pairs
    pairs = spread_pairs(sources, count)
    if not pairs:
        raise InputError(f"{data}: none of its {len(sources)} pairs can be read")
    return pairs


def spread_pairs(sources: Sequence[PairSource], count: int) -> list[Pair]:
    """At most `count` pairs, spread over all sources; those that cannot be read are left out."""
    chosen = sources[:: max(1, len(sources) // count)][:count]
    return [pair for _, pair in read_sources(chosen) if isinstance(pair, Pair)]


def _read_stream(
    waiting: dict[int, tuple[int, PairSource]],
) -> Iterator[tuple[int, Pair | InputError]]:
    """The frames of one video or bag; `waiting`: by frame number, index and source."""
    first, source = next((number, source) for number, (_, source) in waiting.items())
    try:
        if source.bag is not None:
            matches = {n: s.match for n, (_, s) in waiting.items() if s.match is not None}
            frames = source.bag.pairs(matches)
        else:
            videos = video_pairs(source.visible, source.thermal, start=first)
            frames = enumerate(videos, first)
        for number, pair in frames:
            if number in waiting:
                yield waiting.pop(number)[0], pair
            if not waiting:
                return
        reason = InputError(f"{source.visible}: ends before frame {min(waiting)}")
    except InputError as error:
        reason = error
    for index, _ in waiting.values():
        yield index, reason
