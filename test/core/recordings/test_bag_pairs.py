"""Pairs in bags: how images are matched, that only wanted parts are read, and bags cut off."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    """A pair whose images show its number."""
    visible = np.full((16, 16, 3), number % 251, np.uint8)
    thermal = np.full((8, 8), number, np.uint16)
    return Pair(visible, thermal, visible_stamp, thermal_stamp)


def small_pairs(count: int) -> list[Pair]:
    """Pairs every 50 ms, with the thermal image 3 ms after the visible one."""
    times = [START + number * 50 * MS for number in range(count)]
    return [small_pair(number, time, time + 3 * MS) for number, time in enumerate(times)]


def write_images(path: Path, images: list[tuple[str, int, int]]) -> None:
    """A bag of small images (topic, stamp, time of recording); image n of a topic shows n."""
    counts = dict.fromkeys(TOPICS, 0)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        out = {topic: writer.add_connection(topic, IMAGE_TYPE, typestore=TYPES) for topic in TOPICS}
        types = TYPES.types
        for topic, stamp, time in images:
            shape, encoding = ((16, 48), "bgr8") if topic == VISIBLE else ((16, 16), "mono8")
            header = types["std_msgs/msg/Header"](
                types["builtin_interfaces/msg/Time"](*divmod(stamp, 10**9)), ""
            )
            pixels = np.full(shape[0] * shape[1], counts[topic], np.uint8)
            message = types[IMAGE_TYPE](header, 16, 16, encoding, 0, shape[1], pixels)
            writer.write(out[topic], time, TYPES.serialize_cdr(message, IMAGE_TYPE))
            counts[topic] += 1


def rewrite(bag: Path, target: Path, swap_ids: bool = False, **options: Any) -> Path:
    """A bag's mcap, copied with Foxglove's writer; `swap_ids` gives its topics other ids."""
    with next(bag.glob("*.mcap")).open("rb") as source, target.open("wb") as stream:
        writer = McapWriter(stream, **options)
        writer.start("ros2")
        schemas, channels = {}, {}
        records = list(StreamReader(source).records)
        firsts = [record for record in records if isinstance(record, (Schema, Channel))]
        firsts.sort(key=lambda record: (isinstance(record, Channel), -record.id * swap_ids))
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
    """Per chunk of an mcap: its end in the file, and the number of messages up to there."""
    messages, ends = [0], []
    with path.open("rb") as stream:
        for record in StreamReader(stream, emit_chunks=True).records:
            if isinstance(record, Chunk):
                in_chunk = sum(isinstance(part, Message) for part in breakup_chunk(record))
                messages.append(messages[-1] + in_chunk)
            elif isinstance(record, ChunkIndex):
                ends.append(record.chunk_start_offset + record.chunk_length)
    return list(zip(ends, messages[1:], strict=True))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files. It must be empty after the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


@pytest.fixture(scope="module")
def long_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1000 pairs in about 60 chunks."""
    folder = tmp_path_factory.mktemp("long")
    write_pairs(folder / "b", small_pairs(1000))
    return rewrite(folder / "b", folder / "long.mcap", chunk_size=20_000)


# --- matching


def test_matches_have_stamps_and_times_of_recording(tmp_path: Path) -> None:
    """Images are recorded about 30 ms after their stamps. The third visible one has no partner."""
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


def test_zero_stamps_are_replaced_by_the_time_of_recording(tmp_path: Path) -> None:
    write_images(tmp_path / "b", [(VISIBLE, 0, START), (THERMAL, 0, START + 7 * MS)])
    with Bag(tmp_path / "b") as bag:
        assert match_images(bag, TOPICS) == [BagMatch(*(START, START + 7 * MS) * 2, 0, 0)]
    ((_, pair),) = BagStream(tmp_path / "b", TOPICS).numbered({0})
    assert (pair.visible_stamp, pair.thermal_stamp) == (START, START + 7 * MS)


