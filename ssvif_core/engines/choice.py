"""The choice of an engine and of its precision on this machine."""

from __future__ import annotations

import importlib
import logging
from concurrent.futures import Future
from pathlib import Path

from ssvif_core.background import in_background
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

# Module and class by name, in the order in which `auto` tries them. They are imported on demand.
ENGINES = {
    "tensorrt": ("ssvif_core.engines.tensorrt.engine", "TensorRtEngine"),
    "openvino": ("ssvif_core.engines.openvino", "OpenVinoEngine"),
    "onnxruntime": ("ssvif_core.engines.onnxruntime", "OnnxRuntimeEngine"),
}


def engine_class(name: str) -> type[Engine]:
    """The class of an engine, if this machine can run it.

    Raises:
        InputError: there is no engine of this name.
        EngineError: its library cannot be imported, or a device is missing.
    """
    if name not in ENGINES:
        raise InputError(f"engine '{name}'; expected auto or one of {', '.join(ENGINES)}")
    module_name, class_name = ENGINES[name]
    try:
        engine: type[Engine] = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # an installed library can fail in any way while it loads
        raise EngineError(
            f"engine {name}: its library cannot be imported ({error}); install it with "
            f"`pip install {name}`, or use engine auto"
        ) from error
    try:
        engine.check_usable()
    except EngineError as error:
        raise EngineError(f"engine {name}: {error}") from error
    return engine


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
    """A warm engine.

    A named engine is built if necessary. `auto` takes the first of `ENGINES` that works here, and
    logs why it skips others. It skips engines that must be built, unless nothing else works.

    Args:
        name: `auto` or a key of `ENGINES`.
        model: ONNX file of `ssvif export`, with the files of other precisions beside it; or an
            engine file.
        precision: one that the engine has. `auto` takes the engine's first that the model has.
        threads: CPU threads; with 0 the engine chooses.

    Raises:
        InputError: unknown engine or precision.
        EngineError: the engine cannot be used here; for `auto`, no engine can.
        ModelError: the model file is missing, damaged or not ours.
    """
    return _create_now(name, model, shapes, precision, threads)[0]


def create_engine_now(
    name: str, model: Path, shapes: Shapes, precision: str = "auto", threads: int = 0
) -> tuple[Engine, Future[Engine] | None]:
    """As `create_engine`, and the better engine that `auto` skipped, built in the background."""
    engine, unbuilt = _create_now(name, model, shapes, precision, threads)
    if not unbuilt:
        return engine, None
    logger.info("engine %s serves until %s is built", engine.info, unbuilt[0])
    return engine, in_background(
        lambda: _create(unbuilt, model, shapes, precision, threads), "engine builder"
    )


def _create_now(
    name: str, model: Path, shapes: Shapes, precision: str, threads: int
) -> tuple[Engine, list[str]]:
    """An engine, and the names of better engines that must be built first."""
    names = _candidates(name, model)
    ready = [choice for choice in names if _is_ready(choice, model, shapes, precision)]
    unbuilt = [choice for choice in names if choice not in ready]
    if ready and unbuilt:
        try:
            engine = _create(ready, model, shapes, precision, threads)
            logger.info("skipped: engine %s must be built for these sizes", ", ".join(unbuilt))
            return engine, unbuilt
        except EngineError:  # nothing else works, so the caller must wait for the build
            pass
    return _create(names, model, shapes, precision, threads), []


def is_ready(name: str, model: Path, shapes: Shapes, precision: str = "auto") -> bool:
    """Whether an engine can be created within about a second, with nothing to build."""
    return _is_ready(_candidates(name, model)[0], model, shapes, precision)


def note_of(model: Path) -> ModelNote:
    """The note of an ONNX file, or of an engine file of `ssvif engine build --out`.

    Raises:
        ModelError: the ONNX file is missing, damaged or not ours.
        EngineError: the engine file is missing, damaged or not ours.
    """
    if model.suffix != ENGINE_SUFFIX:
        return read_note(model)
    from ssvif_core.engines.tensorrt.cache import open_engine

    return open_engine(model).note


def precision_of(engine: type[Engine], model: Path, precision: str) -> tuple[str, Path]:
    """The precision that an engine will use, and the model file of that precision.

    Args:
        precision: one of the engine's, or `auto` for its first that the model has.

    Raises:
        InputError: the engine, or the given engine file, does not have this precision.
        EngineError: for `auto`, the model has no precision of this engine.
    """
    return _precisions_of(engine, model, precision)[0]


def _precisions_of(engine: type[Engine], model: Path, precision: str) -> list[tuple[str, Path]]:
    """As `precision_of`, and for `auto` the precisions to try after it."""
    if model.suffix == ENGINE_SUFFIX:
        built = note_of(model).precision
        if precision not in ("auto", built):
            raise InputError(f"precision '{precision}'; expected {built}, the precision of {model}")
        return [(built, model)]
    float_file = float_file_of(model)
    if precision != "auto":
        if precision not in engine.precisions:
            raise InputError(f"precision '{precision}'; expected {', '.join(engine.precisions)}")
        return [(precision, file_of(float_file, precision))]
    files = [(name, file_of(float_file, name)) for name in engine.precisions]
    if model != float_file:  # the user named model.int8.onnx, for example: it goes first
        files.sort(key=lambda item: item[1] != model)
    present = [(name, file) for name, file in files if file.is_file()]
    if present:
        return present
    if model.is_file():
        raise EngineError(
            f"{model}: this engine has no such precision; expected "
            f"{', '.join(engine.precisions)}; export the model in one of these"
        )
    return [(engine.precisions[0], model)]


def _candidates(name: str, model: Path) -> list[str]:
    if name != "auto":
        return [name]
    return ["tensorrt"] if model.suffix == ENGINE_SUFFIX else list(ENGINES)


def _is_ready(name: str, model: Path, shapes: Shapes, precision: str) -> bool:
    """Whether an engine has nothing to build. This is also true if it does not work here."""
    try:
        engine = engine_class(name)
        precision, file = precision_of(engine, model, precision)
        return engine.is_ready(file, shapes, precision)
    except (SsvifError, OSError):  # creating the engine raises the same error again
        return True


def _create(names: list[str], model: Path, shapes: Shapes, precision: str, threads: int) -> Engine:
    """The first of these engines that works."""
    reasons: list[str] = []
    for name in names:
        try:
            engine = _create_named(name, model, shapes, precision, threads)
        except (EngineError, InputError) as error:
            if len(names) == 1:
                raise
            reasons.append(str(error))
            continue
        logger.info("engine %s for %s", engine.info, shapes)
        for reason in reasons:
            logger.info("skipped: %s", reason)
        return engine
    raise EngineError("no engine works here: " + "; ".join(reasons))


def _create_named(name: str, model: Path, shapes: Shapes, precision: str, threads: int) -> Engine:
    engine_type = engine_class(name)
    try:
        choices = _precisions_of(engine_type, model, precision)
    except (InputError, EngineError) as error:
        raise type(error)(f"engine {name}: {error}") from error
    try:
        for choice, file in choices:
            engine = engine_type(file, shapes, choice, threads)
            engine.warm_up()
            try:
                engine.accept()
                return engine
            except EngineError as error:
                if choice == choices[-1][0]:
                    raise
                logger.warning("%s", error)
    except (RuntimeError, TypeError, OSError) as error:
        # Libraries raise these if this machine lacks instructions, a driver or disk space.
        raise EngineError(f"engine {name} does not run here: {error}") from error
    raise AssertionError("an engine has at least one precision")
