"""The worker: matched messages -> pipeline -> outputs, on a thread of its own.

The worker alone owns the pipeline and so the engine. Whatever goes wrong with one pair is
reported, counted and left behind: the node goes on.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Header

from ssvif_core.errors import InputError, SsvifError
from ssvif_core.pipeline import FusionPipeline, visible_alone
from ssvif_core.recordings.decode import Crop, claimed_size
from ssvif_core.recordings.pixels import BitDepth
from ssvif_core.thermal import StreamState, ThermalConfig, ThermalStream
from ssvif_core.types import Pair, Shapes, stamp_of
from ssvif_ros.node.calibration import Calibration
from ssvif_ros.node.diagnostics import STEPS, Counters
from ssvif_ros.node.messages import CameraMessage, thermal_array, to_pair, visible_array
from ssvif_ros.node.outputs import Outputs
from ssvif_ros.node.pairing import LatestSlot, MatchedMessages
from ssvif_ros.node.saved_pairs import PairSaver

T = TypeVar("T")
PATIENCE_S = 0.2  # between looks at a held pair, or at an engine that is made
SURE = 3  # live images in a row after which the calibration may use the next one
STAYING_S = 2.0  # sizes that come twice within this time may stay


class Worker:
    """Fuses the newest pair, again and again.

    Args:
        node: for its logger.
        slot: where pairs come from.
        saver: gets each pair that it waits for.
        first: sizes to prepare the engine for before any pair; None if there is nothing to prepare.
        largest_side: of an image, pixels; larger ones are refused.
        visible_bits: see `BitDepth`.
        thermal_crop: the part of thermal messages that is the thermal image; None takes all.
    """

    def __init__(
        self,
        node: Node,
        pipeline: FusionPipeline,
        slot: LatestSlot,
        outputs: Outputs,
        calibration: Calibration,
        counters: Counters,
        saver: PairSaver,
        first: Shapes | None,
        largest_side: int,
        visible_bits: int,
        thermal_crop: Crop | None,
    ) -> None:
        self._node, self._pipeline, self._slot = node, pipeline, slot
        self._outputs, self._calibration, self._counters = outputs, calibration, counters
        self._saver, self._first = saver, first
        self._largest_side = largest_side
        self._depth, self._crop = BitDepth(visible_bits), thermal_crop
        self._held: tuple[Shapes, MatchedMessages] | None = None
        self._new_sizes: dict[Shapes, float] = {}  # when they came last, by `time.monotonic`
        self._has_fused = False
        self._reset = threading.Event()
        self._new_thermal: ThermalConfig | None = None
        self._new_pipeline: FusionPipeline | None = None
        self._visible_size: tuple[int, ...] | None = None
        self._shapes: Shapes | None = None
        self._frame_id = ""
        self._watched, self._watched_ns = 0, 0
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to take pairs."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Let the pair at hand be finished, and take no more."""
        self._slot.close()
        self._thread.join(timeout_s)

    def reset_stream(self) -> None:
        """Forget the thermal stream before the next pair, because time jumped."""
        self._reset.set()

    def show_thermal(self, config: ThermalConfig) -> None:
        """Show thermal counts with other settings from the next pair on."""
        self._new_thermal = config

    @property
    def shapes(self) -> Shapes | None:
        """The sizes of the last fused pair; None before the first."""
        return self._shapes

    def replace_pipeline(self, pipeline: FusionPipeline) -> None:
        """Fuse with another pipeline from the next pair on. The thermal stream goes on."""
        self._new_pipeline = pipeline

    def _work(self) -> None:
        if self._first is not None:
            self._attempt(self._prepare, self._first)
            self._slot.preparing = False
        while not self._slot.is_closed:
            is_waiting = self._held is not None or self._pipeline.is_preparing
            messages = self._slot.take(PATIENCE_S if is_waiting else None)
            if messages is not None:
                self._attempt(self._fuse, messages)
            elif self._held is not None:
                self._attempt(self._look_at_held, self._held)
            self._slot.preparing = self._pipeline.is_preparing

    def _attempt(self, step: Callable[[T], None], argument: T) -> None:
        """Do a step; an error must not stop the node."""
        try:
            step(argument)
        except Exception as error:
            if not self._node.context.ok():
                return
            self._counters.failed += 1
            self._counters.problem = str(error)
            is_expected = isinstance(error, SsvifError)
            text = str(error) if is_expected else f"{type(error).__name__}: {error}"
            self._node.get_logger().error(text, throttle_duration_sec=5.0)

    def _fuse(self, messages: MatchedMessages) -> None:
        """What happens to one pair."""
        is_heard = self._outputs.wanted or self._saver.is_waiting
        is_watched = self._calibration.wants()
        self._counters.unheard += not is_heard
        if not (is_heard or is_watched):
            return
        start_s = time.monotonic()
        self._require_bounded(messages)
        self._apply_changes()  # first: an engine for new sizes takes the new calibration
        visible, thermal = messages.visible, messages.thermal
        if thermal is None:
            assert visible is not None
            image = visible_array(visible, self._depth)
            self._outputs.publish(visible_alone(image), visible.header, None)
            self._counters.visible_alone += 1
            return
        pair = self._pair_of(visible, thermal)
        converted_s = time.monotonic()
        if not is_heard:
            self._watch(pair, self._pipeline.thermal(pair.thermal, pair.thermal_stamp).state)
            return
        if not self._is_ready_for(Shapes.of(pair), messages):
            return
        frame = self._pipeline.frame if messages.held == "thermal" else None
        fusion = self._pipeline(pair, frame)
        fused_s = time.monotonic()
        self._outputs.publish(fusion, self._header_of(visible, thermal), thermal.header)
        moments = (messages.arrival, start_s, converted_s, fused_s, time.monotonic())
        self._counters.work_s.append(moments[-1] - start_s)
        for step, (begin, end) in zip(STEPS, itertools.pairwise(moments), strict=True):
            self._counters.steps_s[step].append(end - begin)
        if visible is None or messages.held:
            self._counters.thermal_alone += visible is None
            self._counters.held += bool(messages.held)
            return
        if is_watched:
            self._watch(pair, self._pipeline.state)
        self._saver.take(pair, fusion)
        self._count(pair, messages)

    def _pair_of(self, visible: CameraMessage | None, thermal: CameraMessage) -> Pair:
        """The pair in two messages; with a black visible image where there is none."""
        if visible is not None:
            pair = to_pair(visible, thermal, self._depth, self._crop)
            self._visible_size = pair.visible.shape[:2]
            return pair
        counts, stamp = thermal_array(thermal, self._crop), stamp_of(thermal.header)
        calibration = self._pipeline.calibration
        size = self._visible_size
        if size is None:
            size = counts.shape if calibration is None else calibration.visible.image_size[::-1]
        return Pair(np.zeros((*size, 3), np.uint8), counts, stamp, stamp)

    def _header_of(self, visible: CameraMessage | None, thermal: CameraMessage) -> Header:
        """The header of the fused image, which lies in the visible camera's frame."""
        if visible is not None:
            self._frame_id = visible.header.frame_id
            return visible.header
        frame_id = self._frame_id or thermal.header.frame_id
        return Header(stamp=thermal.header.stamp, frame_id=frame_id)

    def _watch(self, pair: Pair, state: StreamState) -> None:
        """Show a pair to the calibration, if the thermal image surely shows the present.

        A standing image is known only after some repetitions.
        """
        is_next = 0 < pair.thermal_stamp - self._watched_ns < 3_000_000_000
        self._watched = self._watched + 1 if is_next and state is StreamState.LIVE else 0
        self._watched_ns = pair.thermal_stamp
        if self._watched >= SURE:
            self._calibration.look(pair)

    def _apply_changes(self) -> None:
        """What others asked for since the last pair."""
        if self._reset.is_set():
            self._reset.clear()
            self._pipeline.thermal.reset()
        pipeline, self._new_pipeline = self._new_pipeline, None
        if pipeline is not None:
            pipeline.thermal = self._pipeline.thermal
            pipeline.calibration = self._pipeline.calibration
            self._pipeline = pipeline
            self._outputs.set_classes(pipeline.class_names)
        config, self._new_thermal = self._new_thermal, None
        if config is not None:
            self._pipeline.thermal = ThermalStream(config)
        if self._calibration.take_new():
            self._pipeline.calibration = self._calibration.current

    def _require_bounded(self, messages: MatchedMessages) -> None:
        for camera, image in (("visible", messages.visible), ("thermal", messages.thermal)):
            if image is None:
                continue
            width, height = claimed_size(image)
            if max(width, height) > self._largest_side:
                raise InputError(
                    f"{camera} image of {width}x{height} pixels; expected at most "
                    f"{self._largest_side} (largest_side); raise it if the camera really sends that"
                )

    # --- images of other sizes
    #
    # A single image of another size must not blind the robot: making an engine takes a second and
    # more. So a pair of new sizes is held. If a pair of other sizes follows, the held one is
    # dropped. If its sizes come again soon, or if nothing else comes, an engine for them is made
    # beside the working one.

    def _is_ready_for(self, shapes: Shapes, messages: MatchedMessages) -> bool:
        if self._pipeline.is_prepared(shapes):
            self._drop_held()
            self._pipeline.prepare(shapes)
            return True
        if not self._has_fused:
            self._prepare(shapes)
            return True
        self._drop_held()
        if self._may_stay(shapes):
            self._prepare_beside(shapes)
        self._held = shapes, messages
        return False

    def _may_stay(self, shapes: Shapes) -> bool:
        """Whether these new sizes came a moment ago too."""
        now = time.monotonic()
        recent = {each: at for each, at in self._new_sizes.items() if now - at < STAYING_S}
        self._new_sizes = {**recent, shapes: now}
        return shapes in recent

    def _look_at_held(self, held: tuple[Shapes, MatchedMessages]) -> None:
        """Nothing else came: prepare for the held pair, or fuse it if that is done."""
        shapes, messages = held
        self._held = None
        if self._pipeline.is_prepared(shapes):
            self._fuse(messages)
        else:
            self._prepare_beside(shapes)
            self._held = held

    def _drop_held(self) -> None:
        self._slot.replaced_preparing += self._held is not None
        self._held = None

    def _prepare_beside(self, shapes: Shapes) -> None:
        self._node.get_logger().warning(
            f"sizes are now {shapes}: preparing the engine for them; set visible_width to "
            "thermal_bits to prepare it at the start",
            throttle_duration_sec=5.0,
        )
        self._slot.preparing = True
        self._pipeline.prepare_beside(shapes)

    def _prepare(self, shapes: Shapes) -> None:
        """Make the engine for new sizes; pairs that are lost meanwhile are counted apart."""
        self._slot.preparing = True
        info = self._pipeline.prepare(shapes).info
        self._counters.note_engine(str(info), self._pipeline)

    def _count(self, pair: Pair, messages: MatchedMessages) -> None:
        counters, state = self._counters, self._pipeline.state
        counters.note_engine(str(self._pipeline.info), self._pipeline)
        counters.thermal_state = state.value
        counters.thermal_doubt = self._pipeline.thermal.doubt
        counters.thermal_saturated = self._pipeline.thermal.saturated
        counters.stood_still += state is not StreamState.LIVE
        counters.ages_s.append(abs(pair.visible_stamp - pair.thermal_stamp) * 1e-9)
        counters.fused += 1
        self._has_fused, self._shapes = True, Shapes.of(pair)
        counters.latencies_s.append(time.monotonic() - messages.arrival)
