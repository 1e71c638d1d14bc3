"""The node is a managed node, and starts by itself unless a lifecycle manager does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Robot
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters

MakeRobot = Callable[..., Robot]
T = Transition


def call(r: Robot, service: type, name: str, request: Any) -> Any:
    """Call a service of the node, and return its answer."""
    client = r.node.create_client(service, f"/fusion_node/{name}")
    r.wait(client.service_is_ready, f"the service {name}")
    future = client.call_async(request)
    r.wait(future.done, f"an answer of {name}")
    r.node.destroy_client(client)
    return future.result()


def change(r: Robot, transition: int) -> bool:
    return call(r, ChangeState, "change_state",
                ChangeState.Request(transition=Transition(id=transition))).success  # fmt: skip


def state(r: Robot) -> str:
    return call(r, GetState, "get_state", GetState.Request()).current_state.label


def set_parameter(r: Robot, name: str, value: ParameterValue) -> Any:
    request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
    return call(r, SetParameters, "set_parameters", request).results[0]


def text(value: str) -> ParameterValue:
    return ParameterValue(type=4, string_value=value)


def fuse_when_subscribed(r: Robot, index: int) -> None:
    r.wait(lambda: r.visible.get_subscription_count() and r.thermal.get_subscription_count(),
           "the subscriptions")  # fmt: skip
    r.fuse(index)


def managed(robot: MakeRobot, **parameters: object) -> Robot:
    return robot({"autostart": "false", **parameters}, wait=False)


def test_a_node_that_is_left_alone_starts_by_itself(robot: MakeRobot) -> None:
    r = robot()
    assert state(r) == "active"
    r.fuse(0)


def test_a_manager_takes_the_node_through_its_states(robot: MakeRobot) -> None:
    r = managed(robot)
    assert state(r) == "unconfigured"
    assert change(r, T.TRANSITION_CONFIGURE) and state(r) == "inactive"
    r.wait(lambda: r.received["label_info"], "the classes")
    r.state(lambda _, s: s.message == "inactive; activate the node to fuse", "the state")
    assert r.visible.get_subscription_count() == 0
    assert change(r, T.TRANSITION_ACTIVATE) and state(r) == "active"
    fuse_when_subscribed(r, 0)
    assert change(r, T.TRANSITION_DEACTIVATE) and state(r) == "inactive"
    r.wait(lambda: r.visible.get_subscription_count() == 0, "the end of the subscriptions")
    assert change(r, T.TRANSITION_ACTIVATE)
    fuse_when_subscribed(r, 1)
    assert change(r, T.TRANSITION_DEACTIVATE) and change(r, T.TRANSITION_CLEANUP)
    assert state(r) == "unconfigured"
    r.wait(lambda: r.node.count_publishers("/fusion_node/fused/image") == 0, "no outputs")
    assert change(r, T.TRANSITION_UNCONFIGURED_SHUTDOWN) and state(r) == "finalized"


def test_an_error_leaves_a_node_that_can_be_configured_again(
    robot: MakeRobot, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    r = managed(robot, model=str(broken))
    assert not change(r, T.TRANSITION_CONFIGURE)
    assert state(r) == "unconfigured"
    r.wait_for_log("broken.onnx: ")
    assert set_parameter(r, "model", text("")).successful
    assert change(r, T.TRANSITION_CONFIGURE) and change(r, T.TRANSITION_ACTIVATE)
    fuse_when_subscribed(r, 0)


def test_what_is_read_at_configuration_says_so(robot: MakeRobot, tmp_path: Path) -> None:
    r = robot()
    answer = set_parameter(r, "engine", text("onnxruntime"))
    assert not answer.successful
    assert "engine is read when the node is configured; deactivate and clean up" in answer.reason
    assert change(r, T.TRANSITION_DEACTIVATE) and change(r, T.TRANSITION_CLEANUP)
    (tmp_path / "broken.yaml").write_text("[")
    assert set_parameter(r, "calibration_file", text(str(tmp_path / "broken.yaml"))).successful
    assert not change(r, T.TRANSITION_CONFIGURE)
    r.wait_for_log("broken.yaml: not valid YAML")
    assert set_parameter(r, "calibration_file", text("")).successful
    assert set_parameter(r, "engine", text("onnxruntime")).successful
    assert change(r, T.TRANSITION_CONFIGURE) and change(r, T.TRANSITION_ACTIVATE)
    fuse_when_subscribed(r, 0)
    r.state(lambda values, _: values.get("engine", "").startswith("onnxruntime"), "the engine")


@pytest.mark.slow
def test_fifty_cycles_leak_nothing(robot: MakeRobot) -> None:
    def held() -> tuple[float, int, int]:
        process = Path(f"/proc/{r.process.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        memory_mb = int(status["VmRSS"].split()[0]) / 1024
        return memory_mb, int(status["Threads"]), len(list((process / "fd").iterdir()))

    r = managed(robot, engine="onnxruntime")  # it is made most quickly
    for cycle in range(50):
        for transition in (T.TRANSITION_CONFIGURE, T.TRANSITION_ACTIVATE,
                           T.TRANSITION_DEACTIVATE, T.TRANSITION_CLEANUP):  # fmt: skip
            assert change(r, transition), f"cycle {cycle}, transition {transition}"
        if cycle == 9:
            before = held()
    allowed = [count + more for count, more in zip(before, (8, 1, 2), strict=True)]
    r.wait(
        lambda: all(now <= most for now, most in zip(held(), allowed, strict=True)),
        f"at most {allowed} MB, threads and files; after ten cycles {before}",
    )


def test_the_clock_stays_when_the_node_is_cleaned_up(robot: MakeRobot) -> None:
    r = managed(robot)
    assert change(r, T.TRANSITION_CONFIGURE)
    assert set_parameter(r, "use_sim_time", ParameterValue(type=1, bool_value=True)).successful
    r.wait(lambda: r.node.count_subscribers("/clock") == 1, "the subscription")
    assert change(r, T.TRANSITION_CLEANUP)
    assert r.node.count_subscribers("/clock") == 1
