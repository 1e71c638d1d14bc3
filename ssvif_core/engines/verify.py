"""The check whether an engine gives the same as the float32 graph."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.engines.base import Engine
from ssvif_core.engines.choice import engine_class
from ssvif_core.errors import EngineError
from ssvif_core.graph.agreement import FLOORS, Agreement, Outputs, agreement, is_accepted
from ssvif_core.graph.model_file import float_file_of
from ssvif_core.types import Float32Array, Fusion, Pair, Shapes

logger = logging.getLogger(__name__)

CHECK_PAIRS = 4  # generated pairs for the comparison before an engine is used


def reference_engine(model: Path, shapes: Shapes) -> Engine | None:
    """A float32 engine on the CPU. None if there is no library for one, or no float32 file."""
    if not model.is_file():
        return None
    for name in ("openvino", "onnxruntime"):
        try:
            return engine_class(name)(model, shapes, "fp32")
        except EngineError:
            continue
    return None


def measure(engine: Engine, reference: Engine, pairs: Iterable[Pair]) -> Agreement:
    """Agreement of an engine with a reference engine. Both and all pairs have the same shapes."""
    from ssvif_core.cameras.model import aligned
    from ssvif_core.cameras.sampling import sampling_map
    from ssvif_core.thermal import ThermalGain

    sizes = engine.shapes.sizes
    sampling = sampling_map(aligned(*sizes), *sizes)
    engine.register(sampling)
    reference.register(sampling)

    def both(pair: Pair) -> tuple[Outputs, Outputs]:
        thermal_range = ThermalGain(smoothing=0).update(pair.thermal)
        inputs = (pair.visible, pair.thermal, thermal_range)
        return _outputs(reference.infer(*inputs)), _outputs(engine.infer(*inputs))

    return agreement(map(both, pairs))


def check_accepted(result: Agreement, precision: str, engine: str) -> None:
    """Raise EngineError if an agreement is below the floor of its precision."""
    if not is_accepted(result, precision):
        raise EngineError(
            f"{engine} agrees too little with float32: {result}; expected at least "
            f"{FLOORS[precision]}. The engine is not used. Use another precision, and please "
            "report this"
        )


def check_on_this_cpu(engine: Engine, model: Path) -> None:
    """Compare the fused image of an engine on the CPU with float32, on one pattern.

    A precision may give other results on another CPU: without VNNI, 8-bit products are added in 16
    bits, and weights of 8 bits saturate there. Wrong arithmetic shows in any image. Labels are not
    compared, since a pattern has no clear classes. It takes a tenth of a second.

    Args:
        model: the file of any precision. Without a float32 file beside it, nothing is compared.

    Raises:
        EngineError: the agreement is below the floor of the precision.
    """
    precision = engine.info.precision
    if precision == "fp32":
        return
    reference = reference_engine(float_file_of(model), engine.shapes)
    if reference is None:
        logger.warning("%s is used unchecked: there is no float32 file beside it", engine.info)
        return
    result = measure(engine, reference, [pattern_pair(engine.shapes)])
    if result.psnr < FLOORS[precision].psnr:
        raise EngineError(
            f"{engine.info} agrees too little with float32 on this CPU: fused {result.psnr:.1f} "
            f"dB; expected at least {FLOORS[precision].psnr} dB. The engine is not used. Export "
            "the model again, or use another precision"
        )


def pattern_pair(shapes: Shapes) -> Pair:
    """A pair of smooth random patterns of these shapes, always the same; made in no time."""
    random = np.random.default_rng(0)

    def pattern(width: int, height: int, channels: int) -> Float32Array:
        total = np.zeros((height, width, channels), np.float32)
        for weight, cells in ((1, 4), (1 / 2, 8), (1 / 3, 16), (1 / 4, 48)):
            values = random.uniform(-1, 1, (cells, cells, channels)).astype(np.float32)
            size = (width, height)
            large = cv2.resize(values, size, interpolation=cv2.INTER_CUBIC)
            total += weight * large.reshape(total.shape)
        levels: Float32Array = (total - total.min()) / np.ptp(total)
        return levels

    visible = (255 * pattern(shapes.width, shapes.height, 3)).astype(np.uint8)
    heat = pattern(shapes.thermal_width, shapes.thermal_height, 1)[..., 0]
    if shapes.thermal_bytes == 1:
        return Pair(visible, (255 * heat).astype(np.uint8))
    return Pair(visible, (7000 + 2000 * heat).astype(np.uint16))


def generated_pairs(shapes: Shapes, count: int = CHECK_PAIRS) -> Iterator[Pair]:
    """Pairs of these shapes from a generated drive by day and night."""
    from ssvif_core.synthetic import DriveConfig, DriveGenerator

    config = DriveConfig(
        condition="drive",
        frames=count,
        visible_size=(shapes.width, shapes.height),
        thermal_size=(shapes.thermal_width, shapes.thermal_height),
    )
    scenes = DriveGenerator(config)
    for index in range(count):
        scene = scenes.frame(index)
        thermal = scene.thermal
        if shapes.thermal_bytes == 1:
            low, high = int(thermal.min()), int(thermal.max())
            grey = (thermal.astype(np.float32) - low) * (255 / max(high - low, 1))
            yield Pair(scene.visible, grey.astype(np.uint8))
        else:
            yield Pair(scene.visible, thermal)


def _outputs(fusion: Fusion) -> Outputs:
    return fusion.fused, fusion.labels, fusion.confidence
