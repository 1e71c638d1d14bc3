"""The TensorRT that is installed, and what its versions differ in."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ssvif_core.errors import EngineError, InputError

logger = logging.getLogger(__name__)

# Module -> versions from, and below; and what they are called in messages.
SUPPORTED = {
    "tensorrt": ((((8, 6), (9,)), ((10, 3), (12,))), "8.6, or 10.3 to 11"),
    "tensorrt_rtx": ((((1,), (2,)),), "1.x"),
}


@dataclass(frozen=True)
class Flavour:
    """One TensorRT. name: of the module; api: the module itself."""

    name: str
    version: str
    api: Any

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def is_rtx(self) -> bool:
        return self.name == "tensorrt_rtx"

    @property
    def is_strongly_typed(self) -> bool:
        """Whether arithmetic follows the types in the ONNX file and not flags of the builder."""
        return self.is_rtx or _numbers(self.version) >= (10,)

    def logger(self, tell: Callable[[str], None] | None = None) -> Any:
        """A TensorRT logger that writes to ours; `tell` hears errors as well."""
        return _logger_class(self.api)(tell)


def find_flavour(name: str | None = None) -> Flavour:
    """The flavour of that name, or the first that is installed; classic TensorRT comes first.

    Raises:
        InputError: no flavour has that name.
        EngineError: it is not installed, does not load, or has a version that is not supported.
    """
    if name is not None and name not in SUPPORTED:
        raise InputError(f"TensorRT flavour '{name}'; expected {' or '.join(SUPPORTED)}")
    reasons = []
    for candidate in [name] if name else SUPPORTED:
        found = _load(candidate)
        if isinstance(found, Flavour):
            return found
        reasons.append(found)
    raise EngineError(
        f"no TensorRT that can be used ({'; '.join(reasons)}); JetPack brings one, elsewhere "
        "`pip install tensorrt`, or on RTX cards `pip install tensorrt-rtx`"
    )


@functools.cache
def _load(name: str) -> Flavour | str:
    try:
        api = importlib.import_module(name)
    except Exception as error:  # bindings without their libraries fail in many ways
        return f"{name}: {error}"
    version = str(getattr(api, "__version__", "0"))
    ranges, wanted = SUPPORTED[name]
    if not any(low <= _numbers(version) < high for low, high in ranges):
        return f"{name} is version {version}, expected {wanted}"
    return Flavour(name, version, api)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


@functools.cache
def _logger_class(api: Any) -> type:
    levels = {
        api.ILogger.INTERNAL_ERROR: logging.ERROR,
        api.ILogger.ERROR: logging.ERROR,
        api.ILogger.WARNING: logging.INFO,  # TensorRT warns of what is well
    }

    class Logger(api.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self, tell: Callable[[str], None] | None) -> None:
            api.ILogger.__init__(self)
            self._tell = tell

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            logger.log(level, "TensorRT: %s", message)
            if level == logging.ERROR and self._tell is not None:
                self._tell(message)

    return Logger
