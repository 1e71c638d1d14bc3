"""A replay with `pairing: visible_rate`, where a thermal image is in several pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rosbags.rosbag2 import StoragePlugin, Writer

from ssvif_core.recordings.bags import IMAGE_TYPE, THERMAL_TOPIC, TYPES, VISIBLE_TOPIC, Bag
from ssvif_ros.replay.replay import FUSED, ReplayOptions, replay


def slow_thermal(bag: Path, path: Path) -> Path:
    """The bag with every third thermal image."""
    with Bag(bag) as source, Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        out = {
            topic: writer.add_connection(topic, IMAGE_TYPE, typestore=TYPES)
            for topic in (VISIBLE_TOPIC, THERMAL_TOPIC)
        }
        thermal = 0
        for message in source.messages():
            thermal += message.topic == THERMAL_TOPIC
            if message.topic == VISIBLE_TOPIC or thermal % 3 == 1:
                writer.write(out[message.topic], message.time, message.data)
    return path


def test_every_pair_is_accounted_for_and_no_count_is_negative(
    drive_bag: Path, tmp_path: Path
) -> None:
    bag = slow_thermal(drive_bag, tmp_path / "slow")
    options = ReplayOptions(
        bag, VISIBLE_TOPIC, THERMAL_TOPIC, tmp_path / "a", topics=(FUSED,),
        parameters={"pairing": "visible_rate"},
    )  # fmt: skip
    fast = replay(options, lambda count, total: None)
    assert fast.pairs_in_bag == 12
    assert min(fast.dropped.values()) >= 0
    # The first visible image comes before the first thermal one.
    assert fast.pairs_fused + sum(fast.dropped.values()) == 12
    # The thermal image of a pair may be sent after the pair was fused.
    assert all(trace.latency_ms > 0 for trace in fast.traces if trace.latency_ms is not None)
    slow = replay(
        replace(options, recording=tmp_path / "b", parameters={}), lambda count, total: None
    )
    assert slow.pairs_in_bag == 4
    assert slow.pairs_fused + sum(slow.dropped.values()) == 4
