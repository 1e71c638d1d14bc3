"""Where built engines are stored, and which of them may be loaded.

An engine is code for one TensorRT on one GPU. A JSON file beside it, the sidecar, describes it. An
engine is loaded only if its sidecar matches what is wanted and its bytes are unchanged. Otherwise
it is built again.
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

FORMAT = 1  # of sidecars


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        model: SHA-256 of the ONNX file.
        precision, hardware_compatible, version_compatible: as in `BuildRequest`.
        shapes, smallest, largest: all three are equal for an engine of fixed shapes.
        tensorrt: flavour and version.
        gpu: name of the GPU; "any" for an engine by compute capability.
        compute_capability: such as "8.6".
    """

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
        """The key of the engine that a request gives.

        Args:
            device: the GPU of the engine; None if the request has a compute capability.
            model: content of the ONNX file; None reads it.
        """
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

    def covers(self, shapes: Shapes) -> bool:
        """Whether the engine runs with these shapes."""
        low, high = input_shapes(self.smallest), input_shapes(self.largest)
        return all(
            smallest <= size <= largest
            for name, shape in input_shapes(shapes).items()
            for smallest, size, largest in zip(low[name], shape, high[name], strict=True)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the key."""
        return _digest(json.dumps(asdict(self), sort_keys=True).encode())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EngineKey:
        """The key that `dataclasses.asdict` turned into a dictionary."""
        shapes = {name: Shapes(**values[name]) for name in ("shapes", "smallest", "largest")}
        return cls(**{**values, **shapes})


@dataclass(frozen=True)
class StoredEngine:
    """An engine file and the content of its sidecar.

    Attributes:
        path: of the engine file.
        key: everything that it depends on.
        note: of its model.
        source: the ONNX file that it was built from.
        tensors: by name, the types of inputs and outputs.
        sha256: of the engine file.
        build_seconds: duration of the build.
        made: time of the build, ISO 8601, UTC.
        agreement: with float32; None until it is measured.
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
        """The JSON file beside the engine."""
        return self.path.with_suffix(".json")

    def read(self) -> bytes:
        """The engine's bytes.

        Raises:
            EngineError: the file cannot be read, or has changed.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise EngineError(f"{self.path}: the engine cannot be read ({error})") from error
        if _digest(data) != self.sha256:
            raise EngineError(f"{self.path}: the engine is damaged or was replaced; build it again")
        return data

    def write_sidecar(self) -> None:
        """Write the JSON file that `open_engine` reads."""
        values = {**asdict(self), "path": self.path.name, "format": FORMAT}
        write_atomically(self.sidecar, json.dumps(values, indent=2) + "\n", 0o600)


def open_engine(path: Path) -> StoredEngine:
    """The engine at a path, as its sidecar describes it. The engine file itself is not read.

    Raises:
        EngineError: the sidecar is missing or cannot be read.
    """
    try:
        values = json.loads(path.with_suffix(".json").read_text())
        if values.pop("format") != FORMAT:
            raise ValueError("it is from another version of this package")
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
            f"{path}: {path.stem}.json beside it does not describe this engine ({error}); copy "
            "both files, or build again with `ssvif engine build`"
        ) from error


def store_engine(
    path: Path, flavour: Flavour, request: BuildRequest, device: Device | None, timing: bytes = b""
) -> tuple[StoredEngine, bytes]:
    """Build an engine in this process and write it with its sidecar.

    Args:
        device: the GPU of the engine; None if the request has a compute capability.
        timing: the timing cache of earlier builds.

    Returns:
        The engine, and the timing cache with the new timings.

    Raises:
        EngineError, ModelError, InputError: see `build`.
    """
    model = request.model.read_bytes()
    note = parse_note(request.model, model)
    start = time.monotonic()
    built = build(flavour, request, model, timing)
    stored = StoredEngine(
        path,
        EngineKey.of(flavour, request, device, model),
        note,
        str(request.model.resolve()),
        built.tensors,
        _digest(built.plan),
        round(time.monotonic() - start, 2),
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, built.plan, 0o600)
    stored.write_sidecar()  # last, because an engine without a sidecar does not count
    return stored, built.timing


class EngineCache:
    """The engines of this user.

    Args:
        folder: None takes `ssvif/engines` in the user's cache folder.

    Raises:
        EngineError: the folder cannot be created, or other users may write to it. What they put
            there would be executed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self.folder = folder or Path(home) / "ssvif" / "engines"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise EngineError(
                f"{self.folder}: the folder for engines cannot be created ({error}); set "
                "XDG_CACHE_HOME to a folder that this user may write to"
            ) from error
        status = self.folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EngineError(
                f"{self.folder}: other users may write to this cache of engines, and engines are "
                f"code; run `chmod 700 {self.folder}`, or remove the folder"
            )

    def find(self, key: EngineKey) -> StoredEngine | None:
        """The engine of a key, or None if it is missing, damaged or built for another key."""
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
            logger.warning("%s: built for another key (%s); it is built again", path, stored.key)
            return None
        return stored

    def build(self, flavour: Flavour, request: BuildRequest) -> StoredEngine:
        """The engine of a request, built if necessary. Waits while another process builds.

        Raises:
            EngineError, ModelError, InputError: see `build`.
        """
        device = None if request.compute_capability else find_device()
        key = EngineKey.of(flavour, request, device)
        with self._lock():
            stored = self.find(key)
            if stored is None:
                timing = self._timing(key)
                timings = timing.read_bytes() if timing.is_file() else b""
                stored, grown = store_engine(self._path(key), flavour, request, device, timings)
                if grown:
                    write_atomically(timing, grown, 0o600)
            return stored

    def entries(self) -> Iterator[tuple[Path, StoredEngine | EngineError]]:
        """All engines by name, with an error for each that is damaged."""
        for path in sorted(self.folder.glob("*.engine")):
            try:
                stored = open_engine(path)
                stored.read()
                yield path, stored
            except EngineError as error:
                yield path, error

    def remove(self, path: Path) -> None:
        """Remove an engine and its sidecar."""
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything. Waits while another process builds."""
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
        owner = f"{key.tensorrt}|{key.gpu}|{key.compute_capability}"
        return self.folder / f"{_digest(owner.encode())[:12]}.timing"

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        # One lock for all engines: two builds at once would spoil each other's timings. The system
        # releases it when its process dies.
        with open(self.folder / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def with_agreement(stored: StoredEngine, agreement: Agreement) -> StoredEngine:
    """The engine with the agreement that was measured, also in its sidecar."""
    stored = replace(stored, agreement=agreement)
    stored.write_sidecar()
    return stored


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
