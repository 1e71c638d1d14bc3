"""A slow machine fuses the newest pairs and says in plain words that it is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from harness import Robot

MakeRobot = Callable[..., Robot]


def test_a_slow_machine_says_so_and_shows_the_newest_pair(robot: MakeRobot) -> None:
    """Large images on one thread, sent faster than any CPU of today fuses them."""
    r = robot({"threads": 1})
    r.fuse(0, size=(1920, 1080))
    stop = threading.Event()

    def send() -> None:
        index = 1
        while not stop.is_set():
            r.send_pair(index, size=(1920, 1080))
            index += 1
            time.sleep(1 / 60)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        state = r.state(lambda _, status: "the node needs" in status.message, "it to say so", 60)
    finally:
        stop.set()
        sender.join()
    assert "always the newest; working_size: half, fewer images" in state["message"]
    assert float(state["work per pair p50 ms"]) > 1
    assert int(state["dropped, engine busy"]) > 0


def test_half_the_working_size_is_several_times_as_fast(robot: MakeRobot) -> None:
    def work_ms(working_size: str) -> float:
        r = robot({"threads": 1, "working_size": working_size})
        for index in range(8):
            fused = r.fuse(index, size=(640, 480))
            assert (fused.width, fused.height) == (640, 480)
        state = r.state(lambda values, _: float(values["fused"]) >= 8, "the last pair")
        assert ("half size" in state["engine"]) == (working_size == "half")
        return float(state["work per pair p50 ms"])

    assert work_ms("half") < 0.8 * work_ms("full")
