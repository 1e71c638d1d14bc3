"""Builds the TensorRT engine for the cameras' sizes and ends.

`fusion.launch.py build_only:=true` starts it in place of the node, with the same parameters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import wait
from typing import TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from ssvif_core.background import in_background
from ssvif_core.recordings.decode import Crop
from ssvif_core.types import Shapes
from ssvif_ros.node.messages import to_pair
from ssvif_ros.node.pairing import LatestSlot, Pairing
from ssvif_ros.node.parameters import declare
from ssvif_ros.node.preparation import create_pipeline, known_shapes, with_bundle
from ssvif_ros.node.process import run, spin

T = TypeVar("T")


def build_engine(node: Node, executor: SingleThreadedExecutor) -> None:
    """Build the engine for the sizes in the parameters, or for those of the first pair.

    Args:
        node: a node that nothing spins yet.
        executor: for the wait for the first pair.

    Raises:
        SsvifError: a parameter cannot be used, or the engine cannot be built.
    """
    parameters = with_bundle(declare(node))
    engine = "tensorrt" if parameters.engine == "auto" else parameters.engine
    pipeline = create_pipeline(parameters, engine, hand_over=False)
    pipeline.check()
    shapes = known_shapes(parameters, pipeline.calibration)
    if shapes is None:
        pairing_slot = LatestSlot()
        Pairing(node, parameters, pairing_slot)
        shapes = _first_shapes(node, pairing_slot, executor, Crop.parse(parameters.thermal_crop))
    if shapes is None:
        return
    info = _unless_stopped(lambda: pipeline.prepare(shapes)).info
    node.get_logger().info(f"engine {info} is there for {shapes}")


def _first_shapes(
    node: Node, slot: LatestSlot, executor: SingleThreadedExecutor, crop: Crop | None
) -> Shapes | None:
    """The sizes of the first pair that can be read; None if the process is to end."""
    node.get_logger().info("waiting for the first pair, whose sizes the engine is built for")
    executor.add_node(node)
    found: list[Shapes] = []

    def take() -> None:
        try:
            while not found and (messages := slot.take()) is not None:
                if messages.visible is None or messages.thermal is None:
                    continue
                try:
                    pair = to_pair(messages.visible, messages.thermal, crop=crop)
                    found.append(Shapes.of(pair))
                except Exception as error:  # a library may refuse an image too
                    node.get_logger().warning(f"{error}; waiting for the next pair")
        finally:
            executor.shutdown(timeout_sec=0)  # ends `spin` below

    taker = threading.Thread(target=take, name="first pair", daemon=True)
    taker.start()
    try:
        spin(executor, node)
    finally:
        slot.close()
        taker.join()
    return found[0] if found else None


def _unless_stopped(work: Callable[[], T]) -> T:
    """The result of `work`, which no signal can interrupt, so it runs on another thread.

    Raises:
        ExternalShutdownException: a signal came first.
    """
    job = in_background(work, "engine build")
    while rclpy.ok():
        if wait([job], timeout=0.1).done:
            return job.result()
    raise ExternalShutdownException


def main(arguments: list[str] | None = None) -> None:
    """Entry point `build_engine`; exit code 2 when the engine cannot be built."""
    run(
        "engine_builder",
        lambda: rclpy.create_node("engine_builder"),
        build_engine,
        arguments,
        interrupted=130,
    )


if __name__ == "__main__":
    main()
