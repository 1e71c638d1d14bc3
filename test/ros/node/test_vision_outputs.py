"""Detections and class names as vision_msgs; both are skipped where that package is missing."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest
from harness import START, image
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from test_lifecycle import set_parameter
from test_services import MakeRobot, flag

from ssvif_core.detections import find_detections
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_ros.node.messages import thermal_array

IS_INSTALLED = importlib.util.find_spec("vision_msgs") is not None
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.mark.skipif(IS_INSTALLED, reason="vision_msgs is installed")
def test_detections_without_vision_msgs_are_refused_with_a_reason(robot: MakeRobot) -> None:
    r = robot()
    answer = set_parameter(r, "publish_detections", flag(True))
    assert not answer.successful
    assert "apt install ros-$ROS_DISTRO-vision-msgs" in answer.reason
    r.fuse(0)


@pytest.mark.skipif(not IS_INSTALLED, reason="vision_msgs is not installed")
def test_the_class_map_says_what_label_info_says(robot: MakeRobot) -> None:
    from vision_msgs.msg import LabelInfo

    r = robot()
    maps: list[Any] = []
    infos: list[String] = []
    r.node.create_subscription(
        LabelInfo, "/fusion_node/segmentation/class_map", maps.append, LATCHED
    )
    r.node.create_subscription(
        String, "/fusion_node/segmentation/label_info", infos.append, LATCHED
    )
    r.wait(lambda: maps and infos, "both")
    classes = json.loads(infos[0].data)["classes"]
    assert [(c.class_id, c.class_name) for c in maps[0].class_map] == [
        (c["id"], c["name"]) for c in classes
    ]


@pytest.mark.skipif(not IS_INSTALLED, reason="vision_msgs is not installed")
def test_detections_are_the_regions_of_the_published_labels(robot: MakeRobot) -> None:
    from vision_msgs.msg import Detection2DArray

    r = robot(outputs=("segmentation/labels", "segmentation/confidence"))
    topic = "/fusion_node/detections"
    assert topic not in dict(r.node.get_topic_names_and_types())
    assert set_parameter(r, "publish_detections", flag(True)).successful
    r.subscribe(Detection2DArray, topic, "detections")
    r.wait(lambda: r.node.count_publishers(topic), "the topic")
    frame = DriveGenerator(DriveConfig(visible_size=(320, 240), thermal_size=(160, 128))).frame(40)
    r.send(
        image(frame.visible, "bgr8", START, "lens"), image(frame.thermal, "mono16", START, "lens")
    )
    (array,) = r.fused(1, "detections")
    (labels,), (confidence,) = (
        r.fused(1, f"segmentation/{name}") for name in ("labels", "confidence")
    )
    names = tuple(each["name"] for each in r.classes)
    expected = find_detections(thermal_array(labels), thermal_array(confidence), names, 60, 0.7)
    assert array.header == labels.header and array.header.frame_id == "lens"
    assert [each.results[0].hypothesis.class_id for each in array.detections] == [
        names[each.class_id] for each in expected
    ]
    assert "person" in {each.results[0].hypothesis.class_id for each in array.detections}
    first, box = expected[0], array.detections[0].bbox
    assert (box.size_x, box.size_y) == (first.width, first.height)
    assert box.center.position.x - box.size_x / 2 == first.left
    assert box.center.position.y - box.size_y / 2 == first.top
    assert array.detections[0].results[0].hypothesis.score == pytest.approx(first.confidence)
    assert set_parameter(r, "publish_detections", flag(False)).successful
    r.wait(lambda: not r.node.count_publishers(topic), "the end of the topic")
