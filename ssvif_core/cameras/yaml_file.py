"""The file of a camera pair.

    format: 1
    visible: {width: 640, height: 480, matrix: [...9], distortion_model: plumb_bob,
              distortion: [...]}
    thermal: {width: 320, height: 256}
    mapping: {kind: homography, matrix: [...9]}
    time_offset: 0.0

A camera without a matrix counts as undistorted. The mapping is a homography, for far scenes, or
`kind: plane` with rotation, translation and distance. A lens with `estimated: true` was estimated
from scenes: only its distortion was measured, and its matrix serves to express that.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ssvif_core.cameras.model import Camera, CameraPair, PlaneMapping
from ssvif_core.errors import InputError
from ssvif_core.files import read_yaml, write_atomically
from ssvif_core.types import Float64Array

FORMAT = 1


def load_camera_pair(path: Path) -> CameraPair:
    """Read a file that `save_camera_pair` wrote.

    Raises:
        InputError: the file is missing, is not YAML, has another format, or a value is invalid.
    """
    values = read_yaml(path, yaml.SafeLoader)
    try:
        # Check the format first: another format may have other keys.
        if isinstance(values, Mapping) and "format" in values:
            number = values["format"]
            if type(number) is not int or number != FORMAT:
                raise InputError(
                    f"calibration of format {number!r}; this version reads {FORMAT}; calibrate "
                    "again with `ssvif calibrate`"
                )
        keys = _keys(values, "", ("format", "visible", "thermal", "mapping"),
                     ("time_offset", "made"))  # fmt: skip
        return CameraPair(
            _camera(keys["visible"], "visible"),
            _camera(keys["thermal"], "thermal"),
            _mapping(keys["mapping"]),
            float(keys.get("time_offset", 0.0)),
            dict(keys.get("made") or {}),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise InputError(f"{path}: not a camera pair ({error}); calibrate again") from error


def save_camera_pair(pair: CameraPair, path: Path) -> None:
    """Write a camera pair. The file is replaced as a whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    values = {
        "format": FORMAT,
        "visible": _camera_values(pair.visible),
        "thermal": _camera_values(pair.thermal),
        "mapping": _mapping_values(pair.mapping),
        "time_offset": round(float(pair.time_offset), 6),
        "made": pair.made,
    }
    text = (
        "# Calibration of a visible and a thermal camera, by `ssvif calibrate`.\n"
        "# mapping: thermal -> visible pixels, undistorted; time_offset: seconds to add to\n"
        "# thermal stamps.\n"
    ) + yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    try:
        write_atomically(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def _camera(values: Any, name: str) -> Camera:
    optional = ("matrix", "distortion_model", "distortion", "roi", "binning", "estimated")
    keys = _keys(values, name, ("width", "height"), optional)
    try:
        roi: Any = tuple(_integer(n, "roi") for n in keys["roi"]) if "roi" in keys else None
        binning: Any = tuple(float(n) for n in keys.get("binning", (1, 1)))
        return Camera(
            _integer(keys["width"], "width"),
            _integer(keys["height"], "height"),
            keys.get("matrix"),
            keys.get("distortion_model", "plumb_bob"),
            tuple(keys.get("distortion", ())),
            roi,
            binning,
            keys.get("estimated", False) is True,
        )
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _integer(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} {value!r}; expected a whole number")
    return value


def _camera_values(camera: Camera) -> dict[str, Any]:
    values: dict[str, Any] = {"width": camera.width, "height": camera.height}
    if camera.matrix is not None:
        values["matrix"] = _numbers(camera.matrix)
        values["distortion_model"] = camera.distortion_model
        values["distortion"] = list(camera.distortion)
        if camera.estimated:
            values["estimated"] = True
    if camera.roi is not None:
        values["roi"] = [int(n) for n in camera.roi]
    if tuple(camera.binning) != (1, 1):
        values["binning"] = [float(n) for n in camera.binning]
    return values


def _mapping(values: Any) -> Any:
    """A `PlaneMapping`, or the nine numbers of a homography, unchecked."""
    kind = values.get("kind") if isinstance(values, Mapping) else None
    if kind == "homography":
        return _keys(values, "mapping", ("kind", "matrix"), ())["matrix"]
    if kind == "plane":
        keys = _keys(values, "mapping", ("kind", "rotation", "translation", "distance"), ())
        return PlaneMapping(keys["rotation"], keys["translation"], float(keys["distance"]))
    raise InputError(f"mapping.kind '{kind}'; expected homography or plane")


def _mapping_values(mapping: Float64Array | PlaneMapping) -> dict[str, Any]:
    if isinstance(mapping, PlaneMapping):
        return {
            "kind": "plane",
            "rotation": _numbers(mapping.rotation),
            "translation": _numbers(mapping.translation),
            "distance": float(mapping.distance),
        }
    return {"kind": "homography", "matrix": _numbers(mapping / mapping[2, 2])}


def _numbers(array: Float64Array) -> list[float]:
    """All values with ten significant digits, row by row."""
    return [float(f"{value:.10g}") for value in array.reshape(-1)]


def _keys(
    values: Any, section: str, required: tuple[str, ...], optional: tuple[str, ...]
) -> dict[str, Any]:
    """Check that a section of the file has all required keys and no unknown ones."""
    prefix = f"{section}." if section else ""
    if not isinstance(values, Mapping):
        raise InputError(f"{section or 'the file'} is {values!r:.60}; expected keys with values")
    known = required + optional
    for key in values:
        if key not in known:
            similar = difflib.get_close_matches(str(key), known, 1)
            advice = f"did you mean {similar[0]}?" if similar else f"expected {', '.join(known)}"
            raise InputError(f"unknown key {prefix}{key}; {advice}")
    for key in required:
        if key not in values:
            raise InputError(f"{prefix}{key} is missing")
    return dict(values)
