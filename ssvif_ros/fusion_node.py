"""The fusion node: two camera topics in, fused image and segmentation out.

    executor thread   messages -> pairing -> slot
    worker thread     slot -> arrays -> pipeline (engine) -> outputs

The worker alone owns the engine. Whatever goes wrong with one pair is said, counted, and left
behind: the node goes on.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from ssvif_core.errors import SsvifError
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Shapes
from ssvif_ros.diagnostics import Counters, Diagnostics
from ssvif_ros.messages import to_pair
from ssvif_ros.outputs import Outputs, class_colours
from ssvif_ros.pairing import LatestSlot, MessagePair, Pairing
from ssvif_ros.parameters import FusionParameters, declare
from ssvif_ros.transport import use_transport_profile


class FusionNode(Node):
    """See the module. Topics and parameters are listed in the README.

    Raises:
        SsvifError: a parameter, the model file or the engine cannot be used.
    """

    def __init__(self, **node_arguments: object) -> None:
        super().__init__("fusion_node", **node_arguments)
        self.parameters = declare(self)
        self._pipeline = self._make_pipeline(self.parameters)
        self.counters = Counters()
        self._outputs = Outputs(self, self.parameters)
        self._prepare()
        self._reset_gain = threading.Event()
        self.slot = LatestSlot()
        p = self.parameters
        self.pairing = Pairing(
            self, p.visible_topic, p.thermal_topic, p.slop, p.queue_size, p.qos, self.slot,
            on_reset=self._reset_gain.set,
        )  # fmt: skip
        self._diagnostics = Diagnostics(self, self.pairing, self.slot, self.counters, p.slop)
        self.add_on_set_parameters_callback(self._change)
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()

    def _make_pipeline(self, p: FusionParameters) -> FusionPipeline:
        return FusionPipeline(
            Path(p.model) if p.model else None,
            p.engine,
            p.precision,
            ThermalGain(p.thermal_limits, smoothing=p.thermal_smoothing),
            p.threads,
        )

    def _prepare(self) -> None:
        """Make the engine now: for the sizes given, or small ones just to check the model."""
        p = self.parameters
        sizes = (p.visible_height, p.visible_width, p.thermal_height, p.thermal_width)
        given = all(sizes)
        engine = self._pipeline.prepare(
            Shapes(*sizes, p.thermal_bits // 8) if given else Shapes(32, 32, 16, 16, 2)
        )
        class_colours(p.overlay_palette, engine.note.names)  # raises if it is malformed
        self._outputs.set_classes(engine.note.names)
        self.counters.engine = str(engine.info)
        self.get_logger().info(
            f"engine {engine.info}"
            + (f", prepared for {engine.shapes}" if given else "; sizes by the first pair")
        )

    def _work(self) -> None:
        while (pair := self.slot.take()) is not None:
            try:
                self._fuse(pair)
            except Exception as error:  # one bad pair must not stop the robot's eyes
                if not self.context.ok():
                    return
                self.counters.failed += 1
                self.counters.problem = str(error)
                expected = isinstance(error, SsvifError)
                text = str(error) if expected else f"{type(error).__name__}: {error}"
                self.get_logger().error(text, throttle_duration_sec=5.0)

    def _fuse(self, pair: MessagePair) -> None:
        if not self._outputs.wanted:
            self.counters.unwatched += 1
            return
        if self._reset_gain.is_set():
            self._reset_gain.clear()
            self._pipeline.gain.reset()
        images = to_pair(pair.visible, pair.thermal)
        self._prepare_for(Shapes.of(images))
        fusion = self._pipeline(images)
        self._outputs.publish(fusion, pair.visible.header)
        self.counters.fused += 1
        self.counters.latencies.append(time.monotonic() - pair.arrival)

    def _prepare_for(self, shapes: Shapes) -> None:
        """Make another engine when sizes are new, and say so: pairs are lost meanwhile."""
        if self._pipeline.is_prepared(shapes):
            return
        self.slot.preparing = True
        self.get_logger().warning(
            f"sizes are now {shapes}: preparing the engine for them; set visible_width to "
            "thermal_bits to have it prepared at the start"
        )
        try:
            self.counters.engine = str(self._pipeline.prepare(shapes).info)
        finally:
            self.slot.preparing = False

    def _change(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:  # rclpy has refused what is read-only or out of range
            if hasattr(self.parameters, parameter.name):
                setattr(self.parameters, parameter.name, parameter.value)
        return SetParametersResult(successful=True)

    def destroy_node(self) -> None:
        self.slot.close()
        self._worker.join(timeout=5.0)
        super().destroy_node()


def main(arguments: list[str] | None = None) -> None:
    """Entry point `fusion_node`; exit code 2 when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    use_transport_profile()
    rclpy.init(args=arguments)
    node = None
    try:
        node = FusionNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except SsvifError as error:
        rclpy.logging.get_logger("fusion_node").fatal(str(error))
        sys.exit(2)
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


if __name__ == "__main__":
    main()
