"""The fusion node: two camera topics in, fused image and segmentation out.

    executor thread   messages -> pairing -> slot
    worker thread     slot -> arrays -> pipeline (engine) -> outputs
    calibration       thread of low priority: recalibrates on request, watches the alignment

The worker alone owns the engine. Whatever goes wrong with one pair is said, counted, and left
behind: the node goes on.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from ssvif_core.cameras.model import CameraPair
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.thermal import StreamState
from ssvif_core.types import Shapes
from ssvif_ros.node.calibration import Calibration
from ssvif_ros.node.diagnostics import Counters, Diagnostics
from ssvif_ros.node.messages import to_pair
from ssvif_ros.node.outputs import Outputs, class_colours
from ssvif_ros.node.pairing import LatestSlot, MatchedMessages, Pairing
from ssvif_ros.node.parameters import FusionParameters, declare
from ssvif_ros.transport import use_transport_profile

T = TypeVar("T")


class FusionNode(Node):
    """See the module. Topics and parameters are listed in the README.

    Raises:
        SsvifError: a parameter, the model file or the engine cannot be used.
    """

    def __init__(self, **node_arguments: object) -> None:
        super().__init__("fusion_node", **node_arguments)
        self.parameters = declare(self)
        self.finished: Future[None] = Future()  # only what builds an engine and ends sets it
        self._pipeline = self._make_pipeline(self.parameters)
        self.counters = Counters()
        self._outputs = Outputs(self, self.parameters)
        self._first = self._prepare()
        self._reset_stream = threading.Event()
        self.slot = LatestSlot()
        p = self.parameters
        self.pairing = Pairing(
            self, p.visible_topic, p.thermal_topic, p.slop, p.queue_size, p.qos, self.slot,
            on_reset=self._reset_stream.set,
            max_age=p.thermal_max_age if p.pairing == "visible_rate" else None,
        )  # fmt: skip
        self.calibration = Calibration(
            self, self._calibration_file, self._pipeline.calibration,
            (p.visible_topic, p.thermal_topic), p.slop, p.drift_period, self._shift_time,
        )  # fmt: skip
        self._diagnostics = Diagnostics(
            self, self.pairing, self.slot, self.counters, self.calibration, p.slop
        )
        self.add_on_set_parameters_callback(self._change)
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()

    def _make_pipeline(self, p: FusionParameters) -> FusionPipeline:
        return FusionPipeline(
            Path(p.model) if p.model else None,
            "tensorrt" if p.build_only and p.engine == "auto" else p.engine,
            p.precision,
            p.thermal,
            p.threads,
            self._first_calibration(),
            hand_over=not p.build_only,
        )

    @property
    def _calibration_file(self) -> Path | None:
        file = self.parameters.calibration_file
        return Path(file).expanduser() if file else None

    def _first_calibration(self) -> CameraPair | None:
        file = self._calibration_file
        if file is None or not file.exists():
            return None
        pair = load_camera_pair(file)
        try:
            sampling_map(pair, pair.visible.image_size, pair.thermal.image_size)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        return pair

    def _shift_time(self, seconds: float) -> None:
        self.pairing.offset = round(seconds * 1e9)

    def _prepare(self) -> Shapes | None:
        """Check the model and make the engine, if that is quick.

        Returns:
            What the worker has to prepare first, before any pair; None if nothing is.
        """
        p = self.parameters
        self._pipeline.check()
        names = self._pipeline.class_names
        class_colours(p.overlay_palette, names)  # raises if it is malformed
        self._outputs.set_classes(names)
        given = self._given_shapes()
        # Without sizes a small engine shows that one works here; but none is built just for that.
        shapes = given or Shapes(32, 32, 16, 16, 2)
        waits = self._pipeline.must_build(shapes) and (given is None or p.engine != "auto")
        if p.build_only or waits:
            return given
        engine = self._pipeline.prepare(shapes)
        self._tell_engine(str(engine.info))
        self.get_logger().info(
            f"engine {engine.info}"
            + (f", prepared for {engine.shapes}" if given else "; sizes by the first pair")
        )
        return None

    def _given_shapes(self) -> Shapes | None:
        p = self.parameters
        sizes = (p.visible_width, p.visible_height, p.thermal_width, p.thermal_height)
        calibration = self._pipeline.calibration
        if not all(sizes) and calibration is not None:
            sizes = (*calibration.visible.image_size, *calibration.thermal.image_size)
        if not all(sizes):
            return None
        width, height, thermal_width, thermal_height = sizes
        return Shapes(height, width, thermal_height, thermal_width, p.thermal_bits // 8)

    def _work(self) -> None:
        if self._first is not None:
            self._attempt(self._prepare_for, self._first)
        while (pair := self.slot.take()) is not None:
            self._attempt(self._fuse, pair)

    def _attempt(self, step: Callable[[T], None], argument: T) -> None:
        try:
            step(argument)
        except Exception as error:  # one bad pair must not stop the robot's eyes
            if not self.context.ok():
                return
            if self.parameters.build_only and not self.finished.done():
                self.finished.set_exception(error)
            self.counters.failed += 1
            self.counters.problem = str(error)
            expected = isinstance(error, SsvifError)
            text = str(error) if expected else f"{type(error).__name__}: {error}"
            self.get_logger().error(text, throttle_duration_sec=5.0)

    def _fuse(self, pair: MatchedMessages) -> None:
        if self.finished.done():
            return
        if self.parameters.build_only:
            self._prepare_for(Shapes.of(to_pair(pair.visible, pair.thermal)))
            return
        wanted, watched = self._outputs.wanted, self.calibration.wants()
        if not wanted:
            self.counters.unwatched += 1
            if not watched:
                return
        images = to_pair(pair.visible, pair.thermal)
        if not wanted:
            self.calibration.look(images)
            return
        if self._reset_stream.is_set():
            self._reset_stream.clear()
            self._pipeline.thermal.reset()
        if self.calibration.take_new():
            self._pipeline.calibration = self.calibration.current
        shapes = Shapes.of(images)
        if not self._pipeline.is_prepared(shapes):
            self.get_logger().warning(
                f"sizes are now {shapes}: preparing the engine for them; set visible_width to "
                "thermal_bits to have it prepared at the start"
            )
            self._prepare_for(shapes)
        fusion = self._pipeline(images)
        if watched and self._pipeline.state is StreamState.LIVE:
            self.calibration.look(images)
        self._tell_engine(str(self._pipeline.info))
        self.counters.thermal_state = self._pipeline.state.value
        self.counters.alone += self._pipeline.state is not StreamState.LIVE
        self.counters.ages.append(abs(images.visible_stamp - images.thermal_stamp) * 1e-9)
        self._outputs.publish(fusion, pair.visible.header, pair.thermal.header)
        self.counters.fused += 1
        self.counters.latencies.append(time.monotonic() - pair.arrival)

    def _tell_engine(self, engine: str) -> None:
        self.counters.engine = engine
        self.counters.building = self._pipeline.building
        self.counters.not_used = self._pipeline.not_used

    def _prepare_for(self, shapes: Shapes) -> None:
        """Make the engine for new sizes; pairs that are lost meanwhile are counted apart."""
        self.slot.preparing = True
        try:
            self._pipeline.take_over(shapes)
            self._tell_engine(str(self._pipeline.prepare(shapes).info))
        finally:
            self.slot.preparing = False
        if self.parameters.build_only:
            self.get_logger().info(f"engine {self.counters.engine} is there for {shapes}")
            self.finished.set_result(None)

    def _change(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:  # rclpy has refused what is read-only or out of range
            if hasattr(self.parameters, parameter.name):
                setattr(self.parameters, parameter.name, parameter.value)
        return SetParametersResult(successful=True)

    def destroy_node(self) -> None:
        self.slot.close()
        self._worker.join(timeout=5.0)
        super().destroy_node()


def _spin(executor: SingleThreadedExecutor, node: FusionNode) -> None:
    """Spin to the end. No message and no request may end the node: what a callback raises, rclpy's
    own among them, is told, and the next callback runs."""
    while rclpy.ok() and not node.finished.done():
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


def main(arguments: list[str] | None = None) -> None:
    """Entry point `fusion_node`; exit code 2 when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    use_transport_profile()
    rclpy.init(args=arguments)
    node, code = None, 0
    try:
        node = FusionNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.finished.add_done_callback(lambda _: executor.shutdown(timeout_sec=0))
        _spin(executor, node)
        if node.finished.done():
            node.finished.result()  # raises what ended it
    except SsvifError as error:
        rclpy.logging.get_logger("fusion_node").fatal(str(error))
        code = 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():
            raise
        # Interrupted while starting: the context went away under what was being made.
    finally:
        if node is not None:
            node.destroy_node()
        with suppress(RuntimeError):  # rclpy's signal thread may be at it at the same moment
            rclpy.try_shutdown()
    if threading.active_count() > 1:  # a calibration or an engine in the making
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End the process without finalising Python, while a thread is inside a library.

    Such a thread cannot be stopped, and finalising under it aborts the process.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
