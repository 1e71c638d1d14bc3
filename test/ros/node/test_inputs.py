"""Whatever cameras send over DDS: every encoding, compressed images, and what is no image."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from encoders import BAYER, COLOURS, GREY, TEMPERATURES, encoded, picture
from harness import PERIOD, START, Robot, image, scene
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.decode import thermal_image, visible_image
from ssvif_core.recordings.pixels import BitDepth
from ssvif_core.recordings.to_colour import to_colour
from ssvif_core.types import Pair
from ssvif_ros.node.messages import visible_array

MakeRobot = Callable[..., Robot]
SIZE = (48, 64)


def stamped(message: Any, number: int) -> Image:
    result = Image(**{**vars(message), "data": array("B", message.data)})
    stamp = divmod(START + number * PERIOD, 1_000_000_000)
    result.header.stamp.sec, result.header.stamp.nanosec = stamp
    return result


def compressed(pixels: np.ndarray, suffix: str, format: str, number: int) -> CompressedImage:
    message = CompressedImage(format=format)
    message.data = array("B", cv2.imencode(suffix, pixels)[1].tobytes())
    stamp = divmod(START + number * PERIOD, 1_000_000_000)
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    return message


def thermal_pixels(name: str, number: int) -> np.ndarray:
    _, counts = scene()
    grey = (counts // 40).astype(np.uint8)
    grey[0, 0] += number % 50  # equal images would count as frozen
    if name in TEMPERATURES:
        return grey.astype(np.int16 if name == "16SC1" else np.float32)
    return cv2.merge([grey] * 3) if name in COLOURS else grey


def test_every_encoding_is_fused_as_from_a_bag(robot: MakeRobot) -> None:
    """The same pixels live and from a bag, through DDS, decoder, pipeline and back."""
    r = robot({"thermal_repair": False})
    pipeline, depth = FusionPipeline(), BitDepth()
    visible_names = [*COLOURS, *GREY, *BAYER]
    thermal_names = [*GREY, *TEMPERATURES, *COLOURS]
    for number, name in enumerate(visible_names):
        grey_or_colour = picture(*SIZE, number, 2)
        visible = encoded(name, grey_or_colour[..., 0] if name in GREY else grey_or_colour)
        other = thermal_names[number % len(thermal_names)]
        thermal = encoded(other, thermal_pixels(other, number))
        stamp = START + number * PERIOD
        before = len(r.received["fused/image"])
        r.send(stamped(visible, number), stamped(thermal, number))
        fused = visible_array(r.fused(before + 1)[-1])
        pair = Pair(visible_image(visible, to_colour, depth), thermal_image(thermal), stamp, stamp)
        expected = pipeline(pair).fused
        assert np.abs(fused.astype(int) - expected).max() <= 1, f"{name} and {other}"


def test_compressed_images_are_taken_where_only_they_are_published(robot: MakeRobot) -> None:
    r = robot(wait=False)
    r.node.destroy_publisher(r.visible)
    r.node.destroy_publisher(r.thermal)
    r.visible = r.node.create_publisher(CompressedImage, "visible/image_raw/compressed", 10)
    r.thermal = r.node.create_publisher(CompressedImage, "thermal/image_raw/compressed", 10)
    r.wait_for_log("thermal: subscribed to /thermal/image_raw/compressed (reliable, compressed)")
    r.wait(r._connected, "the node to be ready")
    visible, thermal = scene()
    r.send(
        compressed(visible, ".jpg", "rgb8; jpeg compressed bgr8", 0),
        compressed(thermal, ".png", "16UC1; png compressed ", 0),
    )
    (message,) = r.fused(1)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", visible)[1], cv2.IMREAD_COLOR)
    expected = FusionPipeline()(Pair(jpeg, thermal)).fused
    assert np.abs(visible_array(message).astype(int) - expected).max() <= 1


def test_raw_images_are_preferred_and_compressed_ones_can_be_chosen(robot: MakeRobot) -> None:
    """image_transport offers both. A topic with /compressed in its name is taken at its word."""
    r = robot({"thermal_topic": "thermal/image_raw/compressed"}, wait=False)
    beside = r.node.create_publisher(CompressedImage, "visible/image_raw/compressed", 10)
    thermal = r.node.create_publisher(CompressedImage, "thermal/image_raw/compressed", 10)
    r.wait_for_log("visible: subscribed to /visible/image_raw (")
    r.wait_for_log("thermal: subscribed to /thermal/image_raw/compressed")
    r.wait(
        lambda: (
            r.received.get("label_info")
            and r.visible.get_subscription_count()
            and thermal.get_subscription_count()
        ),
        "the node to be ready",
    )
    assert beside.get_subscription_count() == 0
    colours, counts = scene()
    r.send(image(colours, "bgr8", START), None)
    thermal.publish(compressed(counts, ".png", "png", 0))
    r.fused(1)
    other = robot({"image_transport": "compressed"}, wait=False)
    other.node.create_publisher(CompressedImage, "visible/image_raw/compressed", 10)
    other.wait_for_log("visible: subscribed to /visible/image_raw/compressed")


def test_a_compressed_image_that_claims_a_huge_size_is_refused(robot: MakeRobot) -> None:
    r = robot(wait=False)
    r.node.destroy_publisher(r.visible)
    r.visible = r.node.create_publisher(CompressedImage, "visible/image_raw/compressed", 10)
    r.wait(r._connected, "the node to be ready")
    visible, thermal = scene()
    huge = compressed(visible, ".png", "png", 0)
    data = bytes(huge.data)
    huge.data = array("B", data[:16] + b"\0\0\xea\x60" * 2 + data[24:])
    r.send(huge, image(thermal, "mono16", START))
    r.state(
        lambda v, _: "visible image of 60000x60000 pixels; expected at most" in v["last problem"],
        "the refusal",
    )
    r.send(compressed(visible, ".png", "png", 3), image(thermal, "mono16", START + 3 * PERIOD))
    r.fused(1)


def info(width: int, height: int, number: int = 0) -> CameraInfo:
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    message.k = [50.0, 0.0, width / 2, 0.0, 50.0, height / 2, 0.0, 0.0, 1.0]
    message.d = [0.1, 0.0, 0.0, 0.0, 0.0]
    message.header.frame_id = "lens"
    return message


def info_of_fused(r: Robot, lens: Publisher) -> CameraInfo:
    """Send pairs and infos, as cameras do, until a fused image has a camera_info; return it."""
    numbers = itertools.count()

    def received() -> bool:
        lens.publish(info(64, 48))
        r.fuse(next(numbers))
        return bool(r.received["info"])

    r.wait(received, "the camera_info of a fused image")
    return r.received["info"][0]


def test_the_fused_image_has_the_camera_info_of_the_visible_camera(robot: MakeRobot) -> None:
    r = robot()
    lens = r.node.create_publisher(CameraInfo, "visible/camera_info", 10)
    r.subscribe(CameraInfo, "/fusion_node/fused/camera_info", "info")
    r.wait(lambda: lens.get_subscription_count(), "the node to listen")
    r.wait(lambda: r.node.count_publishers("/fusion_node/fused/camera_info"), "its publisher")
    message = info_of_fused(r, lens)
    assert (message.width, message.height) == (64, 48)
    assert message.distortion_model == "plumb_bob" and message.d[0] == 0.1
    assert message.header in [fused.header for fused in r.received["fused/image"]]


def test_one_camera_info_beside_two_images_is_taken_for_neither(robot: MakeRobot) -> None:
    """As with /cam/rgb, /cam/ir and /cam/camera_info: whose lens is it?"""
    topics = {"visible_topic": "/cam/rgb", "thermal_topic": "/cam/ir"}
    r = robot(topics, wait=False)
    r.wait_for_log("/cam/camera_info lies beside the images of both cameras")
    r.close()
    r = robot({**topics, "visible_info_topic": "/cam/camera_info"}, wait=False)
    lens = r.node.create_publisher(CameraInfo, "/cam/camera_info", 10)
    r.wait(lambda: lens.get_subscription_count() == 1, "the visible camera's lens")


def test_the_topics_can_be_swapped(robot: MakeRobot) -> None:
    """visible_image:=/thermal/image_raw and the reverse: each name is remapped once."""
    r = robot(
        wait=False,
        remap={
            "visible/image_raw": "/thermal/image_raw",
            "thermal/image_raw": "/visible/image_raw",
        },
    )
    r.wait_for_log("visible: subscribed to /thermal/image_raw (")
    r.wait_for_log("thermal: subscribed to /visible/image_raw (")
    r.wait(r._connected, "the node to be ready")
    colours, counts = scene()
    r.send(image(counts, "mono16", START), image(colours, "bgr8", START))
    r.fused(1)


def test_camera_info_can_be_remapped(robot: MakeRobot) -> None:
    visible, thermal = "/thermal/camera_info", "/visible/camera_info"  # swapped
    r = robot(
        {}, wait=False, remap={"visible/camera_info": visible, "thermal/camera_info": thermal}
    )
    r.subscribe(CameraInfo, "/fusion_node/fused/camera_info", "info")
    lens = r.node.create_publisher(CameraInfo, visible, 10)
    r.wait(lambda: lens.get_subscription_count() == 1, "the node to listen")
    r.wait(r._connected, "the node to be ready")
    assert info_of_fused(r, lens).width == 64


def test_a_compressed_image_of_an_unknown_kind_is_refused(robot: MakeRobot) -> None:
    """Its size cannot be known before it is decoded."""
    r = robot(wait=False)
    r.node.destroy_publisher(r.visible)
    r.visible = r.node.create_publisher(CompressedImage, "visible/image_raw/compressed", 10)
    r.wait(r._connected, "the node to be ready")
    visible, thermal = scene()
    r.send(compressed(visible, ".bmp", "bmp", 0), image(thermal, "mono16", START))
    r.state(lambda v, _: "expected a JPEG, PNG or TIFF picture" in v["last problem"], "the refusal")


def test_a_topic_of_another_type_is_told(robot: MakeRobot) -> None:
    r = robot({"visible_topic": "/points"}, wait=False)
    r.node.create_publisher(PointCloud2, "/points", 10)
    r.wait_for_log("/points has messages of type sensor_msgs/msg/PointCloud2; expected")
    r.state(
        lambda _, status: (
            "/points has messages of type sensor_msgs/msg/PointCloud2" in status.message
        ),
        "the wrong type in diagnostics",
    )


def test_a_visible_camera_of_12_bits_keeps_its_brightness(robot: MakeRobot) -> None:
    r = robot()
    for number, level in enumerate((300, 4000, 300)):
        visible = encoded("mono16", np.full(SIZE, level, np.uint16))
        thermal = encoded("mono8", thermal_pixels("mono8", number))
        r.send(stamped(visible, number), stamped(thermal, number))
        r.fused(number + 1)
    dark, bright, again = (visible_array(m).mean() for m in r.received["fused/image"])
    assert bright > 150 and abs(dark - again) < 3


def test_the_counts_below_a_picture_are_fused_with_a_crop(robot: MakeRobot) -> None:
    r = robot({"thermal_crop": "'0,24,32,24'"})
    visible, counts = scene()
    grey = encoded("yuyv", picture(24, 32, 3)[..., :1].repeat(3, 2))
    grey.height, grey.data = 48, grey.data + counts.tobytes()
    r.send(image(visible, "bgr8", START), stamped(grey, 0))
    (message,) = r.fused(1)
    expected = FusionPipeline()(Pair(visible, counts)).fused
    assert np.abs(visible_array(message).astype(int) - expected).max() <= 1


def test_doubtful_thermal_images_are_told_in_diagnostics(robot: MakeRobot) -> None:
    r = robot({"thermal_gain": "temperature", "thermal_scale": 0.04})
    visible, counts = scene()
    counts += 22_000  # hundredths of a kelvin

    def send_more(_values: object, status: Any) -> bool:
        number = len(r.received["fused/image"])
        counts[0, 0] += 1
        stamp = START + number * PERIOD
        r.send(image(visible, "bgr8", stamp), image(counts, "mono16", stamp))
        return "likely is 0.01 and -273.15" in status.message

    r.state(send_more, "the doubt")
