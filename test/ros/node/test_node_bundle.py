"""A node on a bundle: model, calibration and camera parameters come from one folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Robot, scene
from lifecycle_msgs.msg import Transition
from rcl_interfaces.srv import GetParameters
from std_srvs.srv import Trigger
from test_lifecycle import call, change, fuse_when_subscribed, set_parameter, text
from test_node_calibration import SMALL

from ssvif_core.bundle import Bundle, write_bundle
from ssvif_core.cameras.yaml_file import save_camera_pair
from ssvif_core.graph.model_file import DEFAULT_MODEL, FILE_PRECISIONS, file_of, read_note
from ssvif_ros.node.messages import visible_array

MakeRobot = Callable[..., Robot]
CALIBRATION = "camera_pair.yaml"


def make_bundle(path: Path, **parameters: object) -> Bundle:
    """The shipped model, for the cameras of `harness.scene`."""
    files = {
        file_of(Path("model.onnx"), precision).name: file_of(DEFAULT_MODEL, precision).read_bytes()
        for precision in ("fp32", *FILE_PRECISIONS)
    }
    calibration = path.with_name(CALIBRATION)
    save_camera_pair(SMALL, calibration)
    files[CALIBRATION] = calibration.read_bytes()
    return write_bundle(path, files, read_note(DEFAULT_MODEL).names, parameters, {}, "today")


def values(r: Robot, *names: str) -> list[Any]:
    found = call(r, GetParameters, "get_parameters", GetParameters.Request(names=names)).values
    return [
        {2: value.integer_value, 3: value.double_value, 4: value.string_value}[value.type]
        for value in found
    ]


def test_the_node_fuses_with_what_the_bundle_holds(robot: MakeRobot, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", thermal_gain="plateau", thermal_smoothing=0)
    r = robot({"bundle": bundle.path})
    fused, (visible, _) = visible_array(r.fuse(0)), scene()
    assert (fused[:10] == visible[:10]).all()  # above the thermal image, by the calibration
    assert (fused != visible).any()
    # As set, and as people see it. A number without a decimal point in YAML is one with it here.
    assert values(r, "thermal_gain", "thermal_smoothing") == ["plateau", 0.0]
    r.state(lambda shown, _: shown["model"].startswith("model.onnx (sha256"), "its model")


def test_what_is_set_for_the_node_goes_before_the_bundle(robot: MakeRobot, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", thermal_gain="plateau", thermal_scale=0.01)
    r = robot({"bundle": bundle.path, "thermal_scale": 0.1, "model": DEFAULT_MODEL})
    assert values(r, "thermal_gain", "thermal_scale") == ["plateau", 0.1]
    r.state(lambda shown, _: shown["model"].startswith("ssvif_s.onnx ("), "the set model")


def test_another_bundle_replaces_all_that_the_first_one_set(
    robot: MakeRobot, tmp_path: Path
) -> None:
    first = make_bundle(tmp_path / "a", thermal_gain="plateau", visible_bits=10)
    second = make_bundle(tmp_path / "b", thermal_scale=0.01)
    r = robot({"bundle": first.path})
    assert values(r, "thermal_gain", "visible_bits") == ["plateau", 10]
    assert change(r, Transition.TRANSITION_DEACTIVATE) and change(r, Transition.TRANSITION_CLEANUP)
    assert set_parameter(r, "bundle", text(str(second.path))).successful
    assert change(r, Transition.TRANSITION_CONFIGURE) and change(r, Transition.TRANSITION_ACTIVATE)
    assert values(r, "thermal_gain", "visible_bits", "thermal_scale") == ["auto", 0, 0.01]
    fuse_when_subscribed(r, 5)


def test_a_bundle_that_was_damaged_while_it_runs_is_not_loaded(
    robot: MakeRobot, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "b")
    r = robot({"bundle": bundle.path})
    r.fuse(0)
    flip_a_bit(bundle.model)
    answer = call(r, Trigger, "reload_model", Trigger.Request())
    assert not answer.success
    assert "the old model stays" in answer.message and "model.onnx has changed" in answer.message
    r.fuse(1)


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nothing there", "no such folder; expected a bundle of `ssvif deploy`"),
        ("a flipped bit", "model.int8.onnx has changed since the bundle was made"),
        ("an unknown parameter", "parameter gain is 3; expected a known name"),
        ("a wrong type", "parameter thermal_scale is big; expected float"),
        ("a wrong value", "parameter thermal_gain='loud'; expected one of"),
    ],
)
def test_a_bundle_that_cannot_be_used_ends_the_start_with_a_sentence(
    what: str, message: str, tmp_path: Path
) -> None:
    parameters: dict[str, object] = {
        "an unknown parameter": {"gain": 3},
        "a wrong type": {"thermal_scale": "big"},
        "a wrong value": {"thermal_gain": "loud"},
    }.get(what, {})
    if what != "nothing there":
        make_bundle(tmp_path / "b", **parameters)
    if what == "a flipped bit":
        flip_a_bit(tmp_path / "b/model.int8.onnx")
    result = subprocess.run(
        [sys.executable, "-m", "ssvif_ros.node.fusion_node", "--ros-args", "-p",
         f"bundle:={tmp_path / 'b'}"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr
