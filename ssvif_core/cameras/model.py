"""The calibration of a camera pair: lenses, mapping and delay, in one YAML file.

    format: 1
    visible: {width: 640, height: 480, matrix: [...9], distortion_model: plumb_bob,
              distortion: [...]}
    thermal: {width: 320, height: 256}
    mapping: {kind: homography, matrix: [...9]}
    time_offset: 0.0

A camera without a matrix is taken as it comes, undistorted. A mapping is a homography, for a far
scene, or extrinsics with the distance of the plane that is to fit. A lens marked `estimated: true`
was found from scenes: its distortion is what fitted, its matrix a form to write that in.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping as Keys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from ssvif_core.errors import InputError

FORMAT = 1
# Distortion models of sensor_msgs/CameraInfo -> the numbers of coefficients they may have.
DISTORTION_MODELS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
_ENOUGH = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-9)


@dataclass(frozen=True, eq=False)
class Camera:
    """Size and lens of a camera, and which part of its full image it sends (REP 104).

    width, height: of the full image, pixels.
    matrix: (3, 3) intrinsic matrix K of the full image; None: no lens is known.
    distortion_model, distortion: as in sensor_msgs/CameraInfo.
    roi: x, y, width, height of the part that is read out, full-image pixels; None: all of it.
    binning: full-image pixels per sent pixel, horizontal and vertical; fractions are resizes.
    estimated: the lens was found from scenes, and is found anew when that is done again.

    Raises:
        InputError: a value is not what was expected; names it.
    """

    width: int
    height: int
    matrix: np.ndarray | None = None
    distortion_model: str = "plumb_bob"
    distortion: tuple[float, ...] = ()
    roi: tuple[int, int, int, int] | None = None
    binning: tuple[float, float] = (1, 1)
    estimated: bool = False

    def __post_init__(self) -> None:
        if not (8 <= self.width <= 16384 and 8 <= self.height <= 16384):
            raise InputError(f"camera of {self.width}x{self.height} pixels; expected 8 to 16384")
        if self.matrix is not None:
            object.__setattr__(self, "matrix", _matrix(self.matrix, "camera matrix"))
            if not (self.focal[0] > 0 and self.focal[1] > 0):
                raise InputError(f"camera matrix with focal lengths {self.focal}; expected above 0")
        if self.distortion_model not in DISTORTION_MODELS:
            raise InputError(
                f"distortion_model '{self.distortion_model}'; expected one of "
                f"{', '.join(DISTORTION_MODELS)}"
            )
        object.__setattr__(self, "distortion", tuple(float(k) for k in self.distortion))
        counts = DISTORTION_MODELS[self.distortion_model]
        if len(self.distortion) not in counts or not np.isfinite(self.distortion).all():
            raise InputError(
                f"{len(self.distortion)} distortion coefficients {list(self.distortion)}; "
                f"{self.distortion_model} has {' or '.join(map(str, counts))} finite ones"
            )
        if any(self.distortion) and self.matrix is None:
            raise InputError("distortion without a camera matrix; give both, or neither")
        if self.roi is not None:
            if len(self.roi) != 4:
                raise InputError(f"roi {list(self.roi)}; expected x, y, width, height")
            x, y, width, height = self.roi
            good = x >= 0 and y >= 0 and width > 0 and height > 0
            if not (good and x + width <= self.width and y + height <= self.height):
                raise InputError(
                    f"roi {list(self.roi)}; expected x, y, width, height inside "
                    f"{self.width}x{self.height}"
                )
        if not (np.shape(self.binning) == (2,) and all(0 < n < 1e3 for n in self.binning)):
            raise InputError(f"binning {list(self.binning)}; expected two numbers, 0 to 1000")

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def focal(self) -> tuple[float, float]:
        assert self.matrix is not None
        return float(self.matrix[0, 0]), float(self.matrix[1, 1])

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the images that are sent."""
        _, _, width, height = self.roi or (0, 0, self.width, self.height)
        return round(width / self.binning[0]), round(height / self.binning[1])

    def sending(self, size: tuple[int, int], name: str = "camera") -> Camera:
        """This camera as it sends images of `size`: as calibrated, or resized as a whole.

        Raises:
            InputError: the shape of the images is another; `name` stands in the message.
        """
        if size == self.image_size:
            return self
        _, _, width, height = self.roi or (0, 0, self.width, self.height)
        # Sizes are whole numbers, so that a resize may change the shape by a pixel.
        if abs(size[0] * height - size[1] * width) > max(width, height):
            raise InputError(
                f"{name} images of {size[0]}x{size[1]} pixels; the calibration is of "
                f"{self.width}x{self.height}, of which {width}x{height} are sent; calibrate again, "
                "or let the driver publish its region of interest in camera_info"
            )
        return replace(self, binning=(width / size[0], height / size[1]))

    def to_full(self, points: np.ndarray) -> np.ndarray:
        """Pixels of a sent image, (n, 2) -> pixels of the full image."""
        x, y = self.roi[:2] if self.roi else (0, 0)
        return (points + 0.5) * self.binning - 0.5 + (x, y)

    def to_sent(self, points: np.ndarray) -> np.ndarray:
        """Pixels of the full image, (n, 2) -> pixels of a sent image."""
        x, y = self.roi[:2] if self.roi else (0, 0)
        return (points - (x, y) + 0.5) / self.binning - 0.5

    @property
    def as_measured(self) -> Camera:
        """This camera, without its lens if that was only estimated."""
        if not self.estimated:
            return self
        return replace(self, matrix=None, distortion=(), estimated=False)

    @property
    def as_sent(self) -> Camera:
        """The same lens as a camera whose full image is the one that this one sends."""
        matrix = None if self.matrix is None else self._from_full @ self.matrix
        width, height = self.image_size
        return replace(self, width=width, height=height, matrix=matrix, roi=None, binning=(1, 1))

    def with_sent_lens(self, sent: Camera) -> Camera:
        """This camera with the lens of `sent`, one that is like its own `as_sent`."""
        matrix = None if sent.matrix is None else np.linalg.inv(self._from_full) @ sent.matrix
        return replace(
            self, matrix=matrix, distortion_model=sent.distortion_model,
            distortion=sent.distortion, estimated=sent.estimated,
        )  # fmt: skip

    @property
    def _from_full(self) -> np.ndarray:
        """(3, 3): full-image pixels -> those of a sent image."""
        origin, right, down = self.to_sent(np.array([[0.0, 0], [1, 0], [0, 1]]))
        return np.vstack([np.stack([right - origin, down - origin, origin], 1), [0, 0, 1]])

    def undistorted(self, points: np.ndarray) -> np.ndarray:
        """Full-image pixels (n, 2) -> where a lens without distortion would show them."""
        if not any(self.distortion):
            return points
        rays = np.ascontiguousarray(points, np.float64).reshape(-1, 1, 2)
        if self.distortion_model == "equidistant":
            ideal = cv2.fisheye.undistortPoints(
                rays, self.matrix, np.array(self.distortion), criteria=_ENOUGH
            )
        else:
            ideal = cv2.undistortPointsIter(
                rays, self.matrix, np.array(self.distortion), None, None, _ENOUGH
            )
        return self._pixels(ideal.reshape(-1, 2))

    def distorted(self, points: np.ndarray) -> np.ndarray:
        """Ideal full-image pixels (n, 2) -> where this lens shows them; NaN where it does not.

        Beyond the image's corners a fitted polynomial may turn back into the image.
        """
        if not any(self.distortion):
            return points
        rays = self._rays(points)
        known = np.linalg.norm(rays, axis=1) <= self._widest
        safe = np.where(known[:, None], rays, 0)
        if self.distortion_model == "equidistant":
            shown = cv2.fisheye.distortPoints(
                safe[:, None], self.matrix, np.array(self.distortion)
            ).reshape(-1, 2)
        else:
            space = np.concatenate([safe, np.ones((len(safe), 1))], 1)
            shown, _ = cv2.projectPoints(
                space, np.zeros(3), np.zeros(3), self.matrix, np.array(self.distortion)
            )
            shown = shown.reshape(-1, 2)
        return np.where(known[:, None], shown, np.nan)

    @property
    def _widest(self) -> float:
        """Tangent of the widest angle that the full image shows, with a little to spare."""
        x, y = np.linspace(-0.5, self.width - 0.5, 9), np.linspace(-0.5, self.height - 0.5, 9)
        border = [(a, b) for a in x for b in (y[0], y[-1])]
        border += [(a, b) for a in (x[0], x[-1]) for b in y]
        ideal = self.undistorted(np.array(border))
        return 1.02 * float(np.linalg.norm(self._rays(ideal), axis=1).max())

    def _rays(self, points: np.ndarray) -> np.ndarray:
        """Ideal pixels (n, 2) -> x/z, y/z of their rays."""
        assert self.matrix is not None
        flat = np.concatenate([points, np.ones((len(points), 1))], 1) @ np.linalg.inv(self.matrix).T
        return flat[:, :2]

    def _pixels(self, rays: np.ndarray) -> np.ndarray:
        assert self.matrix is not None
        return (np.concatenate([rays, np.ones((len(rays), 1))], 1) @ self.matrix.T)[:, :2]


