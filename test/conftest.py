"""Shared by all tests: private DDS domains, generated pairs and bags, real data if available."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import hypothesis
import pytest

# `colcon test` on a robot: what needs a package that is not installed is skipped.
if "COLCON" in os.environ:
    pytest_plugins = ["missing_packages"]

from rosbags.rosbag2 import StoragePlugin, Writer

from ssvif_core.recordings.bags import (
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    THERMAL_TOPIC,
    TYPES,
    VISIBLE_TOPIC,
    Bag,
    write_pairs,
)
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair
from ssvif_ros.replay.process import is_free
from ssvif_ros.transport import use_transport_profile

# A shell that starts the tests in the background lets them and their nodes ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The time of a property test says how busy the machine is.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# Set before rclpy is imported: no message may leave this machine or reach other ROS programs.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
# Processes of pytest-xdist have domains of their own.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_domains = itertools.cycle(random.sample(range(1 + _worker % 4, 101, 4), 25))
os.environ["ROS_DOMAIN_ID"] = str(next(_domains))
# Fast DDS reads the profile once per process, when the first test creates a participant.
use_transport_profile()


@pytest.fixture(scope="session")
def next_domain() -> Callable[[], int]:
    """Gives ROS domains in which no other program is; a node may live as long as its module."""
    return lambda: next(domain for domain in _domains if is_free(domain))


ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SSVIF_SHARED", ROOT.parent / "shared")) / "data"


STANDINS = Path(__file__).parent / "standins"


@pytest.fixture(scope="session")
def stand_in_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A libcuda.so.1 for machines without a GPU; see test/standins."""
    folder = tmp_path_factory.mktemp("driver")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("the stand-in for the CUDA driver needs a C compiler")
    library = folder / "libcuda.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o", library,
         STANDINS / "libcuda.c", "-ldl"],
        check=True,
    )  # fmt: skip
    return library


@pytest.fixture
def gpu(stand_in_driver: Path, tmp_path: Path) -> dict[str, str]:
    """Environment in which a process finds a GPU, TensorRT and an empty cache of engines."""
    return {
        **os.environ,
        "LD_PRELOAD": str(stand_in_driver),
        "PYTHONPATH": str(STANDINS),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real pairs. It exists only where the project is developed."""
    if not SHARED.is_dir():
        pytest.skip(f"no real pairs in {SHARED}; they are not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def drive_pairs() -> list[Pair]:
    """Twelve pairs of a generated drive, 320x240 visible and 160x128 14-bit thermal, at 30 Hz."""
    config = DriveConfig(frames=12, visible_size=(320, 240), thermal_size=(160, 128))
    scenes = DriveGenerator(config)
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


@pytest.fixture(scope="session")
def cut_bag(drive_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drive after a power failure of the recorder: cut at two thirds, without an index."""
    (file,) = drive_bag.glob("*.mcap")
    data = file.read_bytes()
    path = tmp_path_factory.mktemp("bags") / "cut.mcap"
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


@pytest.fixture(scope="session")
def damaged_bag(drive_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drive with damaged messages: an empty visible one at the start, a thermal one without
    its last row, and a visible one whose stamp has too many nanoseconds."""
    path = tmp_path_factory.mktemp("bags") / "damaged"
    with Bag(drive_bag) as source, Writer(
        path, version=9, storage_plugin=StoragePlugin.MCAP
    ) as writer:  # fmt: skip
        out = {
            topic: writer.add_connection(topic, IMAGE_TYPE, typestore=TYPES)
            for topic in (VISIBLE_TOPIC, THERMAL_TOPIC)
        }
        for number, message in enumerate(source.messages()):
            data = {
                0: b"",
                5: bytes(message.data)[:-200],
                10: bytes(message.data)[:8] + b"\xff\xff\xff\xff" + bytes(message.data)[12:],
            }.get(number, bytes(message.data))
            writer.write(out[message.topic], message.time, data)
    return path


@pytest.fixture(scope="session")
def compressed_bag(drive_pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drive with compressed images: visible as JPEG, thermal as 16-bit PNG."""
    path = tmp_path_factory.mktemp("bags") / "compressed"
    types = TYPES.types
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        out = {
            name: writer.add_connection(f"{name}/compressed", COMPRESSED_TYPE, typestore=TYPES)
            for name in (VISIBLE_TOPIC, THERMAL_TOPIC)
        }
        for pair in drive_pairs:
            for topic, image, stamp, suffix in (
                (VISIBLE_TOPIC, pair.visible, pair.visible_stamp, ".jpg"),
                (THERMAL_TOPIC, pair.thermal, pair.thermal_stamp, ".png"),
            ):
                message = types[COMPRESSED_TYPE](
                    header=types["std_msgs/msg/Header"](
                        stamp=types["builtin_interfaces/msg/Time"](*divmod(stamp, 1_000_000_000)),
                        frame_id="camera",
                    ),
                    format=suffix[1:],
                    data=cv2.imencode(suffix, image)[1].reshape(-1),
                )
                data = TYPES.serialize_cdr(message, COMPRESSED_TYPE)
                writer.write(out[topic], stamp, data)
    return path
