"""The reference pages say what the code says, and what the running node says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import rclpy

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import reference  # noqa: E402


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_page_is_what_the_code_gives(name: str) -> None:
    page = (ROOT / "docs/reference" / name).read_text()
    assert page == reference.pages()[name], "run `make docs` and commit docs/reference"


def test_there_are_no_other_pages() -> None:
    assert {path.name for path in (ROOT / "docs/reference").iterdir()} == set(reference.pages())


def test_the_running_node_has_exactly_the_interface_of_the_reference() -> None:
    from ssvif_ros.node import interface
    from ssvif_ros.node.fusion_node import FusionNode

    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = FusionNode(context=context)
        try:
            node.start()
            name, space = node.get_name(), node.get_namespace()
            published = dict(node.get_publisher_names_and_types_by_node(name, space))
            services = dict(node.get_service_names_and_types_by_node(name, space))
        finally:
            node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    expected = {}
    for each in interface.PUBLISHED:
        topic = each.name.replace("~", "/fusion_node")
        expected[topic] = [each.type.replace("/", "/msg/")]
        if isinstance(each, interface.ImageOutput) and each.has_jpeg:
            expected[f"{topic}/compressed"] = [interface.JPEG.replace("/", "/msg/")]
    optional = {each.name.replace("~", "/fusion_node") for each in interface.WITH_VISION_MSGS}
    own = {
        topic: types
        for topic, types in published.items()
        if not _is_ros_itself(topic) and topic not in optional
    }
    assert own == expected
    for each in interface.SERVICES:
        topic = each.name.replace("~", "/fusion_node")
        assert services[topic] == [each.type.replace("/", "/srv/")]
    allowed = _allowed_by_the_security_policy()
    assert allowed["topic"] >= set(published) | optional and allowed["service"] >= set(services)


def _allowed_by_the_security_policy() -> dict[str, set[str]]:
    """The full names of published topics and offered services in config/sros2_policy.xml."""
    policy = ElementTree.parse(ROOT / "config/sros2_policy.xml")
    names: dict[str, set[str]] = {"topic": set(), "service": set()}
    for path, kind in (
        ("topics[@publish]/topic", "topic"),
        ("services[@reply]/service", "service"),
    ):
        for element in policy.iterfind(f".//{path}"):
            text = element.text or ""
            is_own = text.startswith("~/")
            names[kind].add(f"/fusion_node/{text[2:]}" if is_own else f"/{text}")
    return names


def _is_ros_itself(topic: str) -> bool:
    return topic in ("/rosout", "/parameter_events") or topic.endswith("/transition_event")


def test_every_key_of_the_diagnostics_is_written_once() -> None:
    """Keys are constants: no file but status.py spells one out."""
    from ssvif_ros.node.status import Key

    spelled = re.compile("|".join(f'"{re.escape(key.value)}"' for key in Key if " " in key.value))
    for path in (ROOT / "ssvif_ros").rglob("*.py"):
        if path.name != "status.py":
            assert not spelled.search(path.read_text()), path
