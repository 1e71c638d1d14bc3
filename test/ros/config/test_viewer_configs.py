"""The layouts for Foxglove (or Lichtblick) and RViz show what the node really has by default."""

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
    """The topics that the node subscribes to or publishes, with their types."""
    node, name = shared_robot.node, ("fusion_node", "/")
    there = [
        *node.get_subscriber_names_and_types_by_node(*name),
        *node.get_publisher_names_and_types_by_node(*name),
    ]
    return {topic: kinds[0] for topic, kinds in there}


def panels_of(kind: str) -> list[dict[str, Any]]:
    """The settings of the panels of one kind, in order of their name."""
    return [settings for panel, settings in sorted(PANELS.items()) if panel.split("!")[0] == kind]


def panels_in(node: Any) -> Iterator[str]:
    """The panels of a tree of splits."""
    if isinstance(node, str):
        yield node
        return
    assert node["direction"] in ("row", "column") and 0 < node["splitPercentage"] < 100
    yield from panels_in(node["first"])
    yield from panels_in(node["second"])


def test_the_layout_holds_each_panel_once() -> None:
    assert sorted(panels_in(LAYOUT["layout"])) == sorted(PANELS)
    assert LAYOUT["playbackConfig"]["speed"] == 1 and LAYOUT["globalVariables"] == {}


def test_four_images_are_shown_of_topics_that_the_node_has(types: dict[str, str]) -> None:
    displays = RVIZ["Visualization Manager"]["Displays"]
    assert {display["Class"] for display in displays} == {"rviz_default_plugins/Image"}
    in_rviz = [display["Topic"]["Value"] for display in displays]
    in_foxglove = [panel["imageMode"]["imageTopic"] for panel in panels_of("Image")]
    assert len(in_rviz) == 4 and sorted(in_rviz) == sorted(in_foxglove)
    assert INPUTS < set(in_rviz)
    assert {types.get(topic) for topic in in_rviz} == {"sensor_msgs/msg/Image"}


def test_every_camera_is_heard_and_no_output_is_lost() -> None:
    """A reliable display would not match a best-effort camera."""
    for display in RVIZ["Visualization Manager"]["Displays"]:
        topic = display["Topic"]
        expected = "Best Effort" if topic["Value"] in INPUTS else "Reliable"
        assert topic["Reliability Policy"] == expected


def test_diagnostics_and_plots_are_of_values_that_the_node_tells(
    shared_robot: Robot, types: dict[str, str]
) -> None:
    shared_robot.fuse(0)
    told = shared_robot.state(lambda values, _: "latency p50 ms" in values, "latencies")
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
        assert name == status.name and float(told[key]) >= 0
    assert {types.get(topic) for topic in topics} == {"diagnostic_msgs/msg/DiagnosticArray"}
