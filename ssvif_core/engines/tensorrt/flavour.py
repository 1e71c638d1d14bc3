"""The installed TensorRT, and the differences between its versions."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ssvif_core.errors import EngineError, InputError

logger = logging.getLogger(__name__)

# Module -> ranges of supported versions (from, below), and their text for messages.
SUPPORTED = {
    "tensorrt": ((((8, 6), (9,)), ((10, 3), (12,))), "8.6, or 10.3 to 11"),
    "tensorrt_rtx": ((((1,), (2,)),), "1.x"),
}


@dataclass(frozen=True)
class Flavour:
    """An installed TensorRT.

    Attributes:
        name: of its module, `tensorrt` or `tensorrt_rtx`.
        version: as in `api.__version__`.
        api: the module.
    """

    name: str
    version: str
    api: Any

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def is_rtx(self) -> bool:
        """Whether it is TensorRT for RTX."""
        return self.name == "tensorrt_rtx"

    @property
    def is_strongly_typed(self) -> bool:
        """Whether the types in the ONNX file set the arithmetic, and not flags of the builder."""
        return self.is_rtx or _numbers(self.version) >= (10,)

    def logger(self, on_error: Callable[[str], None] | None = None) -> Any:
        """A TensorRT logger that writes to ours. It also calls `on_error` with errors."""
        return _logger_class(self.api)(on_error)


def find_flavour(name: str | None = None) -> Flavour:
    """The flavour of this name. None takes the first that is installed: tensorrt, tensorrt_rtx.

    Raises:
        InputError: no flavour has this name.
        EngineError: it is not installed, does not load, or has a version that is not supported.
    """
    if name is not None and name not in SUPPORTED:
        raise InputError(f"TensorRT flavour '{name}'; expected {' or '.join(SUPPORTED)}")
    reasons = []
    for candidate in [name] if name else SUPPORTED:
        flavour = _load(candidate)
        if isinstance(flavour, Flavour):
            return flavour
        reasons.append(flavour)
    raise EngineError(
        f"no TensorRT can be used here ({'; '.join(reasons)}); JetPack contains one; on other "
        "machines `pip install tensorrt`, or for RTX cards `pip install tensorrt-rtx`"
    )


@functools.cache
def _load(name: str) -> Flavour | str:
    """The flavour of this name, or why it cannot be used."""
    try:
        api = importlib.import_module(name)
    except Exception as error:  # bindings without their libraries raise many types
        return f"{name}: {error}"
    version = str(getattr(api, "__version__", "0"))
    ranges, expected = SUPPORTED[name]
    if not any(low <= _numbers(version) < high for low, high in ranges):
        return f"{name} is version {version}, expected {expected}"
    return Flavour(name, version, api)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


@functools.cache
def _logger_class(api: Any) -> type:
    levels = {
        api.ILogger.INTERNAL_ERROR: logging.ERROR,
        api.ILogger.ERROR: logging.ERROR,
        api.ILogger.WARNING: logging.INFO,  # TensorRT warns about much that is harmless
    }

    class Logger(api.ILogger):
        def __init__(self, on_error: Callable[[str], None] | None) -> None:
            api.ILogger.__init__(self)
            self._on_error = on_error

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            logger.log(level, "TensorRT: %s", message)
            if level == logging.ERROR and self._on_error is not None:
                self._on_error(message)

    return Logger
