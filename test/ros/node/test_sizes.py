"""Images of other sizes: one of them never blinds the robot, and a lasting change is followed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from harness import Robot

MakeRobot = Callable[..., Robot]
LARGE = (1280, 720)


def stream(r: Robot, first: int, count: int, **changes: object) -> int:
    """Pairs at 30 Hz; returns the next index."""
    for index in range(first, first + count):
        r.send_pair(index, **changes)
        time.sleep(1 / 30)
    return first + count


def test_one_image_of_another_size_does_not_blind_the_node(robot: MakeRobot) -> None:
    r = robot()
    r.fuse(0)
    index = stream(r, 1, 15)
    arrivals: list[float] = []
    r.node.create_subscription(
        type(r.received["fused/image"][0]), "/fusion_node/fused/image",
        lambda _message: arrivals.append(time.monotonic()), 10,
    )  # fmt: skip
    r.wait(lambda: r.node.count_subscribers("/fusion_node/fused/image") == 2, "the second listener")
    index = stream(r, index, 15)
    index = stream(r, index, 1, size=LARGE)
    stream(r, index, 30)
    r.wait(lambda: len(arrivals) >= 40, "the stream to go on")
    gaps = [later - earlier for earlier, later in zip(arrivals, arrivals[1:], strict=False)]
    assert max(gaps) < 1
    sizes = {(message.width, message.height) for message in r.received["fused/image"]}
    assert sizes == {(64, 48)}
    state = r.state(lambda v, _: v["fused"] == str(len(r.received["fused/image"])), "it to settle")
    assert int(state["dropped, engine preparing"]) == 1


def test_a_lasting_change_is_followed_and_the_old_size_goes_on_meanwhile(robot: MakeRobot) -> None:
    r = robot()
    r.fuse(0)
    index = stream(r, 1, 5)
    deadline = time.monotonic() + 60
    while not any(message.width == 320 for message in r.received["fused/image"]):
        assert time.monotonic() < deadline
        index = stream(r, index, 1, size=(320, 240))
    assert r.fuse(index, size=(320, 240)).width == 320
    state = r.state(lambda v, _: True, "any")
    assert int(state["fused"]) + int(state["dropped, engine preparing"]) <= int(state["pairs"])


def test_a_single_pair_of_another_size_is_fused_if_nothing_else_comes(robot: MakeRobot) -> None:
    r = robot()
    r.fuse(0)
    assert r.fuse(1, size=(96, 64)).width == 96


def test_sizes_that_alternate_are_both_fused(robot: MakeRobot) -> None:
    """As when a driver sends each image twice, whole and small, on one topic."""
    r = robot()
    r.fuse(0)
    index, deadline = 1, time.monotonic() + 60
    while not any(message.width == 96 for message in r.received["fused/image"]):
        assert time.monotonic() < deadline
        index = stream(r, index, 1)
        index = stream(r, index, 1, size=(96, 64))
    before = len(r.received["fused/image"])
    for _ in range(5):
        r.fuse(index)
        r.fuse(index + 1, size=(96, 64))
        index += 2
    assert len(r.received["fused/image"]) >= before + 10


def test_the_state_is_fusing_again_after_a_size_that_did_not_stay(robot: MakeRobot) -> None:
    r = robot()
    r.fuse(0)
    index = stream(r, 1, 1, size=(96, 64))
    time.sleep(0.4)  # nothing else comes, so an engine for the new size is begun
    index = stream(r, index, 60)
    r.state(lambda _, status: status.message == "fusing", "fusing")


@pytest.mark.parametrize("size", [(640, 480)])
def test_larger_images_than_the_parameter_allows_are_refused(
    robot: MakeRobot, size: tuple[int, int]
) -> None:
    r = robot({"largest_side": 320})
    r.fuse(0)
    r.send_pair(1, size=size)
    r.state(
        lambda v, _: "visible image of 640x480 pixels; expected at most 320" in v["last problem"],
        "the refusal",
    )
    r.fuse(2)
