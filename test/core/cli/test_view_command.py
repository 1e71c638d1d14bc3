"""`ssvif view`: what Rerun gets, as its own program reads it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ssvif_core.cli import app
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.recordings.bags import write_pairs
from ssvif_core.types import Pair


def shown(file: Path) -> Counter[str]:
    """Rows by entity in a file, as the program `rerun` reads it."""
    program = Path(sys.executable).with_name("rerun")
    verified = subprocess.run([program, "rrd", "verify", file], capture_output=True, text=True)
    assert verified.returncode == 0, verified.stderr
    printed = subprocess.run([program, "rrd", "print", file], capture_output=True, text=True)
    rows: Counter[str] = Counter()
    for count, entity in re.findall(r"with (\d+) rows .*? - (/.*?) - data", printed.stdout):
        rows[entity.replace("\\", "")] += int(count)
    return rows


def test_images_labels_and_figures_of_a_bag_are_shown(
    drive_pairs: list[Pair], tmp_path: Path
) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    write_pairs(tmp_path / "bag", drive_pairs[:5])
    command = ["view", str(tmp_path / "bag"), "--engine", "openvino"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "a.rrd")])
    assert result.exit_code == 0, result.output
    assert "a.rrd: 5 pairs; open it with `rerun" in result.output
    rows = shown(tmp_path / "a.rrd")
    for entity in ("/visible", "/thermal", "/fused", "/labels", "/ms/engine",
                   "/% of the image/person", "/thermal counts/white"):  # fmt: skip
        assert rows[entity] == 5, (entity, rows)
    problem = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "no/a.rrd")]).exception
    assert isinstance(problem, InputError) and "no/a.rrd: cannot be written" in str(problem)


def test_without_rerun_the_command_says_what_to_install(
    drive_pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    write_pairs(tmp_path / "bag", drive_pairs[:1])
    problem = CliRunner().invoke(app, ["view", str(tmp_path / "bag")]).exception
    assert isinstance(problem, SsvifError) and "run `pip install rerun-sdk`" in str(problem)
