"""Faults that are really injected into a running node: `make faults`.

Each test calls `recovered` when its fault is over. The time until the next good pair is fused goes
to docs/results/faults.json, and from there to docs/reliability.md.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))

from harness import Cameras, Robot, robots

from ssvif_core.machine import describe_machine
from ssvif_core.types import stamp_of

ROOT = Path(__file__).parents[2]
LIMIT_S = 1.0  # from the end of a fault to the next fused pair
_results: list[dict[str, Any]] = []


@pytest.fixture
def robot(next_domain: Callable[[], int]) -> Iterator[Callable[..., Robot]]:
    """Creates robots, each with its own node. They are closed after the test."""
    yield from robots(next_domain)


@pytest.fixture
def recovered() -> Callable[..., None]:
    """Waits for a pair sent after the end of a fault to be fused, and notes how long it took."""

    def wait(fault: str, robot: Robot, cameras: Cameras, **figures: object) -> None:
        start, number = time.monotonic(), cameras.number

        def is_fused() -> bool:
            good = {cameras.stamp(n) for n in range(number + 1, cameras.number + 1)}
            return any(stamp_of(each.header) in good for each in robot.received["fused/image"])

        robot.wait(is_fused, "a fused pair", 30)
        seconds = time.monotonic() - start
        _results.append({"fault": fault, "seconds": round(seconds, 2), **figures})
        assert seconds < LIMIT_S, f"{fault}: {seconds:.2f} s"

    return wait


@pytest.fixture
def noted() -> Callable[..., None]:
    """Notes figures of a fault after which there is nothing to wait for."""
    return lambda fault, **figures: _results.append({"fault": fault, **figures})


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if not _results or exitstatus not in (0, 1):
        return
    result = {
        "machine": describe_machine(),
        "command": "make faults",
        "date": time.strftime("%Y-%m-%d"),
        "tests": len(session.items),
        "failed tests": session.testsfailed,
        "faults": _results,
    }
    (ROOT / "docs/results/faults.json").write_text(json.dumps(result, indent=1) + "\n")
