"""The fusion node in its own process, with real DDS."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from encoders import picture
from harness import PERIOD, START, TIMEOUT, Cameras, Robot, image, scene
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from ssvif_core.errors import SsvifError
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.types import Pair, stamp_of
from ssvif_ros.node.fusion_node import FusionNode
from ssvif_ros.node.messages import visible_array

MakeRobot = Callable[..., Robot]


def test_the_fused_image_is_that_of_the_pipeline_with_the_visible_header(robot: MakeRobot) -> None:
    r = robot(outputs=("fused/image", "segmentation/labels", "segmentation/confidence"))
    visible, thermal = scene()
    message = r.fuse(0)
    expected = FusionPipeline()(Pair(visible, thermal))
    assert np.abs(visible_array(message).astype(int) - expected.fused).max() <= 1
    assert message.encoding == "bgr8"
    assert message.header.frame_id == "visible_frame"
    assert stamp_of(message.header) == START
    for output in ("segmentation/labels", "segmentation/confidence"):
        (other,) = r.fused(1, output)
        assert other.encoding == "mono8" and other.header == message.header
        assert len(other.data) == 64 * 48
    assert max(r.received["segmentation/labels"][0].data) < len(r.classes)
    assert r.close() == 0


def test_colour_outputs_have_a_jpeg_topic_and_class_colours_are_latched(robot: MakeRobot) -> None:
    outputs = ("fused/image/compressed", "segmentation/overlay",
               "segmentation/overlay/compressed")  # fmt: skip
    r = robot(outputs=outputs)
    r.send_pair(0)
    for output in outputs:
        (message,) = r.fused(1, output)
        assert message.header.frame_id == "visible_frame"
    assert bytes(r.received["fused/image/compressed"][0].data[:2]) == b"\xff\xd8"
    assert set(r.classes[0]) == {"id", "name", "rgb"}


def test_pairs_are_skipped_while_no_one_listens(robot: MakeRobot) -> None:
    r = robot({"lazy": "false"}, outputs=())
    r.send_pair(0)
    state = r.state(lambda v, _: v["skipped, no one listens"] == "1", "a skipped pair")
    assert state["fused"] == "0"
    r.listen("fused/image")
    r.wait(lambda: r.node.count_publishers("/fusion_node/fused/image"), "the publisher")
    for index in range(1, 200):
        r.send_pair(index)
        try:
            r.wait(lambda: r.received["fused/image"], "a fused image", timeout=0.3)
            break
        except AssertionError:
            continue
    assert r.received["fused/image"]


def test_outputs_can_be_switched_off(robot: MakeRobot) -> None:
    r = robot({"publish_overlay": False, "publish_labels": False})
    r.fuse(0)
    topics = dict(r.node.get_topic_names_and_types())
    assert "/fusion_node/fused/image" in topics
    assert "/fusion_node/segmentation/overlay" not in topics
    assert "/fusion_node/segmentation/labels" not in topics


@pytest.mark.parametrize("best_effort", [False, True], ids=["reliable", "best_effort"])
def test_reliability_follows_the_publishers_and_no_image_is_lost(
    robot: MakeRobot, best_effort: bool
) -> None:
    r = robot(best_effort=best_effort)
    for index in range(20):  # full-size images, larger than DDS's default segment
        r.fuse(index, size=(640, 480))
    r.wait_for_log(f"({'best effort' if best_effort else 'reliable'})")
    state = r.state(lambda v, _: v["fused"] == "20", "20 fused")
    assert state["visible never arrived"] == state["thermal never arrived"] == "0"


def bad_pairs() -> dict[str, tuple[Image, Image, str]]:
    """Name -> visible message, thermal message, part of the error."""
    visible, thermal = scene()
    stamp = START + 100 * PERIOD
    good_visible, good_thermal = image(visible, "bgr8", stamp), image(thermal, "mono16", stamp)
    too_short = image(visible, "bgr8", stamp)
    too_short.data = bytes(too_short.data)[:-5]
    too_long = image(thermal, "mono16", stamp)
    too_long.data = bytes(too_long.data) + b"12"
    empty = image(thermal, "mono16", stamp)
    empty.height = empty.width = empty.step = 0
    empty.data = b""
    nan = image(np.full((24, 32), np.nan, np.float32), "32FC1", stamp)
    tiny = image(visible[:4, :4], "bgr8", stamp)
    return {
        "unknown encoding": (image(visible, "mono12p", stamp), good_thermal, "encoding 'mono12p'"),
        "huge encoding": (image(visible, "x" * 1_000_000, stamp), good_thermal, "encoding 'xxx"),
        "short data": (too_short, good_thermal, "bytes of data; expected step * height"),
        "long data": (good_visible, too_long, "bytes of data; expected step * height"),
        "zero size": (good_visible, empty, "expected a size above zero"),
        "swapped": (good_visible, image(picture(24, 32, 0), "bgr8", stamp), "swapped"),
        "no temperature": (good_visible, nan, "without a single finite value"),
        "tiny": (tiny, good_thermal, "expected at least 16x16"),
    }


@pytest.mark.parametrize("name", bad_pairs())
def test_a_bad_image_is_reported_and_the_next_pair_is_fused(shared_robot: Robot, name: str) -> None:
    visible, thermal, text = bad_pairs()[name]
    r = shared_robot
    # Later than all earlier stamps of this module's node, so that each case is a new pair.
    r.send_at = getattr(r, "send_at", START) + 200 * PERIOD  # type: ignore[attr-defined]
    for message in (visible, thermal):
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(r.send_at, 10**9)
    before = int(r.state(lambda v, _: True, "any state")["dropped, bad image"])
    r.send(visible, thermal)
    state = r.state(lambda v, _: int(v["dropped, bad image"]) == before + 1, "one bad image")
    assert text in state["last problem"]
    assert sum(map(len, state.values())) < 10_000
    index = (r.send_at - START) // PERIOD + 1
    assert r.fuse(index).encoding == "bgr8"


@pytest.mark.parametrize("pairing", ["nearest", "visible_rate"])
@pytest.mark.parametrize("camera", ["visible", "thermal"])
def test_a_stamp_below_zero_is_reported_and_the_next_pair_is_fused(
    robot: MakeRobot, pairing: str, camera: str
) -> None:
    r = robot({"pairing": pairing})
    r.send_pair(0)
    # With visible_rate, a visible image is paired with a thermal one that has come before.
    r.state(lambda v, _: v["thermal received"] == "1", "the first thermal image")
    r.fuse(1)
    visible, thermal = scene()
    stamp = START + 2 * PERIOD
    pair = {"visible": image(visible, "bgr8", stamp), "thermal": image(thermal, "mono16", stamp)}
    pair[camera].header.stamp = Time(sec=-1)
    r.send(**pair)
    state = r.state(lambda _, s: "stamp below zero" in s.message, "a report of the stamp")
    assert f"1 {camera} images" in state["message"]
    assert r.fuse(3).encoding == "bgr8"
    assert r.close() == 0


def test_an_invalid_request_does_not_end_the_node(robot: MakeRobot) -> None:
    """rclpy raises an exception for a parameter of an unknown type."""
    r = robot()
    r.fuse(0)
    client = r.node.create_client(SetParameters, "/fusion_node/set_parameters")
    assert client.wait_for_service(10)
    value = ParameterValue(type=99)
    client.call_async(
        SetParameters.Request(parameters=[ParameterMessage(name="overlay_alpha", value=value)])
    )
    for index in range(1, 10):
        assert r.fuse(index).encoding == "bgr8"
    assert r.close() == 0


def test_a_constant_thermal_frame_is_fused(robot: MakeRobot) -> None:
    r = robot()
    visible, thermal = scene()
    r.send(image(visible, "bgr8", START), image(np.full_like(thermal, 7777), "mono16", START))
    fused = visible_array(r.fused(1)[0])
    assert np.abs(fused.astype(int) - visible).mean() < 60  # the visible scene, not noise


def test_the_image_size_may_change_during_a_stream(shared_robot: Robot) -> None:
    first = 100_000
    for step, size in enumerate([(64, 48), (96, 64), (50, 34), (64, 48)]):
        message = shared_robot.fuse(first + step, size=size)
        assert (message.width, message.height) == size
    assert shared_robot.fuse(first + 5, dtype=np.uint8).width == 64


def test_a_looping_bag_is_fused_in_every_loop(robot: MakeRobot) -> None:
    r = robot()
    for _ in range(3):
        for index in range(15):
            r.fuse(index)
    state = r.state(lambda v, _: v["fused"] == "45", "45 fused")
    assert int(state["pairing resets"]) >= 2


def test_late_and_equal_stamps_reset_nothing(robot: MakeRobot) -> None:
    r = robot()
    for index in (0, 2, 1, 3):  # pair 2 arrives before pair 1
        r.fuse(index)
    visible, thermal = scene()
    for _ in range(3):  # a driver that gives all images the same stamp
        r.send(image(visible, "bgr8", START + 4 * PERIOD),
               image(thermal, "mono16", START + 4 * PERIOD))  # fmt: skip
    r.fuse(9)
    state = r.state(lambda v, _: True, "any state")
    assert state["pairing resets"] == state["visible never arrived"] == "0"


def thermal_later(seconds: int) -> Callable[[int, Image, Image], tuple[Image, Image]]:
    """For `Cameras`: the clock of the thermal camera is ahead."""

    def alter(_: int, visible: Image, thermal: Image) -> tuple[Image, Image]:
        thermal.header.stamp.sec += seconds
        return visible, thermal

    return alter


def test_stamps_that_are_years_apart_are_reported(robot: MakeRobot) -> None:
    r = robot()
    with Cameras(r, alter=thermal_later(100_000_000)):
        state = r.state(lambda _, s: "ahead of" in s.message, "stamps apart")
    assert state["message"].endswith("slop is 0.02 s; let both drivers stamp with one clock")


def test_stamps_that_a_driver_never_sets_are_told(robot: MakeRobot) -> None:
    def without_stamp(_: int, visible: Image, thermal: Image) -> tuple[Image, Image]:
        thermal.header.stamp = Time()
        return visible, thermal

    r = robot()
    with Cameras(r, alter=without_stamp):
        r.state(lambda _, s: "the thermal stamps are 0; let the driver" in s.message, "the zeros")


def test_a_constant_clock_offset_is_measured_and_can_be_set(robot: MakeRobot) -> None:
    """The thermal camera's clock shows atomic time, 37 s ahead."""
    r = robot()
    with Cameras(r, alter=thermal_later(37)):
        state = r.state(lambda _, s: "thermal stamps are" in s.message, "the offset")
    assert "ahead of the visible ones" in state["message"]
    advised = float(state["message"].rpartition(" ")[2])
    assert advised == pytest.approx(-37.0, abs=0.05)
    r.close()
    r = robot({"thermal_time_offset": -37.0})
    with Cameras(r, alter=thermal_later(37)) as cameras:
        (message, *_) = r.fused(1)
    numbers = range(1, cameras.number + 1)
    assert stamp_of(message.header) in {cameras.stamp(number) for number in numbers}


