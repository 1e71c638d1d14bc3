"""The services of an active node, except `~/calibrate`."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future as Job
from pathlib import Path

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from ssvif_core.background import in_background
from ssvif_core.pipeline import FusionPipeline
from ssvif_ros.node.interface import ENABLE, RELOAD_MODEL, SAVE_PAIR
from ssvif_ros.node.parameters import FusionParameters
from ssvif_ros.node.process import tell
from ssvif_ros.node.saved_pairs import PairSaver

PATIENCE_S = 5.0  # for a pair to save


class Services:
    """Switches the node on and off, saves a pair, and reads the model anew.

    Args:
        load: makes a pipeline with the present parameters and prepares it; may take minutes.
        use: takes over a pipeline that `load` made.

    Attributes:
        is_enabled: whether `~/enable` lets the node work.
    """

    def __init__(
        self,
        node: Node,
        parameters: FusionParameters,
        saver: PairSaver,
        load: Callable[[], FusionPipeline],
        use: Callable[[FusionPipeline], None],
    ) -> None:
        self._node, self._parameters, self._saver = node, parameters, saver
        self._load, self._use = load, use
        self.is_enabled = True
        self._deadline = 0.0
        self._reload: Job[FusionPipeline] | None = None
        self._reloaded: Future | None = None
        node.create_service(SetBool, ENABLE.name, self._enable)
        for interface, answer in ((SAVE_PAIR, self._save), (RELOAD_MODEL, self._read_model)):
            # A callback group each: other callbacks go on while one waits.
            group = MutuallyExclusiveCallbackGroup()
            node.create_service(Trigger, interface.name, answer, callback_group=group)
        node.create_timer(0.1, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Answer everyone who waits."""
        self._saver.give_up("the pair was not saved: the node was deactivated")
        if self._reloaded is not None and not self._reloaded.done():
            self._reloaded.set_result((False, "the old model stays: the node was deactivated"))

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.is_enabled = request.data
        response.success = True
        response.message = "enabled" if request.data else "disabled: nothing is received or fused"
        self._node.get_logger().info(response.message)
        return response

    async def _save(
        self, _request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        if not self._parameters.save_folder:
            response.message = "the pair was not saved: set the parameter save_folder first"
            return response
        answer = Future()

        def finish(success: bool, message: str) -> None:
            answer.set_result((success, message))
            tell(self._node, success, message)

        self._deadline = time.monotonic() + PATIENCE_S
        self._saver.save_next(Path(self._parameters.save_folder).expanduser(), finish)
        response.success, response.message = await answer
        return response

    async def _read_model(
        self, _request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        self._reloaded = Future()
        self._reload = in_background(self._load, "model")
        response.success, response.message = await self._reloaded
        return response

    def _look(self) -> None:
        if self._saver.is_waiting and time.monotonic() > self._deadline:
            self._saver.give_up(
                f"the pair was not saved: none came within {PATIENCE_S:.0f} s; are both cameras "
                "running?"
            )
        if self._reload is None or not self._reload.done():
            return
        job, self._reload = self._reload, None
        assert self._reloaded is not None
        try:
            pipeline = job.result()
            self._use(pipeline)
            success, message = True, f"{pipeline.model} is used from the next pair on"
        except Exception as error:  # the service must always answer
            success, message = False, f"the old model stays: {error}"
        tell(self._node, success, message)
        if not self._reloaded.done():
            self._reloaded.set_result((success, message))
