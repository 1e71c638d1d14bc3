"""Inference engines behind one interface, and the choice among them."""

from __future__ import annotations

import importlib
import logging
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

from ssvif_core.engines.base import Engine, EngineInfo
from ssvif_core.errors import EngineError, InputError, SsvifError
from ssvif_core.graph.model_file import ModelNote, file_of, read_note
from ssvif_core.types import Shapes

__all__ = [
    "ENGINES", "Engine", "EngineInfo", "create_engine", "create_engine_now", "engine_class",
    "is_made", "note_of", "precision_of", "why_not",
]  # fmt: skip

ENGINE_SUFFIX = ".engine"  # of built engines, that TensorRT alone can run

logger = logging.getLogger(__name__)

# In the order in which `auto` tries them: module and class, imported only when asked for.
ENGINES = {
    "tensorrt": ("ssvif_core.engines.tensorrt.engine", "TensorRtEngine"),
    "openvino": ("ssvif_core.engines.openvino", "OpenVinoEngine"),
    "onnxruntime": ("ssvif_core.engines.onnxruntime", "OnnxRuntimeEngine"),
}


def engine_class(name: str) -> type[Engine]:
    """The class of an engine that this machine can run.

    Raises:
        InputError: no engine of that name.
        EngineError: its library cannot be imported here, or lacks a device.
    """
    if name not in ENGINES:
        raise InputError(f"engine '{name}'; expected auto or one of {', '.join(ENGINES)}")
    module, attribute = ENGINES[name]
    try:
        kind: type[Engine] = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # also libraries that are there and break while they load
        raise EngineError(
            f"engine {name}: its library cannot be imported ({error}); install it with "
            f"`pip install {name}`, or use engine auto"
        ) from error
    try:
        kind.usable()
    except EngineError as error:
        raise EngineError(f"engine {name}: {error}") from error
    return kind


def why_not(name: str) -> str | None:
    """Why an engine cannot be used here, or None if it can."""
    try:
        engine_class(name)
    except EngineError as error:
        return str(error)
    return None


def create_engine(
    name: str, model: Path, shapes: Shapes, precision: str = "auto", threads: int = 0
) -> Engine:
    """A warm engine; `auto` takes the first of `ENGINES` that works here and logs why.

    Args:
        model: ONNX file of `ssvif export`; those of other precisions lie beside it.
        precision: one that the engine has; `auto` takes its first that the model has.

    Raises:
        InputError: unknown engine or precision.
        EngineError: the engine, or with `auto` every engine, cannot be used here.
        ModelError: the model file is missing, damaged or not ours.
    """
    return _create(_candidates(name, model), model, shapes, precision, threads)


def create_engine_now(
    name: str, model: Path, shapes: Shapes, precision: str = "auto", threads: int = 0
) -> tuple[Engine, Future[Engine] | None]:
    """An engine that is there at once; and a better one, if there is one that must be built first.

    Only `auto` puts off what must be built; arguments and errors as of `create_engine`.
    """
    candidates = _candidates(name, model)
    made = [_is_made(candidate, model, shapes, precision) for candidate in candidates]
    if len(candidates) == 1 or made[0] or not any(made):
        return _create(candidates, model, shapes, precision, threads), None
    first = made.index(True)
    try:
        now = _create(candidates[first:], model, shapes, precision, threads)
    except EngineError:  # nothing else works: then there is nothing to do but wait
        return _create(candidates, model, shapes, precision, threads), None
    logger.info("engine %s serves until %s is built", now.info, candidates[0])
    return now, _in_background(candidates[:first], model, shapes, precision, threads)


def is_made(name: str, model: Path, shapes: Shapes, precision: str = "auto") -> bool:
    """Whether making an engine takes no longer than a second or so: nothing is to be built."""
    return _is_made(_candidates(name, model)[0], model, shapes, precision)


def note_of(model: Path) -> ModelNote:
    """The note of an ONNX file, or of an engine file of `ssvif engine build --out`.

    Raises:
        ModelError: the file is missing, damaged or not ours.
        EngineError: the same of an engine file.
    """
    if model.suffix != ENGINE_SUFFIX:
        return read_note(model)
    from ssvif_core.engines.tensorrt.cache import open_engine

    return open_engine(model).note


def precision_of(kind: type[Engine], model: Path, precision: str) -> tuple[str, Path]:
    """The precision meant for an engine, and the model file that has it.

    Raises:
        InputError: the engine does not have it.
    """
    if precision != "auto":
        if precision not in kind.precisions:
            raise InputError(f"precision '{precision}'; expected {', '.join(kind.precisions)}")
        return precision, file_of(model, precision)
    for each in kind.precisions:
        if file_of(model, each).is_file():
            return each, file_of(model, each)
    return kind.precisions[0], model


def _candidates(name: str, model: Path) -> list[str]:
    if name != "auto":
        return [name]
    return ["tensorrt"] if model.suffix == ENGINE_SUFFIX else list(ENGINES)


def _is_made(name: str, model: Path, shapes: Shapes, precision: str) -> bool:
    """Whether an engine has nothing to build; one that does not work here has nothing either."""
    try:
        kind = engine_class(name)
        precision, file = precision_of(kind, model, precision)
        return kind.is_made(file, shapes, precision)
    except SsvifError:  # making it will tell
        return True


def _in_background(
    candidates: list[str], model: Path, shapes: Shapes, precision: str, threads: int
) -> Future[Engine]:
    future: Future[Engine] = Future()

    def make() -> None:
        try:
            future.set_result(_create(candidates, model, shapes, precision, threads))
        except BaseException as error:
            future.set_exception(error)

    # A daemon: a robot that is switched off does not wait for it.
    Thread(target=make, name="engine builder", daemon=True).start()
    return future


def _create(
    candidates: list[str], model: Path, shapes: Shapes, precision: str, threads: int
) -> Engine:
    reasons: list[str] = []
    for name in candidates:
        try:
            engine = _create_one(name, model, shapes, precision, threads)
        except (EngineError, InputError) as error:
            if len(candidates) == 1:
                raise
            reasons.append(str(error))
            continue
        logger.info("engine %s for %s", engine.info, shapes)
        for reason in reasons:
            logger.info("passed over: %s", reason)
        return engine
    raise EngineError("no engine works here: " + "; ".join(reasons))


def _create_one(name: str, model: Path, shapes: Shapes, precision: str, threads: int) -> Engine:
    kind = engine_class(name)
    try:
        precision, file = precision_of(kind, model, precision)
    except InputError as error:
        raise InputError(f"engine {name}: {error}") from error
    try:
        engine = kind(file, shapes, precision, threads)
        engine.warm_up()
        engine.accept()
    except RuntimeError as error:  # what the libraries raise for what this machine lacks
        raise EngineError(f"engine {name} does not run here: {error}") from error
    return engine
