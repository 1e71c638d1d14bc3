"""What importing the package does to a process."""

from __future__ import annotations

import subprocess
import sys


def test_threads_that_wait_leave_the_cores_to_other_programs() -> None:
    """PyTorch's OpenMP reads this when it is loaded."""
    script = "import ssvif_core, os; print(os.environ['OMP_WAIT_POLICY'])"
    given = {"PATH": "/usr/bin"}
    result = subprocess.run([sys.executable, "-c", script], env=given, capture_output=True)
    assert result.stdout.decode().strip() == "PASSIVE"
    given["OMP_WAIT_POLICY"] = "ACTIVE"  # a person's own choice stays
    result = subprocess.run([sys.executable, "-c", script], env=given, capture_output=True)
    assert result.stdout.decode().strip() == "ACTIVE"
