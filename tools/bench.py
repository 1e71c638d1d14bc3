"""Measures the engines and the node on this machine: `make bench`.

Writes docs/results/bench.json and prints the same figures as tables.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ssvif_core.engines import ENGINES, create_engine, engine_class, why_not
from ssvif_core.errors import SsvifError
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.machine import describe_machine
from ssvif_core.recordings.bags import THERMAL_TOPIC, VISIBLE_TOPIC, write_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair, Shapes
from ssvif_ros.replay.demo import generated_drive
from ssvif_ros.replay.replay import FUSED, ReplayOptions, replay

ROOT = Path(__file__).parents[1]
console = Console()


def bench_engines(runs: int) -> list[dict[str, object]]:
    """Times of every engine and precision at 640x480: median and 95th percentile, ms."""
    scene = DriveGenerator(DriveConfig()).frame(0)
    shapes = Shapes.of(Pair(scene.visible, scene.thermal))
    thermal_range = np.array((6500, 8500), np.float32)
    rows: list[dict[str, object]] = []
    for name in ENGINES:
        reason = why_not(name)
        if reason is not None:
            rows.append({"engine": name, "precision": "-", "skipped": reason})
            continue
        for precision in engine_class(name).precisions:
            try:
                engine = create_engine(name, DEFAULT_MODEL, shapes, precision)
            except SsvifError as error:
                rows.append({"engine": name, "precision": precision, "skipped": str(error)})
                continue
            times = []
            for _ in range(runs):
                start_s = time.perf_counter()
                engine.infer(scene.visible, scene.thermal, thermal_range)
                times.append(1000 * (time.perf_counter() - start_s))
            p50, p95 = np.percentile(times, (50, 95))
            rows.append({"engine": str(engine.info), "precision": precision, "runs": runs,
                         "median_ms": round(p50, 2), "p95_ms": round(p95, 2)})  # fmt: skip
    return rows


def bench_node(seconds: int, best_effort: bool, bag: Path) -> dict[str, object]:
    """Figures of the node over DDS at 30 Hz, with one subscriber to the fused image."""
    recording = Path(tempfile.mkdtemp(prefix="ssvif_bench_")) / "outputs"
    options = ReplayOptions(
        bag, VISIBLE_TOPIC, THERMAL_TOPIC, recording, best_effort=best_effort, topics=(FUSED,)
    )
    publishers = "best effort" if best_effort else "reliable"
    try:
        with Progress(console=console) as bar:
            task = bar.add_task(f"node, {publishers} publishers", total=30 * seconds)
            result = replay(options, lambda n, _: bar.update(task, completed=n))
    finally:
        shutil.rmtree(recording.parent, ignore_errors=True)
    figures = result.figures()
    del figures["diagnostics"]
    return {"publishers": publishers, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="runs per engine")
    parser.add_argument("--seconds", type=int, default=20, help="length of the drive")
    arguments = parser.parse_args()
    engines = bench_engines(arguments.runs)
    with tempfile.TemporaryDirectory(prefix="ssvif_bench_") as folder:
        bag = Path(folder) / "drive"
        write_pairs(bag, generated_drive(30 * arguments.seconds, console))
        node = [bench_node(arguments.seconds, best_effort, bag) for best_effort in (False, True)]
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
    for title, rows in (("engines", engines), ("node", node)):
        table = Table("figure", *(str(i + 1) for i in range(len(rows))), title=title)
        for key in dict.fromkeys(key for row in rows for key in row):
            table.add_row(key, *(str(row.get(key, "-")) for row in rows))
        console.print(table)
    console.print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
