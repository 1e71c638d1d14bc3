"""Pair -> Fusion: thermal stream, registration, engine. The node and all commands use it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

import numpy as np

from ssvif_core.cameras.model import CameraPair, aligned
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.engines import (
    Engine,
    EngineInfo,
    create_engine,
    create_engine_now,
    engine_class,
    is_ready,
    note_of,
    precision_of,
)
from ssvif_core.errors import EngineError, InputError, ModelError, SsvifError
from ssvif_core.files import fingerprint
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.thermal import StreamState, ThermalConfig, ThermalFrame, ThermalStream
from ssvif_core.types import FusionBuffers, Pair, SamplingMap, Shapes, UInt8Array

logger = logging.getLogger(__name__)

T = TypeVar("T")


class FusionPipeline:
    """Fuses pairs of any size. It belongs to one thread.

    Args:
        model: ONNX file of `ssvif export`; None takes the shipped one.
        engine: `auto` or the name of an engine.
        precision: one that the engine has. `auto` takes fp16 on GPUs and fp32 on CPUs.
        thermal: how thermal counts are shown.
        threads: CPU threads; with 0 the engine chooses.
        calibration: of the cameras; None means that both have the same field of view.
        hand_over: with engine `auto`, an engine that takes long to build is built in the
            background. Another one serves until then.

    Attributes:
        info: the engine of the last pair.
        not_used: why the engine that was built in the background is not used; empty if it is.
        state: of the thermal stream at the last pair.

    >>> pipeline = FusionPipeline()
    >>> pair = Pair(np.zeros((48, 64, 3), np.uint8), np.zeros((24, 32), np.uint16))
    >>> pipeline(pair).fused.shape
    (48, 64, 3)
    """

    # Folders mix a few sizes. Streams have one.
    kept_engines = 4

    def __init__(
        self,
        model: Path | None = None,
        engine: str = "auto",
        precision: str = "auto",
        thermal: ThermalConfig = ThermalConfig(),
        threads: int = 0,
        calibration: CameraPair | None = None,
        hand_over: bool = False,
    ) -> None:
        self.model = model or DEFAULT_MODEL
        self.engine_name, self.precision, self.threads = engine, precision, threads
        self.thermal = ThermalStream(thermal)
        self.info: EngineInfo | None = None
        self.not_used = ""
        self.state = StreamState.LIVE
        self._engines: OrderedDict[Shapes, Engine] = OrderedDict()
        self._better: dict[Shapes, Future[Engine]] = {}
        self._coming: dict[Shapes, Future[tuple[Engine, Future[Engine] | None]]] = {}
        # Why there is no engine for some shapes, and the state of the model file at that time.
        self._refused: dict[Shapes, tuple[SsvifError, object]] = {}
        self._calibration = calibration
        self._hand_over = hand_over

    def __call__(self, pair: Pair, frame: ThermalFrame | None = None) -> FusionBuffers:
        """Fuse the next pair of a stream.

        While the thermal stream is frozen or its shutter is closed, the result is the visible
        image with confidence 0. An old thermal image would show moving objects twice.

        Args:
            frame: the thermal image with its range and state, if they are known. By default the
                thermal stream finds them.

        Returns:
            Buffers that the next pair overwrites.

        Raises:
            SsvifError: the pair cannot be fused; see `prepare`.
        """
        shapes = Shapes.of(pair)
        self.take_over(shapes)
        engine = self.prepare(shapes)
        self.info = engine.info
        if frame is None:
            frame = self.thermal(pair.thermal, pair.thermal_stamp)
        self.state = frame.state
        if frame.state is not StreamState.LIVE:
            return _visible_alone(pair.visible)
        # Engines read memory as it is. They may refuse read-only memory, such as bytes of a bag.
        return engine.infer(
            np.require(pair.visible, requirements=["C", "W"]),
            np.require(frame.thermal, requirements=["C", "W"]),
            frame.range,
        )

    # --- the model

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by label id.

        Raises:
            SsvifError: the model cannot be read.
        """
        return note_of(self.model).names

    def check(self) -> None:
        """Check model and engine without creating anything.

        Raises:
            SsvifError: the model cannot be read, or the chosen engine cannot be used here.
        """
        if self.engine_name != "auto":
            precision_of(engine_class(self.engine_name), self.model, self.precision)
        note_of(self.model)

    # --- the cameras

    @property
    def calibration(self) -> CameraPair | None:
        """The calibration of the cameras; None means that both have the same field of view."""
        return self._calibration

    @calibration.setter
    def calibration(self, calibration: CameraPair | None) -> None:
        for shapes, engine in list(self._engines.items()):
            try:
                engine.register(_sampling(calibration, shapes))
            except InputError:  # this engine is for sizes that the cameras sent before
                del self._engines[shapes]
                self._better.pop(shapes, None)
        self._calibration = calibration

    # --- the engines

    def must_build(self, shapes: Shapes) -> bool:
        """Whether the best engine for these shapes must be built first, perhaps for minutes."""
        return not is_ready(self.engine_name, self.model, shapes, self.precision)

    def is_prepared(self, shapes: Shapes) -> bool:
        """Whether there is an engine for these shapes, so that `prepare` takes no time."""
        return shapes in self._engines or (shapes in self._coming and self._coming[shapes].done())

    def prepare(self, shapes: Shapes) -> Engine:
        """The engine for these shapes, created and warmed up if necessary.

        Raises:
            EngineError, ModelError: no engine can be created. Later calls raise it at once, until
                the model file changes.
            InputError: the calibration does not fit these shapes.
        """
        if shapes in self._refused:
            error, state = self._refused[shapes]
            if state == self._model_state():
                raise error
            del self._refused[shapes]
        if shapes not in self._engines:
            self._make(shapes)
        self._engines.move_to_end(shapes)
        return self._engines[shapes]

    def prepare_beside(self, shapes: Shapes) -> None:
        """Create an engine for these shapes in the background, while others go on working."""
        if shapes not in self._engines and shapes not in self._coming:
            self._coming[shapes] = _in_background(lambda: self._create(shapes))

    def _make(self, shapes: Shapes) -> None:
        sampling = _sampling(self._calibration, shapes)
        coming = self._coming.pop(shapes, None)
        try:
            engine, better = coming.result() if coming else self._create(shapes)
        except (EngineError, ModelError) as error:
            # It can take minutes, so not for each pair.
            self._refused[shapes] = error, self._model_state()
            raise
        engine.register(sampling)
        self._engines[shapes] = engine
        if better is not None:
            self._better[shapes] = better
        if len(self._engines) > self.kept_engines:
            dropped, _ = self._engines.popitem(last=False)
            self._better.pop(dropped, None)

    def _create(self, shapes: Shapes) -> tuple[Engine, Future[Engine] | None]:
        arguments = (self.engine_name, self.model, shapes, self.precision, self.threads)
        if self._hand_over:
            return create_engine_now(*arguments)
        return create_engine(*arguments), None

    def _model_state(self) -> object:
        try:
            return fingerprint(self.model)
        except InputError:
            return None

    @property
    def building(self) -> str:
        """The shapes whose engine is built in the background; empty if there are none."""
        return "; ".join(str(shapes) for shapes, job in self._better.items() if not job.done())

    def take_over(self, shapes: Shapes) -> None:
        """Change to the engine that was built in the background, if it is ready and good."""
        if shapes not in self._better or not self._better[shapes].done():
            return
        serving = self._engines[shapes].info
        try:
            engine = self._better.pop(shapes).result()
            engine.register(_sampling(self._calibration, shapes))
        except Exception as error:
            self.not_used = str(error)
            logger.warning("engine %s stays in use: %s", serving, error)
            return
        self._engines[shapes] = engine
        logger.info("engine %s takes over from %s", engine.info, serving)


def _in_background(work: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    # A daemon thread, so that a robot can be switched off meanwhile.
    Thread(target=run, name="engine preparation", daemon=True).start()
    return future


def _visible_alone(visible: UInt8Array) -> FusionBuffers:
    nothing = np.zeros(visible.shape[:2], np.uint8)
    return FusionBuffers(np.array(visible), nothing, nothing)


def _sampling(calibration: CameraPair | None, shapes: Shapes) -> SamplingMap:
    return sampling_map(calibration or aligned(*shapes.sizes), *shapes.sizes)
