"""The services, lazy subscriptions, and parameters that change while the node runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from harness import Cameras, Robot, scene
from prometheus_client.parser import text_string_to_metric_families
from rcl_interfaces.msg import ParameterValue
from std_srvs.srv import SetBool, Trigger
from test_lifecycle import call, set_parameter, text

from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.reading import sample_pairs

MakeRobot = Callable[..., Robot]


def number(value: float) -> ParameterValue:
    return ParameterValue(type=3, double_value=value)


def flag(value: bool) -> ParameterValue:
    return ParameterValue(type=1, bool_value=value)


def trigger_while_sending(r: Robot, name: str, first: int) -> Trigger.Response:
    """Call a service that waits for the next pair."""
    client = r.node.create_client(Trigger, f"/fusion_node/{name}")
    r.wait(client.service_is_ready, name)
    future, index = client.call_async(Trigger.Request()), first
    deadline = time.monotonic() + 20
    while not future.done() and time.monotonic() < deadline:
        r.send_pair(index)
        index += 1
        time.sleep(0.03)
    return future.result()


def subscriptions(r: Robot) -> int:
    return r.visible.get_subscription_count() + r.thermal.get_subscription_count()


def test_nothing_is_received_while_no_one_listens(robot: MakeRobot) -> None:
    r = robot(outputs=(), wait=False)  # it subscribes for a moment at the start, or not
    r.state(lambda _, s: "so nothing is received" in s.message, "a word about it")
    r.wait(lambda: subscriptions(r) == 0, "the end of the subscriptions")
    r.listen("segmentation/labels")
    r.wait(lambda: subscriptions(r) == 2, "subscriptions")
    index = 0
    while not r.received["segmentation/labels"] and index < 300:
        r.send_pair(index)
        index += 1
        time.sleep(0.03)
    assert r.received["segmentation/labels"]


def test_a_disabled_node_receives_nothing_until_it_is_enabled(robot: MakeRobot) -> None:
    r = robot()
    r.fuse(0)
    answer = call(r, SetBool, "enable", SetBool.Request(data=False))
    assert answer.success and answer.message.startswith("disabled")
    r.wait(lambda: subscriptions(r) == 0, "the end of the subscriptions")
    assert call(r, SetBool, "enable", SetBool.Request(data=True)).message == "enabled"
    r.wait(lambda: subscriptions(r) == 2, "subscriptions")
    r.fuse(1)


def test_a_saved_pair_is_what_ssvif_reads(robot: MakeRobot, tmp_path: Path) -> None:
    r = robot({"save_folder": str(tmp_path / "saved")})
    answer = trigger_while_sending(r, "save_pair", 0)
    assert answer.success, answer.message
    (files,) = find_pairs(tmp_path / "saved").pairs
    visible, thermal = scene()
    assert np.array_equal(read_visible(files.visible), visible)
    saved = read_thermal(files.thermal)
    assert saved.dtype == np.uint16 and np.array_equal(saved[1:], thermal[1:])
    assert str(files.visible) in answer.message
    assert len(list((tmp_path / "saved/fused").iterdir())) == 1
    (pair,) = sample_pairs(tmp_path / "saved", 5)
    assert pair.visible.shape == visible.shape


def test_a_pair_is_not_saved_without_a_folder_or_without_pairs(
    robot: MakeRobot, tmp_path: Path
) -> None:
    r = robot()
    assert call(r, Trigger, "save_pair", Trigger.Request()).message.endswith(
        "set the parameter save_folder first"
    )
    (tmp_path / "file").touch()
    set_parameter(r, "save_folder", text(str(tmp_path / "file")))
    answer = trigger_while_sending(r, "save_pair", 0)
    assert not answer.success and "Not a directory" in answer.message
    answer = call(r, Trigger, "save_pair", Trigger.Request())
    assert not answer.success and "none came within 5 s" in answer.message
    r.fuse(1000)


def test_a_model_is_taken_while_the_node_runs(robot: MakeRobot, tmp_path: Path) -> None:
    r = robot()
    r.fuse(0)
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(b"broken")
    set_parameter(r, "model", text(str(mine)))
    answer = call(r, Trigger, "reload_model", Trigger.Request())
    assert not answer.success and answer.message.startswith("the old model stays: ")
    assert "mine.onnx" in answer.message
    r.fuse(1)
    mine.write_bytes(DEFAULT_MODEL.read_bytes())  # without an int8 file: it runs in fp32
    answer = call(r, Trigger, "reload_model", Trigger.Request())
    assert answer.success, answer.message
    r.fuse(2)
    r.state(lambda values, _: "(fp32" in values["engine"], "the engine of the new model")
    assert file_of(DEFAULT_MODEL, "int8").is_file()


def test_outputs_can_be_taken_back_and_offered_again(robot: MakeRobot) -> None:
    r = robot()
    r.fuse(0)
    assert set_parameter(r, "publish_overlay", flag(False)).successful
    overlay = "/fusion_node/segmentation/overlay"
    r.wait(lambda: r.node.count_publishers(overlay) == 0, "the end of the topic")
    r.fuse(1)
    assert set_parameter(r, "publish_overlay", flag(True)).successful
    r.wait(lambda: r.node.count_publishers(overlay) == 1, "the topic")
    r.fuse(2)


def test_the_thermal_range_changes_while_the_node_runs(robot: MakeRobot) -> None:
    r = robot()
    before = np.frombuffer(r.fuse(0).data, np.uint8).astype(int)
    answer = set_parameter(r, "thermal_low", number(100.0))
    assert not answer.successful and "thermal_low=100.0, thermal_high=0.0" in answer.reason
    assert set_parameter(r, "thermal_high", number(60000.0)).successful
    assert set_parameter(r, "thermal_low", number(100.0)).successful
    after = np.frombuffer(r.fuse(1).data, np.uint8).astype(int)
    assert before.max() > after.max() + 20, "the warm area is no longer white"


def test_a_wider_slop_pairs_what_did_not_fit(robot: MakeRobot) -> None:
    r = robot({"slop": 0.0005})
    r.send_pair(0)  # the stamps are 2 ms apart
    r.state(lambda values, _: values["visible received"] == "1", "the image")
    assert set_parameter(r, "slop", number(0.01)).successful
    r.fuse(1)


def test_diagnostics_show_rates_gaps_steps_model_and_memory(robot: MakeRobot) -> None:
    r = robot()
    with Cameras(r):
        r.fused(40)
        state = r.state(lambda values, _: int(values["fused"]) > 40, "figures")
    for camera in ("visible", "thermal"):
        # On busy cores the cameras of this test are slower than 30 Hz.
        assert 1 <= int(state[f"{camera} images per second"]) <= 60
        assert int(state[f"{camera} longest gap in the last second, ms"]) >= 15
    steps = [float(value) for key, value in state.items() if key.startswith("of it: ")]
    assert len(steps) == 4 and min(steps) >= 0
    assert float(state["of it: engine, p50 ms"]) <= float(state["work per pair p50 ms"])
    assert state["model"].startswith("ssvif_s.onnx (sha256 ")
    assert 100 < int(state["memory MB"]) < 1500


def test_the_qos_of_outputs_can_be_overridden(robot: MakeRobot) -> None:
    name = "qos_overrides./fusion_node/fused/image.publisher"
    # A listener that asks for more than is offered gets nothing, and the node would wait for one.
    r = robot(
        {f"{name}.reliability": "best_effort", f"{name}.depth": 1},
        outputs=("segmentation/overlay",),
    )
    for topic, reliability in (
        ("fused/image", "BEST_EFFORT"),
        ("segmentation/overlay", "RELIABLE"),
    ):
        (info,) = r.wait(
            partial(r.node.get_publishers_info_by_topic, f"/fusion_node/{topic}"), topic
        )
        assert info.qos_profile.reliability.name == reliability


def test_prometheus_reads_the_figures_from_a_file(robot: MakeRobot, tmp_path: Path) -> None:
    file = tmp_path / "fusion.prom"
    r = robot({"prometheus_file": str(file)})
    r.fuse(0)
    fused = 'ssvif_fused{node="/fusion_node"} 1.0'
    r.wait(lambda: file.is_file() and fused in file.read_text(), "the pair in the file")
    text = file.read_text()
    assert "# HELP ssvif_dropped_engine_busy dropped, engine busy" in text
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"ssvif_latency_p50_ms", "ssvif_visible_images_per_second"} <= names
