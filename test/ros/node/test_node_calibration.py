"""Calibration, rates and a thermal stream that stands still, in the real node."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from harness import PERIOD, START, Robot, image, scene
from sensor_msgs.msg import CameraInfo, RegionOfInterest, TimeReference
from std_srvs.srv import Trigger

from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.yaml_file import load_camera_pair, save_camera_pair
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair
from ssvif_ros.node.messages import visible_array

MakeRobot = Callable[..., Robot]
# The thermal image of 32x24 lies in the middle of the visible one of 64x48.
SMALL = CameraPair(
    Camera(64, 48), Camera(32, 24), np.array([[1.0, 0, 16], [0, 1, 12], [0, 0, 1]]), 0.0
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_camera_pair(SMALL, tmp_path / "camera_pair.yaml")
    return tmp_path / "camera_pair.yaml"


def test_the_node_registers_as_the_file_says(robot: MakeRobot, file: Path) -> None:
    r = robot({"calibration_file": file})
    fused = visible_array(r.fuse(0))
    visible, thermal = scene()
    expected = FusionPipeline(calibration=SMALL)(Pair(visible, thermal)).fused
    assert np.abs(fused.astype(int) - expected).max() <= 1
    assert (fused[:10] == visible[:10]).all()  # above the thermal image


def test_a_drivers_region_of_interest_moves_the_mapping(robot: MakeRobot, file: Path) -> None:
    r = robot({"calibration_file": file})
    info = CameraInfo(width=64, height=48)
    info.roi = RegionOfInterest(x_offset=16, y_offset=12, width=32, height=24)
    publisher = r.node.create_publisher(CameraInfo, "visible/camera_info", 10)
    r.wait(publisher.get_subscription_count, "the node to listen to camera_info")
    visible, thermal = scene()
    part = np.ascontiguousarray(visible[12:36, 16:48])
    window = CameraPair(Camera(64, 48, roi=(16, 12, 32, 24)), SMALL.thermal, SMALL.mapping)
    expected = FusionPipeline(calibration=window)(Pair(part, thermal)).fused
    index = 0

    def matches() -> bool:
        nonlocal index
        publisher.publish(info)
        stamp = START + index * PERIOD
        thermal[0, 0] += 1  # or the camera would pass for frozen
        r.send(image(part, "bgr8", stamp), image(thermal, "mono16", stamp))
        index += 1
        got = r.received["fused/image"]
        if not got:
            return False
        apart = np.abs(visible_array(got[-1]).astype(int) - expected)
        return bool((apart <= 1).mean() > 0.99)

    r.wait(matches, "an image fused by the region of interest")


def test_a_time_offset_pairs_what_was_stamped_apart(robot: MakeRobot, file: Path) -> None:
    late = CameraPair(SMALL.visible, SMALL.thermal, SMALL.mapping, -0.2)
    save_camera_pair(late, file)
    r = robot({"calibration_file": file})
    visible, thermal = scene()
    for index in range(3):
        stamp = START + index * PERIOD
        thermal[0, 0] += 1
        r.send(image(visible, "bgr8", stamp), image(thermal, "mono16", stamp + 200_000_000))
        r.fused(index + 1)


def test_a_calibration_that_cannot_be_used_is_named_at_the_start(tmp_path: Path) -> None:
    from test_fusion_node import start

    (tmp_path / "bad.yaml").write_text("format: 3")
    result = start(f"calibration_file:={tmp_path / 'bad.yaml'}")
    assert result.returncode == 2
    said = result.stdout + result.stderr
    assert "bad.yaml: calibration of format 3; this version reads 1" in said
    away = np.array([[1.0, 0, 5000], [0, 1, 0], [0, 0, 1]])
    save_camera_pair(CameraPair(SMALL.visible, SMALL.thermal, away), tmp_path / "away.yaml")
    result = start(f"calibration_file:={tmp_path / 'away.yaml'}")
    assert result.returncode == 2
    assert "away.yaml: the calibration puts the thermal image" in result.stdout + result.stderr


def test_a_calibration_that_is_not_there_yet_is_told(robot: MakeRobot, tmp_path: Path) -> None:
    r = robot({"calibration_file": tmp_path / "typo.yaml"})
    r.fuse(0)
    r.state(
        lambda _, status: "typo.yaml yet: both cameras are assumed" in status.message,
        "the missing file",
    )


def test_every_visible_image_gets_the_newest_thermal_one(robot: MakeRobot) -> None:
    """Thermal at 10 Hz, visible at 30 Hz; the age is published beside the image."""
    r = robot({"pairing": "visible_rate", "thermal_max_age": 0.08})
    times: list[TimeReference] = []
    r.node.create_subscription(
        TimeReference, "/fusion_node/thermal_time",
        lambda message: (times.append(message), r.changed.acquire(), r.changed.notify_all(),
                         r.changed.release()), 10,
    )  # fmt: skip
    r.wait(lambda: r.node.count_publishers("/fusion_node/thermal_time"), "the topic")
    visible, thermal = scene()
    for index in range(9):
        stamp = START + index * PERIOD
        warm = image(thermal, "mono16", stamp) if index % 3 == 0 else None
        thermal[0, 0] += 1
        before = len(r.received["fused/image"])
        r.send(None, warm)
        if warm is not None:
            r.state(lambda v, _, n=index: int(v["thermal received"]) == n // 3 + 1, "thermal")
        r.send(image(visible, "bgr8", stamp), None)
        r.fused(before + 1)
    r.wait(lambda: len(times) >= 5, "times of thermal images")
    for each in times:
        age = (each.header.stamp.sec - each.time_ref.sec) * 10**9
        age += each.header.stamp.nanosec - each.time_ref.nanosec
        assert age in (0, PERIOD, 2 * PERIOD)
    # Later the thermal camera is silent: what is too old is told, not fused.
    for index in range(12, 16):
        r.send(image(visible, "bgr8", START + index * PERIOD), None)
    state = r.state(lambda v, _: v["no thermal image young enough"] == "4", "too old")
    assert state["fused"] == "9"


def test_a_frozen_thermal_stream_is_told_and_not_fused(robot: MakeRobot) -> None:
    r = robot()
    visible, thermal = scene()
    for index in range(15):
        stamp = START + index * PERIOD
        before = len(r.received["fused/image"])
        r.send(image(visible, "bgr8", stamp), image(thermal, "mono16", stamp))
        r.fused(before + 1)
    assert (visible_array(r.received["fused/image"][-1]) == visible).all()
    assert (visible_array(r.received["fused/image"][0]) != visible).any()
    state = r.state(lambda v, _: v["thermal stream"] == "frozen", "frozen")
    assert int(state["visible alone"]) >= 5


SIZES = (320, 240), (160, 128)
TRUE = CameraPair(
    Camera(*SIZES[0]), Camera(*SIZES[1]),
    np.array([[1.7, -0.06, 32.0], [0.06, 1.7, 12.0], [0, 0, 1]]),
)  # fmt: skip


def moments(count: int) -> list[Pair]:
    scenes = DriveGenerator(
        DriveConfig(seed=3, visible_size=SIZES[0], thermal_size=SIZES[1], condition="day",
                    frames=300, homography=TRUE.homography)
    )  # fmt: skip
    return [Pair(s.visible, s.thermal) for s in map(scenes.frame, range(0, 15 * count, 15))]


def test_the_service_calibrates_from_what_the_cameras_see_and_stores_it(
    robot: MakeRobot, tmp_path: Path
) -> None:
    path = tmp_path / "camera_pair.yaml"
    r = robot({"calibration_file": path, "drift_period": 0.0})
    client = r.node.create_client(Trigger, "/fusion_node/calibrate")
    assert client.wait_for_service(timeout_sec=10)
    pairs = moments(12)
    answer = client.call_async(Trigger.Request())
    index = 0

    def answered() -> bool:
        nonlocal index
        pair = pairs[(index // 9) % len(pairs)]
        stamp = START + index * 3 * PERIOD
        if not answer.done() and index % 3 == 0:  # some 7 Hz: the node needs time to think
            r.send(image(pair.visible, "bgr8", stamp), image(pair.thermal, "mono16", stamp))
        index += 1
        return answer.done()

    r.wait(answered, "the service's answer", timeout=90)
    assert answer.result().success, answer.result().message
    assert str(path) in answer.result().message
    found = load_camera_pair(path)
    points = np.array([[20.0, 20], [140, 20], [140, 108], [20, 108]])
    off = np.linalg.norm(found.to_visible(points) - TRUE.to_visible(points), axis=1)
    assert off.mean() < 2.5
    # And it is used from now on: the corner that the thermal camera does not see is the visible's.
    pair, stamp = pairs[0], START + (index + 100) * 3 * PERIOD
    r.send(image(pair.visible, "bgr8", stamp), image(pair.thermal, "mono16", stamp))

    def its_fused_image() -> list[np.ndarray]:
        seconds, nanoseconds = divmod(stamp, 10**9)
        return [
            visible_array(message)
            for message in r.received["fused/image"]
            if (message.header.stamp.sec, message.header.stamp.nanosec) == (seconds, nanoseconds)
        ]

    (fused,) = r.wait(its_fused_image, "the fused image of the last pair")
    assert np.abs(fused[:6, :8].astype(int) - pair.visible[:6, :8]).max() <= 1


def test_what_the_gate_refuses_changes_nothing(robot: MakeRobot, tmp_path: Path) -> None:
    path = tmp_path / "camera_pair.yaml"
    save_camera_pair(SMALL, path)
    before = path.read_bytes()
    r = robot({"calibration_file": path, "drift_period": 0.0})
    client = r.node.create_client(Trigger, "/fusion_node/calibrate")
    assert client.wait_for_service(timeout_sec=10)
    visible, _ = scene()
    random = np.random.default_rng(0)
    answer = client.call_async(Trigger.Request())
    index = 0

    def answered() -> bool:
        nonlocal index
        stamp = START + index * 3 * PERIOD
        noise = random.integers(7000, 7400, (24, 32)).astype(np.uint16)
        if not answer.done() and index % 3 == 0:
            r.send(image(visible, "bgr8", stamp), image(noise, "mono16", stamp))
        index += 1
        return answer.done()

    r.wait(answered, "the service's answer", timeout=90)
    assert not answer.result().success
    assert "the old one stays" in answer.result().message
    assert path.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_stopped_while_it_calibrates_ends_in_order(
    robot: MakeRobot, number: int
) -> None:
    r = robot({"drift_period": 0.0})
    client = r.node.create_client(Trigger, "/fusion_node/calibrate")
    assert client.wait_for_service(timeout_sec=10)
    client.call_async(Trigger.Request())
    # Large images, so that it computes for longer than the node takes to end.
    pairs = [
        Pair(p.visible.repeat(4, 0).repeat(4, 1), p.thermal.repeat(4, 0).repeat(4, 1))
        for p in moments(4)
    ]
    index = 0

    def computing() -> bool:
        nonlocal index
        pair, stamp = pairs[index % len(pairs)], START + index * PERIOD
        r.send(image(pair.visible, "bgr8", stamp), image(pair.thermal, "mono16", stamp))
        index += 1
        return any("computing from" in line for line in r.log)

    r.wait(computing, "the calibration to be computed", timeout=90)
    assert r.close(number) == 0, "".join(r.log)
    assert "Traceback" not in "".join(r.log) and "terminate" not in "".join(r.log)


@pytest.mark.parametrize(("shift", "low", "high"), [(14.0, 9, 20), (60.0, 50, 70)])
def test_a_knocked_camera_is_told_in_diagnostics(
    robot: MakeRobot, tmp_path: Path, shift: float, low: float, high: float
) -> None:
    """By a little, and by so much that the surroundings tell nothing."""
    path = tmp_path / "camera_pair.yaml"
    knocked = np.array([[1, 0, shift], [0, 1, 3], [0, 0, 1]]) @ TRUE.homography
    save_camera_pair(CameraPair(TRUE.visible, TRUE.thermal, knocked), path)
    r = robot({"calibration_file": path, "drift_period": 0.2})
    pairs = moments(8)
    index = 0

    def told(values: dict[str, str], status: object) -> bool:
        nonlocal index
        for _ in range(3):
            pair = pairs[(index // 3) % len(pairs)]
            stamp = START + index * 3 * PERIOD
            r.send(image(pair.visible, "bgr8", stamp), image(pair.thermal, "mono16", stamp))
            index += 1
        return "was a camera knocked?" in status.message  # type: ignore[attr-defined]

    state = r.state(told, "drift", timeout=90)
    assert low < float(state["calibration off by pixels"]) < high