def test_stamps_that_move_apart_later_are_reported(robot: MakeRobot) -> None:
    r = robot()
    r.fuse(0)
    visible, thermal = scene()
    index = 1

    def are_apart(_values: dict[str, str], status: Any) -> bool:
        nonlocal index
        for _ in range(6):
            index += 1
            stamp = START + index * PERIOD
            r.send(image(visible, "bgr8", stamp), image(thermal, "mono16", stamp + 10**17))
        return "ahead of the visible ones" in status.message

    r.state(are_apart, "stamps apart")


def test_two_silent_cameras_are_reported(robot: MakeRobot) -> None:
    r = robot()
    r.fuse(0)
    r.state(lambda _, s: "no images from either camera" in s.message, "silence")


def test_simulated_time_may_start_late_and_jump_back(robot: MakeRobot) -> None:
    r = robot({"use_sim_time": True})  # waits for the subscriptions; there is no /clock yet
    publisher = r.node.create_publisher(Clock, "/clock", 10)

    def set_clock(seconds: float) -> None:
        time = Time(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))
        publisher.publish(Clock(clock=time))

    r.wait(publisher.get_subscription_count, "the node to subscribe to /clock")
    for index in range(5):
        set_clock(1000 + index * 0.033)
        r.fuse(index)
    set_clock(10)
    r.wait_for_log("the clock jumped back")
    for index in range(5):
        r.fuse(index)


