"""Checks the results and the speed of TensorRT on this GPU.

    python tools/gpu_check.py gpu_pack --json gpu_check.json

It needs only NumPy, TensorRT and cuda-bindings. tools/gpu_pack.py writes the folder on a machine
with PyTorch. The JSON file holds all results and errors; an error does not stop the other checks.
Send this file to report a problem.

Each case of the folder is built, compared with float32 and timed. Then the cache is checked: an
engine is found again, is damaged, and is built again. At last a pipeline starts on the CPU and
hands over to TensorRT. This last check also needs OpenCV, and ONNX Runtime or OpenVINO.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from ssvif_core.engines.tensorrt.build import BuildRequest
from ssvif_core.engines.tensorrt.cache import EngineCache, store_engine
from ssvif_core.engines.tensorrt.cuda import Cuda, call, driver, find_device
from ssvif_core.engines.tensorrt.engine import TensorRtEngine
from ssvif_core.engines.tensorrt.flavour import find_flavour
from ssvif_core.graph.agreement import FLOORS, agreement, is_accepted
from ssvif_core.graph.model_file import file_of
from ssvif_core.types import Float64Array, SamplingMap, Shapes

SLOWEST_LAYERS = 10  # in the report
CASE_BEFORE_CACHE = 1  # index of the case after which cache and hand-over are checked
BYTES = {"fp32": 4, "fp16": 2, "int8": 1}  # of a feature value
# By compute capability: dense fp16 FLOPs of tensor cores per clock and multiprocessor (from the
# CUDA C programming guide and white papers of the architectures). fp32 has 2 FLOPs per core.
TENSOR_FLOPS = {"7.5": 1024, "8.0": 2048, "8.6": 1024, "8.7": 2048, "8.9": 1024, "9.0": 4096,
                "10.0": 8192, "12.0": 1024}  # fmt: skip
CORES = {"7.5": 64, "8.0": 64, "8.6": 128, "8.7": 128, "8.9": 128, "9.0": 128, "10.0": 128,
         "12.0": 128}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path, help="folder of tools/gpu_pack.py")
    parser.add_argument("--json", type=Path, default=Path("gpu_check.json"), help="file to write")
    parser.add_argument("--runs", type=int, default=1000, help="timed pairs per engine")
    parser.add_argument("--only", default="", help="check only cases whose name contains this")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no case after this time")
    arguments = parser.parse_args()
    start_s = time.monotonic()
    report: dict[str, Any] = {"command": " ".join(sys.argv), "machine": _machine(), "cases": []}
    cases = json.loads((arguments.pack / "cases.json").read_text())
    try:
        report |= {"gpu": _gpu(), "tensorrt": str(find_flavour())}
        print(f"{report['tensorrt']} on {report['gpu']['name']}")
        with tempfile.TemporaryDirectory() as folder:
            for number, case in enumerate(cases):
                for precision in case["precisions"]:
                    late = time.monotonic() - start_s > arguments.seconds
                    if late or arguments.only not in f"{case['name']}-{precision}":
                        continue
                    crash = {"name": case["name"], "precision": precision,
                             "problem": "the process ended during this case"}  # fmt: skip
                    _write(arguments.json, report, crash)
                    report["cases"].append(
                        _check_safely(arguments.pack, Path(folder), case, precision, arguments.runs)
                    )
                for name, check in (("cache", _cache), ("hand_over", _hand_over)):
                    if number == min(
                        CASE_BEFORE_CACHE, len(cases) - 1
                    ):  # early, as time may be short
                        report[name] = _safely(check, arguments.pack, case, Path(folder))
                        print(f"{name}: {report[name]}")
    except Exception as error:
        report["problem"] = traceback.format_exc()
        print(f"stopped: {error}")
    _write(arguments.json, report)
    good = bool(report["cases"]) and all(case.get("accepted") for case in report["cases"])
    print(f"{'all is well' if good else 'NOT ALL IS WELL'}; to report it, send {arguments.json}")
    return 0 if good else 1


def _write(path: Path, report: dict[str, Any], *more: dict[str, Any]) -> None:
    report = {**report, "cases": [*report["cases"], *more]}
    path.write_text(json.dumps(report, indent=2) + "\n")


def _check_safely(
    pack: Path, folder: Path, case: dict[str, Any], precision: str, runs: int
) -> dict[str, Any]:
    """The report on one engine: agreement and times, or the problem."""
    report: dict[str, Any] = {"name": case["name"], "precision": precision}
    try:
        report |= _check(pack, folder, case, precision, runs)
        print(f"{case['name']} {precision}: {report['agreement']}, "
              f"built in {report['build_seconds']} s, engine {report['engine_ms']['median']} ms, "
              f"host to host {report['host_to_host_ms']['median']} ms")  # fmt: skip
    except Exception as error:
        report["problem"] = traceback.format_exc()
        print(f"{case['name']} {precision}: {error}")
    return report


def _check(
    pack: Path, folder: Path, case: dict[str, Any], precision: str, runs: int
) -> dict[str, Any]:
    shapes = Shapes(**case["shapes"])
    request = BuildRequest(file_of(pack / f"{case['name']}.onnx", precision), precision, shapes)
    path = folder / f"{case['name']}-{precision}.engine"
    timing = folder / "timing"
    timings = timing.read_bytes() if timing.is_file() else b""
    stored, grown = store_engine(path, find_flavour(), request, find_device(), timings)
    timing.write_bytes(grown)
    free_bytes = _free_memory()
    engine = TensorRtEngine(path, shapes, precision)
    engine.warm_up()
    used_bytes = free_bytes - _free_memory()
    reference = np.load(pack / f"{case['name']}.npz")
    engine.register(SamplingMap(reference["grid"], reference["coverage"]))
    feeds = list(zip(*(reference[name] for name in ("visible", "thermal", "thermal_range")),
                     strict=True))  # fmt: skip
    expected = zip(*(reference[name] for name in ("fused", "labels", "confidence")), strict=True)
    outputs = []
    for feed, reference_outputs in zip(feeds, expected, strict=True):
        fusion = engine.infer(*feed).copy()
        outputs.append((reference_outputs, (fusion.fused, fusion.labels, fusion.confidence)))
    result = agreement(outputs)
    captured = engine.graph
    times = {"host_to_host_ms": timed_runs(lambda: engine.infer(*feeds[0]), runs)}
    engine.graph = None
    times["host_to_host_without_graph_ms"] = timed_runs(lambda: engine.infer(*feeds[0]), runs)
    engine.graph = captured
    return {
        "build_seconds": stored.build_seconds,
        "engine_bytes": path.stat().st_size,
        "gpu_memory_bytes": used_bytes,
        "agreement": str(result),
        "psnr": min(result.psnr, 999.0),
        "labels": result.labels,
        "confidence": min(result.confidence, 999.0),
        "floor": str(FLOORS[precision]),
        "accepted": is_accepted(result, precision),
        "cuda_graph": captured is not None,
        "engine_ms": _engine_time(engine, runs),
        **times,
        "floor_ms": _floor(case, precision),
        "slowest_layers": _slowest_layers(engine, shapes),
    }


def timed_runs(run: Callable[[], object], runs: int) -> dict[str, float]:
    """Wall time of `run`, which waits for its result: median and 99th percentile, ms."""
    for _ in range(20):
        run()
    times = []
    for _ in range(runs):
        start_s = time.perf_counter()
        run()
        times.append(time.perf_counter() - start_s)
    return _summary(np.array(times) * 1000)


def _engine_time(engine: TensorRtEngine, runs: int) -> dict[str, float]:
    """Time of the network alone, ms, between two events on its stream.

    It runs as a CUDA graph if possible, because queueing a kernel often takes longer than the
    kernel.
    """
    api, stream = engine.cuda.api, engine.cuda.stream
    run = engine.execute if engine.graph is None else engine.cuda.capture(engine.execute).launch
    begin, end = (call(api.cuEventCreate, 0) for _ in range(2))
    times = []
    for _ in range(runs):
        call(api.cuEventRecord, begin, stream)
        run()
        call(api.cuEventRecord, end, stream)
        engine.cuda.synchronise()
        times.append(call(api.cuEventElapsedTime, begin, end))
    return _summary(np.array(times))


def _slowest_layers(engine: TensorRtEngine, shapes: Shapes) -> list[dict[str, Any]]:
    """Name, mean time and share of the slowest layers, from TensorRT's profiler."""
    profiler = _profiler(find_flavour().api)()
    context = engine._context
    context.profiler = profiler
    runs = 20
    for _ in range(runs):
        engine.execute()
        engine.cuda.synchronise()
    total = sum(profiler.times.values()) or 1.0
    slowest = sorted(profiler.times.items(), key=lambda item: -item[1])[:SLOWEST_LAYERS]
    return [{"layer": name[:120], "ms": round(time / runs, 4), "share": round(time / total, 3)}
            for name, time in slowest]  # fmt: skip


