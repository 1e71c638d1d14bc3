"""Every package that the guides tell to install has a wheel for that machine."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLIBC = {"22.04": 35, "24.04": 39, "26.04": 43}  # minor version of each Ubuntu's glibc 2


def lines() -> list[tuple[str, str, str, str]]:
    """Ubuntu, Python, architecture and command of each cell of the table in the robot guide."""
    text = (ROOT / "docs/guide/robot.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in text.splitlines()
        if re.match(r"\| .*\| \d\d\.\d\d \|", line)
    ]
    return [
        (ubuntu, python, machine, command.strip("`"))
        for _, ubuntu, python, *commands in rows
        for machine, command in zip(("x86_64", "aarch64"), commands, strict=True)
        if command
    ]


def test_the_table_names_every_distribution() -> None:
    assert len(lines()) == 10
    assert {python for _, python, _, _ in lines()} == {"3.10", "3.12", "3.14"}


def is_index_reachable() -> bool:
    """Whether pip finds versions of a package that surely exists."""
    command = [sys.executable, "-m", "pip", "index", "versions", "numpy"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("ubuntu", "python", "machine", "command"), lines())
def test_each_line_can_be_installed(
    ubuntu: str, python: str, machine: str, command: str, tmp_path: Path
) -> None:
    if not is_index_reachable():
        pytest.skip("no package index can be reached")
    program, install, *packages = shlex.split(command)
    assert (program, install) == ("pip", "install")
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(17, GLIBC[ubuntu] + 1)]
    run = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
         "--only-binary=:all:", "--implementation=cp", f"--python-version={python}",
         f"--target={tmp_path}", f"--platform=manylinux2014_{machine}",
         *(f"--platform={each}" for each in platforms), *packages],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