def test_pairs_lost_while_an_engine_is_prepared_are_counted_apart(robot: MakeRobot) -> None:
    r = robot()
    r.fuse(0)
    for index in range(1, 30):
        r.send_pair(index, size=(640, 480))
    r.wait_for_log("sizes are now visible 640x480, thermal 320x240 16 bit: preparing the engine")
    state = r.state(
        lambda v, s: int(v["fused"]) > 1 and "no images from either" in s.message,
        "all pairs to be fused or dropped",
    )
    dropped = int(state["dropped, engine preparing"]) + int(state["dropped, engine busy"])
    assert int(state["fused"]) + dropped == int(state["pairs"])


def test_a_silent_camera_is_reported_until_it_sends_again(robot: MakeRobot) -> None:
    r = robot()
    r.fuse(0)
    visible, _ = scene()
    index = 1

    def is_silence_reported(_values: dict[str, str], status: Any) -> bool:
        nonlocal index
        index += 1
        r.send(image(visible, "bgr8", START + index * PERIOD), None)
        return "no thermal image for" in status.message

    r.state(is_silence_reported, "the thermal camera is silent")

    def is_fusing(_values: dict[str, str], status: Any) -> bool:
        nonlocal index
        index += 1
        r.send_pair(index)
        return bool(status.message == "fusing")

    r.state(is_fusing, "no problem")