@dataclass(frozen=True, eq=False)
class PlaneMapping:
    """Extrinsics, and the plane that is to fit.

    rotation (3, 3), translation (3,) in metres: x_visible = rotation x_thermal + translation, in
        optical frames (REP 103: x right, y down, z forward).
    distance: metres from the visible camera, along its axis.
    """

    rotation: np.ndarray
    translation: np.ndarray
    distance: float

    def __post_init__(self) -> None:
        rotation = _matrix(self.rotation, "rotation")
        turned = np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3
        if not turned or np.linalg.det(rotation) < 0:
            raise InputError("mapping.rotation is no rotation; expected R Rt = 1 and det R = 1")
        translation = np.array(self.translation, np.float64).reshape(-1)
        if translation.shape != (3,) or not np.isfinite(translation).all():
            raise InputError(f"mapping.translation {self.translation}; expected x, y, z in metres")
        if not 0.05 <= self.distance < 1e6:
            raise InputError(f"mapping.distance {self.distance}; expected 0.05 m or more")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    def homography(self, visible: Camera, thermal: Camera) -> np.ndarray:
        """Thermal -> visible pixels, (3, 3): Hartley and Zisserman, Multiple View Geometry, 13.1.

        A point X on the plane n X = distance, n = (0, 0, 1), lies for the thermal camera at
        R^T (X - t) = R^T (1 - t n / distance) X.
        """
        normal = np.array([0, 0, 1 / self.distance])
        to_thermal = self.rotation.T @ (np.eye(3) - np.outer(self.translation, normal))
        assert visible.matrix is not None and thermal.matrix is not None
        inverse = thermal.matrix @ to_thermal @ np.linalg.inv(visible.matrix)
        if not np.isfinite(np.linalg.cond(inverse)):
            raise InputError("the plane runs through the thermal camera; choose another distance")
        return np.linalg.inv(inverse)


