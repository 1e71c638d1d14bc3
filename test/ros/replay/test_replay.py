"""`ssvif play` and `ssvif demo` with real bags, processes and DDS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from harness import TIMEOUT
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from ssvif_core.recordings.bags import Bag
from ssvif_core.types import stamp_of

VISIBLE, THERMAL = "/visible/image_raw", "/thermal/image_raw"


def command(*arguments: object) -> list[str]:
    """The command line of `ssvif` with these arguments."""
    return [sys.executable, "-m", "ssvif_core.cli", *map(str, arguments)]


def ssvif(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=170,
        env={**os.environ, **environment},
    )  # fmt: skip


class Listener:
    """Collects the messages of some topics in its own DDS domain."""

    def __init__(self, domain: int, topics: dict[str, type]) -> None:
        self.domain = domain
        self.messages: dict[str, list[Any]] = {topic: [] for topic in topics}
        self.changed = threading.Condition()
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node("listener", context=self.context)
        for topic, message_type in topics.items():
            self.node.create_subscription(
                message_type,
                topic,
                lambda message, topic=topic: self._receive(topic, message),
                QoSProfile(depth=50),
            )
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)
        self.thread.start()

    def _receive(self, topic: str, message: object) -> None:
        with self.changed:
            self.messages[topic].append(message)
            self.changed.notify_all()

    def wait(self, topic: str, count: int) -> None:
        """Wait for `count` messages on a topic."""
        with self.changed:
            done = self.changed.wait_for(
                lambda: len(self.messages[topic]) >= count, timeout=TIMEOUT
            )
        assert done, f"{len(self.messages[topic])} of {count} on {topic}"

    def close(self) -> None:
        self.executor.shutdown()
        self.thread.join(timeout=TIMEOUT)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


MakeListener = Callable[..., Listener]


@pytest.fixture
def listener(next_domain: Callable[[], int]) -> Iterator[MakeListener]:
    """Creates listeners, and closes them after the test."""
    listeners: list[Listener] = []

    def create(**topics: type) -> Listener:
        listeners.append(Listener(next_domain(), topics))
        return listeners[-1]

    yield create
    for item in listeners:
        item.close()


def test_play_sends_all_messages_with_the_recorded_timing(
    listener: MakeListener, drive_bag: Path, tmp_path: Path
) -> None:
    cameras = listener(**{"/cam": Image, THERMAL: Image, "/clock": Clock})
    result = ssvif(
        "play", drive_bag, "--rate", 0.5, "--clock", "--remap", f"{VISIBLE}:=/cam",
        "--wait", 20, "--report", tmp_path / "sent.json", ROS_DOMAIN_ID=str(cameras.domain),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    cameras.wait("/cam", 12)
    cameras.wait(THERMAL, 12)
    sent = json.loads((tmp_path / "sent.json").read_text())
    times = np.array([time for topic, _, time in sent if topic == VISIBLE])
    assert np.median(np.diff(times)) == pytest.approx(2 / 30, abs=0.02)
    assert cameras.messages["/clock"]
    stamps = [stamp_of(message.header) for message in cameras.messages["/cam"]]
    assert stamps == [stamp for topic, stamp, _ in sent if topic == VISIBLE]


def test_play_loops_until_it_is_interrupted(listener: MakeListener, drive_bag: Path) -> None:
    camera = listener(**{VISIBLE: Image})
    player = subprocess.Popen(
        command("play", drive_bag, "--loop", "--rate", 4, "--topic", VISIBLE, "--wait", 20),
        env={**os.environ, "ROS_DOMAIN_ID": str(camera.domain)},
    )
    camera.wait(VISIBLE, 30)
    player.send_signal(signal.SIGINT)
    assert player.wait(timeout=TIMEOUT) in (0, 130)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("{0}/none",), "no such bag"),
        (("{1}", "--topic", "/x"), "no topic /x"),
        (("{1}", "--rate", "0"), "rate 0.0; expected above 0"),
        (("{1}", "--remap", "a=b"), "--remap a=b; expected /recorded:=/played"),
        (("{1}", "--wait", "0.5"), "no subscriber on"),
    ],
)
def test_play_explains_bad_options(
    arguments: tuple[str, ...], text: str, drive_bag: Path, tmp_path: Path
) -> None:
    result = ssvif("play", *(argument.format(tmp_path, drive_bag) for argument in arguments))
    assert result.returncode == 2
    assert text in result.stderr and "Traceback" not in result.stderr


def check_demo(out: Path, pairs: int) -> None:
    """Check the videos, pictures and figures of a demo."""
    for name in ("fused.mp4", "overlay.mp4"):
        video = cv2.VideoCapture(str(out / name))
        assert video.read()[0]
    sheet = cv2.imread(str(out / "contact_sheet.png"))
    assert sheet.shape[1] == 4 * 480
    assert sheet.std() > 20
    figures = json.loads((out / "result.json").read_text())
    assert figures["pairs_in_bag"] == pairs
    assert figures["pairs_fused"] + sum(figures["dropped"].values()) == pairs
    assert figures["pairs_fused"] > 0
    assert figures["latency_ms"]["p50"] <= figures["latency_ms"]["p95"]
    assert "openvino" in figures["engine"]
    with Bag(out / "outputs") as bag:
        assert bag.count >= figures["pairs_fused"]


def test_demo_fuses_a_generated_drive(tmp_path: Path) -> None:
    result = ssvif("demo", "--frames", 30, "--out", tmp_path / "demo")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "frames per second" in result.stdout
    check_demo(tmp_path / "demo", 30)


def test_demo_fuses_a_bag(tmp_path: Path, drive_bag: Path) -> None:
    out = tmp_path / "demo"
    result = ssvif(
        "demo", "--bag", drive_bag, "--visible", VISIBLE, "--thermal", THERMAL, "--out", out
    )
    assert result.returncode == 0, result.stdout + result.stderr
    check_demo(out, 12)


def test_demo_goes_on_after_damaged_messages(tmp_path: Path, damaged_bag: Path) -> None:
    out = tmp_path / "demo"
    result = ssvif(
        "demo", "--bag", damaged_bag, "--visible", VISIBLE, "--thermal", THERMAL, "--out", out
    )
    assert result.returncode == 0, result.stdout + result.stderr
    check_demo(out, 9)


def test_demo_fuses_two_videos(tmp_path: Path, shared: Path) -> None:
    videos = []
    for camera in ("vi", "ir"):
        source = cv2.VideoCapture(str(shared / "m3svd" / camera / "0117_1605.mp4"))
        target = tmp_path / f"{camera}.mp4"
        writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 30, (640, 480))
        for _ in range(20):
            writer.write(source.read()[1])
        writer.release()
        videos.append(target)
    out = tmp_path / "demo"
    result = ssvif("demo", "--video", videos[0], "--thermal-video", videos[1], "--out", out)
    assert result.returncode == 0, result.stdout + result.stderr
    check_demo(out, 20)


def test_demo_does_not_empty_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = ssvif("demo", "--out", tmp_path)
    assert (
        result.returncode == 2 and "thesis.txt, which is not from an earlier demo" in result.stderr
    )
    assert (tmp_path / "thesis.txt").exists()


def test_demo_does_not_overwrite_a_recording_of_the_same_name(
    tmp_path: Path, drive_bag: Path
) -> None:
    shutil.copytree(drive_bag, tmp_path / "work" / "drive")
    for arguments in ((), ("--bag", tmp_path / "work" / "drive")):
        result = ssvif("demo", *arguments, "--out", tmp_path / "work")
        assert result.returncode == 2 and "Traceback" not in result.stderr
        assert list((tmp_path / "work" / "drive").iterdir())


def test_demo_explains_why_nothing_was_fused(tmp_path: Path, drive_bag: Path) -> None:
    out = tmp_path / "demo"
    for visible, thermal, text in (
        (THERMAL, VISIBLE, "Are the visible and the thermal images swapped?"),
        (THERMAL, THERMAL, "is given as the visible and as the thermal topic"),
    ):
        result = ssvif(
            "demo", "--bag", drive_bag, "--visible", visible, "--thermal", thermal, "--out", out
        )
        assert result.returncode == 2
        assert text in result.stderr and "Traceback" not in result.stderr


def test_demo_explains_bad_options(tmp_path: Path, drive_bag: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/result.json").write_text("of an earlier run")
    for arguments, text in (
        (("--out", tmp_path / "file" / "x"), "cannot be written"),
        (("--bag", drive_bag, "--visible", "/x", "--out", tmp_path / "d"), "give both"),
        (
            ("--bag", drive_bag, "--visible", "/x", "--thermal", THERMAL, "--out", tmp_path / "d"),
            "no topic /x",
        ),
        (("--video", tmp_path / "v.mp4", "--out", tmp_path / "d"), "belong together"),
    ):
        result = ssvif("demo", *arguments)
        assert result.returncode == 2 and text in result.stderr, result.stderr
        assert "Traceback" not in result.stderr
    assert (tmp_path / "d/result.json").read_text() == "of an earlier run"
