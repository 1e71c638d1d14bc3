"""Where built engines lie, and which of them may be loaded.

An engine is code, made for one TensorRT on one GPU. So each has a JSON file beside it that says
what it is, and is loaded only if all of that is what is wanted, and its bytes are those that were
written. Anything else is built anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssvif_core.engines.tensorrt.build import BuildRequest, build
from ssvif_core.engines.tensorrt.cuda import Device, find_device
from ssvif_core.engines.tensorrt.flavour import Flavour
from ssvif_core.errors import EngineError
from ssvif_core.files import write_atomically
from ssvif_core.graph.agreement import Agreement
from ssvif_core.graph.contract import input_shapes
from ssvif_core.graph.model_file import ModelNote, parse_note
from ssvif_core.types import Shapes

logger = logging.getLogger(__name__)

FORMAT = 1  # of the files beside the engines


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on. model: SHA-256 of the ONNX file."""

    model: str
    precision: str
    shapes: Shapes
    smallest: Shapes
    largest: Shapes
    tensorrt: str
    gpu: str
    compute_capability: str
    hardware_compatible: bool = False
    version_compatible: bool = False

    @classmethod
    def of(
        cls,
        flavour: Flavour,
        request: BuildRequest,
        device: Device | None,
        model: bytes | None = None,
    ) -> EngineKey:
        """device: that it is for; None with a compute capability in the request. model: the ONNX
        file's content; None reads it."""
        return cls(
            _digest(request.model.read_bytes() if model is None else model),
            request.precision,
            request.shapes,
            request.smallest or request.shapes,
            request.largest or request.shapes,
            str(flavour),
            device.name if device else "any",
            device.compute_capability if device else request.compute_capability,
            request.hardware_compatible,
            request.version_compatible,
        )

    def takes(self, shapes: Shapes) -> bool:
        """Whether shapes are those it was built for, or within its range."""
        low, high = input_shapes(self.smallest), input_shapes(self.largest)
        return all(
            least <= size <= most
            for name, shape in input_shapes(shapes).items()
            for least, size, most in zip(low[name], shape, high[name], strict=True)
        )

    @property
    def digest(self) -> str:
        return _digest(json.dumps(asdict(self), sort_keys=True).encode())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EngineKey:
        shapes = {name: Shapes(**values[name]) for name in ("shapes", "smallest", "largest")}
        return cls(**{**values, **shapes})


