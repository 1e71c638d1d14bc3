"""Inference engines behind one interface, and the choice among them."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

from ssvif_core.engines.base import Engine, EngineInfo
from ssvif_core.errors import EngineError, InputError
from ssvif_core.types import Shapes

__all__ = ["ENGINES", "Engine", "EngineInfo", "create_engine", "engine_class", "why_not"]

logger = logging.getLogger(__name__)

# In the order in which `auto` tries them: module and class, imported only when asked for.
ENGINES = {
    "openvino": ("ssvif_core.engines.openvino", "OpenVinoEngine"),
    "onnxruntime": ("ssvif_core.engines.onnxruntime", "OnnxRuntimeEngine"),
}


def engine_class(name: str) -> type[Engine]:
    """The class of an engine.

    Raises:
        InputError: no engine of that name.
        EngineError: its library cannot be imported here.
    """
    if name == "tensorrt":
        raise EngineError(
            "engine tensorrt: this version has no TensorRT engine yet; use auto, openvino or "
            "onnxruntime"
        )
    if name not in ENGINES:
        raise InputError(f"engine '{name}'; expected auto or one of {', '.join(ENGINES)}")
    module, attribute = ENGINES[name]
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # also libraries that are there and break while they load
        raise EngineError(
            f"engine {name}: its library cannot be imported ({error}); install it with "
            f"`pip install {name}`, or use engine auto"
        ) from error


def why_not(name: str) -> str | None:
    """Why an engine cannot be used here, or None if it can."""
    try:
        engine_class(name)
    except EngineError as error:
        return str(error)
    return None


def create_engine(
    name: str, model: Path, shapes: Shapes, precision: str = "f32", threads: int = 0
) -> Engine:
    """A warm engine; `auto` takes the first of `ENGINES` that works here and logs why.

    Raises:
        InputError: unknown engine or precision.
        EngineError: the engine, or with `auto` every engine, cannot be used here.
        ModelError: the model file is missing, damaged or not ours.
    """
    reasons = []
    for candidate in ENGINES if name == "auto" else [name]:
        try:
            kind = engine_class(candidate)
        except EngineError as error:
            if name != "auto":
                raise
            reasons.append(str(error))
            continue
        if precision not in kind.precisions:
            raise InputError(
                f"precision '{precision}': engine {candidate} has {', '.join(kind.precisions)}"
            )
        try:
            engine = kind(model, shapes, precision, threads)
            engine.warm_up()
        except RuntimeError as error:  # what both libraries raise for what this machine lacks
            problem = EngineError(f"engine {candidate} does not run here: {error}")
            if name != "auto":
                raise problem from error
            reasons.append(str(problem))
            continue
        logger.info("engine %s for %s", engine.info, shapes)
        for reason in reasons:
            logger.info("passed over: %s", reason)
        return engine
    raise EngineError("no engine works here: " + "; ".join(reasons))
