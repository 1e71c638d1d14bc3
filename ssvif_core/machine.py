"""This machine in words, for figures: they mean little without it."""

from __future__ import annotations

import platform
from pathlib import Path

# What changes the speed of an engine, and for int8 even its results.
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "avx512_bf16", "asimddp", "i8mm")
CPUINFO = Path("/proc/cpuinfo")


def cpu_flags() -> tuple[str, ...]:
    """Those of `FLAGS` that this CPU has; empty where /proc/cpuinfo does not tell."""
    for key, value in _cpuinfo():
        if key in ("flags", "Features"):
            present = set(value.split())
            return tuple(flag for flag in FLAGS if flag in present)
    return ()


def describe_machine() -> str:
    """Processor with its vector instructions, cores, system, Python."""
    names = [value for key, value in _cpuinfo() if key == "model name"]
    model = f"{names[0]}, {len(names)} cores" if names else platform.machine()
    return (
        f"{model} ({' '.join(cpu_flags()) or 'no vector flags known'}), {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}"
    )


def _cpuinfo() -> list[tuple[str, str]]:
    if not CPUINFO.is_file():
        return []
    lines = (line.partition(":") for line in CPUINFO.read_text().splitlines())
    return [(key.strip(), value.strip()) for key, _, value in lines]