@dataclass(frozen=True, eq=False)
class CameraPair:
    """A calibration.

    mapping: homography (3, 3) thermal -> visible, or extrinsics and a plane.
    time_offset: seconds to add to thermal stamps so that they mean the visible camera's time.
    made: how it was made: method, date, errors; for people.
    """

    visible: Camera
    thermal: Camera
    mapping: np.ndarray | PlaneMapping
    time_offset: float = 0.0
    made: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.mapping, PlaneMapping):
            for name, camera in (("visible", self.visible), ("thermal", self.thermal)):
                if camera.matrix is None:
                    raise InputError(f"{name}.matrix is missing; a mapping by plane needs it")
        else:
            object.__setattr__(self, "mapping", _matrix(self.mapping, "mapping.matrix"))
        if not abs(self.time_offset) <= 60:
            raise InputError(f"time_offset {self.time_offset}; expected -60 to 60 seconds")

    @property
    def homography(self) -> np.ndarray:
        """Thermal -> visible, (3, 3), undistorted pixels of the full images."""
        if isinstance(self.mapping, PlaneMapping):
            return self.mapping.homography(self.visible, self.thermal)
        return self.mapping

    def sending(self, visible_size: tuple[int, int], thermal_size: tuple[int, int]) -> CameraPair:
        """This pair as its cameras send images of these sizes; see `Camera.sending`."""
        return replace(
            self,
            visible=self.visible.sending(visible_size, "visible"),
            thermal=self.thermal.sending(thermal_size, "thermal"),
        )

    @property
    def as_sent(self) -> CameraPair:
        """The same calibration, of cameras whose full images are those that these send."""
        visible, thermal = self.visible._from_full, self.thermal._from_full
        return replace(
            self,
            visible=self.visible.as_sent,
            thermal=self.thermal.as_sent,
            mapping=visible @ self.homography @ np.linalg.inv(thermal),
        )

    def with_sent(self, sent: CameraPair) -> CameraPair:
        """This pair with the mapping and thermal lens of `sent`, one like its own `as_sent`."""
        visible, thermal = self.visible._from_full, self.thermal._from_full
        return replace(
            self,
            thermal=self.thermal.with_sent_lens(sent.thermal),
            mapping=np.linalg.inv(visible) @ sent.homography @ thermal,
        )

    def to_visible(self, points: np.ndarray) -> np.ndarray:
        """Pixels of the sent thermal image (n, 2) -> of the sent visible one; NaN where unseen."""
        ideal = self.thermal.undistorted(self.thermal.to_full(np.asarray(points, np.float64)))
        return self.visible.to_sent(self.visible.distorted(_project(self.homography, ideal)))

    def to_thermal(self, points: np.ndarray) -> np.ndarray:
        """Pixels of the sent visible image (n, 2) -> of the sent thermal one; NaN where unseen."""
        ideal = self.visible.undistorted(self.visible.to_full(np.asarray(points, np.float64)))
        inverse = np.linalg.inv(self.homography)
        return self.thermal.to_sent(self.thermal.distorted(_project(inverse, ideal)))


