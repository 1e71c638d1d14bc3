"""A bundle: a folder with everything that one robot needs, each file with its hash.

manifest.json      the hashes, the classes, the parameters of the cameras, how well each ONNX file
                   agrees with float32, and the hash of all this
model.safetensors  the weights, with the names of the classes
model.onnx         and beside it model.fp16.onnx and model.int8.onnx
camera_pair.yaml   the calibration, if there is one
figures/           what justified the model: JSON files of `ssvif adapt` and `ssvif evaluate`
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssvif_core.errors import InputError
from ssvif_core.files import read_yaml, require_empty, write_atomically

FORMAT = 1
MANIFEST, WEIGHTS, MODEL, CALIBRATION, FIGURES = (
    "manifest.json", "model.safetensors", "model.onnx", "camera_pair.yaml", "figures",
)  # fmt: skip
# Parameters of the node that belong to the cameras, and not to the robot or its computer.
CAMERA_PARAMETERS = (
    "thermal_gain", "thermal_low", "thermal_high", "thermal_scale", "thermal_offset",
    "thermal_smoothing", "thermal_repair", "thermal_crop", "thermal_time_offset", "visible_bits",
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are as they were made.

    Attributes:
        path: the folder.
        hashes: SHA-256 of each file by its path in the folder.
        names: of the classes, by label id.
        parameters: of the node, see `CAMERA_PARAMETERS`.
        agreement: of each ONNX file with float32, in words.
        made: date and version of the program.
    """

    path: Path
    hashes: Mapping[str, str]
    names: tuple[str, ...]
    parameters: Mapping[str, Any]
    agreement: Mapping[str, str]
    made: str

    @property
    def model(self) -> Path:
        """The float32 file; engines find the others beside it."""
        return self.path / MODEL

    @property
    def calibration(self) -> Path | None:
        """The calibration, if there is one."""
        return self.path / CALIBRATION if CALIBRATION in self.hashes else None

    @property
    def figures(self) -> dict[str, Any]:
        """The content of each file of figures."""
        return {
            name: json.loads((self.path / name).read_text())
            for name in self.hashes
            if name.startswith(FIGURES + "/")
        }

    def describe(self) -> str:
        """Some lines of text for people."""
        lines = [f"{self.path}: {', '.join(self.names)}; made {self.made}"]
        for name in self.hashes:
            size = (self.path / name).stat().st_size
            lines.append(f"  {size / 1e6:7.2f} MB  {name}  {self.agreement.get(name, '')}".rstrip())
        lines += [f"  {name}: {value}" for name, value in self.parameters.items()]
        for name, value in _flat(self.figures):
            lines.append(f"  {name}: {value}")
        return "\n".join(lines)


def write_bundle(
    out: Path,
    files: Mapping[str, bytes],
    names: tuple[str, ...],
    parameters: Mapping[str, Any],
    agreement: Mapping[str, str],
    made: str,
) -> Bundle:
    """Write a bundle: all of it, or nothing.

    Args:
        out: a folder that does not exist yet, or is empty.
        files: content by path in the folder.
        names, parameters, agreement, made: see `Bundle`.

    Raises:
        InputError: `out` holds something, or cannot be written.
    """
    require_empty(out)
    facts: dict[str, Any] = {
        "format": FORMAT,
        "made": made,
        "names": list(names),
        "parameters": dict(parameters),
        "agreement": dict(agreement),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    text = json.dumps(facts | {"sha256": _seal(facts)}, indent=2) + "\n"
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        for name, data in {**files, MANIFEST: text.encode()}.items():
            file = unfinished / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, data)
        os.replace(unfinished, out)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise InputError(
            f"{out}: the bundle cannot be written ({error.strerror}); make room, or choose another "
            "folder"
        ) from error
    return load_bundle(out)


def load_bundle(path: Path) -> Bundle:
    """Read a bundle, and check every file against its hash.

    Raises:
        InputError: it is no bundle, or a file is missing or has changed; names all of them.
    """
    path = path.expanduser()
    manifest = path / MANIFEST
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected a bundle of `ssvif deploy`")
    if not manifest.is_file():
        raise InputError(f"{path}: no {MANIFEST} in it; expected a bundle of `ssvif deploy`")
    try:
        facts = json.loads(manifest.read_text())
        seal = facts.pop("sha256")
        is_sound = seal == _seal(facts)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(f"{manifest}: damaged ({error!r}); copy the bundle again") from error
    if not is_sound:
        raise InputError(
            f"{manifest}: has changed since the bundle was made; copy the bundle again, or make a "
            "new one with `ssvif deploy`"
        )
    if facts["format"] != FORMAT:
        raise InputError(
            f"{path}: a bundle of format {facts['format']}, this version reads {FORMAT}; make it "
            "again with `ssvif deploy`"
        )
    problems = list(_problems(path, facts["files"]))
    if problems:
        raise InputError(
            f"{path}: {'; '.join(problems)}; copy the bundle again, or make a new one with `ssvif "
            "deploy`"
        )
    return Bundle(
        path, facts["files"], tuple(facts["names"]), facts["parameters"], facts["agreement"],
        facts["made"],
    )  # fmt: skip


def _problems(path: Path, hashes: Mapping[str, str]) -> Iterator[str]:
    for name, expected in hashes.items():
        file = path / name
        try:
            found = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror})"
            continue
        if found != expected:
            yield f"{name} has changed since the bundle was made"


def _seal(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def differences(old: Bundle, new: Bundle) -> list[str]:
    """What differs between two bundles, a line each."""
    lines = []
    for name in sorted({*old.hashes, *new.hashes}):
        hashes = old.hashes.get(name), new.hashes.get(name)
        if hashes[0] != hashes[1]:
            is_in_both = None not in hashes
            where = "differs" if is_in_both else f"only in {(old if hashes[0] else new).path}"
            lines.append(f"{name}: {where}")
    first, second = (
        {
            "made": bundle.made,
            "classes": ", ".join(bundle.names),
            **bundle.parameters,
            **dict(_flat(bundle.figures)),
        }
        for bundle in (old, new)
    )
    for name in {**first, **second}:
        if first.get(name) != second.get(name):
            lines.append(f"{name}: {first.get(name, '-')} -> {second.get(name, '-')}")
    return lines


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers and texts in nested objects, by their path; lists are left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}: ")
        elif not isinstance(value, list):
            yield prefix + name, value


def read_parameters(path: Path) -> dict[str, Any]:
    """The parameters of the cameras in a parameter file of ROS; others are left out.

    Raises:
        InputError: the file cannot be read, or holds no parameters.
    """
    content = read_yaml(path, yaml.SafeLoader)
    nodes = content.values() if isinstance(content, dict) else ()
    groups = [node.get("ros__parameters") for node in nodes if isinstance(node, dict)]
    found = [group for group in groups if isinstance(group, dict)]
    if not found:
        raise InputError(f"{path}: no ros__parameters in it; expected a copy of config/fusion.yaml")
    return {
        name: value for group in found for name, value in group.items() if name in CAMERA_PARAMETERS
    }