def test_the_slop_limits_the_stamp_difference_of_pairs(tmp_path: Path) -> None:
    """The stamps of pair n differ by n * 10 ms."""
    times = [START + number * 200 * MS for number in range(5)]
    pairs = [small_pair(n, time, time + n * 10 * MS) for n, time in enumerate(times)]
    write_pairs(tmp_path / "b", pairs)
    for slop, count in ((1, 1), (20 * MS, 2), (20 * MS + 1, 3), (35 * MS, 4)):
        listing = find_pairs(tmp_path / "b", 1, slop_ns=slop)
        assert len(listing.pairs) == len(PairDataset([listing])) == count
        assert len(BagStream(tmp_path / "b", TOPICS, slop).matches()) == count
    assert len(BagStream(tmp_path / "b", TOPICS).matches()) == 2


def test_the_time_offset_is_added_before_matching(tmp_path: Path) -> None:
    """The thermal stamps are 100 ms too late, which is two frames."""
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


def test_a_listing_with_another_slop_is_read_with_that_slop(tmp_path: Path) -> None:
    """The default slop would leave out the first pair, and number the others differently."""
    pairs = [small_pair(7, START, START + 30 * MS)] + [
        small_pair(n, START + n * 200 * MS, START + n * 200 * MS) for n in (8, 9)
    ]
    write_pairs(tmp_path / "b", pairs)
    dataset = PairDataset([find_pairs(tmp_path / "b", 1, slop_ns=40 * MS)])
    assert [int(visible[0, 0, 0]) for visible, _ in dataset] == [7, 8, 9]


