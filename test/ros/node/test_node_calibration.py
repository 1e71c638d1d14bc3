"""The real node with a calibration, with different camera rates, and with a frozen camera."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import PERIOD, START, Cameras, Robot, image, scene
from sensor_msgs.msg import CameraInfo, RegionOfInterest, TimeReference
from std_srvs.srv import Trigger

from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.yaml_file import load_camera_pair, save_camera_pair
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair, UInt8Array, stamp_of
from ssvif_ros.node.messages import visible_array

MakeRobot = Callable[..., Robot]
# The thermal image, 32x24, lies in the middle of the visible one, 64x48.
SMALL = CameraPair(
    Camera(64, 48), Camera(32, 24), np.array([[1.0, 0, 16], [0, 1, 12], [0, 0, 1]]), 0.0
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Calibration file of `SMALL`."""
    save_camera_pair(SMALL, tmp_path / "camera_pair.yaml")
    return tmp_path / "camera_pair.yaml"


def test_the_node_registers_with_the_calibration_file(robot: MakeRobot, file: Path) -> None:
    r = robot({"calibration_file": file})
    fused = visible_array(r.fuse(0))
    visible, thermal = scene()
    expected = FusionPipeline(calibration=SMALL)(Pair(visible, thermal)).fused
    assert np.abs(fused.astype(int) - expected).max() <= 1
    assert (fused[:10] == visible[:10]).all()  # above the thermal image


def test_the_region_of_interest_of_a_driver_moves_the_mapping(robot: MakeRobot, file: Path) -> None:
    r = robot({"calibration_file": file})
    info = CameraInfo(width=64, height=48)
    info.roi = RegionOfInterest(x_offset=16, y_offset=12, width=32, height=24)
    publisher = r.node.create_publisher(CameraInfo, "visible/camera_info", 10)
    r.wait(publisher.get_subscription_count, "the node to subscribe to camera_info")
    visible, thermal = scene()
    part = np.ascontiguousarray(visible[12:36, 16:48])
    window = CameraPair(Camera(64, 48, roi=(16, 12, 32, 24)), SMALL.thermal, SMALL.mapping)
    expected = FusionPipeline(calibration=window)(Pair(part, thermal)).fused
    index = 0

    def matches() -> bool:
        nonlocal index
        publisher.publish(info)
        stamp = START + index * PERIOD
        thermal[0, 0] += 1  # equal images would count as frozen
        r.send(image(part, "bgr8", stamp), image(thermal, "mono16", stamp))
        index += 1
        messages = r.received["fused/image"]
        if not messages:
            return False
        difference = np.abs(visible_array(messages[-1]).astype(int) - expected)
        return bool((difference <= 1).mean() > 0.99)

    r.wait(matches, "an image that is fused with the region of interest")


def test_the_time_offset_is_added_before_pairing(robot: MakeRobot, file: Path) -> None:
    late = CameraPair(SMALL.visible, SMALL.thermal, SMALL.mapping, -0.2)
    save_camera_pair(late, file)
    r = robot({"calibration_file": file})
    visible, thermal = scene()
    for index in range(3):
        stamp = START + index * PERIOD
        thermal[0, 0] += 1
        r.send(image(visible, "bgr8", stamp), image(thermal, "mono16", stamp + 200_000_000))
        r.fused(index + 1)


def test_an_unusable_calibration_is_refused_at_the_start(tmp_path: Path) -> None:
    from test_fusion_node import start

    (tmp_path / "bad.yaml").write_text("format: 3")
    result = start(f"calibration_file:={tmp_path / 'bad.yaml'}")
    assert result.returncode == 2
    log = result.stdout + result.stderr
    assert "bad.yaml: calibration of format 3; this version reads 1" in log
    away = np.array([[1.0, 0, 5000], [0, 1, 0], [0, 0, 1]])
    save_camera_pair(CameraPair(SMALL.visible, SMALL.thermal, away), tmp_path / "away.yaml")
    result = start(f"calibration_file:={tmp_path / 'away.yaml'}")
    assert result.returncode == 2
    assert "away.yaml: the calibration puts the thermal image" in result.stdout + result.stderr


