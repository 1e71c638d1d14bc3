"""The layouts for Foxglove (or Lichtblick) and RViz show topics that the node has by default."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Robot

from ssvif_ros.node.parameters import FusionParameters

CONFIG = Path(__file__).parents[3] / "config"
LAYOUT = json.loads((CONFIG / "foxglove_layout.json").read_text())
RVIZ = yaml.safe_load((CONFIG / "fusion.rviz").read_text())
PANELS = LAYOUT["configById"]
INPUTS = {f"/{FusionParameters.visible_topic}", f"/{FusionParameters.thermal_topic}"}
PATH = re.compile(r'(/\w+)\.status\[:\]{name=="([^"]+)"}\.values\[:\]{key=="([^"]+)"}\.value')


@pytest.fixture(scope="module")
def types(shared_robot: Robot) -> dict[str, str]:
    """The node's topics with their types."""
    node, name = shared_robot.node, ("fusion_node", "/")
    topics = [
        *node.get_subscriber_names_and_types_by_node(*name),
        *node.get_publisher_names_and_types_by_node(*name),
    ]
    return {topic: topic_types[0] for topic, topic_types in topics}


def panels_of(panel_type: str) -> list[dict[str, Any]]:
    """The settings of all panels of one type, in order of their name."""
    return [
        settings for panel, settings in sorted(PANELS.items()) if panel.split("!")[0] == panel_type
    ]


def panels_in(node: Any) -> Iterator[str]:
    """The panels in a tree of splits."""
    if isinstance(node, str):
        yield node
        return
    assert node["direction"] in ("row", "column") and 0 < node["splitPercentage"] < 100
    yield from panels_in(node["first"])
    yield from panels_in(node["second"])


def test_the_layout_has_each_panel_once() -> None:
    assert sorted(panels_in(LAYOUT["layout"])) == sorted(PANELS)
    assert LAYOUT["playbackConfig"]["speed"] == 1 and LAYOUT["globalVariables"] == {}


def test_both_viewers_show_four_image_topics_of_the_node(types: dict[str, str]) -> None:
    displays = RVIZ["Visualization Manager"]["Displays"]
    assert {display["Class"] for display in displays} == {"rviz_default_plugins/Image"}
    in_rviz = [display["Topic"]["Value"] for display in displays]
    in_foxglove = [panel["imageMode"]["imageTopic"] for panel in panels_of("Image")]
    assert len(in_rviz) == 4 and sorted(in_rviz) == sorted(in_foxglove)
    assert INPUTS < set(in_rviz)
    assert {types.get(topic) for topic in in_rviz} == {"sensor_msgs/msg/Image"}


def test_displays_have_the_reliability_of_their_topics() -> None:
    """A reliable display receives nothing from a best-effort camera."""
    for display in RVIZ["Visualization Manager"]["Displays"]:
        topic = display["Topic"]
        expected = "Best Effort" if topic["Value"] in INPUTS else "Reliable"
        assert topic["Reliability Policy"] == expected


def test_diagnostics_and_plots_show_values_that_the_node_publishes(
    shared_robot: Robot, types: dict[str, str]
) -> None:
    shared_robot.fuse(0)
    values = shared_robot.state(lambda values, _: "latency p50 ms" in values, "latencies")
    status = shared_robot.diagnostics[-1]
    (summary,), (detail,) = panels_of("DiagnosticSummary"), panels_of("DiagnosticStatusPanel")
    assert summary["pinnedIds"] == [f"|{status.hardware_id}|{status.name}|"]
    assert detail["selectedHardwareId"] == status.hardware_id
    assert detail["selectedName"] == status.name
    topics = {summary["topicToRender"], detail["topicToRender"]}
    paths = [path["value"] for panel in panels_of("Plot") for path in panel["paths"]]
    assert len(paths) == 3
    for path in paths:
        match = PATH.fullmatch(path)
        assert match, path
        topic, name, key = match.groups()
        topics.add(topic)
        assert name == status.name and float(values[key]) >= 0
    assert {types.get(topic) for topic in topics} == {"diagnostic_msgs/msg/DiagnosticArray"}
