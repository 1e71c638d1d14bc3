"""The fusion node: two camera topics in, fused image and segmentation out.

executor thread   messages -> pairing -> slot
worker thread     slot -> arrays -> pipeline (engine) -> outputs
calibration       thread of low priority: recalibrates on request, watches the alignment
"""

from __future__ import annotations

from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from ssvif_core.recordings.decode import Crop
from ssvif_core.types import Shapes
from ssvif_ros.node.calibration import Calibration
from ssvif_ros.node.camera_infos import CameraInfos
from ssvif_ros.node.diagnostics import Counters, Diagnostics
from ssvif_ros.node.outputs import Outputs, class_colours
from ssvif_ros.node.pairing import LatestSlot, Pairing
from ssvif_ros.node.parameters import declare
from ssvif_ros.node.preparation import create_pipeline, known_shapes
from ssvif_ros.node.process import run, spin
from ssvif_ros.node.worker import Worker

SMALL = Shapes(height=32, width=32, thermal_height=16, thermal_width=16, thermal_bytes=2)


class FusionNode(Node):
    """Puts the parts together. The documentation lists topics, parameters and services.

    Raises:
        SsvifError: a parameter, the model file or the engine cannot be used.
    """

    def __init__(self, **node_arguments: object) -> None:
        super().__init__("fusion_node", **node_arguments)
        self.parameters = p = declare(self)
        self._pipeline = create_pipeline(p)
        self.counters = Counters()
        self._outputs = Outputs(self, p)
        first = self._prepare()
        self.slot = LatestSlot()
        self.pairing = Pairing(
            self, p.visible_topic, p.thermal_topic, p.slop, p.queue_size, p.qos, self.slot,
            max_age_s=p.thermal_max_age if p.pairing == "visible_rate" else None,
            transport=p.image_transport, thermal_time_offset_s=p.thermal_time_offset,
        )  # fmt: skip
        self.calibration = Calibration(
            self, p.calibration_path, self._pipeline.calibration, p.slop, p.drift_period,
            on_offset=self.pairing.set_offset,
        )  # fmt: skip
        infos = CameraInfos(
            self, (p.visible_topic, p.thermal_topic),
            (p.visible_info_topic, p.thermal_info_topic), self.calibration.note_info,
        )  # fmt: skip
        self.calibration.note_problem("camera_info", infos.problem)
        self._outputs.info_of_fused = infos.of_fused
        self._worker = Worker(
            self,
            self._pipeline,
            self.slot,
            self._outputs,
            self.calibration,
            self.counters,
            first,
            p.largest_side,
            p.visible_bits,
            Crop.parse(p.thermal_crop),
        )
        self.pairing.on_reset = self._worker.reset_stream
        self._diagnostics = Diagnostics(
            self, self.pairing, self.slot, self.counters, self.calibration, p.slop
        )
        self.add_on_set_parameters_callback(self._change)
        self._worker.start()

    def _prepare(self) -> Shapes | None:
        """Check model and colours, and make the engine if that is quick.

        Returns:
            The sizes that the worker must prepare before the first pair; None if nothing is left.
        """
        self._pipeline.check()
        names = self._pipeline.class_names
        class_colours(self.parameters.overlay_palette, names)  # raises if it is malformed
        self._outputs.set_classes(names)
        known = known_shapes(self.parameters, self._pipeline.calibration)
        # Without known sizes a small engine shows that one works here. None is built just for that.
        shapes = known or SMALL
        is_auto = self.parameters.engine == "auto"
        if self._pipeline.must_build(shapes) and (known is None or not is_auto):
            return known
        engine = self._pipeline.prepare(shapes)
        self.counters.note_engine(str(engine.info), self._pipeline)
        sizes = f", prepared for {engine.shapes}" if known else "; sizes by the first pair"
        self.get_logger().info(f"engine {engine.info}{sizes}")
        return None

    def _change(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:  # rclpy has refused what is read-only or out of range
            if hasattr(self.parameters, parameter.name):
                setattr(self.parameters, parameter.name, parameter.value)
        return SetParametersResult(successful=True)

    def destroy_node(self) -> None:
        # Newer rclpy also destroys a node whose start failed, before it had a worker.
        if hasattr(self, "_worker"):
            self._worker.stop(timeout_s=5.0)
        super().destroy_node()


def main(arguments: list[str] | None = None) -> None:
    """Entry point `fusion_node`; exit code 2 when it cannot start."""

    def work(node: FusionNode, executor: SingleThreadedExecutor) -> None:
        executor.add_node(node)
        spin(executor, node)

    run("fusion_node", FusionNode, work, arguments)


if __name__ == "__main__":
    main()
