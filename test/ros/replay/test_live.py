"""`ssvif view live`: the running node in the viewer."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Robot

MakeRobot = Callable[..., Robot]


def test_what_cameras_and_node_publish_is_shown(robot: MakeRobot, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    r, file = robot(), tmp_path / "live.rrd"
    r.fuse(0)
    heard = r.visible.get_subscription_count()
    viewer = subprocess.Popen(
        [sys.executable, "-m", "ssvif_core.cli", "view", "live", "--out", str(file)],
        env={**os.environ, "ROS_DOMAIN_ID": str(r.domain)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    r.wait(lambda: r.visible.get_subscription_count() > heard, "the viewer to subscribe")
    r.wait(lambda: r.thermal.get_subscription_count() > heard, "the viewer to subscribe")
    index = 1

    def written() -> bool:
        """All kinds of entities are there; the viewer's program reads the growing file."""
        nonlocal index
        r.fuse(index)
        index += 1
        return {"/visible", "/thermal", "/fused", "/labels"} <= entities(file)

    r.wait(written, "the images in the file")
    r.wait(lambda: any(name.startswith("/diagnostics/") for name in entities(file)), "diagnostics")
    viewer.send_signal(signal.SIGINT)
    output, _ = viewer.communicate(timeout=60)
    assert viewer.returncode == 0
    assert re.search(r"[1-9]\d* fused images shown", output)


def entities(file: Path) -> set[str]:
    program = Path(sys.executable).with_name("rerun")
    printed = subprocess.run([program, "rrd", "print", file], capture_output=True, text=True)
    return {name.replace("\\", "") for name in re.findall(r"rows .*? - (/.*?) -", printed.stdout)}