def test_a_topic_without_images_is_refused(tmp_path: Path) -> None:
    message_type = "std_msgs/msg/String"
    with Writer(tmp_path / "b", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        text = TYPES.serialize_cdr(TYPES.types[message_type]("hello there"), message_type)
        writer.write(writer.add_connection("/text", message_type, typestore=TYPES), START, text)
    with Bag(tmp_path / "b") as bag, pytest.raises(
        InputError, match="topic /text is of type std_msgs/msg/String; expected sensor_msgs"
    ):  # fmt: skip
        match_images(bag, ("/text", "/text"))
    with Bag(tmp_path / "b") as bag, pytest.raises(InputError, match="no topic /x; the bag has"):
        match_images(bag, ("/text", "/x"))


def test_compressed_images_are_paired(compressed_bag: Path, drive_pairs: list[Pair]) -> None:
    with Bag(compressed_bag) as bag:
        topics = choose_topics(bag)
    assert topics == (f"{VISIBLE}/compressed", f"{THERMAL}/compressed")
    pairs = dict(BagStream(compressed_bag, topics).numbered(range(99)))
    assert list(pairs) == list(range(12))
    for pair, written in zip(pairs.values(), drive_pairs, strict=True):
        assert np.abs(pair.visible.astype(int) - written.visible).mean() < 6  # JPEG
        assert np.array_equal(pair.thermal, written.thermal)  # PNG
        assert pair.visible_stamp == written.visible_stamp


# --- reading


def test_numbered_pairs_are_read_unchanged(drive_bag: Path, drive_pairs: list[Pair]) -> None:
    pairs = list(BagStream(drive_bag, TOPICS).numbered({2, 3, 11, 50}))
    assert [number for number, _ in pairs] == [2, 3, 11]
    for number, pair in pairs:
        written = drive_pairs[number]
        assert np.array_equal(pair.visible, written.visible)
        assert np.array_equal(pair.thermal, written.thermal)
        assert pair.visible_stamp == written.visible_stamp
        assert pair.thermal_stamp == written.thermal_stamp


@pytest.mark.parametrize(
    ("frames", "max_chunks"), [(range(800, 808), 3), ({0, 999}, 4), ({998}, 3), ((), 0)]
)
def test_only_the_part_with_the_wanted_pairs_is_read(
    long_bag: Path, monkeypatch: pytest.MonkeyPatch, frames: Collection[int], max_chunks: int
) -> None:
    """The bag has about 60 chunks, which are read whole. The listing knows where the pairs lie."""
    sources = [source for source in find_pairs(long_bag, 1).pairs if source.frame in frames]
    chunks_read = 0
    decompress = storage_mcap.decompress

    def counted(*chunk: Any) -> Any:
        nonlocal chunks_read
        chunks_read += 1
        return decompress(*chunk)

    monkeypatch.setattr(storage_mcap, "decompress", counted)
    pairs = [pair for _, pair in read_sources(sources)]
    assert [int(pair.thermal[0, 0]) for pair in pairs] == sorted(frames)
    assert chunks_read <= max_chunks < len(ends_of_chunks(long_bag)) / 10


def test_a_part_of_a_bag_is_read_in_every_storage_format(tmp_path: Path) -> None:
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
            part = list(bag.messages([VISIBLE], START + 50 * MS, START + 200 * MS))
            assert [message.time for message in part] == [START + n * 50 * MS for n in (1, 2, 3)]
            assert not list(bag.messages(["/none"]))
        pairs = BagStream(path, TOPICS).numbered({9, 60, 61})
        numbers = [(number, int(pair.thermal[0, 0])) for number, pair in pairs]
        assert numbers == [(9, 9), (60, 60), (61, 61)]


def test_pairs_are_in_order_of_number_even_if_a_camera_is_late(tmp_path: Path) -> None:
    """The thermal image of pair 0 is recorded last; two images each have one recording time."""
    stamps = [START + n * 50 * MS for n in range(4)]
    images = [(VISIBLE, stamp, START + n // 2) for n, stamp in enumerate(stamps)]
    images += [(THERMAL, stamps[n], START + 10 + i // 2) for i, n in enumerate((2, 1, 3, 0))]
    write_images(tmp_path / "b", images)
    pairs = list(BagStream(tmp_path / "b", TOPICS).numbered({0, 1, 3}))
    assert [number for number, _ in pairs] == [0, 1, 3]
    assert [int(pair.visible[0, 0, 0]) for _, pair in pairs] == [0, 1, 3]
    assert [int(pair.thermal[0, 0]) for _, pair in pairs] == [3, 1, 2]


def test_the_stamp_is_read_from_the_bytes_of_a_message(drive_bag: Path) -> None:
    with Bag(drive_bag) as bag:
        message = next(bag.messages([VISIBLE]))
    stamp = decode(message).header.stamp
    assert header_stamp(message) == stamp.sec * 10**9 + stamp.nanosec
    big_endian = bytes(TYPES.serialize_cdr(decode(message), IMAGE_TYPE, little_endian=False))
    assert header_stamp(type(message)("/t", IMAGE_TYPE, 0, big_endian)) == header_stamp(message)
    with pytest.raises(InputError, match="/t: a x/msg/Y of 5 bytes; expected one that begins with"):
        header_stamp(type(message)("/t", "x/msg/Y", 0, b"\0\1\0\0a"))


# --- bags that were cut off

WRITER_OPTIONS: dict[str, dict[str, Any]] = {
    "zstd": {"chunk_size": 300_000},
    "lz4": {"chunk_size": 300_000, "compression": CompressionType.LZ4},
    "uncompressed": {"chunk_size": 300_000, "compression": CompressionType.NONE},
    "without chunks": {"use_chunking": False},
}


@pytest.mark.parametrize("options", WRITER_OPTIONS)
def test_a_bag_cut_anywhere_gives_the_pairs_before_the_cut(
    tmp_path: Path, drive_bag: Path, drive_pairs: list[Pair], temporary: Path, options: str
) -> None:
    whole = rewrite(drive_bag, tmp_path / "whole.mcap", **WRITER_OPTIONS[options])
    data = whole.read_bytes()
    ends = ends_of_chunks(whole)
    generator = random.Random(options)
    cuts = {generator.randrange(len(data)) for _ in range(25)}
    cuts |= {0, 8, 9, len(data) - 1, len(data) - 8}
    cuts |= {end + offset for end, _ in ends for offset in (-1, 0, 1)}
    previous_count = 0
    for size in sorted(cuts):
        path = tmp_path / "cut.mcap"
        path.write_bytes(data[:size])
        try:
            with Bag(path, recover=True) as bag:
                count, broken = bag.count, bag.broken
            pairs = list(BagStream(path, TOPICS, recover=True).numbered(range(99)))
        except InputError as error:
            assert "cut.mcap: not a readable bag" in str(error)
            assert not previous_count
            continue
        assert previous_count <= count  # a larger part of the file has no fewer messages
        previous_count = count
        assert f"the {count} messages before that were read" in broken
        if ends:
            assert count == max((n for end, n in ends if end <= size), default=0)
        assert [number for number, _ in pairs] == list(range(count // 2))
        for number, pair in pairs:
            assert np.array_equal(pair.visible, drive_pairs[number].visible)
            assert np.array_equal(pair.thermal, drive_pairs[number].thermal)
            assert pair.visible_stamp == drive_pairs[number].visible_stamp
    assert previous_count == 24


def test_a_complete_bag_is_read_without_a_copy(drive_bag: Path, temporary: Path) -> None:
    for path in (drive_bag, next(drive_bag.glob("*.mcap"))):
        with Bag(path, recover=True) as bag:
            assert bag.broken == "" and bag.count == 24
            assert not list(temporary.iterdir())


def test_the_break_is_described_in_seconds_and_messages(
    tmp_path: Path, long_bag: Path, temporary: Path
) -> None:
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
def test_a_folder_of_several_files_is_read_up_to_the_break(
    tmp_path: Path, temporary: Path, metadata: str
) -> None:
    """The recorder split the bag into files. The second file has the topic ids swapped."""
    pairs = small_pairs(60)
    folder = tmp_path / "run"
    write_pairs(folder, pairs[:20])
    (folder / "run.mcap").rename(folder / "run_0.mcap")
    write_pairs(tmp_path / "second", pairs[20:])
    second = rewrite(tmp_path / "second", tmp_path / "second.mcap", swap_ids=True, chunk_size=5000)
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


def test_a_folder_without_metadata_may_be_complete(
    tmp_path: Path, drive_bag: Path, temporary: Path
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(next(drive_bag.glob("*.mcap")), tmp_path / "run")
    with Bag(tmp_path / "run", recover=True) as bag:
        assert bag.count == 24 and bag.broken == ""


def test_broken_bags_that_cannot_be_recovered_are_refused(tmp_path: Path, temporary: Path) -> None:
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
        with pytest.raises(InputError, match=f"{name}: (not a readable bag|no bag in this folder)"):
            with Bag(tmp_path / name, recover=True):
                pass


def test_a_full_disk_gives_advice(
    tmp_path: Path, drive_bag: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cut.mcap").write_bytes(next(drive_bag.glob("*.mcap")).read_bytes()[:-50])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(McapWriter, "add_message", full)
    with pytest.raises(InputError, match=r"\(No space left on device\); .*set TMPDIR"):
        with Bag(tmp_path / "cut.mcap", recover=True):
            pass


def test_a_cut_bag_is_listed_with_its_break(
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


def test_a_clock_that_is_wrong_by_a_constant_is_measured(tmp_path: Path) -> None:
    """As when one camera shows atomic time: the images of 37 s later were recorded together."""
    images = []
    for number in range(10):
        time = START + number * 50 * MS
        images += [(VISIBLE, time, time + 8 * MS), (THERMAL, time + 37_000 * MS, time + 8 * MS)]
    write_images(tmp_path / "b", images)
    with Bag(tmp_path / "b") as bag:
        with pytest.raises(InputError, match=r"37.000 s ahead: set .* to -37.000 s"):
            match_images(bag, TOPICS)
        assert len(match_images(bag, TOPICS, offset_ns=-37_000 * MS)) == 10


def test_a_slow_and_a_fast_camera_are_paired_by_the_nearest_stamps(tmp_path: Path) -> None:
    """Visible at 10 Hz beside thermal at 30 Hz."""
    images = [(VISIBLE, START + n * 100 * MS, START + n * 100 * MS) for n in range(10)]
    images += [(THERMAL, START + (4 + 33 * n) * MS, START + (4 + 33 * n) * MS) for n in range(30)]
    write_images(tmp_path / "b", sorted(images, key=lambda image: image[2]))
    with Bag(tmp_path / "b") as bag:
        matches = match_images(bag, TOPICS)
    assert len(matches) == 10
    assert all(abs(m.visible_stamp - m.thermal_stamp) <= 16 * MS for m in matches)


def test_cameras_that_never_meet_need_a_larger_slop(tmp_path: Path) -> None:
    images = []
    for number in range(10):
        time = START + number * 100 * MS
        images += [(VISIBLE, time, time), (THERMAL, time + 50 * MS, time + 50 * MS)]
    write_images(tmp_path / "b", images)
    with Bag(tmp_path / "b") as bag, pytest.raises(InputError, match="Then raise the slop"):
        match_images(bag, TOPICS)


# --- damaged messages


@pytest.mark.parametrize("data", [b"", b"\0\1\0\0", b"\0\1\0\0" + b"\xff" * 60])
def test_a_damaged_message_costs_one_pair_and_is_named(tmp_path: Path, data: bytes) -> None:
    """Empty, without a header, or with an impossible length: also as the first of its topic."""
    pairs = small_pairs(4)
    write_pairs(tmp_path / "whole", pairs)
    with Bag(tmp_path / "whole") as source, Writer(
        tmp_path / "b", version=9, storage_plugin=StoragePlugin.MCAP
    ) as writer:  # fmt: skip
        out = {t: writer.add_connection(t, IMAGE_TYPE, typestore=TYPES) for t in TOPICS}
        for number, message in enumerate(source.messages()):
            writer.write(out[message.topic], message.time, data if number == 0 else message.data)
    with Bag(tmp_path / "b") as bag:
        assert [topic.count for topic in bag.topics()] == [4, 4]
    results = dict(read_sources(find_pairs(tmp_path / "b", 1).pairs))
    assert len(results) == 4
    errors = [pair for pair in results.values() if isinstance(pair, InputError)]
    assert len(errors) == 1 and VISIBLE in str(errors[0])
    dataset = PairDataset([find_pairs(tmp_path / "b", 1)])
    assert len(dataset) == 3
    assert "1 of 4 pairs cannot be read" in dataset.skipped[0]


# --- matches that are not of `matches`


def test_two_pairs_may_share_a_thermal_image(tmp_path: Path) -> None:
    """As at visible rate, where a slow thermal camera gives one image for several pairs."""
    write_pairs(tmp_path / "b", small_pairs(6))
    stream = BagStream(tmp_path / "b", TOPICS)
    own = stream.matches()
    shared = {
        number: replace(match, thermal_stamp=first.thermal_stamp, thermal_time=first.thermal_time)
        for number, match in enumerate(own)
        for first in [own[number // 3 * 3]]
    }
    pairs = dict(stream.pairs(shared))
    shown = {n: (pair.visible[0, 0, 0], pair.thermal[0, 0]) for n, pair in pairs.items()}  # type: ignore[union-attr]
    assert shown == {n: (n, n // 3 * 3) for n in range(6)}


def test_a_pair_that_is_not_in_the_bag_is_named(tmp_path: Path) -> None:
    write_pairs(tmp_path / "b", small_pairs(3))
    stream = BagStream(tmp_path / "b", TOPICS)
    matches = dict(enumerate(stream.matches()))
    matches[1] = replace(matches[1], thermal_order=1)
    pairs = dict(stream.pairs(matches))
    assert isinstance(pairs[0], Pair) and isinstance(pairs[2], Pair)
    assert "pair 1 is not in the bag any more" in str(pairs[1])
