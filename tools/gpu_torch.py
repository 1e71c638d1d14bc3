"""PyTorch on this GPU, on the modules that tools/gpu_check.py times in TensorRT.

    python tools/gpu_torch.py --json gpu_torch.json

Each module in half precision: eager, as a CUDA graph, and by torch.compile. `engine_ms` is the time
of the module alone; `host_to_host_ms` adds the copies from and to pinned memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from gpu_check import timed_runs
from gpu_pack import VGA, model_of

from ssvif_core.graph.export import raw_module

WAYS = ("eager", "cuda graph", "compiled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("gpu_torch.json"))
    parser.add_argument("--models", default="s,dense")
    parser.add_argument("--runs", type=int, default=300)
    arguments = parser.parse_args()
    report: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
                              "precision": "fp16", "results": []}  # fmt: skip
    for way in WAYS:
        for name in arguments.models.split(","):
            found: dict[str, Any] = {"model": name, "way": way}
            try:
                found |= timed(name, way, arguments.runs)
            except Exception:  # the other ways are still worth knowing
                found["problem"] = traceback.format_exc()
            print(json.dumps(found)[:400], flush=True)
            report["results"].append(found)
            arguments.json.write_text(json.dumps(report, indent=2) + "\n")


@torch.no_grad()
def timed(name: str, way: str, runs: int) -> dict[str, Any]:
    module = raw_module(model_of(name), torch.float16).cuda()
    random = np.random.default_rng(0)
    host = [
        torch.from_numpy(random.integers(0, 256, VGA.visible, np.uint8)),
        torch.from_numpy(random.integers(0, 256, VGA.thermal, np.uint8)),
        torch.tensor([0.0, 65535.0]),
        torch.rand(1, VGA.height, VGA.width, 2) * 2 - 1,
        torch.ones(1, VGA.height, VGA.width),
    ]
    pinned = [each.pin_memory() for each in host]
    inputs = [each.cuda() for each in host]
    run: Callable[[], Any] = lambda: module(*inputs)  # noqa: E731
    began = time.monotonic()
    if way == "compiled":
        compiled = torch.compile(module, dynamic=False)
        compiled(*inputs)
        run = captured(lambda: compiled(*inputs))
    elif way == "cuda graph":
        run = captured(run)
    outputs = run()
    results = [each.cpu().pin_memory() for each in outputs]
    prepared = round(time.monotonic() - began, 1)

    def whole() -> None:
        for source, target in zip(pinned[:3], inputs[:3], strict=True):
            target.copy_(source, non_blocking=True)
        for source, target in zip(run(), results, strict=True):
            target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()

    def alone() -> None:
        run()
        torch.cuda.synchronize()

    return {"prepare_seconds": prepared, "engine_ms": timed_runs(alone, runs),
            "host_to_host_ms": timed_runs(whole, runs)}  # fmt: skip


def captured(run: Callable[[], Any]) -> Callable[[], Any]:
    """The kernels of `run` as one launch."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run()

    def launch() -> Any:
        graph.replay()
        return outputs

    return launch


if __name__ == "__main__":
    main()
