"""The life of a process that uses rclpy: start, spin, end."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from ssvif_core.errors import SsvifError
from ssvif_ros.transport import use_transport_profile

N = TypeVar("N", bound=Node)
RCLError = rclpy_implementation.RCLError


def run(
    name: str,
    create: Callable[[], N],
    work: Callable[[N, SingleThreadedExecutor], None],
    arguments: list[str] | None = None,
    interrupted: int = 0,
) -> NoReturn:
    """Run a node as a process, from `rclpy.init` to the end of the process.

    The exit code is 0 when `work` returns, 2 when a `SsvifError` says why it cannot go on, and
    `interrupted` after a signal.

    Args:
        name: of the process in its log.
        create: makes the node.
        work: what the process does; the executor has no node yet.
        arguments: of the command line; None takes those of the process.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    use_transport_profile()
    try:
        rclpy.init(args=arguments)
    except RCLError as error:  # a parameter file or a remapping is malformed
        print(f"{name}: {_first_part(error)}", file=sys.stderr)
        _leave(2)
    executor, node, code = SingleThreadedExecutor(), None, 0
    try:
        node = create()
        work(node, executor)
    except (OSError, RCLError, NameValidationException) as error:
        if rclpy.ok():  # a parameter has a path or a name that cannot be used
            rclpy.logging.get_logger(name).fatal(_first_part(error))
            code = 2
        else:
            code = interrupted
    except SsvifError as error:
        rclpy.logging.get_logger(name).fatal(str(error))
        code = 2
    except (KeyboardInterrupt, ExternalShutdownException):
        code = interrupted
    except Exception:
        if rclpy.ok():
            raise
        code = interrupted  # the context was shut down during the start
    finally:
        if node is not None:
            node.destroy_node()
        # Otherwise the DDS participant lives on, and 34 MB of shared memory outlive the process.
        node = None
        executor.shutdown(timeout_sec=0)
        gc.collect()
        with suppress(RuntimeError):  # rclpy's signal thread may shut down at the same moment
            rclpy.try_shutdown()
    _leave(code)


def spin(executor: SingleThreadedExecutor, node: Node) -> None:
    """Spin to the end. No message and no request may end the node.

    What a callback raises, or rclpy itself, is reported. Then the next callback runs.
    """
    while rclpy.ok():
        try:
            executor.spin()
            return
        except (KeyboardInterrupt, ExternalShutdownException):
            raise
        except Exception as error:
            if not rclpy.ok():
                raise
            node.get_logger().error(
                f"a message or a request could not be handled ({error!r}); the node goes on. "
                "Please report this", throttle_duration_sec=1.0,
            )  # fmt: skip


def _first_part(error: Exception) -> str:
    """The message without the places in the C code that rcl appends."""
    return str(error).partition(", at /")[0].strip()


def tell(node: Node, success: bool, message: str) -> None:
    """Log the outcome of a request. rclpy allows one severity for each line of code."""
    if success:
        node.get_logger().info(message)
    else:
        node.get_logger().warning(message)


def _leave(code: int) -> NoReturn:
    """End the process without finalising Python.

    A thread inside a library (a calibration, an engine build) cannot be stopped, and finalising
    would abort the process. rclpy also crashes now and then when an executor is destroyed after a
    signal (`SignalHandlerGuardCondition.destroy`). So the executor lives until here.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
