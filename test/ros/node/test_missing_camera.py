"""One camera falls silent: the node goes on with the other, says so, and comes back by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import Cameras, Robot, scene

MakeRobot = Callable[..., Robot]


def pixels(message: Any) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1)


def shown(r: Robot) -> str:
    """What the last label_info says that the image shows."""
    return json.loads(r.received["label_info"][-1].data)["cameras"]


def new_fused(r: Robot) -> Any:
    before = len(r.received["fused/image"])
    return r.wait(lambda: r.received["fused/image"][before + 3 :], "more fused images")[-1]


@pytest.mark.parametrize("pairing", ["nearest", "visible_rate"])
def test_without_thermal_images_the_visible_image_is_shown(robot: MakeRobot, pairing: str) -> None:
    r = robot({"pairing": pairing}, outputs=("fused/image", "segmentation/confidence"))
    with Cameras(r) as cameras:
        r.fused(5)
        assert shown(r) == "both"
        cameras.sent = {"visible"}
        r.wait(lambda: shown(r) == "visible alone", "the change")
        message = new_fused(r)
        assert np.array_equal(pixels(message), scene()[0])
        assert not any(r.received["segmentation/confidence"][-1].data)
        state = r.state(lambda _, s: "shown: visible alone" in s.message, "a warning")
        assert "no thermal image for" in state["message"]
        assert state["cameras shown"] == "visible alone"
        cameras.sent = {"visible", "thermal"}
        r.wait(lambda: shown(r) == "both", "the return")
        assert not np.array_equal(pixels(new_fused(r)), scene()[0])
        r.state(lambda _, s: s.message == "fusing", "no warning")


def test_old_thermal_images_are_fused_as_long_as_visible_rate_allows(robot: MakeRobot) -> None:
    r = robot({"pairing": "visible_rate", "thermal_max_age": 3.0, "camera_timeout": 0.5})
    with Cameras(r) as cameras:
        r.fused(5)
        cameras.sent = {"visible"}
        r.wait(lambda: shown(r) == "visible alone", "the change")
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in r.received["fused/image"]]
        assert len(stamps) == len(set(stamps)), "no visible image is shown twice"
        state = r.state(
            lambda values, _: int(values["visible alone, thermal missing"]) > 0, "alone"
        )
        assert int(state["fused"]) > 5 + 30, "pairs were fused after the camera had stopped"


def test_without_visible_images_the_thermal_image_is_shown(robot: MakeRobot) -> None:
    r = robot()
    with Cameras(r) as cameras:
        r.fused(5)
        cameras.sent = {"thermal"}
        r.wait(lambda: shown(r) == "thermal alone", "the change")
        message = new_fused(r)
        assert (message.width, message.height) == (64, 48)
        assert message.header.frame_id == "visible_frame"
        grey = pixels(message).astype(int)
        assert np.ptp(grey, axis=2).max() <= 2, "it has no colours"
        assert grey[20:24, 24:36].mean() > grey[40:].mean() + 50, "the warm area is bright"
        cameras.sent = {"visible", "thermal"}
        r.wait(lambda: shown(r) == "both", "the return")


def test_a_thermal_camera_alone_from_the_start_is_shown(robot: MakeRobot) -> None:
    r = robot()
    with Cameras(r, sent=("thermal",)):
        r.wait(lambda: shown(r) == "thermal alone", "the change")
        message = new_fused(r)
        assert message.header.frame_id == "thermal_frame"


def test_hold_fuses_the_last_image_of_the_missing_camera(robot: MakeRobot) -> None:
    r = robot({"on_missing": "hold"})
    with Cameras(r) as cameras:
        both = pixels(r.fused(20)[-1]).astype(int)
        cameras.sent = {"visible"}
        r.wait(lambda: shown(r) == "both, thermal held", "the change")
        held = pixels(new_fused(r)).astype(int)
        assert np.abs(held - both).mean() < 3, "the warm area is still there"
        assert not np.array_equal(held, scene()[0])


def test_stop_shows_nothing(robot: MakeRobot) -> None:
    r = robot({"on_missing": "stop"})
    with Cameras(r) as cameras:
        r.fused(5)
        cameras.sent = {"visible"}
        r.state(lambda _, s: "no thermal image for" in s.message, "a warning")
        before = len(r.received["fused/image"])
        time.sleep(1)
        assert len(r.received["fused/image"]) == before
        assert shown(r) == "both"


def test_both_silent_is_one_warning_and_no_flood(robot: MakeRobot) -> None:
    r = robot()
    with Cameras(r) as cameras:
        r.fused(5)
        cameras.sent = set()
        r.state(lambda _, s: "no images from either camera" in s.message, "a warning")
        lines, count = len(r.log), len(r.received["fused/image"])
        time.sleep(2)
        assert len(r.received["fused/image"]) == count
        assert len(r.log) <= lines + 1
        cameras.sent = {"visible", "thermal"}
        new_fused(r)
        assert shown(r) == "both"


def test_the_time_limit_is_a_parameter(robot: MakeRobot) -> None:
    r = robot({"camera_timeout": 0.3})
    with Cameras(r) as cameras:
        r.fused(5)
        cameras.sent = {"visible"}
        started = time.monotonic()
        r.wait(lambda: shown(r) == "visible alone", "the change")
        assert time.monotonic() - started < 5
