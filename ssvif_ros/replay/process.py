"""The node and the player as processes of their own, in a private ROS domain."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ssvif_core.errors import EngineError

KEPT_LINES = 20
PROGRAMS = 10  # in one domain, whose ports are tried


class PythonProcess:
    """A Python module that runs as a process. Use it as a context manager, which ends it.

    Its log is read all the time, so that it never blocks.

    Args:
        module: as behind `python -m`.
        environment: variables besides those of this process.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> PythonProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        """End it as Ctrl-C does, and after 10 s by force."""
        if self.is_running:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reader.join(timeout=5)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        code = self._process.wait()
        self._reader.join(timeout=5)
        return code

    @property
    def log(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._lines)

    def require_running(self, name: str) -> None:
        """Raise EngineError, with the log, if it has ended."""
        if not self.is_running:
            code = self.wait()
            raise EngineError(f"the {name} ended (code {code}):\n{self.log}")

    @property
    def memory_mb(self) -> float:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)

    @property
    def cpu_s(self) -> float:
        """The processor time it has used, user and system, seconds."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines = [*self._lines[-KEPT_LINES:], line.rstrip()]


def private_domain() -> dict[str, str]:
    """An environment in which nothing leaves this machine or meets its other ROS programs."""
    domains = random.sample(range(1, 101), 100)
    free = next((domain for domain in domains if is_free(domain)), domains[0])
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(free)}


def is_free(domain: int) -> bool:
    """Whether no ROS program of this machine is in a domain.

    Each program in a domain listens on a port of its own: the DDSI-RTPS standard, 9.6.2.3. The
    first one may have ended before the others, so the ports of several are tried.
    """
    return all(_is_free_port(7400 + 250 * domain + 10 + 2 * program) for program in range(PROGRAMS))


def _is_free_port(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables in the environment of this process, and afterwards the old ones."""
    old = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