def test_missing_images_are_counted(robot: MakeRobot) -> None:
    r = robot()
    for index in (0, 1, 2, 3, 4, 5, 6, 7, 10):
        r.fuse(index)
    state = r.state(lambda v, _: v["fused"] == "9", "9 fused")
    assert state["visible never arrived"] == "2"


def test_only_live_parameters_change_at_run_time(robot: MakeRobot) -> None:
    r = robot(outputs=("fused/image", "segmentation/overlay"))
    client = r.node.create_client(SetParameters, "/fusion_node/set_parameters")
    assert client.wait_for_service(timeout_sec=10)

    def set_parameter(name: str, number: float) -> bool:
        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=number)
        request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=value)])
        future = client.call_async(request)
        r.wait(future.done, "the parameter service")
        return bool(future.result().results[0].successful)

    assert set_parameter("overlay_alpha", 0.0)
    r.fuse(0)
    (overlay,) = r.fused(1, "segmentation/overlay")
    assert overlay.data == r.received["fused/image"][0].data
    assert not set_parameter("overlay_alpha", 2.0)
    assert set_parameter("slop", 0.5)
    assert not set_parameter("thermal_time_offset", 0.5)


def start(*parameters: str) -> subprocess.CompletedProcess[str]:
    """Run a node that is expected to end with an error."""
    command = [sys.executable, "-m", "ssvif_ros.node.fusion_node", "--ros-args"]
    for parameter in parameters:
        command += ["-p", parameter]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("slop:=-1.0", "parameter slop: expected float from 0.0001 to 10.0"),
        ("slop:=1", "write 1.0, not 1"),
        ("jpeg_quality:=0", "parameter jpeg_quality: expected int from 1 to 100"),
        ("engine:=magic", "parameter engine='magic'; expected one of auto, tensorrt"),
        ("engine:=tensorrt", "engine tensorrt: "),
        ("model:=/nowhere.onnx", "parameter model='/nowhere.onnx'; there is no such file"),
        ("overlay_palette:=red", "parameter overlay_palette='red'"),
        ("thermal_bits:=12", "parameter thermal_bits=12; expected 8 or 16"),
        ("thermal_high:=1.0", None),
    ],
)
def test_a_bad_parameter_is_refused_at_the_start(parameter: str, text: str | None) -> None:
    parameters = (parameter, "thermal_low:=5.0") if text is None else (parameter,)
    result = start(*parameters)
    assert result.returncode == 2
    assert (text or "expected low below high") in result.stdout + result.stderr


def test_an_onnx_file_of_another_program_is_refused_at_the_start(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "other", [x], [y])
    path = tmp_path / "other.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    result = start(f"model:={path}")
    assert result.returncode == 2
    assert "not an ssvif model" in result.stdout + result.stderr


def test_a_truncated_model_is_refused_at_the_start(tmp_path: Path) -> None:
    from ssvif_core.graph.model_file import DEFAULT_MODEL

    path = tmp_path / "cut.onnx"
    path.write_bytes(DEFAULT_MODEL.read_bytes()[:50_000])
    result = start(f"model:={path}")
    assert result.returncode == 2
    assert "cut.onnx: " in result.stdout + result.stderr


