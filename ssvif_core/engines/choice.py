"""Which engine is used here, and in which precision."""

from __future__ import annotations

import importlib
import logging
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

from ssvif_core.engines.base import Engine
from ssvif_core.errors import EngineError, InputError, SsvifError
from ssvif_core.graph.model_file import (
    ENGINE_SUFFIX,
    ModelNote,
    file_of,
    float_file_of,
    read_note,
)
from ssvif_core.types import Shapes

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
        model: ONNX file of `ssvif export`, those of other precisions beside it; or engine file.
        precision: one that the engine has; `auto` takes its first that the model has.

    An engine that is named is built if it must be. `auto` passes over what must be built, unless
    nothing else works.

    Raises:
        InputError: unknown engine or precision.
        EngineError: the engine, or with `auto` every engine, cannot be used here.
        ModelError: the model file is missing, damaged or not ours.
    """
    return _create_now(name, model, shapes, precision, threads)[0]


def create_engine_now(
    name: str, model: Path, shapes: Shapes, precision: str = "auto", threads: int = 0
) -> tuple[Engine, Future[Engine] | None]:
    """As `create_engine`; and the better engine that `auto` has passed over, while it is built."""
    engine, later = _create_now(name, model, shapes, precision, threads)
    if not later:
        return engine, None
    logger.info("engine %s serves until %s is built", engine.info, later[0])
    return engine, _in_background(later, model, shapes, precision, threads)


def _create_now(
    name: str, model: Path, shapes: Shapes, precision: str, threads: int
) -> tuple[Engine, list[str]]:
    """An engine, and the candidates before it that must be built."""
    candidates = _candidates(name, model)
    made = [each for each in candidates if _is_made(each, model, shapes, precision)]
    later = [each for each in candidates if each not in made]
    if made and later:
        try:
            engine = _create(made, model, shapes, precision, threads)
            logger.info("passed over: engine %s must be built for these sizes", ", ".join(later))
            return engine, later
        except EngineError:  # then there is nothing to do but wait
            pass
    return _create(candidates, model, shapes, precision, threads), []


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
        InputError: the engine does not have it, or the engine file given has another.
        EngineError: `auto`, and the model is there in no precision that the engine has.
    """
    if model.suffix == ENGINE_SUFFIX:
        has = note_of(model).precision
        if precision not in ("auto", has):
            raise InputError(f"precision '{precision}'; {model} is an engine in {has}")
        return has, model
    if precision != "auto":
        if precision not in kind.precisions:
            raise InputError(f"precision '{precision}'; expected {', '.join(kind.precisions)}")
        return precision, file_of(float_file_of(model), precision)
    base = float_file_of(model)
    ways = [(each, file_of(base, each)) for each in kind.precisions]
    if model != base:  # model.int8.onnx is meant if it is given
        ways.sort(key=lambda way: way[1] != model)
    for each, file in ways:
        if file.is_file():
            return each, file
    if model.is_file():
        raise EngineError(f"{model}: expected {', '.join(kind.precisions)}; export that as well")
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
    except (SsvifError, OSError):  # making it will tell
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
    except (InputError, EngineError) as error:
        raise type(error)(f"engine {name}: {error}") from error
    try:
        engine = kind(file, shapes, precision, threads)
        engine.warm_up()
        engine.accept()
    except (RuntimeError, TypeError, OSError) as error:
        # What the libraries raise for what this machine lacks: instructions, a driver, a disk.
        raise EngineError(f"engine {name} does not run here: {error}") from error
    return engine
