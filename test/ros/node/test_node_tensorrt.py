"""The node on a GPU: it serves while the engine is built, changes over, and builds ahead.

The GPU and TensorRT are stand-ins (test/standins) that compute what ONNX Runtime does; processes,
messages, cache and the order of copies are real.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from harness import Robot

MakeRobot = Callable[..., Robot]
SIZES = {"visible_width": 64, "visible_height": 48, "thermal_width": 32, "thermal_height": 24}


def test_the_cpu_serves_until_the_engine_is_built_and_no_pair_is_lost(
    robot: MakeRobot, gpu: dict[str, str]
) -> None:
    # The stand-in's fused images are a grey level brighter, so that it can be told who made them.
    gpu |= {"STANDIN_BUILD_SECONDS": "6", "STANDIN_ERROR": "1"}
    r = robot({"thermal_smoothing": 0.0, **SIZES}, environment=gpu)
    r.logged("serves until tensorrt is built")
    stop, sent = threading.Event(), [0]

    def cameras() -> None:
        while not stop.wait(0.1):
            r.send_pair(3 * sent[0])  # 10 Hz
            sent[0] += 1

    thread = threading.Thread(target=cameras)
    thread.start()
    state = r.state(lambda v, _: v["engine"].startswith("openvino") and int(v["fused"]) > 0, "CPU")
    assert state["building a better engine for"] == "visible 64x48, thermal 32x24 16 bit"
    r.logged("building a TensorRT engine: 5 s so far")
    r.state(lambda v, _: "Stand-in GPU" in v["engine"], "the GPU to serve")
    at_change = sent[0]
    r.state(lambda v, _: int(v["fused"]) > at_change + 10, "more pairs")
    stop.set()
    thread.join()
    state = r.state(lambda v, _: int(v["fused"]) == sent[0], "every pair to be fused")
    assert state["dropped, engine busy"] == state["dropped, engine preparing"] == "0"
    assert state["building a better engine for"] == ""
    r.logged("takes over from openvino")
    fused = r.received["fused/image"]
    assert sum(fused[-1].data) - sum(fused[0].data) > 0.5 * len(fused[0].data)


def test_an_engine_that_is_not_good_enough_is_not_used(
    robot: MakeRobot, gpu: dict[str, str]
) -> None:
    r = robot(SIZES, environment={**gpu, "STANDIN_ERROR": "9"})
    r.logged("serves until tensorrt is built")
    index = 0

    def told(_values: dict, _status: object) -> bool:
        nonlocal index
        r.fuse(index := index + 1)
        return "agrees too little with float32" in "".join(r.log)

    r.state(told, "the engine to be refused")
    r.logged("engine openvino")
    state = r.state(lambda v, _: v["engine"].startswith("openvino") and v["engine not used"], "CPU")
    assert "agrees too little" in state["engine not used"]


def test_a_node_that_is_told_to_use_tensorrt_is_alive_while_it_builds(
    robot: MakeRobot, gpu: dict[str, str]
) -> None:
    r = robot({"engine": "tensorrt"}, environment={**gpu, "STANDIN_BUILD_SECONDS": "4"})
    index = 0

    def building(_values: dict[str, str], status: object) -> bool:
        nonlocal index
        r.send_pair(index)  # the cameras go on: silence would be told instead
        index += 1
        return status.message == "preparing the engine"  # type: ignore[attr-defined]

    r.send_pair(0)
    r.state(building, "it to say that it builds")
    r.fused(1)
    assert r.state(lambda v, _: True, "any")["engine"] == "tensorrt 10.3.0 (fp16, Stand-in GPU)"
    assert r.close() == 0
    again = robot({"engine": "tensorrt", **SIZES}, environment=gpu)
    again.fuse(0)
    assert "building" not in "".join(again.log)


def test_a_node_takes_an_engine_file(robot: MakeRobot, gpu: dict[str, str], tmp_path: Path) -> None:
    engine = tmp_path / "mine.engine"
    build = [sys.executable, "-m", "ssvif_core.cli", "engine", "build", "--visible", "64x48",
             "--thermal", "32x24", "--out", engine]  # fmt: skip
    subprocess.run(build, env=gpu, check=True, capture_output=True, timeout=60)
    r = robot({"model": engine}, environment=gpu)
    r.fuse(0)
    assert "tensorrt 10.3.0 (fp16" in r.state(lambda v, _: True, "any")["engine"]
