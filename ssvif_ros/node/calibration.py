"""The node's calibration: read from a file, found anew on request, and watched.

The worker gives a frame now and then. The slow work runs on a thread of low priority, which hands a
new calibration over to the worker.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from ssvif_core.calibration.drift import alignment
from ssvif_core.calibration.scene import calibrate_from_scene
from ssvif_core.cameras.camera_info import camera_of, with_window_of
from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.yaml_file import save_camera_pair
from ssvif_core.errors import SsvifError
from ssvif_core.types import Pair
from ssvif_ros.node.interface import CALIBRATE
from ssvif_ros.node.parameters import FusionParameters
from ssvif_ros.node.process import tell

GATHERED = 12  # frames for a calibration
EVERY_S = 0.5  # between them
CHECKED = 4  # frames for a check of the alignment
SILENT = 4  # checks without a result in a row, after which the whole image is searched
PATIENCE_S = 60.0  # for the frames of a calibration to come


class Calibration:
    """Holds the calibration of a node, renews it and watches it.

    Args:
        first: what was read from the file at the start.
        parameters: `slop` bounds the stamps of a pair that shows one moment, `drift_period` is
            the time between frames for the watch. Both may change.
        on_offset: is called with the time offset (s) of the first calibration.

    Attributes:
        drift: how far apart the images were at the last check, visible pixels; None: unknown.
    """

    def __init__(
        self,
        node: Node,
        first: CameraPair | None,
        parameters: FusionParameters,
        on_offset: Callable[[float], None],
    ) -> None:
        self._node, self._parameters = node, parameters
        self.file = file = parameters.calibration_path  # the service writes it; None: nothing
        self._pair = first
        self._fresh = threading.Event()
        self._windows: dict[str, Camera] = {}
        self.drift: float | None = None
        self._problems: dict[str, str] = {}  # by their origin
        self._silent = 0  # checks without a result in a row
        if file is not None and first is None:
            self._problems["file"] = (
                f"there is no calibration_file {file} yet: both cameras are assumed to have the "
                "same field of view until ~/calibrate writes it"
            )
            node.get_logger().warning(self._problems["file"])
        self._gathering: list[Pair] | None = None
        self._checked: deque[Pair] = deque(maxlen=CHECKED)
        self._next = 0.0
        self._job: threading.Thread | None = None
        self._answer: Future | None = None
        self._deadline = 0.0
        if self._pair is not None:
            on_offset(self._pair.time_offset)
        # A callback group of its own: other callbacks go on while the service waits.
        group = MutuallyExclusiveCallbackGroup()
        node.create_service(Trigger, CALIBRATE.name, self._calibrate, callback_group=group)
        # A steady clock: with use_sim_time and a paused bag it would never give up.
        node.create_timer(0.5, self._expire, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def note_problem(self, origin: str, problem: str) -> None:
        """Show a problem with the cameras in diagnostics; an empty one removes it."""
        if problem:
            self._problems[origin] = problem
        else:
            self._problems.pop(origin, None)

    @property
    def problem(self) -> str:
        """What is wrong with the calibration, for diagnostics; empty if nothing is known."""
        return next(iter(list(self._problems.values())), "")

    @property
    def current(self) -> CameraPair | None:
        """The calibration with the image windows of the cameras' drivers; None: none is set.

        Raises:
            InputError: a driver's camera_info is of another camera.
        """
        pair = self._pair
        if pair is None:
            return None
        for name, window in list(self._windows.items()):
            if name == "visible":
                pair = dataclasses.replace(pair, visible=with_window_of(pair.visible, window, name))
            else:
                pair = dataclasses.replace(pair, thermal=with_window_of(pair.thermal, window, name))
        return pair

    def take_new(self) -> bool:
        """Whether `current` has changed since the last call; for the worker."""
        changed = self._fresh.is_set()
        self._fresh.clear()
        return changed

    def note_info(self, name: str, rectified: bool, message: CameraInfo, topic: str = "") -> None:
        """Take the lens, region of interest and binning of a camera; see `CameraInfos`."""
        known: Camera | None = None if self._pair is None else getattr(self._pair, name)
        try:
            camera = camera_of(message, name, rectified, topic)
            if camera is None:  # a driver without a calibration of its own
                return
            if known is not None:
                with_window_of(known, camera, name)
        except SsvifError as error:
            self._problems[f"{name} camera_info"] = str(error)
            self._node.get_logger().error(str(error), throttle_duration_sec=10.0)
            return
        self._problems.pop(f"{name} camera_info", None)
        before = self._windows.get(name, known)
        self._windows[name] = camera
        if before is None or (before.size, before.roi, before.binning) != (
            camera.size, camera.roi, camera.binning,
        ):  # fmt: skip
            self._fresh.set()

    # --- frames from the worker

    def wants(self) -> bool:
        """Whether `look` wants the next pair; a cheap test."""
        if time.monotonic() < self._next:
            return False
        is_watched = self._pair is not None and self._parameters.drift_period > 0
        return self._gathering is not None or is_watched

    def look(self, pair: Pair) -> None:
        """Take a copy of a pair, and start the work that was waiting for it.

        Pairs that do not show one moment are ignored, because moving objects would look displaced.
        """
        if abs(pair.visible_stamp - pair.thermal_stamp) > self._parameters.slop * 1e9:
            return
        copy = dataclasses.replace(
            pair, visible=np.array(pair.visible), thermal=np.array(pair.thermal)
        )
        gathering = self._gathering  # `_expire` may set it to None meanwhile
        if gathering is not None:
            self._next = time.monotonic() + EVERY_S
            gathering.append(copy)
            if len(gathering) >= GATHERED:
                self._gathering = None
                self._start(self._find, gathering)
            return
        self._next = time.monotonic() + self._parameters.drift_period
        if self._checked and _sizes(self._checked[0]) != _sizes(copy):
            self._checked.clear()
        self._checked.append(copy)
        if len(self._checked) == CHECKED and not self.is_computing:
            self._start(self._check, list(self._checked), self.current)

    @property
    def is_computing(self) -> bool:
        """Whether its thread is inside a library, where it cannot be stopped."""
        return self._job is not None and self._job.is_alive()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        before = self._job

        def run() -> None:
            if before is not None:
                before.join()  # a check of the alignment may still run
            # On Linux this is of this thread alone. Fusion comes first.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
            work(*arguments)

        self._job = threading.Thread(target=run, name="calibration", daemon=True)
        self._job.start()

    # --- the service

    async def _calibrate(
        self, _request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Gather frames, calibrate, then answer."""
        self._answer = Future()  # a second call waits: its group runs one callback at a time
        self._deadline = time.monotonic() + PATIENCE_S
        self._next, self._gathering = 0.0, []
        self._node.get_logger().info(f"calibrating: gathering {GATHERED} pairs")
        response.success, response.message = await self._answer
        self._answer = None
        return response

    def close(self) -> None:
        """Answer who waits for a calibration."""
        self._gathering = None
        self._finish(False, "not calibrated, the old one stays: the node was deactivated")

    def _expire(self) -> None:
        if self._gathering is not None and time.monotonic() > self._deadline:
            count, self._gathering = len(self._gathering), None
            self._finish(False, f"only {count} of {GATHERED} pairs came within {PATIENCE_S:.0f} s; "
                         "are both cameras running?")  # fmt: skip

    def _find(self, pairs: list[Pair]) -> None:
        self._node.get_logger().info(f"calibrating: computing from {len(pairs)} pairs")
        try:
            known = self.current
            visible = known.visible if known else self._windows.get("visible")
            thermal = known.thermal if known else self._windows.get("thermal")
            result = calibrate_from_scene(pairs, visible, thermal)
            if result.pair is None:
                return self._finish(False, f"not calibrated, the old one stays: {result.reason}")
            offset = self._pair.time_offset if self._pair else 0.0
            origin = {"method": "scene, live", "date": str(date.today()),
                    "frames": result.frames, "agreement": round(result.agreement, 2),
                    "deviation_px": round(result.deviation, 2)}  # fmt: skip
            pair = dataclasses.replace(result.pair, time_offset=offset, made=origin)
            if self.file is not None:
                save_camera_pair(pair, self.file)
            self._pair, self.drift, self._silent = pair, None, 0
            for problem in ("file", "drift"):
                self._problems.pop(problem, None)
            self._checked.clear()
            self._fresh.set()
            self._finish(True, (
                f"calibrated from {result.frames} pairs, standard deviation "
                f"{result.deviation:.1f} pixels at the worst corner; "
                + (f"written to {self.file}" if self.file else "not stored: set calibration_file")
            ))  # fmt: skip
        except Exception as error:  # the service must always answer
            self._finish(False, f"not calibrated, the old one stays: {error}")

    def _finish(self, success: bool, message: str) -> None:
        if self._answer is None or self._answer.done():
            return
        tell(self._node, success, message)
        self._answer.set_result((success, message))

    # --- the watch

    def _check(self, pairs: list[Pair], calibration: CameraPair) -> None:
        try:
            # After a hard knock the check finds nothing, as at night. Only a search of the whole
            # image distinguishes the two.
            result = alignment(pairs, calibration, anywhere=self._silent >= SILENT)
        except SsvifError:
            return  # the sizes changed; the worker reports it
        if result is None:
            self._silent = self._silent + 1 if self._silent < SILENT else 0
            if not self._silent:  # the search found nothing either
                self.drift = None
            return  # many scenes cannot show the alignment
        self.drift = result.offset
        limit = 0.01 * calibration.visible.image_size[0] + 2 * result.deviation
        if result.offset <= limit:
            self._silent = 0
            self._problems.pop("drift", None)
            return
        is_known = "drift" in self._problems
        self._problems["drift"] = (
            f"the thermal image lies {result.offset:.0f} pixels beside its place in the "
            "calibration; was a camera knocked? Call ~/calibrate, or run `ssvif calibrate`"
        )
        if not is_known:
            self._node.get_logger().warning(self._problems["drift"])


def _sizes(pair: Pair) -> tuple[object, object]:
    return pair.visible.shape, pair.thermal.shape
