"""The package after a real colcon build, and its metadata and launch files."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from ssvif_ros.node.parameters import FusionParameters

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The install space of a colcon build of this repository in a temporary workspace."""
    workspace = tmp_path_factory.mktemp("workspace")
    source = workspace / "src" / "ssvif_ros"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv*", "demo_out*", "pip_ros",
                                                    "runs", ".*_cache", "*.egg-info"),
    )  # fmt: skip
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(
        [sys.executable, "-m", "colcon", "build"],
        cwd=workspace, env=environment, capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return workspace / "install" / "ssvif_ros"


def test_the_share_folder_is_complete(install: Path) -> None:
    share = install / "share"
    assert (share / "ament_index/resource_index/packages/ssvif_ros").is_file()
    assert (share / "ssvif_ros/package.xml").is_file()
    for folder in ("launch", "config"):
        for path in (ROOT / folder).iterdir():
            if path.is_file():
                assert (share / "ssvif_ros" / folder / path.name).is_file(), path.name
    names = [path.name for path in (share / "ssvif_ros").rglob("*.launch.py")]
    assert len(names) == len(set(names))  # `ros2 launch` refuses two files of the same name


def test_both_packages_are_installed_with_the_weights(install: Path) -> None:
    (site,) = install.glob("lib/python3*/site-packages")
    assert (site / "ssvif_ros/node/fusion_node.py").is_file()
    assert (site / "ssvif_core/pipeline.py").is_file()
    assert (site / "ssvif_core/weights/ssvif_s.onnx").is_file()


def test_the_installed_node_starts(install: Path, tmp_path: Path) -> None:
    (site,) = install.glob("lib/python3*/site-packages")
    executable = install / "lib/ssvif_ros/fusion_node"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{site}:{ROOT / 'pip_ros'}",
        "AMENT_PREFIX_PATH": str(install),
        "ROS_DOMAIN_ID": str(random.randint(1, 100)),
    }
    node = subprocess.Popen(
        [sys.executable, executable], env=environment, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert node.stdout is not None
    for line in node.stdout:
        if "sizes by the first pair" in line:
            break
    else:
        pytest.fail(f"the node ended with code {node.wait()}")
    node.send_signal(signal.SIGINT)
    log, _ = node.communicate(timeout=120)
    assert node.returncode == 0, log


def test_the_yaml_file_has_the_parameters_of_the_dataclass() -> None:
    text = (ROOT / "config/fusion.yaml").read_text()
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert values == dataclasses.asdict(FusionParameters())
    assert [type(value) for value in values.values()] == [
        type(getattr(FusionParameters(), name)) for name in values
    ]


def test_package_xml_and_setup_agree() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.get("format") == "3"
    setup = (ROOT / "setup.py").read_text()
    for tag in ("name", "version", "license"):
        assert f'"{package.findtext(tag)}"' in setup
    needed = {element.text for element in package.findall("exec_depend")}
    assert {"rclpy", "cv_bridge", "message_filters", "sensor_msgs"} <= needed


def test_all_launch_arguments_are_used() -> None:
    for path in (ROOT / "launch").glob("*.launch.py"):
        text = path.read_text()
        (table,) = (
            node.value
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ARGUMENTS"
        )
        for row in table.elts:  # type: ignore[attr-defined]
            name = row.elts[0].value
            assert f'LaunchConfiguration("{name}")' in text, f"{path.name}: {name} is not used"


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch and launch_ros are part of a ROS installation, not of the package index",
)
@pytest.mark.parametrize("name", ["fusion", "replay"])
def test_the_real_launch_loads_the_launch_files(name: str) -> None:
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchContext

    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
    description = source.get_launch_description(LaunchContext())
    assert description.get_launch_arguments()


@pytest.mark.slow
def test_colcon_test_skips_what_needs_missing_packages(tmp_path: Path) -> None:
    """On a robot there is no PyTorch. Here an import hook hides it."""
    source, hidden = tmp_path / "src/ssvif_ros", tmp_path / "hidden"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv*", "demo_out*", "pip_ros",
                                                    "runs", ".*_cache", "*.egg-info"),
    )  # fmt: skip
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'lightning_fabric'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{hidden}:{ROOT / 'pip_ros'}",
    }
    for verb in (["build"], ["test", "--pytest-args", "test/core/test_files.py", "test/core/models",
                             "test/core/graph"]):  # fmt: skip
        result = subprocess.run(
            [sys.executable, "-m", "colcon", *verb, "--event-handlers", "console_direct+"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=170,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
    assert "torch is not installed" in result.stdout
    summary = subprocess.run(
        [sys.executable, "-m", "colcon", "test-result", "--all"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "0 errors, 0 failures" in summary, summary