def test_a_missing_calibration_file_is_reported(robot: MakeRobot, tmp_path: Path) -> None:
    r = robot({"calibration_file": tmp_path / "typo.yaml"})
    with Cameras(r):  # silent cameras would be the worse problem
        r.state(lambda _, s: "typo.yaml yet: both cameras are assumed" in s.message, "missing file")


def test_visible_rate_gives_every_visible_image_the_newest_thermal_one(robot: MakeRobot) -> None:
    """Thermal at 10 Hz, visible at 30 Hz. The node publishes the time of each thermal image."""
    r = robot({"pairing": "visible_rate", "thermal_max_age": 0.08})
    times: list[TimeReference] = []

    def receive(message: TimeReference) -> None:
        with r.changed:
            times.append(message)
            r.changed.notify_all()

    r.node.create_subscription(TimeReference, "/fusion_node/thermal_time", receive, 10)
    r.wait(lambda: r.node.count_publishers("/fusion_node/thermal_time"), "the topic")
    visible, thermal = scene()
    for index in range(9):
        stamp = START + index * PERIOD
        thermal_message = image(thermal, "mono16", stamp) if index % 3 == 0 else None
        thermal[0, 0] += 1
        before = len(r.received["fused/image"])
        r.send(None, thermal_message)
        if thermal_message is not None:
            r.state(lambda v, _, n=index: int(v["thermal received"]) == n // 3 + 1, "thermal")
        r.send(image(visible, "bgr8", stamp), None)
        r.fused(before + 1)
    r.wait(lambda: len(times) >= 5, "times of thermal images")
    for message in times:
        age_ns = (message.header.stamp.sec - message.time_ref.sec) * 10**9
        age_ns += message.header.stamp.nanosec - message.time_ref.nanosec
        assert age_ns in (0, PERIOD, 2 * PERIOD)
    # Then the thermal camera is silent. Pairs whose thermal image is too old are only counted.
    for index in range(12, 16):
        r.send(image(visible, "bgr8", START + index * PERIOD), None)
    state = r.state(lambda v, _: v["no thermal image young enough"] == "4", "too old")
    assert state["fused"] == "9"


def test_a_frozen_thermal_stream_is_reported_and_not_fused(robot: MakeRobot) -> None:
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
    assert int(state["visible alone, thermal stands still"]) >= 5


SIZES = (320, 240), (160, 128)
TRUE = CameraPair(
    Camera(*SIZES[0]), Camera(*SIZES[1]),
    np.array([[1.7, -0.06, 32.0], [0.06, 1.7, 12.0], [0, 0, 1]]),
)  # fmt: skip


def drive_pairs(count: int) -> list[Pair]:
    """Pairs of a generated drive, 15 frames apart, seen by the camera pair `TRUE`."""
    scenes = DriveGenerator(
        DriveConfig(seed=3, visible_size=SIZES[0], thermal_size=SIZES[1], condition="day",
                    frames=300, homography=TRUE.homography)
    )  # fmt: skip
    return [Pair(s.visible, s.thermal) for s in map(scenes.frame, range(0, 15 * count, 15))]


def test_the_service_calibrates_from_the_scene_and_writes_the_file(
    robot: MakeRobot, tmp_path: Path
) -> None:
    path = tmp_path / "camera_pair.yaml"
    r = robot({"calibration_file": path, "drift_period": 0.0})
    client = r.node.create_client(Trigger, "/fusion_node/calibrate")
    assert client.wait_for_service(timeout_sec=10)
    pairs = drive_pairs(12)
    answer = client.call_async(Trigger.Request())
    index = 0

    def answered() -> bool:
        nonlocal index
        pair = pairs[(index // 9) % len(pairs)]
        stamp = START + index * 3 * PERIOD
        if not answer.done() and index % 3 == 0:  # about 7 Hz, so that the node has time to compute
            r.send(image(pair.visible, "bgr8", stamp), image(pair.thermal, "mono16", stamp))
        index += 1
        return answer.done()

    r.wait(answered, "the service's answer", timeout=90)
    assert answer.result().success, answer.result().message
    assert str(path) in answer.result().message
    result = load_camera_pair(path)
    points = np.array([[20.0, 20], [140, 20], [140, 108], [20, 108]])
    errors = np.linalg.norm(result.to_visible(points) - TRUE.to_visible(points), axis=1)
    assert errors.mean() < 2.5
    # The node uses it now: the corner that the thermal camera does not see stays visible only.
    pair, stamp = pairs[0], START + (index + 100) * 3 * PERIOD
    r.send(image(pair.visible, "bgr8", stamp), image(pair.thermal, "mono16", stamp))

    def last_fused_image() -> list[UInt8Array]:
        return [
            visible_array(message)
            for message in r.received["fused/image"]
            if stamp_of(message.header) == stamp
        ]

    (fused,) = r.wait(last_fused_image, "the fused image of the last pair")
    assert np.abs(fused[:6, :8].astype(int) - pair.visible[:6, :8]).max() <= 1


def test_a_refused_calibration_changes_nothing(robot: MakeRobot, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_stopped_during_a_calibration_ends_cleanly(
    robot: MakeRobot, signal_number: int
) -> None:
    r = robot({"drift_period": 0.0})
    client = r.node.create_client(Trigger, "/fusion_node/calibrate")
    assert client.wait_for_service(timeout_sec=10)
    client.call_async(Trigger.Request())
    # Large images, so that the calibration takes longer than the end of the node.
    pairs = [
        Pair(p.visible.repeat(4, 0).repeat(4, 1), p.thermal.repeat(4, 0).repeat(4, 1))
        for p in drive_pairs(4)
    ]
    index = 0

    def is_computing() -> bool:
        nonlocal index
        pair, stamp = pairs[index % len(pairs)], START + index * PERIOD
        r.send(image(pair.visible, "bgr8", stamp), image(pair.thermal, "mono16", stamp))
        index += 1
        return any("computing from" in line for line in r.log)

    r.wait(is_computing, "the calibration to be computed")
    assert r.close(signal_number) == 0, "".join(r.log)
    assert "Traceback" not in "".join(r.log) and "terminate" not in "".join(r.log)


@pytest.mark.parametrize(("shift", "low", "high"), [(14.0, 9, 20), (60.0, 50, 70)])
def test_a_knocked_camera_is_reported_in_diagnostics(
    robot: MakeRobot, tmp_path: Path, shift: float, low: float, high: float
) -> None:
    """A small shift, and one that is too large to be found from small neighbourhoods."""
    path = tmp_path / "camera_pair.yaml"
    knocked = np.array([[1, 0, shift], [0, 1, 3], [0, 0, 1]]) @ TRUE.homography
    save_camera_pair(CameraPair(TRUE.visible, TRUE.thermal, knocked), path)
    r = robot({"calibration_file": path, "drift_period": 0.2})
    pairs = drive_pairs(8)
    index = 0

    def is_reported(_values: dict[str, str], status: Any) -> bool:
        nonlocal index
        for _ in range(3):
            pair = pairs[(index // 3) % len(pairs)]
            stamp = START + index * 3 * PERIOD
            r.send(image(pair.visible, "bgr8", stamp), image(pair.thermal, "mono16", stamp))
            index += 1
        return "was a camera knocked?" in status.message

    # The watch has a low priority, so on a busy machine it takes minutes.
    state = r.state(is_reported, "drift", timeout=330)
    assert low < float(state["calibration off by pixels"]) < high
