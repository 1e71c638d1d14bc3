"""Bags as people have them: split, compressed, without metadata, with foreign topics."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from ssvif_core.errors import InputError
from ssvif_core.recordings.bag_files import storage_files
from ssvif_core.recordings.bag_pairs import BagStream, choose_topics
from ssvif_core.recordings.bags import (
    IMAGE_TYPE,
    THERMAL_TOPIC,
    TYPES,
    VISIBLE_TOPIC,
    Bag,
    write_pairs,
)
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.types import Pair

TOPICS = (VISIBLE_TOPIC, THERMAL_TOPIC)
COUNT = 8
STORAGES = {"mcap": StoragePlugin.MCAP, "db3": StoragePlugin.SQLITE3}
MODES = {"whole": None, "file": CompressionMode.FILE, "message": CompressionMode.MESSAGE}


def pairs(first: int = 0, count: int = COUNT) -> list[Pair]:
    """Pairs at 30 Hz whose images show their number."""
    return [
        Pair(
            np.full((16, 24, 3), number, np.uint8), np.full((8, 12), 1000 + number, np.uint16),
            1_000_000_000 + number * 33_000_000, 1_002_000_000 + number * 33_000_000,
        )
        for number in range(first, first + count)
    ]  # fmt: skip


def bag(path: Path, storage: str, mode: str, first: int = 0) -> Path:
    plain = path.with_name(f"{path.name}_plain")
    write_pairs(plain, pairs(first))
    writer = Writer(path, version=9, storage_plugin=STORAGES[storage])
    if compression := MODES[mode]:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with Bag(plain) as source, writer:
        out = {t: writer.add_connection(t, IMAGE_TYPE, typestore=TYPES) for t in TOPICS}
        for message in source.messages():
            writer.write(out[message.topic], message.time, message.data)
    shutil.rmtree(plain)
    return path


def numbers(path: Path, recover: bool = False) -> list[tuple[int, int]]:
    """The numbers that the images of all pairs show."""
    stream = BagStream(path, TOPICS, recover=recover)
    read = stream.pairs(dict(enumerate(stream.matches())))
    return [(int(p.visible[0, 0, 0]), int(p.thermal[0, 0]) - 1000) for _, p in read]  # type: ignore[union-attr]


EXPECTED = [(number, number) for number in range(COUNT)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("storage", STORAGES)
def test_every_storage_and_compression_is_read_as_a_folder_and_as_a_file(
    tmp_path: Path, storage: str, mode: str
) -> None:
    folder = bag(tmp_path / "run", storage, mode)
    (file,) = (file for file in folder.iterdir() if file.name != "metadata.yaml")
    assert numbers(folder) == EXPECTED
    assert numbers(file) == EXPECTED
    assert len(find_pairs(folder, frame_step=1).pairs) == COUNT
    (folder / "metadata.yaml").unlink()
    assert numbers(folder) == EXPECTED
    assert len(find_pairs(folder, frame_step=1).pairs) == COUNT


@pytest.mark.parametrize("storage", STORAGES)
def test_a_split_recording_is_one_bag_without_its_metadata(tmp_path: Path, storage: str) -> None:
    (tmp_path / "run").mkdir()
    for part in range(12):  # run_10 comes before run_2 by name
        folder = bag(tmp_path / f"part_{part}", storage, "whole", part * COUNT)
        (file,) = folder.glob(f"*.{storage}")
        file.rename(tmp_path / "run" / f"run_{part}.{storage}")
    with Bag(tmp_path / "run") as split:
        assert split.count == 12 * 2 * COUNT
        assert split.duration == pytest.approx(95 * 0.033 + 0.002, abs=1e-6)
    assert numbers(tmp_path / "run") == [(n, n) for n in range(12 * COUNT)]


def test_a_folder_of_several_recordings_is_refused_as_one_bag(tmp_path: Path) -> None:
    for name in ("day", "night"):
        folder = bag(tmp_path / name, "mcap", "whole")
        (file,) = folder.glob("*.mcap")
        (tmp_path / "all").mkdir(exist_ok=True)
        file.rename(tmp_path / "all" / f"{name}_0.mcap")
    with pytest.raises(InputError, match=r"2 recordings \(day, night, ...\); expected one"):
        with Bag(tmp_path / "all"):
            pass
    assert len(find_pairs(tmp_path / "all", frame_step=1).pairs) == 2 * COUNT


def test_a_missing_part_of_a_split_recording_is_told(tmp_path: Path) -> None:
    folder = bag(tmp_path / "run", "mcap", "whole")
    metadata = folder / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("- run.mcap", "- run.mcap\n  - run_1.mcap"))
    with pytest.raises(InputError, match=r"1 of 2 files of this recording are missing \(run_1"):
        with Bag(folder):
            pass
    assert numbers(folder, recover=True) == EXPECTED
    with Bag(folder, recover=True) as opened:
        assert "the others were read" in opened.broken


@pytest.mark.parametrize("recover", [False, True])
def test_a_file_that_the_metadata_do_not_list_is_left_out(tmp_path: Path, recover: bool) -> None:
    """As `mcap recover` leaves it behind."""
    folder = bag(tmp_path / "run", "mcap", "whole")
    shutil.copy(folder / "run.mcap", folder / "recovered.mcap")
    assert numbers(folder, recover) == EXPECTED


def test_what_zstd_decompressed_is_not_read_twice(tmp_path: Path) -> None:
    """`zstd -d` keeps the compressed file; people also remove it."""
    folder = bag(tmp_path / "run", "mcap", "file")
    (file,) = folder.glob("*.zstd")
    plain = file.with_suffix("")
    with file.open("rb") as source, plain.open("wb") as target:
        zstandard.ZstdDecompressor().copy_stream(source, target)
    assert numbers(folder) == EXPECTED
    file.unlink()
    assert numbers(folder) == EXPECTED
    (folder / "metadata.yaml").unlink()
    assert numbers(folder) == EXPECTED


def test_several_recordings_are_never_recovered_as_one(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    for name in ("day", "night"):
        (file,) = bag(tmp_path / name, "mcap", "whole").glob("*.mcap")
        file.rename(tmp_path / "all" / f"{name}.mcap")
    with pytest.raises(InputError, match="2 recordings"), Bag(tmp_path / "all", recover=True):
        pass


@pytest.mark.parametrize("text", ["", "[1, 2", "rosbag2_bagfile_information: {version: 99}"])
def test_senseless_metadata_does_not_hide_the_files(tmp_path: Path, text: str) -> None:
    folder = bag(tmp_path / "run", "mcap", "whole")
    (folder / "metadata.yaml").write_text(text)
    assert numbers(folder) == EXPECTED


def test_a_damaged_compressed_file_is_refused(tmp_path: Path) -> None:
    folder = bag(tmp_path / "run", "mcap", "file")
    (file,) = folder.glob("*.zstd")
    file.write_bytes(file.read_bytes()[:200] + b"noise" * 40)
    with pytest.raises(InputError, match="run.mcap.zstd: cannot be decompressed"):
        with Bag(file):
            pass


@pytest.mark.parametrize(
    ("name", "encoding", "data", "message_encoding"),
    [
        ("vendor/msg/Status", "ros2msg", b"\xff\xfe not a schema ===", "cdr"),
        ("vendor/msg/Status", "ros2msg", b"", "cdr"),
        ("vendor/msg/Status", "ros2msg", b"other/Missing part\nuint8", "cdr"),
        ("vendor/msg/Status", "ros2idl", b"module {", "cdr"),
        ("Status", "jsonschema", b"{}", "json"),
        ("vendor.Status", "protobuf", b"\x0a\x01", "protobuf"),
        ("", "", b"", "cdr"),
    ],
)
def test_a_foreign_topic_never_hides_the_images(
    tmp_path: Path, name: str, encoding: str, data: bytes, message_encoding: str
) -> None:
    folder = bag(tmp_path / "run", "mcap", "whole")
    target = tmp_path / "foreign.mcap"
    with Bag(folder) as source, target.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start("ros2")
        schema = writer.register_schema(name, encoding, data)
        foreign = writer.register_channel("/status", message_encoding, schema)
        images = writer.register_schema(IMAGE_TYPE, "ros2msg", b"")
        channels = {t: writer.register_channel(t, "cdr", images) for t in TOPICS}
        for message in source.messages():
            for channel, content in (
                (foreign, b"\0\1\0\0x"),
                (channels[message.topic], message.data),
            ):
                writer.add_message(channel, message.time, content, message.time)
        writer.finish()
    with Bag(target) as opened:
        assert choose_topics(opened) == TOPICS
        assert "/status" in {topic.name for topic in opened.topics()}
    assert numbers(target) == EXPECTED


# --- damaged parts


def chunked(path: Path, **options: object) -> Path:
    """A bag in chunks of a few messages, with a checksum each."""
    folder = bag(path.with_suffix(""), "mcap", "whole")
    with Bag(folder) as source, path.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=3000, **options)  # type: ignore[arg-type]
        writer.start("ros2")
        images = writer.register_schema(IMAGE_TYPE, "ros2msg", b"")
        channels = {t: writer.register_channel(t, "cdr", images) for t in TOPICS}
        for message in source.messages():
            writer.add_message(channels[message.topic], message.time, message.data, message.time)
        writer.finish()
    return path


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD])
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0.1, 0.5), bit=st.integers(0, 7))
def test_a_flipped_bit_is_told_and_costs_only_its_part(
    tmp_path: Path, compression: CompressionType, place: float, bit: int
) -> None:
    """Wherever the bit is: no pair has other pixels, and what is lost is named."""
    file = tmp_path / f"{compression.name}.mcap"
    if not file.exists():
        chunked(file, compression=compression)
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(data)
    found = numbers(broken, recover=True)
    assert set(found) <= set(EXPECTED)
    with Bag(broken, recover=True) as opened:
        count = sum(1 for _ in opened.messages())
        assert bool(opened.broken) == (count < 2 * COUNT)
        if opened.broken:
            assert "damaged part" in opened.broken or "breaks off" in opened.broken
    if len(found) < COUNT:
        with pytest.raises(InputError, match="damaged|not a readable bag|breaks off"):
            numbers(broken)


def test_a_pipe_is_no_bag(tmp_path: Path) -> None:
    pipe = tmp_path / "a.mcap"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="a.mcap: neither a file nor a folder; expected a bag"):
        storage_files(pipe)
