"""Pairs in bags: which images belong together, and that only these are read; bags cut off."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.records import Channel, Chunk, ChunkIndex, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import StoragePlugin, Writer, storage_mcap

from ssvif_core.cameras.model import aligned
from ssvif_core.errors import InputError
from ssvif_core.evaluation.plan import Settings, plan_input
from ssvif_core.recordings.bag_pairs import BagMatch, BagStream, choose_topics, match_images
from ssvif_core.recordings.bags import IMAGE_TYPE, TYPES, Bag, decode, header_stamp, write_pairs
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.reading import read_sources
from ssvif_core.training.data.pairs import PairDataset
from ssvif_core.types import Pair

TOPICS = VISIBLE, THERMAL = "/visible/image_raw", "/thermal/image_raw"
MS = 1_000_000
START = 1_000 * MS


def small_pair(number: int, visible_stamp: int, thermal_stamp: int) -> Pair:
    """Images that tell the number of the pair."""
    visible = np.full((16, 16, 3), number % 251, np.uint8)
    thermal = np.full((8, 8), number, np.uint16)
    return Pair(visible, thermal, visible_stamp, thermal_stamp)


def small_pairs(count: int) -> list[Pair]:
    """Every 50 ms, the thermal image 3 ms after the visible one."""
    times = [START + number * 50 * MS for number in range(count)]
    return [small_pair(number, time, time + 3 * MS) for number, time in enumerate(times)]


def write_images(path: Path, images: list[tuple[str, int, int]]) -> None:
    """A bag of small images: topic, stamp, time of recording; image n of a topic shows n."""
    seen = dict.fromkeys(TOPICS, 0)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        out = {topic: writer.add_connection(topic, IMAGE_TYPE, typestore=TYPES) for topic in TOPICS}
        types = TYPES.types
        for topic, stamp, time in images:
            shape, encoding = ((16, 48), "bgr8") if topic == VISIBLE else ((16, 16), "mono8")
            header = types["std_msgs/msg/Header"](
                types["builtin_interfaces/msg/Time"](*divmod(stamp, 10**9)), ""
            )
            pixels = np.full(shape[0] * shape[1], seen[topic], np.uint8)
            message = types[IMAGE_TYPE](header, 16, 16, encoding, 0, shape[1], pixels)
            writer.write(out[topic], time, TYPES.serialize_cdr(message, IMAGE_TYPE))
            seen[topic] += 1


def rewrite(bag: Path, target: Path, turned: bool = False, **options) -> Path:
    """A bag's mcap written anew by Foxglove's writer; `turned` gives topics other numbers."""
    with next(bag.glob("*.mcap")).open("rb") as source, target.open("wb") as stream:
        writer = McapWriter(stream, **options)
        writer.start("ros2")
        schemas, channels = {}, {}
        records = list(StreamReader(source).records)
        firsts = [record for record in records if isinstance(record, (Schema, Channel))]
        firsts.sort(key=lambda record: (isinstance(record, Channel), -record.id * turned))
        for record in firsts + records:
            if isinstance(record, Schema) and record.id not in schemas:
                schemas[record.id] = writer.register_schema(
                    record.name, record.encoding, record.data
                )
            elif isinstance(record, Channel) and record.id not in channels:
                channels[record.id] = writer.register_channel(
                    record.topic,
                    record.message_encoding,
                    schemas[record.schema_id],
                    record.metadata,
                )
            elif isinstance(record, Message):
                writer.add_message(
                    channels[record.channel_id], record.log_time, record.data, record.publish_time
                )
        writer.finish()
    return target


def ends_of_chunks(path: Path) -> list[tuple[int, int]]:
    """Of each chunk of an mcap: where it ends in the file, and how many messages end there."""
    messages, ends = [0], []
    with path.open("rb") as stream:
        for record in StreamReader(stream, emit_chunks=True).records:
            if isinstance(record, Chunk):
                inside = sum(isinstance(each, Message) for each in breakup_chunk(record))
                messages.append(messages[-1] + inside)
            elif isinstance(record, ChunkIndex):
                ends.append(record.chunk_start_offset + record.chunk_length)
    return list(zip(ends, messages[1:], strict=True))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """The folder of temporary files, which must be empty again after the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


