"""fusion.launch.py with the real launch and launch_ros: what fails ends with exit code 1."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch and launch_ros are part of a ROS installation, not of the package index",
)

RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
file, *arguments = sys.argv[1:]
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(file),
    launch_arguments=[tuple(a.split(":=", 1)) for a in arguments],
)]))
sys.exit(service.run())
"""
Start = Callable[..., "Launch"]


class Launch:
    """A running launch, and its output so far."""

    def __init__(
        self, environment: dict[str, str], *arguments: str, file: str = "fusion.launch.py"
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(ROOT / "launch" / file), *arguments],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_for(self, text: str, count: int = 1) -> None:
        deadline = time.monotonic() + 30
        while self.output.count(text) < count:
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def end(self) -> int:
        code = self.process.wait(timeout=120)
        self._reader.join()
        return code


@pytest.fixture
def start(tmp_path: Path, next_domain: Callable[[], int]) -> Start:
    """Starts launches of an installation made of links."""
    prefix = tmp_path / "install"
    for folder in ("share/ament_index/resource_index/packages", "lib/ssvif_ros", "share/ssvif_ros"):
        (prefix / folder).mkdir(parents=True)
    (prefix / "share/ament_index/resource_index/packages/ssvif_ros").touch()
    for folder in ("launch", "config"):
        (prefix / "share/ssvif_ros" / folder).symlink_to(ROOT / folder)
    for name in ("fusion_node", "build_engine"):
        program = prefix / "lib/ssvif_ros" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ssvif_ros.node.{name} "$@"\n')
        program.chmod(0o755)
    environment = {
        **os.environ,
        "AMENT_PREFIX_PATH": f"{prefix}:{os.environ.get('AMENT_PREFIX_PATH', '')}",
        "ROS_DOMAIN_ID": str(next_domain()),
        "ROS_LOG_DIR": str(tmp_path / "log"),
        "HOME": str(tmp_path),
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    environment["PATH"] = f"{tmp_path / 'bin'}:{environment['PATH']}"
    return lambda *arguments, **options: Launch(environment, *arguments, **options)


def write(path: Path, parameters: str) -> None:
    path.write_text(f"/**:\n  ros__parameters:\n    {parameters}\n")


def test_a_missing_config_file_is_refused(start: Start) -> None:
    launch = start("config_file:=/nowhere.yaml")
    assert launch.end() == 1
    assert "config_file /nowhere.yaml: no such file" in launch.output


def test_a_bad_parameter_ends_the_launch_even_with_respawn(start: Start, tmp_path: Path) -> None:
    write(tmp_path / "my.yaml", "engine: none")
    launch = start("config_file:=~/my.yaml", "respawn:=true")  # HOME is expanded
    assert launch.end() == 1
    assert "parameter engine='none'" in launch.output
    assert launch.output.count("process started") == 1


def test_a_build_that_fails_ends_with_an_error(start: Start) -> None:
    launch = start("build_only:=true")
    assert launch.end() == 1
    assert "no CUDA device" in launch.output or "tensorrt" in launch.output


def test_a_node_that_died_is_started_again(start: Start, tmp_path: Path) -> None:
    launch = start("respawn:=true")
    launch.wait_for("sizes by the first pair")
    pid = int(launch.output.partition("process started with pid [")[2].partition("]")[0])
    os.kill(pid, signal.SIGKILL)
    launch.wait_for("sizes by the first pair", 2)
    launch.process.send_signal(signal.SIGINT)
    assert launch.end() == 0


def test_an_unknown_parameter_in_the_file_is_named(start: Start, tmp_path: Path) -> None:
    write(tmp_path / "my.yaml", "slopp: 0.1")
    launch = start("config_file:=~/my.yaml")
    launch.wait_for("parameter slopp is unknown to this node; did you mean slop?")
    launch.process.send_signal(signal.SIGINT)
    assert launch.end() == 0


def test_a_lifecycle_manager_may_start_the_node(start: Start) -> None:
    launch = start("autostart:=false")
    launch.wait_for("process started with pid")
    time.sleep(3)
    assert "engine openvino" not in launch.output, "it is not configured"
    launch.process.send_signal(signal.SIGINT)
    assert launch.end() == 0


def test_a_replay_records_the_topics_of_its_namespace(start: Start, tmp_path: Path) -> None:
    """`ros2` is a program that writes down its arguments, since rosbag2 is not at hand."""
    program = tmp_path / "bin/ros2"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\nsleep 2\n')
    program.chmod(0o755)
    launch = start(
        "bag:=drive", "namespace:=robot1", "fused_image:=/all/fused", "thermal_image:=~/ir",
        file="replay.launch.py",
    )  # fmt: skip
    launch.end()
    (recorded,) = [
        line for line in (tmp_path / "called").read_text().splitlines() if "record" in line
    ]
    node = "/robot1/fusion_node"
    assert recorded.split("fusion_outputs ")[1].split() == [
        "/robot1/visible/image_raw", f"{node}/ir", "/all/fused", f"{node}/segmentation/overlay",
        f"{node}/segmentation/labels", f"{node}/segmentation/label_info", "/diagnostics",
    ]  # fmt: skip
