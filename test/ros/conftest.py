from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Robot, robots


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests in this folder need ROS."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.ros)


@pytest.fixture
def robot(next_domain: Callable[[], int]) -> Iterator[Callable[..., Robot]]:
    """Creates robots, each with its own node. They are closed after the test."""
    yield from robots(next_domain)


@pytest.fixture(scope="module")
def shared_robot(next_domain: Callable[[], int]) -> Iterator[Robot]:
    """One node for all tests of a module that do not change its settings."""
    robot = Robot(next_domain(), outputs=("fused/image", "segmentation/labels"))
    yield robot
    assert robot.close() == 0