def aligned(visible_size: tuple[int, int], thermal_size: tuple[int, int]) -> CameraPair:
    """The pair whose cameras see the same field of view: the thermal image is only resized."""
    sx, sy = (v / t for v, t in zip(visible_size, thermal_size, strict=True))
    resize = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    return CameraPair(Camera(*visible_size), Camera(*thermal_size), resize)


def load_camera_pair(path: Path) -> CameraPair:
    """The calibration in a file of `save_camera_pair`.

    Raises:
        InputError: the file is missing, no YAML, of another format, or a value is wrong.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the calibration cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not readable as YAML ({error})") from error
    try:
        if isinstance(values, Keys) and "format" in values and not _is(values["format"], FORMAT):
            # Said first: another format may have other keys.
            raise InputError(
                f"calibration of format {values['format']!r}; this version reads {FORMAT}; "
                "calibrate again with `ssvif calibrate`"
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
        raise InputError(f"{path}: not a calibration ({error}); calibrate again") from error


def save_camera_pair(pair: CameraPair, path: Path) -> None:
    """Write a calibration, whole or not at all.

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
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def _camera(values: Any, name: str) -> Camera:
    optional = ("matrix", "distortion_model", "distortion", "roi", "binning", "estimated")
    keys = _keys(values, name, ("width", "height"), optional)
    try:
        return Camera(
            _whole(keys["width"], "width"),
            _whole(keys["height"], "height"),
            keys.get("matrix"),
            keys.get("distortion_model", "plumb_bob"),
            tuple(keys.get("distortion", ())),
            tuple(_whole(n, "roi") for n in keys["roi"]) if "roi" in keys else None,  # type: ignore[arg-type]
            tuple(float(n) for n in keys.get("binning", (1, 1))),  # type: ignore[arg-type]
            keys.get("estimated", False) is True,
        )
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} {value!r}; expected a whole number")
    return value


def _is(value: Any, number: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == number


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


def _mapping(values: Any) -> np.ndarray | PlaneMapping:
    kind = values.get("kind") if isinstance(values, Keys) else None
    if kind == "homography":
        return _keys(values, "mapping", ("kind", "matrix"), ())["matrix"]
    if kind == "plane":
        keys = _keys(values, "mapping", ("kind", "rotation", "translation", "distance"), ())
        return PlaneMapping(keys["rotation"], keys["translation"], float(keys["distance"]))
    raise InputError(f"mapping.kind '{kind}'; expected homography or plane")


def _mapping_values(mapping: np.ndarray | PlaneMapping) -> dict[str, Any]:
    if isinstance(mapping, PlaneMapping):
        return {
            "kind": "plane",
            "rotation": _numbers(mapping.rotation),
            "translation": _numbers(mapping.translation),
            "distance": float(mapping.distance),
        }
    return {"kind": "homography", "matrix": _numbers(mapping / mapping[2, 2])}


def _numbers(array: np.ndarray) -> list[float]:
    return [float(f"{value:.10g}") for value in array.reshape(-1)]


def _keys(
    values: Any, where: str, needed: tuple[str, ...], optional: tuple[str, ...]
) -> dict[str, Any]:
    """The keys of one level of the file, each known, none missing."""
    prefix = f"{where}." if where else ""
    if not isinstance(values, Keys):
        raise InputError(f"{where or 'the file'} is {values!r:.60}; expected keys with values")
    for key in values:
        if key not in needed + optional:
            near = difflib.get_close_matches(str(key), needed + optional, 1)
            raise InputError(
                f"unknown key {prefix}{key}; " + (f"did you mean {near[0]}?" if near else
                f"expected {', '.join(needed + optional)}")
            )  # fmt: skip
    for key in needed:
        if key not in values:
            raise InputError(f"{prefix}{key} is missing")
    return dict(values)


def _matrix(values: Any, name: str) -> np.ndarray:
    """A finite and invertible (3, 3) float64 of nine numbers."""
    try:
        matrix = np.array(values, np.float64).reshape(3, 3)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} {values!r:.80}; expected nine numbers, row by row") from error
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise InputError(f"{name} {matrix.reshape(-1).tolist()}; expected an invertible matrix")
    matrix.setflags(write=False)
    return matrix


def _project(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (n, 2) through a homography; NaN where they would lie behind the camera."""
    flat = (
        np.concatenate([points, np.ones((len(points), 1))], 1)
        @ (homography / np.sign(np.linalg.det(homography))).T
    )
    ahead = flat[:, 2:] > 1e-9
    return np.where(ahead, flat[:, :2] / np.where(ahead, flat[:, 2:], 1), np.nan)
