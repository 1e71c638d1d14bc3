"""Pair -> Fusion: thermal stream, registration, engine. The node and all commands use it."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssvif_core.background import in_background
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
from ssvif_core.engines.half_size import WORKING_SIZES, HalfSizeEngine, half_of
from ssvif_core.errors import EngineError, InputError, ModelError, SsvifError
from ssvif_core.files import fingerprint
from ssvif_core.graph.model_file import DEFAULT_MODEL, FILE_PRECISIONS, file_of, float_file_of
from ssvif_core.thermal import StreamState, ThermalConfig, ThermalFrame, ThermalStream
from ssvif_core.types import FusionBuffers, Pair, SamplingMap, Shapes, UInt8Array

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Preparation:
    """An engine that is created in the background.

    Attributes:
        model_state: of the model files when it began.
        job: gives the engine, and the better one that is still built.
    """

    shapes: Shapes
    model_state: object
    job: Future[tuple[Engine, Future[Engine] | None]]


class FusionPipeline:
    """Fuses pairs of any size. It belongs to one thread.

    Args:
        model: ONNX file of `ssvif export`; None takes the shipped one.
        engine: `auto` or the name of an engine.
        precision: one that the engine has. `auto` takes its first that agrees with float32.
        thermal: how thermal counts are shown.
        threads: CPU threads; with 0 the engine chooses.
        calibration: of the cameras; None means that both have the same field of view.
        working_size: `full`, or `half` for slow machines; see `HalfSizeEngine`.
        hand_over: with engine `auto`, an engine that takes long to build is built in the
            background. Another one serves until then.

    Attributes:
        info: the engine of the last pair.
        not_used: why the engine that was built in the background is not used; empty if it is.
        state: of the thermal stream at the last pair.
        frame: the thermal image of the last pair as it was shown; None before the first.

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
        working_size: str = "full",
    ) -> None:
        if working_size not in WORKING_SIZES:
            raise InputError(
                f"working_size '{working_size}'; expected {' or '.join(WORKING_SIZES)}"
            )
        self.model = model or DEFAULT_MODEL
        self.engine_name, self.precision, self.threads = engine, precision, threads
        self.thermal = ThermalStream(thermal)
        self.info: EngineInfo | None = None
        self.not_used = ""
        self.state = StreamState.LIVE
        self.frame: ThermalFrame | None = None
        self._engines: OrderedDict[Shapes, Engine] = OrderedDict()
        self._better: dict[Shapes, Future[Engine]] = {}
        self._coming: _Preparation | None = None
        # Why there is no engine for some shapes, and the state of the model files at that time.
        self._refused: dict[Shapes, tuple[SsvifError, object]] = {}
        self._calibration = calibration
        self._hand_over = hand_over
        self._model_name = ""
        self._is_half = working_size == "half"

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
        self.state, self.frame = frame.state, frame
        if frame.state is not StreamState.LIVE:
            return visible_alone(pair.visible)
        # Engines read memory as it is. They may refuse read-only memory, such as bytes of a bag.
        return engine.infer(
            np.require(pair.visible, requirements=["C", "W"]),
            np.require(frame.thermal, requirements=["C", "W"]),
            frame.range,
        )

    # --- the model

    @property
    def model_name(self) -> str:
        """Name of the model file, and the first digits of its SHA-256 when it was first read."""
        if not self._model_name:
            try:
                digest = f"sha256 {hashlib.sha256(self.model.read_bytes()).hexdigest()[:12]}"
            except OSError:  # an engine may serve longer than its file exists
                digest = "file cannot be read"
            self._model_name = f"{self.model.name} ({digest})"
        return self._model_name

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
        return not is_ready(self.engine_name, self.model, self._working(shapes), self.precision)

    def is_prepared(self, shapes: Shapes) -> bool:
        """Whether there is an engine for these shapes, so that `prepare` takes no time."""
        coming = self._coming
        is_made = coming is not None and coming.shapes == shapes and coming.job.done()
        return shapes in self._engines or is_made

    @property
    def is_preparing(self) -> bool:
        """Whether `prepare_beside` still works."""
        return self._coming is not None and not self._coming.job.done()

    def prepare(self, shapes: Shapes) -> Engine:
        """The engine for these shapes, created and warmed up if necessary.

        Raises:
            EngineError, ModelError: no engine can be created. Later calls raise it at once, until
                a file of the model changes.
            InputError: the calibration does not fit these shapes.
        """
        self._raise_refusal(shapes)
        if shapes not in self._engines:
            self._make(shapes)
        self._engines.move_to_end(shapes)
        return self._engines[shapes]

    def prepare_beside(self, shapes: Shapes) -> None:
        """Create an engine for these shapes in the background, while others go on working.

        One engine is created at a time. While another one is, this does nothing.

        Raises:
            SsvifError: it is known already that `prepare` would raise.
        """
        self._raise_refusal(shapes)
        if self.is_prepared(shapes) or self.is_preparing:
            return
        _sampling(self._calibration, shapes)
        job = in_background(lambda: self._create(shapes), "engine preparation")
        self._coming = _Preparation(shapes, self._model_state(), job)

    def _raise_refusal(self, shapes: Shapes) -> None:
        if shapes in self._refused:
            error, state = self._refused[shapes]
            if state == self._model_state():
                raise error
            del self._refused[shapes]

    def _make(self, shapes: Shapes) -> None:
        sampling = _sampling(self._calibration, shapes)
        state = self._model_state()  # before the files are read; they may change meanwhile
        coming = self._coming
        try:
            if coming is not None and coming.shapes == shapes and coming.model_state == state:
                self._coming = None
                engine, better = coming.job.result()
            else:
                engine, better = self._create(shapes)
        except (EngineError, ModelError) as error:
            # It can take minutes, so not for each pair.
            self._refused[shapes] = error, state
            raise
        engine.register(sampling)
        self._engines[shapes] = engine
        if better is not None:
            self._better[shapes] = better
        if len(self._engines) > self.kept_engines:
            dropped, _ = self._engines.popitem(last=False)
            self._better.pop(dropped, None)

    def _create(self, shapes: Shapes) -> tuple[Engine, Future[Engine] | None]:
        arguments = (
            self.engine_name, self.model, self._working(shapes), self.precision, self.threads,
        )  # fmt: skip
        if not self._hand_over:
            return self._whole(create_engine(*arguments), shapes), None
        engine, better = create_engine_now(*arguments)
        return self._whole(engine, shapes), better

    def _working(self, shapes: Shapes) -> Shapes:
        """What the engine itself works on."""
        return half_of(shapes) if self._is_half else shapes

    def _whole(self, engine: Engine, shapes: Shapes) -> Engine:
        """An engine for whole images, from one for `_working`."""
        return HalfSizeEngine(engine, shapes) if self._is_half else engine

    def _model_state(self) -> object:
        """A value that differs if a file of the model was changed, in any precision."""
        single = float_file_of(self.model)
        files = {self.model, single, *(file_of(single, each) for each in FILE_PRECISIONS)}
        states = []
        for file in sorted(files):
            with suppress(InputError):
                states.append(fingerprint(file))
        return tuple(states)

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
            engine = self._whole(self._better.pop(shapes).result(), shapes)
            engine.register(_sampling(self._calibration, shapes))
        except Exception as error:
            self.not_used = str(error)
            logger.warning("engine %s stays in use: %s", serving, error)
            return
        self._engines[shapes] = engine
        logger.info("engine %s takes over from %s", engine.info, serving)


def visible_alone(visible: UInt8Array) -> FusionBuffers:
    """The fusion of a visible image, (H, W, 3), with no thermal image: confidence 0 everywhere."""
    nothing = np.zeros(visible.shape[:2], np.uint8)
    return FusionBuffers(np.array(visible), nothing, nothing)


def _sampling(calibration: CameraPair | None, shapes: Shapes) -> SamplingMap:
    return sampling_map(calibration or aligned(*shapes.sizes), *shapes.sizes)
