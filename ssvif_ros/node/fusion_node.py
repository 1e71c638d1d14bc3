"""The fusion node: two camera topics in, fused image and segmentation out.

executor thread   messages -> pairing -> slot
worker thread     slot -> arrays -> pipeline (engine) -> outputs
calibration       thread of low priority: recalibrates on request, watches the alignment

It is a managed node. `configure` reads the parameters and makes the engine. `activate` subscribes
to the cameras. With the parameter `autostart` both happen at the start.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from ssvif_core.errors import InputError, SsvifError
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.decode import Crop
from ssvif_core.types import Shapes
from ssvif_ros.node.calibration import Calibration
from ssvif_ros.node.camera_infos import CameraInfos
from ssvif_ros.node.diagnostics import OK, Counters, Diagnostics, StatusPublisher, every_second
from ssvif_ros.node.entities import Entities
from ssvif_ros.node.outputs import Outputs, class_colours
from ssvif_ros.node.pairing import LatestSlot, Pairing
from ssvif_ros.node.parameters import FusionParameters, declare, is_live, read
from ssvif_ros.node.preparation import create_pipeline, known_shapes, with_bundle
from ssvif_ros.node.process import run, spin
from ssvif_ros.node.saved_pairs import PairSaver
from ssvif_ros.node.services import Services
from ssvif_ros.node.status import Key, cameras_shown
from ssvif_ros.node.vision_outputs import require_vision_msgs
from ssvif_ros.node.worker import Worker

SMALL = Shapes(height=32, width=32, thermal_height=16, thermal_width=16, thermal_bytes=2)
# Parameters of `FusionParameters.thermal`.
THERMAL_PARAMETERS = tuple(
    f"thermal_{name}" for name in ("gain", "low", "high", "scale", "offset", "smoothing", "repair")
)
PATIENCE_S = 5.0  # for the pair at hand, when the node is deactivated


class FusionNode(LifecycleNode):
    """Puts the parts together. The documentation lists topics, parameters and services.

    Attributes:
        parameters: as they are now; those that are not live belong to the last `configure`.
        problem: why the last transition failed; None if it did not.

    Raises:
        InputError: a parameter cannot be used.
    """

    def __init__(self, **node_arguments: object) -> None:
        super().__init__("fusion_node", **node_arguments)
        self.parameters: FusionParameters = declare(self)
        self.problem: Exception | None = None
        self._is_starting = False
        self._bundled: dict[str, Any] = {}  # parameters that the bundle has set
        self._pipeline: FusionPipeline | None = None
        self._running: Running | None = None
        self._unconfigured = Entities(self)
        self.add_on_set_parameters_callback(self._change)

    def start(self) -> None:
        """Configure and activate.

        Raises:
            SsvifError: a parameter, the model file or the engine cannot be used.
        """
        self._is_starting = True
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() is not TransitionCallbackReturn.SUCCESS:
                if not self.context.ok():
                    raise ExternalShutdownException
                assert self.problem is not None
                raise self.problem
        self._is_starting = False

    # --- transitions
    #
    # After an error everything is given back, and the node can be configured again.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, load the model, make the engine, offer the outputs."""
        return self._attempt(self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras and fuse."""
        return self._attempt(self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the pair at hand, and let the cameras go. Model and engine stay."""
        return self._attempt(self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back."""
        return self._attempt(self._cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back."""
        return self._attempt(self._cleanup)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back."""
        self._cleanup()
        return TransitionCallbackReturn.SUCCESS

    def _attempt(self, step: Callable[[], None]) -> TransitionCallbackReturn:
        self.problem = None
        try:
            step()
        except Exception as error:
            self.problem = error
            if self.context.ok() and not self._is_starting:  # `start` raises it
                is_expected = isinstance(error, SsvifError)
                self.get_logger().error(str(error) if is_expected else repr(error))
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        self._take_bundle()
        self.parameters = p = read(self)
        self._pipeline = pipeline = create_pipeline(p)
        self._counters = Counters()
        self._outputs = Outputs(self, p)
        self._first = self._prepare(pipeline)
        self._status = StatusPublisher(self)
        every_second(self, self._tell_inactive)
        self._inactive = Entities(self)

    def _take_bundle(self) -> None:
        """Set the parameters that the bundle holds, and set back those of an earlier bundle."""
        now, defaults = read(self), dataclasses.asdict(FusionParameters())
        earlier = {n: defaults[n] for n, v in self._bundled.items() if getattr(now, n) == v}
        own = dataclasses.replace(now, **earlier)
        values = dataclasses.asdict(with_bundle(own))
        changed = [Parameter(n, value=v) for n, v in values.items() if v != getattr(now, n)]
        for result in self.set_parameters(changed):
            if not result.successful:
                raise InputError(f"{own.bundle}: {result.reason}")
        self._bundled = {n: v for n, v in values.items() if v != getattr(own, n)}

    def _prepare(self, pipeline: FusionPipeline) -> Shapes | None:
        """Check model and colours, and make the engine if that is quick.

        Returns:
            The sizes that the worker must prepare before the first pair; None if nothing is left.
        """
        pipeline.check()
        names = pipeline.class_names
        class_colours(self.parameters.overlay_palette, names)  # raises if it is malformed
        self._outputs.set_classes(names)
        known = known_shapes(self.parameters, pipeline.calibration)
        # Without known sizes a small engine shows that one works here. None is built just for that.
        shapes = known or SMALL
        is_auto = self.parameters.engine == "auto"
        if pipeline.must_build(shapes) and (known is None or not is_auto):
            return known
        engine = pipeline.prepare(shapes)
        self._counters.note_engine(str(engine.info), pipeline)
        sizes = f", prepared for {engine.shapes}" if known else "; sizes by the first pair"
        self.get_logger().info(f"engine {engine.info}{sizes}")
        return None

    def _activate(self) -> None:
        assert self._pipeline is not None
        self._running = Running(
            self, self._pipeline, self._outputs, self._counters, self._status, self._first
        )

    def _deactivate(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.stop()
            self._pipeline = running.pipeline
            self._inactive.destroy_newer()

    def _cleanup(self) -> None:
        self._deactivate()
        self._unconfigured.destroy_newer()
        self._pipeline = None
        gc.collect()  # the parts refer to each other; an engine holds memory and threads until then

    def _tell_inactive(self) -> None:
        if self._running is None:
            self._status.publish(
                OK, "inactive; activate the node to fuse", {Key.ENGINE.value: self._counters.engine}
            )

    # --- parameters

    def _change(self, parameters: list[Parameter]) -> SetParametersResult:
        """Take other parameters, or say why not. rclpy has checked types and ranges."""
        names = {field.name for field in dataclasses.fields(FusionParameters)}
        values = {each.name: each.value for each in parameters if each.name in names}
        if not values:
            return SetParametersResult(successful=True)
        fixed = [name for name in values if not is_live(name)]
        if fixed and self._pipeline is not None:
            return SetParametersResult(
                successful=False,
                reason=f"{fixed[0]} is read when the node is configured; deactivate and clean up "
                "the node, set it, then configure and activate the node again",
            )
        try:
            dataclasses.replace(self.parameters, **values)  # raises if they do not fit together
            if values.get("publish_detections"):
                require_vision_msgs()
            if "overlay_palette" in values and self._pipeline is not None:
                self._outputs.recolour(values["overlay_palette"])
        except SsvifError as error:
            return SetParametersResult(successful=False, reason=str(error))
        for name, value in values.items():
            setattr(self.parameters, name, value)
        if self._pipeline is not None:
            self._outputs.offer()
        if self._running is not None:
            self._running.take(set(values))
        return SetParametersResult(successful=True)

    def destroy_node(self) -> None:
        """Give everything back, and end the node."""
        # Newer rclpy also destroys a node whose start failed.
        if getattr(self, "_running", None) is not None:
            self._deactivate()
        super().destroy_node()


class Running:
    """The parts of an active node. What they create on the node, the node destroys."""

    def __init__(
        self,
        node: FusionNode,
        pipeline: FusionPipeline,
        outputs: Outputs,
        counters: Counters,
        status: StatusPublisher,
        first: Shapes | None,
    ) -> None:
        self._parameters = p = node.parameters
        self.pipeline = pipeline
        self._outputs, self._saver = outputs, PairSaver()
        self._services = Services(node, p, self._saver, self._load_model, self._use)
        slot = LatestSlot()
        self._pairing = Pairing(node, p, slot, self._is_wanted)
        self._calibration = Calibration(
            node, pipeline.calibration, p, on_offset=self._pairing.set_offset
        )
        infos = CameraInfos(
            node, (p.visible_topic, p.thermal_topic),
            (p.visible_info_topic, p.thermal_info_topic), self._calibration.note_info,
        )  # fmt: skip
        self._calibration.note_problem("camera_info", infos.problem)
        outputs.info_of_fused = infos.of_fused
        self._worker = Worker(
            node, pipeline, slot, outputs, self._calibration, counters, self._saver, first,
            p.largest_side, p.visible_bits, Crop.parse(p.thermal_crop),
        )  # fmt: skip
        self._pairing.on_reset = self._worker.reset_stream
        self._pairing.on_missing = self._show_cameras
        Diagnostics(node, status, self._pairing, slot, counters, self._calibration, p)
        self._worker.start()

    def _is_wanted(self) -> bool:
        """Whether images are needed now."""
        if not self._services.is_enabled:
            return False
        is_used = self._outputs.wanted or self._saver.is_waiting or self._calibration.wants()
        return is_used or not self._parameters.lazy

    def _show_cameras(self, missing: str) -> None:
        """Tell which cameras the image shows, since one is missing or back."""
        self._outputs.set_cameras(cameras_shown(missing, self._parameters.on_missing))

    def take(self, names: set[str]) -> None:
        """Take the new values of these parameters."""
        if any(name in THERMAL_PARAMETERS for name in names):
            self._worker.show_thermal(self._parameters.thermal)

    def _load_model(self) -> FusionPipeline:
        pipeline = create_pipeline(self._parameters, hand_over=False)
        pipeline.check()
        class_colours(self._parameters.overlay_palette, pipeline.class_names)
        pipeline.calibration = self._calibration.current
        pipeline.prepare(self._worker.shapes or SMALL)
        return pipeline

    def _use(self, pipeline: FusionPipeline) -> None:
        self.pipeline = pipeline
        self._worker.replace_pipeline(pipeline)

    def stop(self) -> None:
        """Finish the pair at hand, and end the threads."""
        self._worker.stop(PATIENCE_S)
        self._services.close()
        self._calibration.close()
        self._pairing.close()


def main(arguments: list[str] | None = None) -> None:
    """Entry point `fusion_node`; exit code 2 when it cannot start."""

    def work(node: FusionNode, executor: SingleThreadedExecutor) -> None:
        if node.parameters.autostart:
            node.start()
        executor.add_node(node)
        spin(executor, node)

    run("fusion_node", FusionNode, work, arguments)


if __name__ == "__main__":
    main()
