"""This machine in words, for figures: they mean little without it."""

from __future__ import annotations

import platform
from pathlib import Path

# What changes the speed of an engine, and for int8 even its results.
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "avx512_bf16", "asimddp", "i8mm")


def describe_machine() -> str:
    """Processor with its vector instructions, cores, system, Python."""
    model, flags = platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
        names = [value.strip() for key, _, value in lines if key.strip() == "model name"]
        if names:
            model = f"{names[0]}, {len(names)} cores"
        present = next(
            (set(value.split()) for key, _, value in lines if key.strip() in ("flags", "Features")),
            set(),
        )
        flags = " ".join(flag for flag in FLAGS if flag in present)
    return (
        f"{model} ({flags or 'no vector flags known'}), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )
