"""What all tests share: a private DDS domain, generated pairs and bags, and real data if there."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ssvif_core.data.bags import write_pairs
from ssvif_core.data.scenes import SceneConfig, SceneGenerator
from ssvif_core.types import Pair
from ssvif_ros.transport import use_transport_profile

# Before rclpy is imported anywhere: nothing may leave this machine or meet other ROS programs.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_domains = itertools.cycle(random.sample(range(1, 100), 99))
os.environ["ROS_DOMAIN_ID"] = str(next(_domains))
# Fast DDS reads it once in a process, when the first test makes a participant.
use_transport_profile()


@pytest.fixture(scope="session")
def next_domain() -> Callable[[], int]:
    """A ROS domain that no other test of this session uses."""
    return lambda: next(_domains)


ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SSVIF_SHARED", ROOT.parent / "shared")) / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real pairs; exists only where the project is developed."""
    if not SHARED.is_dir():
        pytest.skip(f"real pairs are not here ({SHARED}); they are not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def drive_pairs() -> list[Pair]:
    """Twelve pairs of a generated drive, 320x240 visible and 160x128 14-bit thermal, at 30 Hz."""
    config = SceneConfig(frames=12, visible_size=(320, 240), thermal_size=(160, 128))
    scenes = SceneGenerator(config)
    pairs = []
    for index in range(12):
        scene = scenes.frame(index)
        stamp = 1_000_000_000 + round(scene.stamp * 1e9)
        pairs.append(Pair(scene.visible, scene.thermal, stamp, stamp + 3_000_000))
    return pairs


@pytest.fixture(scope="session")
def drive_bag(drive_pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive"
    write_pairs(path, drive_pairs)
    return path