@dataclass(frozen=True)
class StoredEngine:
    """An engine file and what the JSON file beside it says.

    source: the ONNX file it was built from. tensors: types of its inputs and outputs. sha256: of
        the engine file. agreement: with the float32 reference, once it was measured.
    """

    path: Path
    key: EngineKey
    note: ModelNote
    source: str
    tensors: dict[str, str]
    sha256: str
    build_seconds: float
    made: str
    agreement: Agreement | None = None

    @property
    def sidecar(self) -> Path:
        return self.path.with_suffix(".json")

    def read(self) -> bytes:
        """The engine's bytes.

        Raises:
            EngineError: they are not those that were written.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise EngineError(f"{self.path}: the engine cannot be read ({error})") from error
        if _digest(data) != self.sha256:
            raise EngineError(f"{self.path}: the engine is damaged or not the one that was built")
        return data

    def write_sidecar(self) -> None:
        values = {**asdict(self), "path": self.path.name, "format": FORMAT}
        write_atomically(self.sidecar, json.dumps(values, indent=2) + "\n", 0o600)


def open_engine(path: Path) -> StoredEngine:
    """What lies at a path, by the file beside it.

    Raises:
        EngineError: there is no such file beside it, or it cannot be read.
    """
    try:
        values = json.loads(path.with_suffix(".json").read_text())
        if values.pop("format") != FORMAT:
            raise ValueError("it is of another version of this package")
        agreement, note = values["agreement"], values["note"]
        return StoredEngine(**{
            **values,
            "path": path,
            "key": EngineKey.from_dict(values["key"]),
            "note": ModelNote(note["size"], tuple(note["names"]), note["precision"]),
            "agreement": agreement and Agreement(**agreement),
        })  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{path}: the file beside it, {path.stem}.json, does not say what engine it is "
            f"({error}); copy both, or build again with `ssvif engine build`"
        ) from error


def store_engine(
    path: Path, flavour: Flavour, request: BuildRequest, device: Device | None, timing: bytes = b""
) -> tuple[StoredEngine, bytes]:
    """Build an engine into a file with its sidecar; gives the grown timing cache as well."""
    model = request.model.read_bytes()
    note = parse_note(request.model, model)
    began = time.monotonic()
    built = build(flavour, request, model, timing)
    stored = StoredEngine(
        path,
        EngineKey.of(flavour, request, device, model),
        note,
        str(request.model.resolve()),
        built.tensors,
        _digest(built.plan),
        round(time.monotonic() - began, 2),
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, built.plan, 0o600)
    stored.write_sidecar()  # last: an engine without it is no engine
    return stored, built.timing


class EngineCache:
    """The engines of this user. folder: None takes `ssvif/engines` in the user's cache folder.

    Raises:
        EngineError: it cannot be made, or others may write there: what they put there would be run.
    """

    def __init__(self, folder: Path | None = None) -> None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self.folder = folder or Path(home) / "ssvif" / "engines"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise EngineError(
                f"{self.folder}: no folder for engines can be made ({error}); set XDG_CACHE_HOME "
                "to where this user may write"
            ) from error
        status = self.folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EngineError(
                f"{self.folder}: others may write to this cache of engines, and engines are code; "
                f"expected a folder of your own: `chmod 700 {self.folder}`, or remove it"
            )

    def find(self, key: EngineKey) -> StoredEngine | None:
        """The engine of a key if it is there, whole, and made for just that."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            stored = open_engine(path)
            stored.read()
        except EngineError as error:
            logger.warning("%s; it is built again", error)
            return None
        if stored.key != key:
            logger.warning("%s: made for something else (%s); it is built again", path, stored.key)
            return None
        return stored

    def build(self, flavour: Flavour, request: BuildRequest) -> StoredEngine:
        """The engine of a request, built if it is not there; waits while another process builds.

        Raises:
            EngineError, ModelError, InputError: see `build`.
        """
        device = None if request.compute_capability else find_device()
        key = EngineKey.of(flavour, request, device)
        with self._lock():
            stored = self.find(key)
            if stored is None:
                timing = self._timing(key)
                known = timing.read_bytes() if timing.is_file() else b""
                stored, grown = store_engine(self._path(key), flavour, request, device, known)
                if grown:
                    write_atomically(timing, grown, 0o600)
            return stored

    def entries(self) -> Iterator[tuple[Path, StoredEngine | EngineError]]:
        """All that is there, by name; an error for what is damaged."""
        for path in sorted(self.folder.glob("*.engine")):
            try:
                stored = open_engine(path)
                stored.read()
                yield path, stored
            except EngineError as error:
                yield path, error

    def remove(self, path: Path) -> None:
        """Remove an engine, and what lies beside it."""
        for each in (path.with_suffix(".json"), path):
            each.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything; waits while a process builds."""
        with self._lock():
            for pattern in ("*.engine", "*.json", "*.timing", ".*.unfinished"):
                for path in self.folder.glob(pattern):
                    path.unlink(missing_ok=True)

    def _path(self, key: EngineKey) -> Path:
        s = key.shapes
        sizes = f"{s.width}x{s.height}-{s.thermal_width}x{s.thermal_height}x{8 * s.thermal_bytes}"
        name = f"{key.precision}-{sizes}-{key.tensorrt}-sm{key.compute_capability}"
        return self.folder / f"{name.replace(' ', '')}-{key.digest[:12]}.engine"

    def _timing(self, key: EngineKey) -> Path:
        belongs = f"{key.tensorrt}|{key.gpu}|{key.compute_capability}"
        return self.folder / f"{_digest(belongs.encode())[:12]}.timing"

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        # One for all engines: two builds at once would spoil each other's timings. The system lets
        # go of it when its holder dies, however it dies.
        with open(self.folder / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def accepted(stored: StoredEngine, found: Agreement) -> StoredEngine:
    """Note down the agreement that was measured."""
    stored = replace(stored, agreement=found)
    stored.write_sidecar()
    return stored


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

