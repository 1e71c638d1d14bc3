"""Pair -> Fusion: thermal gain, then the engine. What node, command line and tests share."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np

from ssvif_core.engines import Engine, create_engine
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Fusion, Pair, Shapes


class FusionPipeline:
    """Fuses pairs of any size; belongs to one thread.

    Args:
        model: ONNX file of `ssvif export`; None takes the shipped one.
        engine: `auto` or the name of an engine.
        precision: `f32`, or another that the engine has.
        gain: thermal gain; None makes the default one.
        threads: CPU threads; 0 lets the engine choose.
    """

    # Preparing an engine takes about a second; folders mix a few sizes, streams have one.
    kept_engines = 4

    def __init__(
        self,
        model: Path | None = None,
        engine: str = "auto",
        precision: str = "f32",
        gain: ThermalGain | None = None,
        threads: int = 0,
    ) -> None:
        self.model = model or DEFAULT_MODEL
        self.engine_name, self.precision, self.threads = engine, precision, threads
        self.gain = gain or ThermalGain()
        self._engines: OrderedDict[Shapes, Engine] = OrderedDict()

    def is_prepared(self, shapes: Shapes) -> bool:
        """Whether the engine for these shapes is there."""
        return shapes in self._engines

    def prepare(self, shapes: Shapes) -> Engine:
        """The engine for these shapes, made and warmed up if it is not there yet."""
        if shapes not in self._engines:
            self._engines[shapes] = create_engine(
                self.engine_name, self.model, shapes, self.precision, self.threads
            )
            if len(self._engines) > self.kept_engines:
                self._engines.popitem(last=False)
        self._engines.move_to_end(shapes)
        return self._engines[shapes]

    def __call__(self, pair: Pair, thermal_range: np.ndarray | None = None) -> Fusion:
        """Fuse a pair.

        thermal_range: (2,) counts shown as black and as white; None leaves it to the gain.
        """
        engine = self.prepare(Shapes.of(pair))
        # Engines take memory as it is; what is read-only, as bytes of a bag, they may refuse.
        visible = np.require(pair.visible, requirements=["C", "W"])
        thermal = np.require(pair.thermal, requirements=["C", "W"])
        if thermal_range is None:
            thermal_range = self.gain.update(thermal)
        return engine.infer(visible, thermal, thermal_range)
