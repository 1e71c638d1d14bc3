"""Builds the TensorRT engine for the cameras' sizes and ends.

`fusion.launch.py build_only:=true` starts it in place of the node, with the same parameters.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from ssvif_core.errors import SsvifError
from ssvif_core.types import Shapes
from ssvif_ros.node.exit import leave
from ssvif_ros.node.messages import to_pair
from ssvif_ros.node.pairing import LatestSlot, MatchedMessages, Pairing
from ssvif_ros.node.parameters import declare
from ssvif_ros.node.preparation import create_pipeline, known_shapes
from ssvif_ros.transport import use_transport_profile


def build_engine(node: Node, executor: SingleThreadedExecutor) -> None:
    """Build the engine for the sizes in the parameters, or for those of the first pair.

    Args:
        node: a node that nothing spins yet.
        executor: for the wait for the first pair.

    Raises:
        SsvifError: a parameter cannot be used, or the engine cannot be built.
    """
    parameters = declare(node)
    engine = "tensorrt" if parameters.engine == "auto" else parameters.engine
    pipeline = create_pipeline(parameters, engine, hand_over=False)
    pipeline.check()
    shapes = known_shapes(parameters, pipeline.calibration)
    if shapes is None:
        pairing_slot = LatestSlot()
        Pairing(
            node, parameters.visible_topic, parameters.thermal_topic, parameters.slop,
            parameters.queue_size, parameters.qos, pairing_slot,
        )  # fmt: skip
        shapes = _first_shapes(node, pairing_slot, executor)
    if shapes is None:
        return
    info = pipeline.prepare(shapes).info
    node.get_logger().info(f"engine {info} is there for {shapes}")


def _first_shapes(node: Node, slot: LatestSlot, executor: SingleThreadedExecutor) -> Shapes | None:
    """The sizes of the first pair; None if the process is to end."""
    node.get_logger().info("waiting for the first pair, whose sizes the engine is built for")
    executor.add_node(node)
    matches: list[MatchedMessages | None] = []

    def take() -> None:
        matches.append(slot.take())
        executor.shutdown(timeout_sec=0)  # ends `spin` below

    taker = threading.Thread(target=take, name="first pair", daemon=True)
    taker.start()
    try:
        executor.spin()
    finally:
        slot.close()
        taker.join()
    (messages,) = matches
    return None if messages is None else Shapes.of(to_pair(messages.visible, messages.thermal))


def main(arguments: list[str] | None = None) -> None:
    """Entry point `build_engine`; exit code 2 when the engine cannot be built."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    use_transport_profile()
    rclpy.init(args=arguments)
    executor, node, code = SingleThreadedExecutor(), None, 0
    try:
        node = rclpy.create_node("engine_builder")
        build_engine(node, executor)
    except SsvifError as error:
        rclpy.logging.get_logger("engine_builder").fatal(str(error))
        code = 2
    except (KeyboardInterrupt, ExternalShutdownException):
        code = 130
    finally:
        if node is not None:
            node.destroy_node()
        with suppress(RuntimeError):  # rclpy's signal thread may shut down at the same moment
            rclpy.try_shutdown()
    leave(code)


if __name__ == "__main__":
    main()
