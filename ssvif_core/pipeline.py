"""Pair -> Fusion: thermal stream, registration, engine. What node, command line and tests share."""

from __future__ import annotations

import logging
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from ssvif_core.cameras.model import CameraPair, aligned
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.engines import (
    Engine,
    EngineInfo,
    create_engine,
    create_engine_now,
    engine_class,
    is_made,
    note_of,
    precision_of,
)  # fmt: skip
from ssvif_core.errors import EngineError, InputError, ModelError, SsvifError
from ssvif_core.graph.model_file import DEFAULT_MODEL, ModelNote
from ssvif_core.thermal import StreamState, ThermalConfig, ThermalFrame, ThermalStream
from ssvif_core.types import Fusion, Pair, SamplingMap, Shapes

logger = logging.getLogger(__name__)


class FusionPipeline:
    """Fuses pairs of any size; belongs to one thread.

    Args:
        model: ONNX file of `ssvif export`; None takes the shipped one.
        engine: `auto` or the name of an engine.
        precision: one that the engine has; `auto`: fp16 on GPUs, fp32 on CPUs.
        thermal: how thermal counts are shown.
        threads: CPU threads; 0 lets the engine choose.
        calibration: of the cameras; None takes cameras that see the same field of view.
        hand_over: with engine `auto`, build in the background what must be built first; the next
            best serves until it is ready.

    Attributes:
        info: the engine of the last pair.
        not_used: why the engine that was built in the background is not used; empty if it is.
        state: whether the last pair's thermal image showed the scene of then.
    """

    # Folders mix a few sizes, streams have one.
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
        self._refused: dict[Shapes, SsvifError] = {}
        self._calibration = calibration
        self._hand_over = hand_over

    @property
    def calibration(self) -> CameraPair | None:
        return self._calibration

    def calibrate(self, calibration: CameraPair | None) -> None:
        """Take another calibration from the next pair on; a pair it does not go with is refused."""
        for shapes, engine in list(self._engines.items()):
            try:
                engine.register(_sampling(calibration, shapes))
            except InputError:  # prepared for what the cameras sent before
                del self._engines[shapes]
                self._better.pop(shapes, None)
        self._calibration = calibration

    def check(self) -> ModelNote:
        """What the model says of itself; nothing is made.

        Raises:
            SsvifError: the model cannot be read, or the engine asked for not be used here.
        """
        if self.engine_name != "auto":
            precision_of(engine_class(self.engine_name), self.model, self.precision)
        return note_of(self.model)

    def must_build(self, shapes: Shapes) -> bool:
        """Whether the engine meant for these shapes must be built first, for minutes perhaps."""
        return not is_made(self.engine_name, self.model, shapes, self.precision)

    def is_prepared(self, shapes: Shapes) -> bool:
        """Whether an engine for these shapes is there."""
        return shapes in self._engines

    @property
    def building(self) -> str:
        """What is being built while another engine serves; empty if nothing is."""
        return "; ".join(str(each) for each, made in self._better.items() if not made.done())

    def prepare(self, shapes: Shapes) -> Engine:
        """The engine for these shapes, made and warmed up if it is not there yet.

        Raises:
            EngineError, ModelError: no engine can be made; the same at once when asked again.
        """
        if shapes in self._refused:
            raise self._refused[shapes]
        if shapes not in self._engines:
            self._make(shapes)
        elif shapes in self._better and self._better[shapes].done():
            self._change_over(shapes)
        self._engines.move_to_end(shapes)
        return self._engines[shapes]

    def _make(self, shapes: Shapes) -> None:
        sampling = _sampling(self._calibration, shapes)
        try:
            engine, better = self._create(shapes)
        except (EngineError, ModelError) as error:  # it may have taken minutes: not with each pair
            self._refused[shapes] = error
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

    def _change_over(self, shapes: Shapes) -> None:
        serving = self._engines[shapes].info
        try:
            engine = self._better.pop(shapes).result()
            engine.register(_sampling(self._calibration, shapes))
        except Exception as error:
            self.not_used = str(error)
            logger.warning("engine %s goes on: %s", serving, error)
            return
        self._engines[shapes] = engine
        logger.info("engine %s takes over from %s", engine.info, serving)

    def __call__(self, pair: Pair, view: ThermalFrame | None = None) -> Fusion:
        """Fuse a pair, the next of a stream.

        While the thermal stream is frozen or its shutter closed, the visible image stands alone,
        with confidence 0: what moved since would be seen twice.

        view: how the thermal image is shown, where that is known; None leaves it to the stream.
        """
        engine = self.prepare(Shapes.of(pair))
        self.info = engine.info
        if view is None:
            view = self.thermal(pair.thermal, pair.thermal_stamp)
        self.state = view.state
        if view.state is not StreamState.LIVE:
            return _visible_alone(pair.visible)
        # Engines take memory as it is; what is read-only, as bytes of a bag, they may refuse.
        return engine.infer(
            np.require(pair.visible, requirements=["C", "W"]),
            np.require(view.thermal, requirements=["C", "W"]),
            view.range,
        )


def _visible_alone(visible: np.ndarray) -> Fusion:
    nothing = np.zeros(visible.shape[:2], np.uint8)
    return Fusion(np.array(visible), nothing, nothing)


def _sampling(calibration: CameraPair | None, shapes: Shapes) -> SamplingMap:
    sizes = (shapes.width, shapes.height), (shapes.thermal_width, shapes.thermal_height)
    return sampling_map(calibration or aligned(*sizes), *sizes)
