"""Mcap files that were cut off, for example by a loss of power: copies their whole messages.

An mcap is written from front to back, and its index comes last. Without the index no bag reader
opens the file. But its records can still be read one by one, up to the first broken one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcap.records import Channel, Header, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from ssvif_core.errors import InputError


@dataclass(frozen=True)
class Copied:
    """How many messages were copied, and whether all files were whole."""

    messages: int
    whole: bool


def copy_whole_messages(files: Sequence[Path], target: Path) -> Copied:
    """Copy the messages of mcap files, up to the break of each, into the new mcap `target`.

    A broken chunk is lost, with the messages in it. Attachments are not copied.

    Raises:
        InputError: `target` cannot be written.
    """
    whole = True
    try:
        with target.open("wb") as stream:
            # No compression and no checksums: the copy is read once or twice, then removed.
            writer = Writer(stream, compression=CompressionType.NONE, enable_crcs=False)
            copy = _Copy(writer)
            for file in files:
                with file.open("rb") as source:
                    size = file.stat().st_size  # no record is larger; a broken one may claim it
                    reader = StreamReader(source, validate_crcs=True, record_size_limit=size)
                    records = _Records(reader.records)
                    copy.add(records)
                    whole = whole and records.whole
            if copy.messages:
                writer.finish()  # type: ignore[no-untyped-call]
    except OSError as error:
        raise InputError(
            f"{target}: the whole part of a bag cannot be copied there ({error.strerror}); free "
            "some space, or set TMPDIR to a folder with more space"
        ) from error
    return Copied(copy.messages, whole)


class _Records:
    """Records up to the end or the break; afterwards `whole` says which it was."""

    def __init__(self, records: Iterator[McapRecord]) -> None:
        self._records = records
        self.whole = False

    def __iter__(self) -> Iterator[McapRecord]:
        while True:
            try:
                record = next(self._records)
            except StopIteration:
                self.whole = True
                return
            except Exception:  # half a record raises all kinds of errors
                return
            yield record


class _Copy:
    """Writes the records of several files into one. Their numbers for topics may differ."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._started = False
        self.messages = 0
        self._schemas: dict[tuple[object, ...], int] = {}
        self._channels: dict[tuple[object, ...], int] = {}

    def add(self, records: _Records) -> None:
        schema_of, channel_of = {0: 0}, {}
        for record in records:
            if isinstance(record, Header) and not self._started:
                self._writer.start(record.profile)
                self._started = True
            elif isinstance(record, Schema):
                schema_of[record.id] = self._schema(record)
            elif isinstance(record, Channel) and record.schema_id in schema_of:
                channel_of[record.id] = self._channel(record, schema_of[record.schema_id])
            elif isinstance(record, Message) and record.channel_id in channel_of:
                self._writer.add_message(
                    channel_of[record.channel_id],
                    record.log_time,
                    record.data,
                    record.publish_time,
                    record.sequence,
                )
                self.messages += 1

    def _schema(self, schema: Schema) -> int:
        key = (schema.name, schema.encoding, schema.data)
        if key not in self._schemas:
            self._schemas[key] = self._writer.register_schema(*key)
        return self._schemas[key]

    def _channel(self, channel: Channel, schema: int) -> int:
        key = (channel.topic, channel.message_encoding, schema, *sorted(channel.metadata.items()))
        if key not in self._channels:
            self._channels[key] = self._writer.register_channel(
                channel.topic, channel.message_encoding, schema, channel.metadata
            )
        return self._channels[key]
