"""One mcap file with an index, read chunk by chunk."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from pathlib import Path

from mcap.data_stream import ReadDataStream
from mcap.reader import make_reader
from mcap.records import Chunk, ChunkIndex, Message
from mcap.stream_reader import breakup_chunk

from ssvif_core.errors import InputError

RECORD_HEAD = 1 + 8  # bytes before the content of a record: its kind and its length


class McapFile:
    """A whole mcap file. Only chunks that hold wanted messages are read, and their CRCs checked.

    Message definitions are not read, so a foreign one cannot hide the images.

    Args:
        path: of the file.
        lenient: leave damaged chunks out. Otherwise the first one raises.

    Attributes:
        damaged_ns: recording time of the chunks that were left out so far.
        damaged: their number.

    Raises:
        InputError: the file has no index of its chunks, or no messages of ROS 2.
        Exception: it is no whole mcap file.
    """

    def __init__(self, path: Path, lenient: bool = False) -> None:
        self.path, self._lenient = path, lenient
        self.damaged = self.damaged_ns = 0
        self._left_out: set[int] = set()
        self._stream = path.open("rb")
        try:
            summary = make_reader(self._stream).get_summary()
            if summary is None or summary.statistics is None or not summary.chunk_indexes:
                raise InputError(f"{path}: no index of chunks; expected a whole mcap file")
            if "cdr" not in {channel.message_encoding for channel in summary.channels.values()}:
                raise InputError(f"{path}: no messages of ROS 2; expected a rosbag2")
        except BaseException:
            self._stream.close()
            raise
        self._chunks, self._statistics = summary.chunk_indexes, summary.statistics
        schemas = {number: schema.name for number, schema in summary.schemas.items()}
        self._channels = {
            number: (channel.topic, schemas.get(channel.schema_id, ""))
            for number, channel in summary.channels.items()
        }

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    @property
    def message_count(self) -> int:
        """Number of messages."""
        return int(self._statistics.message_count)

    @property
    def start_time(self) -> int:
        """When the first message was recorded, ns."""
        return int(self._statistics.message_start_time)

    @property
    def end_time(self) -> int:
        """When the last message was recorded, ns."""
        return int(self._statistics.message_end_time)

    def topics(self) -> Iterator[tuple[str, str, int]]:
        """Topic, message type and number of messages of each channel."""
        for number, (topic, type) in self._channels.items():
            yield topic, type, self._statistics.channel_message_counts.get(number, 0)

    def messages(
        self, topics: Collection[str] | None, start: int | None, stop: int | None
    ) -> Iterator[tuple[str, str, int, bytes]]:
        """Topic, type, time of recording (ns) and bytes; see `BagFiles.messages`."""
        wanted = {n: c for n, c in self._channels.items() if topics is None or c[0] in topics}
        first, last = start or 0, stop if stop is not None else 1 << 63
        chunks = sorted(
            (chunk.message_start_time, chunk.chunk_start_offset, chunk)
            for chunk in self._chunks
            if chunk.message_start_time < last
            and chunk.message_end_time >= first
            and (not chunk.message_index_offsets or wanted.keys() & chunk.message_index_offsets)
        )[::-1]
        # Chunks may overlap in time: a message is given when no chunk left can have an earlier one.
        waiting: list[tuple[int, int, int, Message]] = []
        while chunks or waiting:
            while chunks and (not waiting or chunks[-1][0] <= waiting[0][0]):
                _, offset, chunk = chunks.pop()
                for number, message in enumerate(self._read(chunk)):
                    if message.channel_id in wanted and first <= message.log_time < last:
                        heapq.heappush(waiting, (message.log_time, offset, number, message))
            if waiting:
                time, _, _, message = heapq.heappop(waiting)
                yield *wanted[message.channel_id], time, message.data

    def _read(self, index: ChunkIndex) -> list[Message]:
        try:
            self._stream.seek(index.chunk_start_offset + RECORD_HEAD)
            chunk = Chunk.read(ReadDataStream(self._stream))
            records = breakup_chunk(chunk, validate_crc=True)
        except Exception as error:  # damaged bytes raise all kinds of errors
            if not self._lenient:
                raise InputError(
                    f"{self.path}: a damaged part at byte {index.chunk_start_offset} "
                    f"({error or type(error).__name__}); `mcap recover` writes a copy without it"
                ) from error
            if index.chunk_start_offset not in self._left_out:
                self._left_out.add(index.chunk_start_offset)
                self.damaged += 1
                self.damaged_ns += index.message_end_time - index.message_start_time
            return []
        return [record for record in records if isinstance(record, Message)]
