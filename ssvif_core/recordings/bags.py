"""Bags, read and written in pure Python: topics, messages, and new bags of image pairs."""

from __future__ import annotations

import contextlib
import shutil
import struct
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from ssvif_core.errors import InputError
from ssvif_core.recordings.bag_files import BagFiles, SeveralRecordings, storage_files
from ssvif_core.recordings.recovery import copy_whole_messages
from ssvif_core.types import AnyArray, Pair

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
VISIBLE_TOPIC = "/visible/image_raw"
THERMAL_TOPIC = "/thermal/image_raw"
TYPES = get_typestore(Stores.ROS2_JAZZY)


@dataclass(frozen=True)
class Topic:
    """One topic of a bag; `frames` describes its first image: '640x480 bgr8'."""

    name: str
    type: str
    count: int
    frames: str = ""


@dataclass(frozen=True)
class Message:
    """A recorded message: topic, type, time of recording (ns), and CDR bytes."""

    topic: str
    type: str
    time: int
    data: bytes


class Bag:
    """A bag, opened for reading: rosbag2 (sqlite3 or mcap; folder or file) or ROS 1.

    Use it as a context manager. A ROS 1 bag is converted into a temporary rosbag2 first, and a
    compressed file (.zstd) is decompressed into a temporary folder.

    Args:
        recover: read an mcap that was cut off, up to its break, from a temporary copy. Leave
            damaged parts out, and go on without files that are missing.

    Raises:
        InputError: there is no bag at `path`, or it is damaged or empty.
    """

    def __init__(self, path: Path, recover: bool = False) -> None:
        self.path, self.recover = path, recover
        self._break = ""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Bag:
        path = self.path
        if not path.exists():
            raise InputError(f"{path}: no such bag; expected a rosbag2 folder or file, or a .bag")
        try:
            self._files = self._opened(path)
            if not self._files.count:
                raise InputError(f"{self.path}: the bag is empty; record it again")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _opened(self, path: Path) -> BagFiles:
        try:
            if path.suffix == ".bag" and path.is_file():
                path = self._converted(path)
            return self._files_of(path)
        except SeveralRecordings:
            raise
        except Exception as error:  # damaged files raise all kinds of errors
            recovered = self._recovered(path) if self.recover else None
            if recovered is not None:
                return recovered
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self.path}: not a readable bag ({error or type(error).__name__}); expected a "
                "whole rosbag2 (sqlite3 or mcap) or ROS 1 bag. `mcap recover` repairs an mcap "
                "that was cut off"
            ) from error

    def _files_of(self, path: Path) -> BagFiles:
        files = BagFiles(path, self._temporary, self.recover)
        self._stack.callback(files.close)
        return files

    def _temporary(self) -> Path:
        """A temporary folder that exists as long as this bag is open."""
        folder = Path(tempfile.mkdtemp(prefix="ssvif_bag_"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _recovered(self, path: Path) -> BagFiles | None:
        """The files with what is whole in a cut-off mcap; None if that is nothing, or no mcap."""
        files = _mcap_files(path)
        if not files:
            return None
        target = self._temporary() / "whole.mcap"
        copied = copy_whole_messages(files, target)
        if not copied.messages:
            return None
        try:
            recovered = self._files_of(target)
        except Exception:  # an mcap, but not of ROS 2
            return None
        if not copied.whole:
            self._break = (
                f"{self.path}: the recording breaks off after {recovered.duration_ns * 1e-9:.2f} "
                f"s; the {copied.messages} messages before that were read"
            )
        return recovered

    def _converted(self, path: Path) -> Path:
        from rosbags.convert import convert

        target = self._temporary() / path.stem
        convert(
            [path],
            target,
            dst_storage="mcap",
            dst_version=9,
            compress=None,
            compress_mode="none",
            default_typestore=None,
            typestore=TYPES,
            exclude_topics=[],
            include_topics=[],
            exclude_msgtypes=[],
            include_msgtypes=[],
        )
        return target

    @property
    def broken(self) -> str:
        """What an open bag lacks: where it breaks off, or which parts are damaged or missing.

        It is empty if the bag is whole, as far as it was read.
        """
        return self._break or self._files.problem

    @property
    def duration(self) -> float:
        """Seconds between the first and the last message."""
        return self._files.duration_ns * 1e-9

    @property
    def count(self) -> int:
        """Number of messages."""
        return self._files.count

    def topics(self) -> list[Topic]:
        """All topics in order of name."""
        return [
            Topic(
                name,
                info.type or "several types",
                info.count,
                self._describe(name) if info.type == IMAGE_TYPE and info.count else "",
            )
            for name, info in self._files.topics().items()
        ]

    def require(self, *names: str) -> None:
        """Raise InputError, with the list of topics, if one of `names` is missing."""
        for name in names:
            if name not in self._files.topics():
                topics = ", ".join(f"{topic.name} ({topic.type})" for topic in self.topics())
                raise InputError(f"{self.path}: no topic {name}; the bag has {topics}")

    def messages(
        self,
        topics: Iterable[str] | None = None,
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[Message]:
        """Messages in order of recording, of all or some topics.

        Args:
            start, stop: only messages that were recorded from `start` to before `stop`, ns.

        Raises:
            InputError: the bag breaks off. All messages before the break have been given.
        """
        wanted = None if topics is None else set(topics)
        try:
            for topic, type, time, data in self._files.messages(wanted, start, stop):
                yield Message(topic, type, time, data)
        except Exception as error:
            if isinstance(error, (GeneratorExit, InputError)):
                raise
            raise InputError(f"{self.path}: the bag breaks off here ({error})") from error

    def _describe(self, topic: str) -> str:
        with contextlib.suppress(InputError, StopIteration):
            image = decode(next(self.messages([topic])))
            return f"{image.width}x{image.height} {image.encoding}"
        return ""


def decode(message: Message) -> Any:
    """The message object of a recorded message; image data is a NumPy array of bytes.

    Raises:
        InputError: the bytes are not such a message.
    """
    try:
        return TYPES.deserialize_cdr(message.data, message.type)
    except Exception as error:  # damaged bytes raise all kinds of errors
        raise InputError(
            f"{message.topic}: {len(message.data)} bytes that are no {message.type} "
            f"({error or type(error).__name__}); the recording is damaged there"
        ) from error


def header_stamp(message: Message) -> int:
    """The header's stamp in nanoseconds. It opens the CDR bytes of every stamped message.

    Raises:
        InputError: the message is too short for a header, or the stamp is impossible.
    """
    try:
        order = "<" if message.data[1] & 1 else ">"
        seconds, nanoseconds = struct.unpack_from(f"{order}iI", message.data, 4)
    except (IndexError, struct.error) as error:
        raise InputError(
            f"{message.topic}: a {message.type} of {len(message.data)} bytes; expected one that "
            "begins with a header; are the topics right?"
        ) from error
    if nanoseconds >= 1_000_000_000:
        raise InputError(
            f"{message.topic}: a stamp of {seconds} s and {nanoseconds} ns; expected less than "
            "10^9 ns; the recording is damaged there"
        )
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def stamp_or_time(message: Message) -> int:
    """The header's stamp, or the time of recording if a driver left it at 0 or it is damaged."""
    try:
        stamp = header_stamp(message)
    except InputError:
        return message.time
    return stamp if stamp > 0 else message.time


def _mcap_files(path: Path) -> list[Path]:
    """The mcap files of a bag; none if it has another format."""
    if path.is_file():
        return [path] if path.suffix == ".mcap" else []
    try:
        return [file for file in storage_files(path) if file.suffix == ".mcap"]
    except InputError:
        return []


def write_pairs(
    path: Path,
    pairs: Iterable[Pair],
    visible_topic: str = VISIBLE_TOPIC,
    thermal_topic: str = THERMAL_TOPIC,
    offset_ns: int = 0,
) -> int:
    """Write pairs as a rosbag2 (mcap), recorded at their stamps; return their number.

    Args:
        offset_ns: of the clocks, so that both images of a pair are recorded together: it is added
            to the time of recording of thermal images, and not to their stamps.

    Raises:
        InputError: the folder exists or cannot be written.
    """
    count = 0
    try:
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            visible_out, thermal_out = (
                writer.add_connection(topic, IMAGE_TYPE, typestore=TYPES)
                for topic in (visible_topic, thermal_topic)
            )
            for pair in pairs:
                encoding = "mono8" if pair.thermal.dtype == np.uint8 else "mono16"
                writer.write(
                    visible_out,
                    pair.visible_stamp,
                    _image_cdr(pair.visible, "bgr8", pair.visible_stamp, "visible_optical_frame"),
                )
                writer.write(
                    thermal_out,
                    pair.thermal_stamp + offset_ns,
                    _image_cdr(pair.thermal, encoding, pair.thermal_stamp, "thermal_optical_frame"),
                )
                count += 1
    except OSError as error:
        raise InputError(f"{path}: the bag cannot be written ({error.strerror})") from error
    except Exception as error:
        if type(error).__module__.startswith("rosbags"):
            raise InputError(f"{path}: the bag cannot be written ({error})") from error
        raise
    return count


def _image_cdr(image: AnyArray, encoding: str, stamp: int, frame: str) -> memoryview | bytes:
    types = TYPES.types
    message = types[IMAGE_TYPE](
        header=types["std_msgs/msg/Header"](
            stamp=types["builtin_interfaces/msg/Time"](*divmod(stamp, 1_000_000_000)),
            frame_id=frame,
        ),
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=image.strides[0],
        data=np.ascontiguousarray(image).view(np.uint8).reshape(-1),
    )
    return TYPES.serialize_cdr(message, IMAGE_TYPE)
