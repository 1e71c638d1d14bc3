"""Bags are written, read and described; errors name bags that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from ssvif_core.errors import InputError
from ssvif_core.recordings.bags import Bag, decode, write_pairs
from ssvif_core.recordings.video import VideoWriter, video_pairs
from ssvif_core.types import Pair, stamp_of

VISIBLE, THERMAL = "/visible/image_raw", "/thermal/image_raw"


def test_written_pairs_are_read_unchanged(drive_bag: Path, drive_pairs: list[Pair]) -> None:
    with Bag(drive_bag) as bag:
        images = [(m.topic, decode(m)) for m in bag.messages()]
    visible = [image for topic, image in images if topic == VISIBLE]
    thermal = [image for topic, image in images if topic == THERMAL]
    for pair, v, t in zip(drive_pairs, visible, thermal, strict=True):
        assert stamp_of(v.header) == pair.visible_stamp
        assert stamp_of(t.header) == pair.thermal_stamp
        assert np.array_equal(v.data.reshape(pair.visible.shape), pair.visible)
        assert np.array_equal(t.data.view("<u2").reshape(pair.thermal.shape), pair.thermal)


def test_topics_have_the_size_and_encoding_of_their_images(drive_bag: Path) -> None:
    with Bag(drive_bag) as bag:
        assert {t.name: t.frames for t in bag.topics()} == {
            VISIBLE: "320x240 bgr8",
            THERMAL: "160x128 mono16",
        }


def test_an_mcap_file_without_its_folder_is_a_bag(drive_bag: Path) -> None:
    with Bag(next(drive_bag.glob("*.mcap"))) as bag:
        assert bag.count == 24


def test_sqlite_bags_are_read(tmp_path: Path, drive_bag: Path) -> None:
    types = get_typestore(Stores.ROS2_JAZZY)
    with Writer(tmp_path / "b", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        with Bag(drive_bag) as source:
            connections = {
                topic.name: writer.add_connection(topic.name, topic.type, typestore=types)
                for topic in source.topics()
            }
            for message in source.messages():
                writer.write(connections[message.topic], message.time, message.data)
    with Bag(tmp_path / "b") as bag:
        assert bag.count == 24


def test_ros1_bags_are_read(tmp_path: Path) -> None:
    types = get_typestore(Stores.ROS1_NOETIC)
    image_type = "sensor_msgs/msg/Image"
    time = types.types["builtin_interfaces/msg/Time"]
    header = types.types["std_msgs/msg/Header"]
    with Rosbag1Writer(tmp_path / "old.bag") as writer:
        connection = writer.add_connection(VISIBLE, image_type, typestore=types)
        for index in range(3):
            message = types.types[image_type](
                header(index, time(5, index), "camera"), 16, 20, "mono8", 0, 20,
                np.full(320, index, np.uint8),
            )  # fmt: skip
            data = types.serialize_ros1(message, image_type)
            writer.write(connection, 5_000_000_000 + index, data)
    with Bag(tmp_path / "old.bag") as bag:
        images = [decode(message) for message in bag.messages([VISIBLE])]
    assert [stamp_of(image.header) for image in images] == [5_000_000_000 + i for i in range(3)]
    assert [int(image.data[0]) for image in images] == [0, 1, 2]


def test_a_missing_topic_is_refused_with_the_existing_topics(drive_bag: Path) -> None:
    with Bag(drive_bag) as bag, pytest.raises(InputError, match=f"no topic /x; .*{THERMAL}"):
        bag.require(VISIBLE, "/x")


def test_unreadable_bags_are_refused(tmp_path: Path, drive_bag: Path) -> None:
    whole = next(drive_bag.glob("*.mcap")).read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.mcap").write_bytes(b"")
    (tmp_path / "other.mcap").write_bytes(b"not a bag at all" * 100)
    (tmp_path / "folder").mkdir()
    for name in ("cut.mcap", "empty.mcap", "other.mcap", "folder", "nowhere"):
        with pytest.raises(
            InputError, match=f"{name}: (not a readable bag|no such bag|no bag in this folder)"
        ):
            with Bag(tmp_path / name):
                pass


def test_a_bag_without_messages_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / "b", version=9, storage_plugin=StoragePlugin.MCAP):
        pass
    with pytest.raises(InputError, match="the bag is empty|not a readable bag"):
        with Bag(tmp_path / "b"):
            pass


def test_a_bag_in_an_unusable_place_is_refused(tmp_path: Path, drive_pairs: list[Pair]) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "bag", tmp_path):
        with pytest.raises(InputError, match="cannot be written"):
            write_pairs(path, drive_pairs)


def test_two_videos_give_pairs(tmp_path: Path) -> None:
    for name, frames in (("v.mp4", 5), ("t.mp4", 4)):
        with VideoWriter(tmp_path / name, 20.0) as video:
            for index in range(frames):
                video.write(np.full((48, 64, 3), 40 * index, np.uint8))
    pairs = list(video_pairs(tmp_path / "v.mp4", tmp_path / "t.mp4"))
    assert len(pairs) == 4
    assert pairs[1].visible_stamp - pairs[0].visible_stamp == 50_000_000
    assert abs(int(pairs[3].thermal.mean()) - 120) < 5


def test_an_unreadable_or_missing_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_text("no video")
    with pytest.raises(InputError, match="v.mp4: cannot be read as a video"):
        next(video_pairs(tmp_path / "v.mp4", tmp_path / "v.mp4"))
    with pytest.raises(InputError, match="no such video file"):
        next(video_pairs(tmp_path / "none.mp4", tmp_path / "v.mp4"))
