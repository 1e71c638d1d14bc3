"""The next good pair is fused within a second of the end of each fault."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from harness import PERIOD, START, Cameras, Robot, image, scene
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import CompressedImage, Image

from ssvif_core.errors import InputError
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.recordings.encodings import THERMAL_ENCODINGS, VISIBLE_ENCODINGS
from ssvif_core.types import stamp_of
from ssvif_ros.node.messages import thermal_array, visible_array

MakeRobot = Callable[..., Robot]
Recovered = Callable[..., None]

LISTENER = """
import rclpy
from sensor_msgs.msg import CompressedImage, Image
rclpy.init()
node = rclpy.create_node("listener")
node.create_subscription(Image, "/fusion_node/fused/image", lambda _: print("got", flush=True), 10)
rclpy.spin(node)
"""


def listener(r: Robot) -> subprocess.Popen[str]:
    """A program that listens to the fused image, once it has got one."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENER], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "ROS_DOMAIN_ID": str(r.domain)},
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline().strip() == "got"
    return process


def memory_mb(r: Robot) -> float:
    """What the node has allocated. Pages of libraries come and go as the machine needs memory."""
    lines = Path(f"/proc/{r.process.pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "VmSwap")) / 1024


def running(cameras: Cameras, r: Robot) -> None:
    r.wait(lambda: len(r.received["fused/image"]) >= 5, "five fused pairs")


def disturb(cameras: Cameras, alter: Callable[..., Any], seconds: float) -> None:
    """Let the cameras send altered images for some time."""
    normal, cameras.alter = cameras.alter, alter
    time.sleep(seconds)
    cameras.alter = normal


# --- programs that die


def test_the_node_is_killed_and_started_again(robot: MakeRobot, recovered: Recovered) -> None:
    r = robot()
    with Cameras(r) as cameras:
        running(cameras, r)
        r.process.kill()
        r.process.wait()
        lines = len(r.log)
        r.process = subprocess.Popen(
            r._command, env=r._environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        threading.Thread(target=r._read_log, daemon=True).start()
        r.wait(lambda: "thermal: subscribed to" in "".join(r.log[lines:]), "the new node")
        recovered("node killed (-9) and started again: from its subscription", r, cameras)


def test_a_subscriber_is_killed(robot: MakeRobot, recovered: Recovered) -> None:
    r = robot()
    with Cameras(r) as cameras:
        running(cameras, r)
        victim = listener(r)
        victim.kill()
        victim.wait()
        recovered("subscriber killed (-9)", r, cameras)


def test_a_publisher_is_killed(robot: MakeRobot, recovered: Recovered, tmp_path: Path) -> None:
    from ssvif_core.recordings.bags import write_pairs
    from ssvif_core.types import Pair

    visible, thermal = scene()
    pairs = [Pair(visible, thermal + np.uint16(i), START + i * PERIOD, START + i * PERIOD)
             for i in range(300)]  # fmt: skip
    write_pairs(tmp_path / "bag", pairs, "/visible/image_raw", "/thermal/image_raw")
    r = robot()
    command = [sys.executable, "-m", "ssvif_core.cli", "play", str(tmp_path / "bag"), "--wait", "5"]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(r.domain)}
    player = subprocess.Popen(command, env=environment)
    r.wait(lambda: len(r.received["fused/image"]) >= 5, "five fused pairs")
    player.kill()
    player.wait()
    with Cameras(r) as cameras:
        recovered("publisher of both cameras killed (-9), another one begins", r, cameras)


@pytest.mark.parametrize("count", [50])
def test_subscribers_come_and_go(robot: MakeRobot, recovered: Recovered, count: int) -> None:
    r = robot()
    with Cameras(r) as cameras:
        running(cameras, r)
        before = memory_mb(r)
        for _ in range(count):
            subscription = r.node.create_subscription(
                Image, "/fusion_node/segmentation/overlay", lambda _message: None, 10
            )
            time.sleep(0.05)
            r.node.destroy_subscription(subscription)
        recovered(f"{count} subscribers came and went", r, cameras,
                  memory_mb=round(memory_mb(r) - before, 1))  # fmt: skip


# --- cameras and their stamps


@pytest.mark.parametrize("camera", ["visible", "thermal"])
def test_a_camera_is_silent_for_five_seconds(
    robot: MakeRobot, recovered: Recovered, camera: str
) -> None:
    r = robot()
    with Cameras(r) as cameras:
        running(cameras, r)
        cameras.sent = {"visible", "thermal"} - {camera}
        time.sleep(5)
        cameras.sent = {"visible", "thermal"}
        r.state(lambda values, _: values["cameras shown"] == "both", "both cameras", 10)
        recovered(f"{camera} camera silent for 5 s", r, cameras)


def _stamped(message: Image, stamp: int) -> Image:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return message


def _shift(seconds: float) -> Callable[[int, Image, Image], Any]:
    def alter(number: int, visible: Image, thermal: Image) -> Any:
        stamp = START + number * PERIOD + round(seconds * 1e9)
        return _stamped(visible, stamp), _stamped(thermal, stamp)

    return alter


def _zero(_number: int, visible: Image, thermal: Image) -> Any:
    return _stamped(visible, 0), _stamped(thermal, 0)


def _repeated(number: int, visible: Image, thermal: Image) -> Any:
    stamp = START + number // 3 * 3 * PERIOD
    return _stamped(visible, stamp), _stamped(thermal, stamp)


def _lossy(number: int, visible: Image, thermal: Image) -> Any:
    draw = random.Random(number)
    return (visible if draw.random() > 0.1 else None, thermal if draw.random() > 0.1 else None)


def _reordered(number: int, visible: Image, thermal: Image) -> Any:
    stamp = START + (number + (1 if number % 2 else -1)) * PERIOD
    return _stamped(visible, stamp), _stamped(thermal, stamp)


def _other_encoding(number: int, visible: Image, thermal: Image) -> Any:
    stamp = START + number * PERIOD
    colour, heat = scene()
    return image(colour[..., ::-1].copy(), "rgb8", stamp), image(
        (heat // 40).astype(np.uint8), "mono8", stamp
    )


def _other_size(number: int, visible: Image, thermal: Image) -> Any:
    if number % 5:
        return visible, thermal
    colour, heat = scene((320, 240))
    stamp = START + number * PERIOD
    return image(colour, "bgr8", stamp), image(heat, "mono16", stamp)


@pytest.mark.parametrize(
    ("name", "alter"),
    [
        ("10 % of the images lost", _lossy),
        ("stamps in pairs out of order", _reordered),
        ("stamps three times each", _repeated),
        ("stamps 0", _zero),
        ("stamps an hour ahead", _shift(3600)),
        ("stamps 37 s ahead (TAI)", _shift(37)),
        ("stamps ten minutes back", _shift(-600)),
        ("rgb8 and mono8 in place of bgr8 and mono16", _other_encoding),
        ("every fifth pair of another size", _other_size),
    ],
)
def test_odd_streams(
    robot: MakeRobot, recovered: Recovered, name: str, alter: Callable[..., Any]
) -> None:
    r = robot()
    with Cameras(r) as cameras:
        running(cameras, r)
        disturb(cameras, alter, 3)
        recovered(f"for 3 s: {name}", r, cameras)


# --- bad images


def _bad_images() -> dict[str, Callable[[Image], None]]:
    def cut(message: Image) -> None:
        message.data = message.data[: len(message.data) // 2]

    return {
        "data cut in half": cut,
        "no data": lambda m: setattr(m, "data", array("B")),
        "unknown encoding": lambda m: setattr(m, "encoding", "bgr9"),
        "encoding of 1 MB": lambda m: setattr(m, "encoding", "x" * 1_000_000),
        "no encoding": lambda m: setattr(m, "encoding", ""),
        "step 0": lambda m: setattr(m, "step", 0),
        "claims 60000x60000": lambda m: (setattr(m, "width", 60000), setattr(m, "height", 60000)),
        "width 0": lambda m: setattr(m, "width", 0),
        "negative stamp": lambda m: setattr(m.header.stamp, "sec", -5),
    }


@pytest.mark.parametrize("name", _bad_images())
@pytest.mark.parametrize("camera", ["visible", "thermal"])
def test_bad_images(robot: MakeRobot, recovered: Recovered, camera: str, name: str) -> None:
    damage = _bad_images()[name]

    def alter(_number: int, visible: Image, thermal: Image) -> Any:
        damage(visible if camera == "visible" else thermal)
        return visible, thermal

    r = robot()
    with Cameras(r) as cameras:
        running(cameras, r)
        disturb(cameras, alter, 1.5)
        recovered(f"{camera} images for 1.5 s: {name}", r, cameras)


ENCODINGS = [*VISIBLE_ENCODINGS, *THERMAL_ENCODINGS, "", "x", "32SC4"]


def fuzzed_image(draw: random.Random) -> Image:
    """A message whose fields do not fit together."""
    message = Image(
        height=draw.choice([0, 1, 16, 48, 5000, 2**32 - 1]), width=draw.choice([0, 1, 33, 64]),
        encoding=draw.choice(ENCODINGS), step=draw.choice([0, 1, 64, 192, 2**32 - 1]),
        is_bigendian=draw.choice([0, 1, 255]),
    )  # fmt: skip
    message.data = array("B", draw.randbytes(draw.choice([0, 1, 4096, 9216])))
    message.header.stamp.sec = draw.choice([0, 1000, 2**31 - 1, -1])
    message.header.frame_id = draw.choice(["", "camera", "\n" * 100])
    return message


def damaged_message(draw: random.Random) -> Image | CompressedImage:
    """A good message, or a compressed one, with some bytes or one field changed."""
    height, width = draw.choice([16, 17, 48]), draw.choice([16, 33, 64])
    pixels = np.frombuffer(draw.randbytes(height * width * 4), np.uint8).reshape(height, width, 4)
    if draw.random() < 0.5:
        suffix = draw.choice([".png", ".jpg", ".tiff", ".webp"])
        data = bytearray(cv2.imencode(suffix, pixels[..., : draw.choice([1, 3])])[1].tobytes())
        for _ in range(draw.choice([0, 1, 20])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        return CompressedImage(
            format=draw.choice(["png", "jpeg", "", "mono16; png compressed", "x" * 1000]),
            data=array("B", data[: draw.choice([0, 10, len(data) // 2, len(data)])]),
        )
    encoding = draw.choice(ENCODINGS)
    samples = draw.choice([1, 2, 3, 4])
    message = image(np.ascontiguousarray(pixels[..., :samples]), encoding, START)
    field = draw.choice(["height", "width", "step", "encoding", "is_bigendian", "data"])
    if field == "encoding":
        message.encoding = draw.choice(ENCODINGS) + draw.choice(["", " ", "\0", "16"])
    elif field == "data":
        message.data = message.data[: draw.randrange(len(message.data) + 1)]
    elif field == "is_bigendian":
        message.is_bigendian = draw.choice([1, 255])
    else:
        setattr(message, field, draw.choice([0, 1, getattr(message, field) + 1, 2**32 - 1]))
    return message


def test_a_hundred_thousand_damaged_messages_give_an_image_or_a_sentence(
    noted: Callable[..., None],
) -> None:
    """Straight into the conversion, without DDS."""
    draw, refused, started = random.Random(0), 0, time.monotonic()
    for number in range(50_000):
        message = damaged_message(draw) if number % 2 else fuzzed_image(draw)
        for convert in (visible_array, thermal_array):
            try:
                assert convert(message).size
            except InputError as error:
                refused += 1
                assert 10 < len(str(error)) < 3000, str(error)[:200]
    took_s = round(time.monotonic() - started)
    noted("100,000 conversions of damaged messages", refused=refused, seconds_for_all=took_s)


def test_two_thousand_fuzzed_messages(robot: MakeRobot, recovered: Recovered) -> None:
    draw = random.Random(0)
    r = robot()
    with Cameras(r) as cameras:
        running(cameras, r)
        cameras.sent = set()
        for _ in range(1000):
            r.send(fuzzed_image(draw), fuzzed_image(draw))
            time.sleep(0.002)
        cameras.sent = {"visible", "thermal"}
        recovered("2000 fuzzed messages", r, cameras)


# --- files and parameters


def test_files_are_damaged_while_the_node_runs(
    robot: MakeRobot, recovered: Recovered, tmp_path: Path
) -> None:
    model, calibration = tmp_path / "m.onnx", tmp_path / "camera_pair.yaml"
    model.write_bytes(DEFAULT_MODEL.read_bytes())
    r = robot({"model": str(model)})
    with Cameras(r) as cameras:
        running(cameras, r)
        model.write_bytes(DEFAULT_MODEL.read_bytes()[:1000])
        calibration.write_text("[" * 5000)
        recovered("model file cut and calibration file damaged while it runs", r, cameras)
        model.unlink()
        recovered("model file removed while it runs", r, cameras)


def test_an_unwritable_home(robot: MakeRobot, recovered: Recovered, tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.touch()  # nothing can be written below a file, not even by root
    environment = {**os.environ, "HOME": str(home / "home"), "XDG_CACHE_HOME": str(home / "cache"),
                   "ROS_LOG_DIR": str(tmp_path)}  # fmt: skip
    r = robot(environment=environment)
    with Cameras(r) as cameras:
        running(cameras, r)
        recovered("HOME and cache cannot be written", r, cameras)


def test_a_full_disk(robot: MakeRobot, recovered: Recovered, tmp_path: Path) -> None:
    from std_srvs.srv import Trigger

    r = robot({"save_folder": "/dev/full/pairs"})
    with Cameras(r) as cameras:
        running(cameras, r)
        client = r.node.create_client(Trigger, "/fusion_node/save_pair")
        r.wait(client.service_is_ready, "the service")
        future = client.call_async(Trigger.Request())
        r.wait(future.done, "an answer")
        assert not future.result().success
        recovered("~/save_pair into a place that cannot be written", r, cameras)


def test_a_thousand_parameter_sets(robot: MakeRobot, recovered: Recovered) -> None:
    r = robot()
    client = r.node.create_client(SetParameters, "/fusion_node/set_parameters")
    draw = random.Random(0)
    with Cameras(r) as cameras:
        running(cameras, r)
        r.wait(client.service_is_ready, "the service")
        futures = []
        for _ in range(1000):
            name, value = draw.choice([
                ("overlay_alpha", ParameterValue(type=3, double_value=draw.random())),
                ("slop", ParameterValue(type=3, double_value=draw.uniform(-1, 1))),
                ("jpeg_quality", ParameterValue(type=2, integer_value=draw.randint(-5, 120))),
                ("thermal_gain", ParameterValue(type=4, string_value=draw.choice(
                    ["auto", "percentile", "plateau", "nonsense"]))),
                ("on_missing", ParameterValue(type=4, string_value=draw.choice(
                    ["hold", "stop", "passthrough", ""]))),
                ("publish_overlay", ParameterValue(type=1, bool_value=draw.random() < 0.5)),
                ("engine", ParameterValue(type=4, string_value="tensorrt")),
                ("overlay_alpha", ParameterValue(type=77)),
            ])  # fmt: skip
            futures.append(client.call_async(
                SetParameters.Request(parameters=[Parameter(name=name, value=value)])
            ))  # fmt: skip
            time.sleep(0.002)
        reset = SetParameters.Request(parameters=[
            Parameter(name="slop", value=ParameterValue(type=3, double_value=0.02)),
            Parameter(name="on_missing", value=ParameterValue(type=4, string_value="passthrough")),
        ])  # fmt: skip
        last = client.call_async(reset)
        r.wait(last.done, "the last answer", 60)
        recovered("1000 parameter sets, a half of them senseless", r, cameras)


# --- load


def test_more_pairs_than_the_machine_can_fuse(robot: MakeRobot, noted: Recovered) -> None:
    r = robot({"threads": 1})
    with Cameras(r, period_s=1 / 120, size=(640, 480)) as cameras:
        r.wait(lambda: len(r.received["fused/image"]) >= 60, "sixty fused pairs", 60)
        state = r.state(lambda values, _: int(values["fused"]) > 60, "figures")
    work, latency = float(state["work per pair p50 ms"]), float(state["latency p50 ms"])
    assert latency < 2 * work + 5
    noted("120 pairs a second offered on one thread", work_ms=work, latency_p50_ms=latency,
          dropped=int(state["dropped, engine busy"]), sent=cameras.number)  # fmt: skip


def test_two_robots_with_one_parameter_file(next_domain: Callable[[], int], tmp_path: Path) -> None:
    file = tmp_path / "robots.yaml"
    file.write_text("/**:\n  ros__parameters:\n    slop: 0.03\n")
    environment = {**os.environ, "ROS_DOMAIN_ID": str(next_domain())}
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "ssvif_ros.node.fusion_node", "--ros-args", "--params-file",
             file, "-r", f"__ns:=/{name}"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for name in ("robot1", "robot2")
    ]  # fmt: skip
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(environment["ROS_DOMAIN_ID"]))
    node = rclpy.create_node("test", context=context)
    got: dict[str, int] = {"robot1": 0, "robot2": 0}
    publishers = {}
    for name in got:
        publishers[name] = [node.create_publisher(Image, f"/{name}/{camera}/image_raw", 10)
                            for camera in ("visible", "thermal")]  # fmt: skip
        node.create_subscription(
            Image, f"/{name}/fusion_node/fused/image",
            lambda _message, name=name: got.__setitem__(name, got[name] + 1), 10,
        )  # fmt: skip
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    deadline, number = time.monotonic() + 60, 0
    while not all(count >= 5 for count in got.values()) and time.monotonic() < deadline:
        number += 1
        colour, heat = scene()
        heat[0, 0] += number % 50
        for visible, thermal in publishers.values():
            visible.publish(image(colour, "bgr8", START + number * PERIOD))
            thermal.publish(image(heat, "mono16", START + number * PERIOD))
        executor.spin_once(timeout_sec=0.03)
    for process in nodes:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    node.destroy_node()
    rclpy.shutdown(context=context)
    assert all(count >= 5 for count in got.values()), got


def test_soak(robot: MakeRobot, noted: Recovered) -> None:
    """SOAK_MINUTES, 2 by default, at 30 Hz: every drop explained, no growth, no slower pairs."""
    minutes = float(os.environ.get("SOAK_MINUTES", "2"))
    r = robot(outputs=("fused/image", "segmentation/overlay"))
    sent: dict[int, float] = {}  # by stamp
    latencies: list[tuple[float, float]] = []  # when it came, and how long after it was sent
    samples: list[tuple[float, float]] = []  # seconds, MB

    def note_sent(number: int, visible: Image, thermal: Image) -> Any:
        sent[stamp_of(visible.header)] = time.monotonic()
        return visible, thermal

    def note_fused(message: Image) -> None:
        now = time.monotonic()
        latencies.append((now, now - sent.pop(stamp_of(message.header), now)))

    r.node.create_subscription(Image, "/fusion_node/fused/image", note_fused, 10)
    with Cameras(r, size=(640, 480), alter=note_sent) as cameras:
        running(cameras, r)
        r.wait(lambda: len(latencies) >= 300, "300 fused pairs, so that everything is warm")
        start, before = time.monotonic(), held_by(r)
        while time.monotonic() - start < 60 * minutes:
            time.sleep(5)
            samples.append((time.monotonic() - start, memory_mb(r)))
            for received in r.received.values():  # the test itself must not grow
                del received[:-10]
            del r.diagnostics[:-10]
        end, after = time.monotonic(), held_by(r)
    state = r.state(lambda _values, _status: True, "the last figures")
    pairs, fused = int(state["pairs"]), int(state["fused"])
    explained = sum(int(value) for key, value in state.items() if key.startswith("dropped"))
    half = samples[len(samples) // 2 :]
    times, memory = np.array([s[0] for s in half]), np.array([s[1] for s in half])
    slope = float(np.polyfit(times, memory, 1)[0] * 3600)
    first, last = (
        np.percentile([1000 * each for now, each in latencies if begin <= now < begin + 60], 99)
        for begin in (start, end - 60)
    )
    noted("soak at 30 Hz, 640x480", minutes=minutes, pairs=pairs, fused=fused,
          dropped=explained, skipped=int(state["skipped, no one listens"]),
          latency_p99_ms_first_minute=round(float(first), 1),
          latency_p99_ms_last_minute=round(float(last), 1),
          memory_mb_per_hour=round(slope, 2), **after)  # fmt: skip
    assert pairs - fused - explained - int(state["skipped, no one listens"]) <= 1
    assert after == before
    # Two minutes are too short for a slope of 1 MB an hour: the noise is larger.
    assert slope < 1 if minutes >= 20 else memory[-1] - memory[0] < 5


def held_by(r: Robot) -> dict[str, int]:
    """What a node must give back: threads, open files, and shared memory mapped into it."""
    process = Path(f"/proc/{r.process.pid}")
    return {
        "threads": len(list((process / "task").iterdir())),
        "files": len(list((process / "fd").iterdir())),
        "shared_memory": sum("/dev/shm/" in line for line in (process / "maps").open()),
    }
