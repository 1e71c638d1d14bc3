"""The node with a GPU: it fuses while the engine is built, and then hands over to it.

The GPU and TensorRT are stand-ins (test/standins) that compute with ONNX Runtime. Processes,
messages, the cache and the order of copies are real.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Robot

MakeRobot = Callable[..., Robot]
SIZES = {"visible_width": 64, "visible_height": 48, "thermal_width": 32, "thermal_height": 24}


def test_the_cpu_engine_serves_during_the_build_and_no_pair_is_lost(
    robot: MakeRobot, gpu: dict[str, str]
) -> None:
    # The fused images of the stand-in are one grey level brighter, to show which engine made them.
    gpu |= {"STANDIN_BUILD_SECONDS": "6", "STANDIN_ERROR": "1"}
    r = robot({"thermal_smoothing": 0.0, **SIZES}, environment=gpu)
    r.wait_for_log("serves until tensorrt is built")
    stop, sent = threading.Event(), 0

    def send_pairs() -> None:
        """At most 10 Hz, and each when the one before is fused: a busy machine loses none."""
        nonlocal sent
        while not stop.wait(0.1):
            if len(r.received["fused/image"]) == sent:
                r.send_pair(3 * sent)
                sent += 1

    thread = threading.Thread(target=send_pairs)
    thread.start()
    state = r.state(lambda v, _: v["engine"].startswith("openvino") and int(v["fused"]) > 0, "CPU")
    assert state["building a better engine for"] == "visible 64x48, thermal 32x24 16 bit"
    r.wait_for_log("building a TensorRT engine: 5 s so far")
    r.state(lambda v, _: "Stand-in GPU" in v["engine"], "the GPU to serve")
    sent_at_hand_over = sent
    r.state(lambda v, _: int(v["fused"]) > sent_at_hand_over + 10, "more pairs")
    stop.set()
    thread.join()
    state = r.state(lambda v, _: int(v["fused"]) == sent, "every pair to be fused")
    assert state["dropped, engine busy"] == state["dropped, engine preparing"] == "0"
    assert state["building a better engine for"] == ""
    r.wait_for_log("takes over from openvino")
    fused = r.received["fused/image"]
    assert sum(fused[-1].data) - sum(fused[0].data) > 0.5 * len(fused[0].data)


def test_an_engine_that_agrees_too_little_is_not_used(
    robot: MakeRobot, gpu: dict[str, str]
) -> None:
    r = robot(SIZES, environment={**gpu, "STANDIN_ERROR": "9"})
    r.wait_for_log("serves until tensorrt is built")
    index = 0

    def is_refused(_values: dict[str, str], _status: object) -> bool:
        nonlocal index
        r.fuse(index := index + 1)
        return "agrees too little with float32" in "".join(r.log)

    r.state(is_refused, "the engine to be refused")
    r.wait_for_log("engine openvino")

    def is_told(values: dict[str, str], _status: object) -> bool:
        nonlocal index
        r.fuse(index := index + 1)  # other precisions are tried first, while pairs come
        return values["engine"].startswith("openvino") and bool(values["engine not used"])

    assert "agrees too little" in r.state(is_told, "CPU")["engine not used"]


def test_a_node_with_engine_tensorrt_reports_that_it_builds(
    robot: MakeRobot, gpu: dict[str, str]
) -> None:
    r = robot({"engine": "tensorrt"}, environment={**gpu, "STANDIN_BUILD_SECONDS": "4"})
    index = 0

    def is_preparing(_values: dict[str, str], status: Any) -> bool:
        nonlocal index
        r.send_pair(index)  # without new images, the node would report silent cameras
        index += 1
        return bool(status.message == "preparing the engine")

    r.send_pair(0)
    r.state(is_preparing, "the report that the engine is built")
    r.fused(1)
    assert r.state(lambda v, _: True, "any")["engine"] == "tensorrt 10.3.0 (fp16, Stand-in GPU)"
    assert r.close() == 0
    second = robot({"engine": "tensorrt", **SIZES}, environment=gpu)
    second.fuse(0)
    assert "building" not in "".join(second.log)


def test_a_node_loads_an_engine_file(robot: MakeRobot, gpu: dict[str, str], tmp_path: Path) -> None:
    engine = tmp_path / "mine.engine"
    build = [sys.executable, "-m", "ssvif_core.cli", "engine", "build", "--visible", "64x48",
             "--thermal", "32x24", "--out", engine]  # fmt: skip
    subprocess.run(build, env=gpu, check=True, capture_output=True, timeout=60)
    r = robot({"model": engine}, environment=gpu)
    r.fuse(0)
    assert "tensorrt 10.3.0 (fp16" in r.state(lambda v, _: True, "any")["engine"]
