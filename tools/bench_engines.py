"""Times the engines on this machine, in turns, so that its noise meets all of them alike.

    python tools/bench_engines.py --rounds 12 --beside LUT-Fuse=lutfuse.onnx

Prints JSON. ONEDNN_MAX_CPU_ISA=AVX2 in the environment holds OpenVINO down to the instructions of
older CPUs; ONNX Runtime has no such switch.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov

from ssvif_core.engines import ENGINES, engine_class, why_not
from ssvif_core.engines.half_size import WORKING_SIZES
from ssvif_core.engines.openvino import OpenVinoEngine
from ssvif_core.errors import ModelError, SsvifError
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair, Shapes

RUNS = 20  # in a row, in each round
REFERENCE = ("openvino", "fp32", "full")

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--beside", nargs="*", default=[], metavar="NAME=FILE",
                        help="other ONNX files, run by OpenVINO in float32")  # fmt: skip
    arguments = parser.parse_args()
    scene = DriveGenerator(DriveConfig()).frame(0)
    pair = Pair(scene.visible, scene.thermal)
    candidates, skipped = _ours(pair)
    for text in arguments.beside:
        name, _, file = text.partition("=")
        candidates[(name, "fp32", "full")] = _other(Path(file), pair)
    times: dict[tuple[str, str, str], list[float]] = {key: [] for key in candidates}
    for _ in range(arguments.rounds):
        for key, run in candidates.items():
            run()
            for _ in range(RUNS):
                start_s = time.perf_counter()
                run()
                times[key].append(1000 * (time.perf_counter() - start_s))
    reference = float(np.median(times[REFERENCE]))
    rows = [
        {
            "engine": key[0], "precision": key[1], "working_size": key[2],
            "median_ms": round(float(np.median(each)), 2),
            "p95_ms": round(float(np.percentile(each, 95)), 2),
            "share_of_openvino_fp32": round(float(np.median(each)) / reference, 2),
        }
        for key, each in times.items()
    ]  # fmt: skip
    held = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    print(json.dumps({"held_down_to": held, "runs": RUNS * arguments.rounds, "rows": rows,
                      "skipped": skipped}))  # fmt: skip


def _ours(pair: Pair) -> tuple[dict[tuple[str, str, str], Run], dict[str, str]]:
    """Every engine, precision and working size that works here, and why others do not."""
    shapes = Shapes.of(pair)
    thermal_range = np.array((6500, 8500), np.float32)
    candidates: dict[tuple[str, str, str], Run] = {}
    skipped: dict[str, str] = {}
    for name in ENGINES:
        reason = why_not(name)
        if reason is not None:
            skipped[name] = reason
            continue
        for precision in sorted(engine_class(name).precisions):
            for size in WORKING_SIZES:
                pipeline = FusionPipeline(None, name, precision, working_size=size)
                try:
                    engine = pipeline.prepare(shapes)
                except SsvifError as error:
                    skipped[f"{name} {precision}"] = str(error)
                    continue
                candidates[name, precision, size] = lambda engine=engine: engine.infer(
                    pair.visible, pair.thermal, thermal_range
                )
    return candidates, skipped


def _other(file: Path, pair: Pair) -> Run:
    """A model of ours of another version, or any model with fixed shapes, on random values."""
    try:
        engine = OpenVinoEngine(file, Shapes.of(pair), "fp32")
    except ModelError:
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
                   "ENABLE_CPU_PINNING": False}  # fmt: skip
        request = ov.Core().compile_model(file, "CPU", options).create_infer_request()
        random = np.random.default_rng(0)
        for port in request.model_inputs:
            request.set_tensor(port, ov.Tensor(random.random(tuple(port.shape), np.float32)))
        return request.infer
    engine.warm_up()
    thermal_range = np.array((6500, 8500), np.float32)
    return lambda: engine.infer(pair.visible, pair.thermal, thermal_range)


if __name__ == "__main__":
    main()
