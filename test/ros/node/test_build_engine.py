"""The engine builder, which the launch file starts instead of the node with `build_only:=true`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import PERIOD, START, TIMEOUT, Robot, image, scene

MakeRobot = Callable[..., Robot]

BUILDER = "ssvif_ros.node.build_engine"
SIZES = {"visible_width": 64, "visible_height": 48, "thermal_width": 32, "thermal_height": 24}


def test_the_builder_builds_for_the_first_pair_and_ends(
    robot: MakeRobot, gpu: dict[str, str]
) -> None:
    r = robot({}, wait=False, environment=gpu, module=BUILDER)
    r.wait(
        lambda: r.visible.get_subscription_count() and r.thermal.get_subscription_count(),
        "the builder to subscribe",
    )
    r.send_pair(0)
    assert r.process.wait(timeout=TIMEOUT) == 0
    r.reader.join()
    expected = "engine tensorrt 10.3.0 (fp16, Stand-in GPU) is there for visible 64x48"
    assert expected in "".join(r.log)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"STANDIN_ERROR": "9"}, "agrees too little with float32"),
        ({"LD_PRELOAD": ""}, "engine tensorrt: no CUDA device"),
    ],
)
def test_the_builder_reports_why_it_cannot_build(
    robot: MakeRobot, gpu: dict[str, str], changes: dict[str, str], reason: str
) -> None:
    r = robot(dict(SIZES), wait=False, environment={**gpu, **changes}, module=BUILDER)
    assert r.process.wait(timeout=TIMEOUT) == 2
    r.reader.join()
    assert reason in "".join(r.log)


def test_ctrl_c_ends_the_waiting_builder(robot: MakeRobot, gpu: dict[str, str]) -> None:
    r = robot({}, wait=False, environment=gpu, module=BUILDER)
    r.wait_for_log("waiting for the first pair")
    r.process.send_signal(signal.SIGINT)
    code = r.process.wait(timeout=TIMEOUT)
    r.reader.join()
    assert code in (0, 130), "".join(r.log)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_builder_while_it_builds(
    robot: MakeRobot, gpu: dict[str, str], tmp_path: Path, sent: signal.Signals
) -> None:
    builds = tmp_path / "builds"
    slow = {**gpu, "STANDIN_BUILD_SECONDS": "120", "STANDIN_BUILDS": str(builds)}
    r = robot(dict(SIZES), wait=False, environment=slow, module=BUILDER)
    r.wait(builds.exists, "the build to begin")
    r.process.send_signal(sent)
    assert r.process.wait(timeout=TIMEOUT) == 130


def test_a_damaged_first_pair_is_not_the_end(robot: MakeRobot, gpu: dict[str, str]) -> None:
    r = robot({}, wait=False, environment=gpu, module=BUILDER)
    r.wait(
        lambda: r.visible.get_subscription_count() and r.thermal.get_subscription_count(),
        "the builder to subscribe",
    )
    visible, thermal = scene()
    r.send(image(visible, "nonsense", START), image(thermal, "mono16", START))
    r.wait_for_log("waiting for the next pair")
    odd = image(visible[:, :33, :2], "yuv422", START + PERIOD)
    r.send(odd, image(thermal, "mono16", START + PERIOD))
    r.wait_for_log("image of 33x48 pixels yuv422; expected whole rows, and even sizes")
    r.send_pair(2)
    assert r.process.wait(timeout=TIMEOUT) == 0