def test_an_unknown_parameter_is_named_with_the_nearest_one(robot: MakeRobot) -> None:
    r = robot({"slopp": 0.1, "completely_else": 1})
    r.wait_for_log("parameter slopp is unknown to this node; did you mean slop?")
    r.wait_for_log("parameter completely_else is unknown to this node")
    assert "use_sim_time" not in "".join(r.log)


def test_two_nodes_of_one_name_are_told(robot: MakeRobot) -> None:
    r = robot()
    twin = r.start_twin()
    r.state(lambda _, s: "2 nodes are named /fusion_node" in s.message, "the namesake")
    twin.send_signal(signal.SIGINT)
    twin.wait(timeout=TIMEOUT)
    r.fuse(0)
    r.state(lambda _, s: "nodes are named" not in s.message, "one node")


def test_a_node_whose_start_failed_can_be_destroyed(next_domain: Callable[[], int]) -> None:
    """As rclpy of Kilted and newer does when its context ends."""
    context = Context()
    rclpy.init(context=context, domain_id=next_domain())
    made: list[FusionNode] = []

    class Kept(FusionNode):
        def __init__(self) -> None:
            made.append(self)
            super().__init__(
                context=context, parameter_overrides=[Parameter("engine", value="none")]
            )

    with pytest.raises(SsvifError, match="parameter engine='none'"):
        Kept()
    made[0].destroy_node()
    rclpy.shutdown(context=context)


def test_diagnostics_name_the_full_topics(robot: MakeRobot) -> None:
    r = robot({}, wait=False, remap={"visible/image_raw": "/front/color"})
    r.thermal.publish(image(scene()[1], "mono16", START))
    number = 0

    def told(_values: object, status: Any) -> bool:
        nonlocal number
        number += 1
        r.thermal.publish(image(scene()[1], "mono16", START + number * PERIOD))
        return "no visible image yet on /front/color" in status.message

    r.state(told, "the full name")


def test_clocks_that_drift_apart_are_told_before_pairs_are_lost(robot: MakeRobot) -> None:
    r = robot()
    begin, number = time.monotonic(), 0

    def told(_values: object, status: Any) -> bool:
        nonlocal number
        for _ in range(8):
            passed_s = time.monotonic() - begin
            visible, thermal = scene()
            thermal[0, 0] += number
            stamp = START + round(passed_s * 1e9)
            ahead = round(passed_s * 1e6)  # 1 ms in a second
            r.send(image(visible, "bgr8", stamp), image(thermal, "mono16", stamp + ahead))
            number += 1
            time.sleep(0.03)
        return "drift apart by 1." in status.message or "drift apart by 0.9" in status.message

    r.state(told, "the drift", timeout=60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", "calibration_file:={0}/brackets.yaml"), "brackets are nested too deeply"),
        (("-p", f"calibration_file:=/tmp/{'x' * 300}.yaml"), "File name too long"),
        (("-p", f"model:=/tmp/{'x' * 300}.onnx"), "File name too long"),
        (("-p", "visible_topic:='a b!'"), "must not contain characters other than"),
        (("--params-file", "{0}/bad.yaml"), "Couldn't parse params file"),
        (("-r", "__ns:=bad ns"), "Couldn't parse remap rule"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "brackets.yaml").write_text("[" * 5000)
    (tmp_path / "bad.yaml").write_text("fusion_node: [")
    given = [argument.format(tmp_path) for argument in arguments]
    result = subprocess.run(
        [sys.executable, "-m", "ssvif_ros.node.fusion_node", "--ros-args", *given],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("package", ["ssvif_ros", "numpy", "cv2"])
def test_a_signal_during_the_imports_shows_no_traceback(package: str) -> None:
    """Python tells when a package has been imported; then the signal comes."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "ssvif_ros.node.fusion_node"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert any(line.rpartition("|")[2].strip() == package for line in process.stderr)
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in process.communicate(timeout=TIMEOUT)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_ends_leaves_no_shared_memory(robot: MakeRobot, number: int) -> None:
    r = robot()
    r.fuse(0)
    maps = Path(f"/proc/{r.process.pid}/maps").read_text()
    mapped = {word for word in maps.split() if re.match(r"/dev/shm/fast(dds|rtps)_[0-9a-f]+", word)}
    assert mapped, "it shares memory while it runs"
    assert r.close(number) == 0
    assert [name for name in mapped if Path(name).exists()] == []
