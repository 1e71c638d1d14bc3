"""Bags in and out, in pure Python: what is in one, its messages, and bags of image pairs."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from ssvif_core.errors import InputError
from ssvif_core.types import Pair

IMAGE_TYPE = "sensor_msgs/msg/Image"
VISIBLE_TOPIC = "/visible/image_raw"
THERMAL_TOPIC = "/thermal/image_raw"
TYPES = get_typestore(Stores.ROS2_JAZZY)


@dataclass(frozen=True)
class Topic:
    """One topic of a bag; `frames` describes the first image: '640x480 bgr8'."""

    name: str
    type: str
    count: int
    frames: str = ""


@dataclass(frozen=True)
class Message:
    """A recorded message: its topic and type, time of recording in ns, and CDR bytes."""

    topic: str
    type: str
    time: int
    data: bytes


class Bag:
    """A rosbag2 (sqlite3 or mcap; folder or file) or ROS 1 bag, opened for reading.

    Use as a context manager. A ROS 1 bag is first converted into a temporary rosbag2.

    Raises:
        InputError: there is no bag at `path`, or it is damaged or empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Bag:
        path = self.path
        if not path.exists():
            raise InputError(f"{path}: no such bag; expected a rosbag2 folder or file, or a .bag")
        try:
            if path.suffix == ".bag" and path.is_file():
                path = self._converted(path)
            self._reader = self._stack.enter_context(AnyReader([path], default_typestore=TYPES))
        except Exception as error:  # damaged files raise whatever their bytes lead to
            self._stack.close()
            raise InputError(
                f"{self.path}: not a readable bag ({error or type(error).__name__}); expected a "
                "whole rosbag2 (sqlite3 or mcap) or ROS 1 bag. A recording that was cut off can "
                "be mended with `mcap recover` or `ros2 bag reindex`"
            ) from error
        if not self._reader.message_count:
            self._stack.close()
            raise InputError(f"{self.path}: the bag is empty; record it again")
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _converted(self, path: Path) -> Path:
        from rosbags.convert import convert

        folder = Path(tempfile.mkdtemp(prefix="ssvif_bag_"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        target = folder / path.stem
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
    def duration(self) -> float:
        """Seconds between the first and the last message."""
        return self._reader.duration * 1e-9

    @property
    def count(self) -> int:
        return self._reader.message_count

    def topics(self) -> list[Topic]:
        """All topics in order of name."""
        return [
            Topic(
                name,
                info.msgtype or "several types",
                info.msgcount,
                self._describe(name) if info.msgtype == IMAGE_TYPE and info.msgcount else "",
            )
            for name, info in sorted(self._reader.topics.items())
        ]

    def require(self, *names: str) -> None:
        """Raises InputError, listing the topics that there are, if one of `names` is not."""
        for name in names:
            if name not in self._reader.topics:
                there = ", ".join(f"{t.name} ({t.type})" for t in self.topics())
                raise InputError(f"{self.path}: no topic {name}; the bag has {there}")

    def messages(self, topics: Iterable[str] | None = None) -> Iterator[Message]:
        """Messages in order of recording, of all or some topics.

        Raises:
            InputError: the bag breaks off; everything before has been given.
        """
        wanted = None if topics is None else set(topics)
        connections = [c for c in self._reader.connections if wanted is None or c.topic in wanted]
        try:
            for connection, time, data in self._reader.messages(connections):
                yield Message(connection.topic, connection.msgtype, time, bytes(data))
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
    """The message object of a recorded message (image data as a numpy array of bytes)."""
    return TYPES.deserialize_cdr(message.data, message.type)


def write_pairs(
    path: Path,
    pairs: Iterable[Pair],
    visible_topic: str = VISIBLE_TOPIC,
    thermal_topic: str = THERMAL_TOPIC,
) -> int:
    """Write pairs as a rosbag2 (mcap), recorded at their stamps; returns their number.

    Raises:
        InputError: the folder exists already or cannot be written.
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
                    pair.thermal_stamp,
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


def _image_cdr(image: np.ndarray, encoding: str, stamp: int, frame: str) -> memoryview | bytes:
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
