"""Measures the engines and the node on this machine: `make bench`.

Each is measured with the instructions of this CPU, and with those of an older one (AVX2), to which
OpenVINO is held down. Writes docs/results/bench.json and prints the same figures as tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ssvif_core.machine import describe_machine
from ssvif_core.recordings.bags import THERMAL_TOPIC, VISIBLE_TOPIC, write_pairs
from ssvif_ros.replay.demo import generated_drive
from ssvif_ros.replay.process import environment
from ssvif_ros.replay.replay import FUSED, ReplayOptions, replay

ROOT = Path(__file__).parents[1]
HELD = ("", "AVX2")  # values of ONEDNN_MAX_CPU_ISA
console = Console()


def bench_engines(rounds: int, beside: list[str]) -> dict[str, object]:
    """Times of all engines; see tools/bench_engines.py."""
    command = [sys.executable, str(ROOT / "tools/bench_engines.py"), "--rounds", str(rounds)]
    if beside:
        command += ["--beside", *beside]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, object] = json.loads(run.stdout)
    return result


def bench_node(seconds: int, best_effort: bool, bag: Path) -> dict[str, object]:
    """Figures of the node over DDS at 30 Hz, with one subscriber to the fused image."""
    recording = Path(tempfile.mkdtemp(prefix="ssvif_bench_")) / "outputs"
    options = ReplayOptions(
        bag, VISIBLE_TOPIC, THERMAL_TOPIC, recording, best_effort=best_effort, topics=(FUSED,)
    )
    publishers = "best effort" if best_effort else "reliable"
    held = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    try:
        with Progress(console=console) as bar:
            task = bar.add_task(f"node, {publishers} publishers", total=30 * seconds)
            result = replay(options, lambda n, _: bar.update(task, completed=n))
    finally:
        shutil.rmtree(recording.parent, ignore_errors=True)
    figures = result.figures()
    del figures["diagnostics"]
    return {"held_down_to": held, "publishers": publishers, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="of 20 runs for each engine")
    parser.add_argument("--seconds", type=int, default=20, help="length of the drive")
    parser.add_argument("--beside", nargs="*", default=[], help="see tools/bench_engines.py")
    arguments = parser.parse_args()
    engines, node = [], []
    with tempfile.TemporaryDirectory(prefix="ssvif_bench_") as folder:
        bag = Path(folder) / "drive"
        write_pairs(bag, generated_drive(30 * arguments.seconds, console))
        for held in HELD:
            with environment({"ONEDNN_MAX_CPU_ISA": held} if held else {}):
                engines.append(bench_engines(arguments.rounds, arguments.beside))
                node += [bench_node(arguments.seconds, each, bag) for each in (False, True)]
    result = {
        "machine": describe_machine(),
        "command": "make bench",
        "date": time.strftime("%Y-%m-%d"),
        "size": "visible 640x480 bgr8, thermal 320x256 mono16",
        "engines": engines,
        "node": node,
    }
    path = ROOT / "docs/results/bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    for each in engines:
        show(f"engines, held down to: {each['held_down_to'] or 'nothing'}", each["rows"])
    show("node", node)
    console.print(f"written: {path.relative_to(ROOT)}")


def show(title: str, rows: object) -> None:
    """Print rows of figures as the columns of a table."""
    assert isinstance(rows, list)
    table = Table("figure", *(str(i + 1) for i in range(len(rows))), title=title)
    for key in dict.fromkeys(key for row in rows for key in row):
        table.add_row(key, *(str(row.get(key, "-")) for row in rows))
    console.print(table)


if __name__ == "__main__":
    main()
