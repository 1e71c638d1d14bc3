"""The files of a rosbag2 -> one stream of messages: whole, split, compressed, without metadata."""

from __future__ import annotations

import contextlib
import heapq
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import rich.progress
import yaml
import zstandard
from rich.console import Console
from rosbags.rosbag2 import Reader

from ssvif_core.errors import InputError
from ssvif_core.files import read_yaml
from ssvif_core.recordings.mcap_file import McapFile

STORAGE_SUFFIXES = (".mcap", ".db3")
COMPRESSED_SUFFIXES = (".zstd", ".zst")
ZSTD_START = b"\x28\xb5\x2f\xfd"  # CDR begins with a zero, so this tells a compressed message


class SeveralRecordings(InputError):
    """A folder holds files of several recordings, and no metadata.yaml."""


@dataclass(frozen=True)
class TopicCount:
    """A topic of the files: its message type, empty if there are several, and its messages."""

    type: str
    count: int


class StorageFile(Protocol):
    """An open file of a recording: a `McapFile`, or a `RosbagsFile`."""

    @property
    def message_count(self) -> int:
        """Number of messages."""
        ...

    @property
    def start_time(self) -> int:
        """When the first message was recorded, ns."""
        ...

    @property
    def end_time(self) -> int:
        """When the last message was recorded, ns."""
        ...

    def topics(self) -> Iterator[tuple[str, str, int]]:
        """Topic, message type and number of messages; a topic may come several times."""
        ...

    def messages(
        self, topics: Collection[str] | None, start: int | None, stop: int | None
    ) -> Iterator[tuple[str, str, int, bytes]]:
        """See `BagFiles.messages`."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class RosbagsFile:
    """A file that rosbags reads: sqlite3, or an mcap without an index of chunks."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)
        self._reader.open()
        self.message_count = int(self._reader.message_count)
        self.start_time, self.end_time = self._reader.start_time, self._reader.end_time

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def topics(self) -> Iterator[tuple[str, str, int]]:
        """See `StorageFile`."""
        for connection in self._reader.connections:
            yield connection.topic, connection.msgtype, connection.msgcount

    def messages(
        self, topics: Collection[str] | None, start: int | None, stop: int | None
    ) -> Iterator[tuple[str, str, int, bytes]]:
        """See `BagFiles.messages`."""
        wanted = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if wanted:  # an empty list would mean all of them
            for connection, time, data in self._reader.messages(wanted, start, stop):
                yield connection.topic, connection.msgtype, time, bytes(data)


class BagFiles:
    """Open files of one recording, read as one.

    Args:
        path: a folder or a file of a rosbag2.
        temporary: gives a folder for decompressed files.
        lenient: leave damaged parts out, and go on without missing files.

    Attributes:
        missing: which files of the recording are missing; empty if none is.

    Raises:
        InputError: there are no such files, or they are of several recordings.
        Exception: rosbags cannot read a file; it raises many kinds.
    """

    def __init__(self, path: Path, temporary: Callable[[], Path], lenient: bool = False) -> None:
        self.missing = _missing_files(path)
        if self.missing and not lenient:
            raise InputError(f"{self.missing.partition(';')[0]}; copy them too")
        self._stack = contextlib.ExitStack()
        self._files: list[StorageFile] = []
        try:
            for file in storage_files(path):
                if _is_compressed(file):
                    file = _decompressed(file, temporary())
                self._files.append(_opened(file, lenient))
                self._stack.callback(self._files[-1].close)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def problem(self) -> str:
        """What of the recording is missing or damaged, as far as it was read; empty if nothing."""
        parts = [file for file in self._files if isinstance(file, McapFile) and file.damaged]
        if not parts:
            return self.missing
        count = sum(file.damaged for file in parts)
        seconds = sum(file.damaged_ns for file in parts) * 1e-9
        damage = f"{parts[0].path}: {count} damaged parts, of {seconds:.2f} s in all, were left out"
        return f"{damage}; {self.missing}" if self.missing else damage

    @property
    def count(self) -> int:
        """Number of messages."""
        return sum(file.message_count for file in self._files)

    @property
    def duration_ns(self) -> int:
        """Time between the first and the last message."""
        full = [file for file in self._files if file.message_count]
        if not full:
            return 0
        return max(file.end_time for file in full) - min(file.start_time for file in full)

    def topics(self) -> dict[str, TopicCount]:
        """All topics, in order of name."""
        types: dict[str, set[str]] = {}
        counts: Counter[str] = Counter()
        for file in self._files:
            for topic, type, count in file.topics():
                types.setdefault(topic, set()).add(type)
                counts[topic] += count
        return {
            topic: TopicCount(found.pop() if len(found) == 1 else "", counts[topic])
            for topic, found in sorted(types.items())
        }

    def messages(
        self, topics: Collection[str] | None, start: int | None, stop: int | None
    ) -> Iterator[tuple[str, str, int, bytes]]:
        """Topic, type, time of recording (ns) and CDR bytes, in order of recording.

        Args:
            topics: only these; None gives all.
            start, stop: only messages that were recorded from `start` to before `stop`, ns.
        """
        streams = [file.messages(topics, start, stop) for file in self._files]
        for topic, type, time, data in heapq.merge(*streams, key=lambda message: message[2]):
            yield topic, type, time, _plain(data)


