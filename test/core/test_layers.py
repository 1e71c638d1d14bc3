"""The rule of the house: an arrow goes down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROS = {
    "rclpy", "cv_bridge", "message_filters", "sensor_msgs", "std_msgs", "diagnostic_msgs",
    "rcl_interfaces", "rosgraph_msgs", "launch", "launch_ros", "ament_index_python", "ssvif_ros",
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """Top-level packages a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "ssvif_core").rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_core_imports_no_ros(path: Path) -> None:
    assert not imported(path) & ROS


@pytest.mark.parametrize("module", ["ssvif_core", "ssvif_core.pipeline", "ssvif_core.cli"])
def test_what_a_robot_imports_brings_neither_torch_nor_an_engine(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print({'torch', 'openvino', 'onnxruntime', 'rclpy'} & set(sys.modules) or '')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "", result.stderr


def test_the_node_needs_neither_bag_nor_command_line_libraries() -> None:
    code = (
        "import sys, ssvif_ros.node.fusion_node; "
        "print({'torch', 'rosbags', 'typer', 'rich'} & set(sys.modules) or '')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "", result.stdout + result.stderr
