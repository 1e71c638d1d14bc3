"""Runs of `ssvif` in processes that find the stand-ins of test/standins instead of a GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

Run = Callable[..., str]
SIZES = ("--visible", "160x120", "--thermal", "80x64")


def runner(gpu: dict[str, str]) -> Run:
    """A function that runs `ssvif` and gives its output.

    It checks the exit code `code`. Other keywords change the environment `gpu`.
    """

    def run(*arguments: object, code: int = 0, **changes: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", "ssvif_core.cli", *map(str, arguments)],
            env={**gpu, "COLUMNS": "200", **changes}, text=True, capture_output=True, timeout=120,
        )  # fmt: skip
        assert result.returncode == code, result.stderr
        return result.stdout + result.stderr

    return run