@pytest.fixture(scope="module")
def long_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1000 pairs in some 60 chunks."""
    folder = tmp_path_factory.mktemp("long")
    write_pairs(folder / "b", small_pairs(1000))
    return rewrite(folder / "b", folder / "long.mcap", chunk_size=20_000)


# --- which belong together


def test_pairs_say_where_and_when_their_images_are(tmp_path: Path) -> None:
    """Recorded some 30 ms after they were taken; the third visible image has no partner."""
    write_images(
        tmp_path / "b",
        [
            (THERMAL, START + 4 * MS, START + 30 * MS),
            (VISIBLE, START, START + 31 * MS),
            (VISIBLE, START + 50 * MS, START + 80 * MS),
            (VISIBLE, START + 100 * MS, START + 130 * MS),
            (THERMAL, START + 55 * MS, START + 140 * MS),
        ],
    )
    with Bag(tmp_path / "b") as bag:
        pairs = match_images(bag, TOPICS)
    assert pairs == [
        BagMatch(START, START + 4 * MS, START + 31 * MS, START + 30 * MS),
        BagMatch(START + 50 * MS, START + 55 * MS, START + 80 * MS, START + 140 * MS),
    ]


def test_stamps_of_zero_are_replaced_by_the_time_of_recording(tmp_path: Path) -> None:
    write_images(tmp_path / "b", [(VISIBLE, 0, START), (THERMAL, 0, START + 7 * MS)])
    with Bag(tmp_path / "b") as bag:
        assert match_images(bag, TOPICS) == [BagMatch(*(START, START + 7 * MS) * 2, 0, 0)]
    ((_, pair),) = BagStream(tmp_path / "b", TOPICS).numbered({0})
    assert (pair.visible_stamp, pair.thermal_stamp) == (START, START + 7 * MS)


def test_the_slop_decides_what_is_a_pair(tmp_path: Path) -> None:
    """Pair n is n * 10 ms apart."""
    times = [START + number * 200 * MS for number in range(5)]
    pairs = [small_pair(n, time, time + n * 10 * MS) for n, time in enumerate(times)]
    write_pairs(tmp_path / "b", pairs)
    for slop, count in ((1, 1), (20 * MS, 2), (20 * MS + 1, 3), (35 * MS, 4)):
        listing = find_pairs(tmp_path / "b", 1, slop_ns=slop)
        assert len(listing.pairs) == len(PairDataset([listing])) == count
        assert len(BagStream(tmp_path / "b", TOPICS, slop).matches()) == count
    assert len(BagStream(tmp_path / "b", TOPICS).matches()) == 2


def test_a_known_delay_decides_what_is_of_one_moment(tmp_path: Path) -> None:
    """Thermal stamps 100 ms too late: two frames on, at this rate."""
    pairs = [replace(p, thermal_stamp=p.thermal_stamp + 100 * MS) for p in small_pairs(6)]
    write_pairs(tmp_path / "bag", pairs)
    listing = find_pairs(tmp_path / "bag", 1, recover=False, offset_ns=-100 * MS)
    read = dict(read_sources(listing.pairs))
    assert len(read) == 6
    for index, pair in read.items():
        assert isinstance(pair, Pair)
        assert int(pair.visible[0, 0, 0]) == int(pair.thermal[0, 0]) == index
    settings = Settings(calibration=replace(aligned((16, 16), (8, 8)), time_offset=-0.1))
    assert len(plan_input(tmp_path / "bag", "bag", "", settings).names) == 6
    assert len(plan_input(tmp_path / "bag", "bag", "", Settings()).names) == 4


def test_a_listing_with_another_slop_is_read_with_it(tmp_path: Path) -> None:
    """With the default slop the first pair would not be there, and the numbers be others."""
    pairs = [small_pair(7, START, START + 30 * MS)] + [
        small_pair(n, START + n * 200 * MS, START + n * 200 * MS) for n in (8, 9)
    ]
    write_pairs(tmp_path / "b", pairs)
    dataset = PairDataset([find_pairs(tmp_path / "b", 1, slop_ns=40 * MS)])
    assert [int(visible[0, 0, 0]) for visible, _ in dataset] == [7, 8, 9]


def test_a_topic_of_something_else_is_named(tmp_path: Path) -> None:
    kind = "std_msgs/msg/String"
    with Writer(tmp_path / "b", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        text = TYPES.serialize_cdr(TYPES.types[kind]("hello there"), kind)
        writer.write(writer.add_connection("/text", kind, typestore=TYPES), START, text)
    with Bag(tmp_path / "b") as bag, pytest.raises(
        InputError, match="topic /text is of type std_msgs/msg/String; expected sensor_msgs"
    ):  # fmt: skip
        match_images(bag, ("/text", "/text"))
    with Bag(tmp_path / "b") as bag, pytest.raises(InputError, match="no topic /x; the bag has"):
        match_images(bag, ("/text", "/x"))


def test_compressed_images_are_pairs(compressed_bag: Path, drive_pairs: list[Pair]) -> None:
    with Bag(compressed_bag) as bag:
        topics = choose_topics(bag)
    assert topics == (f"{VISIBLE}/compressed", f"{THERMAL}/compressed")
    found = dict(BagStream(compressed_bag, topics).numbered(range(99)))
    assert list(found) == list(range(12))
    for pair, written in zip(found.values(), drive_pairs, strict=True):
        assert np.abs(pair.visible.astype(int) - written.visible).mean() < 6  # JPEG
        assert np.array_equal(pair.thermal, written.thermal)  # PNG
        assert pair.visible_stamp == written.visible_stamp


# --- which are read


def test_pairs_come_as_written_with_their_stamps(drive_bag: Path, drive_pairs: list[Pair]) -> None:
    found = list(BagStream(drive_bag, TOPICS).numbered({2, 3, 11, 50}))
    assert [number for number, _ in found] == [2, 3, 11]
    for number, pair in found:
        written = drive_pairs[number]
        assert np.array_equal(pair.visible, written.visible)
        assert np.array_equal(pair.thermal, written.thermal)
        assert pair.visible_stamp == written.visible_stamp
        assert pair.thermal_stamp == written.thermal_stamp


@pytest.mark.parametrize(
    ("frames", "most"), [(range(800, 808), 3), ({0, 999}, 4), ({998}, 3), ((), 0)]
)
def test_only_the_part_with_the_wanted_pairs_is_read(
    long_bag: Path, monkeypatch, frames, most: int
) -> None:
    """Counted in chunks, which are read whole, of 60. The listing holds where the pairs lie."""
    sources = [source for source in find_pairs(long_bag, 1).pairs if source.frame in frames]
    read = []
    inner = storage_mcap.decompress
    monkeypatch.setattr(
        storage_mcap, "decompress", lambda *chunk: (read.append(1), inner(*chunk))[1]
    )
    pairs = [pair for _, pair in read_sources(sources)]
    assert [int(pair.thermal[0, 0]) for pair in pairs] == sorted(frames)
    assert len(read) <= most < len(ends_of_chunks(long_bag)) / 10


def test_a_part_of_any_kind_of_bag_is_read(tmp_path: Path) -> None:
    for plugin in (StoragePlugin.SQLITE3, StoragePlugin.MCAP):
        path = tmp_path / plugin.name
        write_pairs(tmp_path / f"{plugin.name}_source", small_pairs(100))
        with Bag(tmp_path / f"{plugin.name}_source") as source, Writer(
            path, version=9, storage_plugin=plugin
        ) as writer:  # fmt: skip
            out = {
                topic: writer.add_connection(topic, IMAGE_TYPE, typestore=TYPES)
                for topic in TOPICS
            }  # fmt: skip
            for message in source.messages():
                writer.write(out[message.topic], message.time, message.data)
        with Bag(path) as bag:
            some = list(bag.messages([VISIBLE], START + 50 * MS, START + 200 * MS))
            assert [message.time for message in some] == [START + n * 50 * MS for n in (1, 2, 3)]
            assert not list(bag.messages(["/none"]))
        found = [
            (n, int(pair.thermal[0, 0]))
            for n, pair in BagStream(path, TOPICS).numbered({9, 60, 61})
        ]
        assert found == [(9, 9), (60, 60), (61, 61)]


def test_pairs_are_in_order_of_number_however_late_a_camera_is(tmp_path: Path) -> None:
    """The thermal image of pair 0 is recorded last, and all are recorded in pairs of one time."""
    stamps = [START + n * 50 * MS for n in range(4)]
    images = [(VISIBLE, stamp, START + n // 2) for n, stamp in enumerate(stamps)]
    images += [(THERMAL, stamps[n], START + 10 + i // 2) for i, n in enumerate((2, 1, 3, 0))]
    write_images(tmp_path / "b", images)
    found = list(BagStream(tmp_path / "b", TOPICS).numbered({0, 1, 3}))
    assert [number for number, _ in found] == [0, 1, 3]
    assert [int(pair.visible[0, 0, 0]) for _, pair in found] == [0, 1, 3]
    assert [int(pair.thermal[0, 0]) for _, pair in found] == [3, 1, 2]


def test_the_stamp_is_read_without_the_rest(drive_bag: Path) -> None:
    with Bag(drive_bag) as bag:
        message = next(bag.messages([VISIBLE]))
    stamp = decode(message).header.stamp
    assert header_stamp(message) == stamp.sec * 10**9 + stamp.nanosec
    big = TYPES.serialize_cdr(decode(message), IMAGE_TYPE, little_endian=False)
    assert header_stamp(type(message)("/t", IMAGE_TYPE, 0, bytes(big))) == header_stamp(message)
    with pytest.raises(InputError, match="/t: a x/msg/Y of 5 bytes; expected one that begins with"):
        header_stamp(type(message)("/t", "x/msg/Y", 0, b"\0\1\0\0a"))


# --- bags that were cut off

KINDS = {
    "zstd": {"chunk_size": 300_000},
    "lz4": {"chunk_size": 300_000, "compression": CompressionType.LZ4},
    "uncompressed": {"chunk_size": 300_000, "compression": CompressionType.NONE},
    "without chunks": {"use_chunking": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bag_cut_anywhere_gives_the_pairs_before(
    tmp_path: Path, drive_bag: Path, drive_pairs: list[Pair], temporary: Path, kind: str
) -> None:
    whole = rewrite(drive_bag, tmp_path / "whole.mcap", **KINDS[kind])
    data = whole.read_bytes()
    ends = ends_of_chunks(whole)
    at = random.Random(kind)
    cuts = {at.randrange(len(data)) for _ in range(25)} | {0, 8, 9, len(data) - 1, len(data) - 8}
    cuts |= {end + more for end, _ in ends for more in (-1, 0, 1)}
    last = 0
    for size in sorted(cuts):
        path = tmp_path / "cut.mcap"
        path.write_bytes(data[:size])
        try:
            with Bag(path, recover=True) as bag:
                count, broken = bag.count, bag.broken
            found = list(BagStream(path, TOPICS, recover=True).numbered(range(99)))
        except InputError as error:
            assert "cut.mcap: not a readable bag" in str(error)
            assert not last
            continue
        assert last <= count  # more of the file, more of its messages
        last = count
        assert f"the {count} messages before that were read" in broken
        if ends:
            assert count == max((n for end, n in ends if end <= size), default=0)
        assert [number for number, _ in found] == list(range(count // 2))
        for number, pair in found:
            assert np.array_equal(pair.visible, drive_pairs[number].visible)
            assert np.array_equal(pair.thermal, drive_pairs[number].thermal)
            assert pair.visible_stamp == drive_pairs[number].visible_stamp
    assert last == 24


def test_a_whole_bag_is_read_as_it_is(drive_bag: Path, temporary: Path) -> None:
    for path in (drive_bag, next(drive_bag.glob("*.mcap"))):
        with Bag(path, recover=True) as bag:
            assert bag.broken == "" and bag.count == 24
            assert not list(temporary.iterdir())  # not copied


def test_the_break_is_told_in_numbers(tmp_path: Path, long_bag: Path, temporary: Path) -> None:
    end, messages = ends_of_chunks(long_bag)[19]
    path = tmp_path / "cut.mcap"
    path.write_bytes(long_bag.read_bytes()[: end + 100])
    with Bag(path, recover=True) as bag:
        seconds = ((messages - 1) // 2 * 50 + 3 * (1 - messages % 2)) / 1000
        assert bag.broken == (
            f"{path}: the recording breaks off after {seconds:.2f} s; the {messages} messages "
            "before that were read"
        )
    with pytest.raises(InputError, match="not a readable bag"), Bag(path):
        pass


@pytest.mark.parametrize("metadata", ["whole", "none", "cut off"])
def test_a_folder_of_several_files_is_read_to_the_break(
    tmp_path: Path, temporary: Path, metadata: str
) -> None:
    """Recorded into files of some seconds; in the second, topics have each other's numbers."""
    pairs = small_pairs(60)
    folder = tmp_path / "run"
    write_pairs(folder, pairs[:20])
    (folder / "run.mcap").rename(folder / "run_0.mcap")
    write_pairs(tmp_path / "second", pairs[20:])
    second = rewrite(tmp_path / "second", tmp_path / "second.mcap", turned=True, chunk_size=5000)
    end, messages = ends_of_chunks(second)[3]
    (folder / "run_1.mcap").write_bytes(second.read_bytes()[: end + 10])
    text = (folder / "metadata.yaml").read_text().replace("run.mcap", "run_1.mcap")
    (folder / "metadata.yaml").unlink()
    if metadata != "none":
        (folder / "metadata.yaml").write_text(text[: len(text) // (1 + (metadata != "whole"))])
    with Bag(folder, recover=True) as bag:
        assert bag.count == 40 + messages
        assert f"run: the recording breaks off after {bag.duration:.2f} s" in bag.broken
        assert len(match_images(bag, TOPICS)) == 20 + messages // 2
    with pytest.raises(InputError, match="run: not a readable bag"), Bag(folder):
        pass


def test_a_folder_without_metadata_may_be_whole(
    tmp_path: Path, drive_bag: Path, temporary: Path
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(next(drive_bag.glob("*.mcap")), tmp_path / "run")
    with Bag(tmp_path / "run", recover=True) as bag:
        assert bag.count == 24 and bag.broken == ""


def test_other_bags_that_are_broken_stay_errors(tmp_path: Path, temporary: Path) -> None:
    with Writer(tmp_path / "b", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        writer.add_connection(VISIBLE, IMAGE_TYPE, typestore=TYPES)
    data = next((tmp_path / "b").glob("*.db3")).read_bytes()
    (tmp_path / "cut.db3").write_bytes(data[: len(data) // 2])
    (tmp_path / "other.mcap").write_bytes(b"not a bag at all" * 100)
    (tmp_path / "folder").mkdir()
    with (tmp_path / "no_ros.mcap").open("wb") as stream:
        writer = McapWriter(stream)
        writer.start("other")
        writer.add_message(writer.register_channel("/a", "json", 0), 1, b"{}", 1)
        writer.finish()
    for name in ("cut.db3", "other.mcap", "folder", "no_ros.mcap"):
        with pytest.raises(InputError, match=f"{name}: not a readable bag"):
            with Bag(tmp_path / name, recover=True):
                pass


def test_no_room_for_the_copy_is_said(tmp_path: Path, drive_bag: Path, monkeypatch) -> None:
    (tmp_path / "cut.mcap").write_bytes(next(drive_bag.glob("*.mcap")).read_bytes()[:-50])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(McapWriter, "add_message", full)
    with pytest.raises(InputError, match=r"\(No space left on device\); .*set TMPDIR"):
        with Bag(tmp_path / "cut.mcap", recover=True):
            pass


def test_a_cut_bag_is_listed_and_its_break_told(
    tmp_path: Path, long_bag: Path, temporary: Path
) -> None:
    (tmp_path / "cut.mcap").write_bytes(long_bag.read_bytes()[:-1000])
    with pytest.raises(InputError, match="no pairs; .*cut.mcap: not a readable bag"):
        find_pairs(tmp_path)
    (tmp_path / "one").mkdir()
    shutil.copy(tmp_path / "cut.mcap", tmp_path / "one")
    for root in (tmp_path / "one", tmp_path / "one" / "cut.mcap"):
        listing = find_pairs(root, 100, recover=True)
        assert len(listing.pairs) == 10
        (problem,) = listing.problems
        assert "one/cut.mcap: the recording breaks off after" in problem
        dataset = PairDataset([listing])
        assert [int(v[0, 0, 0]) for v, _ in dataset] == [n * 100 % 251 for n in range(10)]
