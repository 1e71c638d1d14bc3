"""The rules of the house. import-linter holds the layers; here they are seen at run time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_contracts_of_import_linter_hold() -> None:
    """`[tool.importlinter]`: layers, no ROS in the core, no PyTorch on a robot."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


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


def test_every_package_says_what_it_is_for() -> None:
    """And names each of its modules, so that a reader finds the way."""
    import ast

    for package in sorted(path.parent for path in ROOT.glob("ssvif_*/**/__init__.py")):
        text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
        assert text, f"{package}: no docstring"
        modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
        if package.name in ("networks",):  # they register themselves
            continue
        missing = {name for name in modules if name not in text}
        assert not missing, f"{package}/__init__.py does not name {missing}"