def _opened(file: Path, lenient: bool) -> StorageFile:
    if file.suffix.lower() == ".mcap":
        with contextlib.suppress(InputError):  # it has no index
            return McapFile(file, lenient)
    return RosbagsFile(file)


def storage_files(path: Path) -> list[Path]:
    """The mcap and sqlite3 files of a recording, compressed or not.

    Raises:
        InputError: there are none, or they are of several recordings.
    """
    if path.is_file():
        return [path]
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: neither a file nor a folder; expected a bag")
    files = sorted(file for file in path.iterdir() if is_storage_file(file))
    # `zstd -d` keeps the compressed file beside its content.
    files = [f for f in files if not (_is_compressed(f) and f.with_suffix("") in files)]
    names = {_recording(file.name) for file in files}
    if listed := names & {_recording(name) for name in _listed_files(path)}:
        return [file for file in files if _recording(file.name) in listed]
    if not files:
        raise InputError(
            f"{path}: no bag in this folder; expected metadata.yaml, or files that end in "
            f"{' or '.join(STORAGE_SUFFIXES)}"
        )
    if len(names) > 1:
        raise SeveralRecordings(
            f"{path}: a folder of {len(names)} recordings ({', '.join(sorted(names)[:3])}, ...); "
            "expected one; give one of its files"
        )
    return files


def _recording(name: str) -> str:
    """The name of the recording that a file belongs to: rosbag2 numbers its files."""
    return re.sub(r"_\d+$", "", name.split(".")[0])


def _found(file: Path) -> Path | None:
    """A listed file, or its decompressed content beside; None if neither is there."""
    if _is_compressed(file) and (plain := file.with_suffix("")).is_file():
        return plain
    return file if file.is_file() else None


def _is_compressed(file: Path) -> bool:
    return file.suffix.lower() in COMPRESSED_SUFFIXES


def is_storage_file(path: Path) -> bool:
    """Whether the name is that of a file of a rosbag2, compressed or not.

    >>> is_storage_file(Path("drive_0.mcap.zstd")), is_storage_file(Path("notes.zst"))
    (True, False)
    """
    if _is_compressed(path):
        path = path.with_suffix("")
    return path.suffix.lower() in STORAGE_SUFFIXES


def _listed_files(folder: Path) -> list[str]:
    """The names of the files that metadata.yaml lists; none if it is missing or senseless."""
    try:
        content = read_yaml(folder / "metadata.yaml", yaml.SafeLoader)
        listed = content["rosbag2_bagfile_information"]["relative_file_paths"]
        return [Path(name).name for name in listed]
    except (InputError, KeyError, TypeError):
        return []


def _missing_files(folder: Path) -> str:
    """A sentence about listed files that are not there; empty if none is missing."""
    names = _listed_files(folder) if folder.is_dir() else []
    missing = [name for name in names if _found(folder / name) is None]
    if not missing:
        return ""
    return (
        f"{folder}: {len(missing)} of {len(names)} files of this recording are missing "
        f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}); the others were read"
    )


def _decompressed(file: Path, folder: Path) -> Path:
    """A copy of a file without its compression; shows its progress in a terminal."""
    target = folder / file.stem
    console = Console(stderr=True)
    try:
        with (
            rich.progress.open(
                file, "rb", description=f"decompressing {file.name}", console=console,
                transient=True, disable=not console.is_terminal,
            ) as source,
            target.open("wb") as out,
        ):  # fmt: skip
            written = zstandard.ZstdDecompressor().copy_stream(source, out)[1]
            if not written:
                raise zstandard.ZstdError("nothing could be read")
    except zstandard.ZstdError as error:
        raise InputError(
            f"{file}: cannot be decompressed ({error}); was the recording cut off? "
            "`zstd -d` writes what is whole"
        ) from error
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror}); free some space, or set TMPDIR to a "
            "folder with more space"
        ) from error
    return target


def _plain(data: bytes) -> bytes:
    """The bytes of a message; rosbags itself decompresses them only if metadata.yaml says so."""
    if not data.startswith(ZSTD_START):
        return data
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)