def _profiler(api: Any) -> type:
    class Profiler(api.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            api.IProfiler.__init__(self)
            self.times: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times[layer_name] = self.times.get(layer_name, 0.0) + ms

    return Profiler


def _free_memory() -> int:
    """Free memory of the GPU, bytes."""
    device = find_device()
    Cuda(device)
    return int(call(driver().cuMemGetInfo)[0])


def _safely(check: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    try:
        return check(*arguments)
    except Exception as error:
        print(f"{check.__name__}: {error}")
        return {"problem": traceback.format_exc()}


def _cache(pack: Path, case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Build an engine, find it again, damage it, build it again."""
    cache = EngineCache(folder / "cache")
    precision = case["precisions"][0]
    request = BuildRequest(
        file_of(pack / f"{case['name']}.onnx", precision), precision, Shapes(**case["shapes"])
    )
    report: dict[str, Any] = {"seconds": {}}

    def timed(name: str) -> Any:
        start_s = time.monotonic()
        stored = cache.build(find_flavour(), request)
        report["seconds"][name] = round(time.monotonic() - start_s, 2)
        return stored

    first, again = timed("first build"), timed("found again")
    report["the same is found"] = first.sha256 == again.sha256
    data = bytearray(first.path.read_bytes())
    data[len(data) // 2] ^= 255
    first.path.write_bytes(data)
    report["damage is noticed"] = cache.find(first.key) is None
    repaired = timed("built again after damage")
    report["repaired"] = repaired.read() is not None and cache.find(first.key) is not None
    return report


def _hand_over(pack: Path, case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Times of a pipeline that fuses on the CPU until its TensorRT engine is built."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "home")  # an empty cache
    from ssvif_core.pipeline import FusionPipeline
    from ssvif_core.types import Pair

    reference = np.load(pack / f"{case['name']}.npz")
    pairs = [
        Pair(*images) for images in zip(reference["visible"], reference["thermal"], strict=True)
    ]
    pipeline = FusionPipeline(pack / f"{case['name']}.onnx", hand_over=True)
    start_s = time.monotonic()
    by_engine: dict[str, list[float]] = {}  # milliseconds per pair
    on_gpu = 0
    while on_gpu < 200 and time.monotonic() - start_s < 150:
        number = sum(map(len, by_engine.values()))
        pair = pairs[number % len(pairs)]
        pair = replace(
            pair, thermal=pair.thermal ^ (number & 1)
        )  # a repeated frame would count as frozen
        pair_start_s = time.perf_counter()
        pipeline(pair)
        spent_ms = (time.perf_counter() - pair_start_s) * 1000
        name = str(pipeline.info)
        by_engine.setdefault(name, []).append(spent_ms)
        on_gpu += name.startswith("tensorrt")
        if pipeline.not_used:
            break
    return {
        "pairs": {name: len(times) for name, times in by_engine.items()},
        "median_ms": {n: round(float(np.median(t)), 3) for n, t in by_engine.items()},
        "longest_ms": {n: round(max(t), 1) for n, t in by_engine.items()},
        "seconds": round(time.monotonic() - start_s, 1),
        "not_used": pipeline.not_used,
    }


def _summary(milliseconds: Float64Array) -> dict[str, float]:
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return {"median": round(float(p50), 4), "p99": round(float(p99), 4),
            "runs": len(milliseconds)}  # fmt: skip


def _floor(case: dict[str, Any], precision: str) -> dict[str, float | None]:
    """The shortest possible times on this GPU, ms, at the rates of `_gpu`.

    `arithmetic`: of the convolutions. `memory`: to move their features and weights once.
    """
    gpu = _gpu()
    moved_bytes = (case["values"] + case["weights"]) * BYTES[precision] + case["message_bytes"]
    flops = gpu["fp32_flops"] if precision == "fp32" else gpu["fp16_flops"]
    if precision == "int8" and flops:
        flops *= 2
    return {
        "arithmetic": flops and round(case["flops"] / flops * 1000, 4),
        "memory": gpu["memory_bytes_per_s"]
        and round(moved_bytes / gpu["memory_bytes_per_s"] * 1000, 4),
    }


def _gpu() -> dict[str, Any]:
    device = find_device()
    api, attribute = driver(), driver().CUdevice_attribute

    def ask(name: str) -> int:
        number = getattr(attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(call(api.cuDeviceGetAttribute, number, device.handle))

    clock_hz = ask("CLOCK_RATE") * 1000
    processors = ask("MULTIPROCESSOR_COUNT")
    capability = device.compute_capability
    tensor, cores = TENSOR_FLOPS.get(capability), CORES.get(capability)
    return {
        "name": device.name,
        "compute_capability": capability,
        "driver_cuda": call(api.cuDriverGetVersion),
        "multiprocessors": processors,
        "clock_hz": clock_hz,
        "fp16_flops": tensor and tensor * processors * clock_hz,
        "fp32_flops": cores and 2 * cores * processors * clock_hz,
        # Two transfers per clock.
        "memory_bytes_per_s": 2 * ask("MEMORY_CLOCK_RATE") * 1000
        * ask("GLOBAL_MEMORY_BUS_WIDTH") // 8,
    }  # fmt: skip


def _machine() -> dict[str, str]:
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("numpy", "cuda-bindings", "tensorrt", "tensorrt-rtx")},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


if __name__ == "__main__":
    sys.exit(main())
