"""Plays a bag with its recorded timing, like `ros2 bag play`, for machines without ROS."""

from __future__ import annotations

import importlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from ssvif_core.errors import InputError
from ssvif_core.recordings.bags import COMPRESSED_TYPE, IMAGE_TYPE, Bag, stamp_or_time


@dataclass(frozen=True)
class PlayOptions:
    """How a bag is played.

    Attributes:
        rate: speed; 1.0 is as recorded.
        loop: start again at the end, forever.
        clock: publish /clock.
        best_effort: offer best effort, as cameras do.
        remap: recorded topic -> topic.
        topics: only these (recorded names); empty plays all.
        wait: seconds to wait for a subscriber on every image topic before the first message.
    """

    rate: float = 1.0
    loop: bool = False
    clock: bool = False
    best_effort: bool = False
    remap: dict[str, str] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    wait: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 100:
            raise InputError(f"rate {self.rate}; expected above 0, at most 100")


@dataclass(frozen=True)
class Sent:
    """An image that was played: recorded topic, header stamp (ns), time of sending (s, epoch)."""

    topic: str
    stamp: int
    time: float


def play(path: Path, options: PlayOptions) -> tuple[list[Sent], list[str]]:
    """Play a bag in this process; rclpy must be initialised.

    Returns:
        The images that were sent (in the last loop), and the topics that were left out because
        their message type is not installed.

    Raises:
        InputError: the bag cannot be read or lacks a topic, or no one subscribes in time.
    """
    node = rclpy.create_node("ssvif_player")
    try:
        with Bag(path) as bag:
            bag.require(*options.topics)
            publishers, left_out = _publishers(node, bag, options)
            _wait_for_subscribers(node, publishers, options.wait)
            clock = node.create_publisher(Clock, "/clock", 10) if options.clock else None
            while True:
                sent = _play_once(bag, publishers, options, clock)
                if not (options.loop and rclpy.ok()):
                    break
            for publisher, _ in publishers.values():
                publisher.wait_for_all_acked()
            return sent, left_out
    finally:
        node.destroy_node()


def _publishers(
    node: Node, bag: Bag, options: PlayOptions
) -> tuple[dict[str, tuple[Publisher, bool]], list[str]]:
    """Recorded topic -> publisher and whether it has images; and the topics left out."""
    reliability = (
        ReliabilityPolicy.BEST_EFFORT if options.best_effort else ReliabilityPolicy.RELIABLE
    )
    publishers, left_out = {}, []
    for topic in bag.topics():
        if options.topics and topic.name not in options.topics:
            continue
        try:
            package, _, name = topic.type.split("/")  # fails for a topic with several types
            message_type = getattr(importlib.import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError, ValueError):
            left_out.append(f"{topic.name} ({topic.type})")
            continue
        qos = QoSProfile(depth=10, reliability=reliability)
        publisher = node.create_publisher(
            message_type, options.remap.get(topic.name, topic.name), qos
        )
        publishers[topic.name] = (publisher, topic.type in (IMAGE_TYPE, COMPRESSED_TYPE))
    if not publishers:
        raise InputError(f"{bag.path}: nothing to play; left out: {', '.join(left_out)}")
    return publishers, left_out


def _wait_for_subscribers(
    node: Node, publishers: dict[str, tuple[Publisher, bool]], timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    waiting = [p for p, is_image in publishers.values() if is_image] if timeout else []
    while waiting:
        waiting = [p for p in waiting if not p.get_subscription_count()]
        if waiting and time.monotonic() > deadline:
            raise InputError(
                f"no subscriber on {waiting[0].topic_name} after {timeout:.0f} s; is the node "
                "running, on the same ROS_DOMAIN_ID, with this topic?"
            )
        rclpy.spin_once(node, timeout_sec=0.02)


def _play_once(
    bag: Bag,
    publishers: dict[str, tuple[Publisher, bool]],
    options: PlayOptions,
    clock: Publisher | None,
) -> list[Sent]:
    sent: list[Sent] = []
    start, first = time.monotonic(), None
    for message in bag.messages(publishers):
        first = message.time if first is None else first
        due = start + (message.time - first) * 1e-9 / options.rate
        time.sleep(max(0.0, due - time.monotonic()))
        if not rclpy.ok():
            break
        if clock is not None:
            tick = Clock()
            tick.clock.sec, tick.clock.nanosec = divmod(message.time, 1_000_000_000)
            clock.publish(tick)
        publisher, is_image = publishers[message.topic]
        if is_image:
            sent.append(Sent(message.topic, stamp_or_time(message), time.time()))
        publisher.publish(message.data)
    return sent


def write_report(path: Path, sent: list[Sent]) -> None:
    """Write what was sent when, as JSON rows [topic, stamp, time], for measuring latency."""
    path.write_text(json.dumps([[image.topic, image.stamp, image.time] for image in sent]))


def read_report(path: Path) -> list[Sent]:
    """Read what `write_report` wrote."""
    return [Sent(*row) for row in json.loads(path.read_text())]
