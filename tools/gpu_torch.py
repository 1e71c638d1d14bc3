"""Times PyTorch on this GPU, with the modules that tools/gpu_check.py times in TensorRT.

    python tools/gpu_torch.py --json gpu_torch.json

Each module runs in half: eager, as a CUDA graph, and with torch.compile. `engine_ms` is the time of
the module alone. `host_to_host_ms` adds the copies from and to pinned memory.
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

from ssvif_core.graph.contract import INPUTS
from ssvif_core.graph.export import raw_module

MODES = ("eager", "cuda graph", "compiled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("gpu_torch.json"))
    parser.add_argument("--models", default="s,dense")
    parser.add_argument("--runs", type=int, default=300)
    arguments = parser.parse_args()
    report: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
                              "precision": "fp16", "results": []}  # fmt: skip
    for mode in MODES:
        for name in arguments.models.split(","):
            result: dict[str, Any] = {"model": name, "way": mode}
            try:
                result |= timed(name, mode, arguments.runs)
            except Exception:  # the other modes are still timed
                result["problem"] = traceback.format_exc()
            print(json.dumps(result)[:400], flush=True)
            report["results"].append(result)
            arguments.json.write_text(json.dumps(report, indent=2) + "\n")


@torch.no_grad()
def timed(name: str, mode: str, runs: int) -> dict[str, Any]:
    """Times of a model of tools/gpu_pack.py in one of `MODES`, ms."""
    module = raw_module(model_of(name), torch.float16).cuda()
    random = np.random.default_rng(0)
    visible, thermal = (random.integers(0, 256, spec.shape(VGA), np.uint8) for spec in INPUTS[:2])
    host = [
        torch.from_numpy(visible),
        torch.from_numpy(thermal),
        torch.tensor([0.0, 65535.0]),
        torch.rand(1, VGA.height, VGA.width, 2) * 2 - 1,
        torch.ones(1, VGA.height, VGA.width),
    ]
    pinned = [tensor.pin_memory() for tensor in host]
    inputs = [tensor.cuda() for tensor in host]
    run: Callable[[], Any] = lambda: module(*inputs)  # noqa: E731
    start_s = time.monotonic()
    if mode == "compiled":
        compiled = torch.compile(module, dynamic=False)
        compiled(*inputs)
        run = captured(lambda: compiled(*inputs))
    elif mode == "cuda graph":
        run = captured(run)
    outputs = run()
    results = [tensor.cpu().pin_memory() for tensor in outputs]
    prepare_s = round(time.monotonic() - start_s, 1)

    def host_to_host() -> None:
        for source, target in zip(pinned[:3], inputs[:3], strict=True):
            target.copy_(source, non_blocking=True)
        for source, target in zip(run(), results, strict=True):
            target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()

    def network_alone() -> None:
        run()
        torch.cuda.synchronize()

    return {"prepare_seconds": prepare_s, "engine_ms": timed_runs(network_alone, runs),
            "host_to_host_ms": timed_runs(host_to_host, runs)}  # fmt: skip


def captured(run: Callable[[], Any]) -> Callable[[], Any]:
    """The kernels of `run` as a CUDA graph, for one launch."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
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
