from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Robot


@pytest.fixture
def robot(next_domain: Callable[[], int]) -> Iterator[Callable[..., Robot]]:
    """Makes robots, each with a node of its own; all are ended after the test."""
    made: list[Robot] = []

    def make(*arguments: object, **options: object) -> Robot:
        made.append(Robot(next_domain(), *arguments, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def shared_robot(next_domain: Callable[[], int]) -> Iterator[Robot]:
    """One node for tests that leave it as they found it."""
    made = Robot(next_domain(), outputs=("fused/image", "segmentation/labels"))
    yield made
    assert made.close() == 0
