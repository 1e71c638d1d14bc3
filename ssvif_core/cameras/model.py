"""What a camera pair is: two cameras with their lenses, the mapping, and the time offset."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.types import AnyArray, BoolArray, Float64Array

# Distortion models of sensor_msgs/CameraInfo -> allowed numbers of coefficients. To OpenCV the
# first two are one model, in which coefficients at the end may be missing.
DISTORTION_MODELS = {
    "plumb_bob": (0, 4, 5, 8, 12, 14),
    "rational_polynomial": (0, 4, 5, 8, 12, 14),
    "equidistant": (4,),
}
_OTHER_NAMES = {"": "plumb_bob", "none": "plumb_bob", "fisheye": "equidistant"}
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-9)


@dataclass(frozen=True, eq=False)
class Camera:
    """Size and lens of a camera, and the part of the full image that it sends (REP 104).

    width, height: size of the full image, 8 to 16384 pixels.
    matrix: (3, 3) float64, intrinsic matrix K of the full image; None if the lens is unknown.
    distortion_model, distortion: as in sensor_msgs/CameraInfo. `fisheye` is a name of equidistant,
        which may have a fifth coefficient of 0. `none` has no coefficients but zeros.
    roi: region of interest (x, y, width, height), full-image pixels; None: the full image.
    binning: full-image pixels per sent pixel, (horizontal, vertical); a resize gives fractions.
    estimated: the lens was estimated from scenes. The next calibration from a scene replaces it.

    Raises:
        InputError: a value is invalid.

    >>> camera = Camera(1280, 960, roi=(320, 240, 640, 480), binning=(2, 2))
    >>> camera.image_size
    (320, 240)
    >>> camera.to_full(np.array([[-0.5, -0.5]]))
    array([[319.5, 239.5]])
    """

    width: int
    height: int
    matrix: Float64Array | None = None
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
        self._name_distortion()
        counts = DISTORTION_MODELS[self.distortion_model]
        if len(self.distortion) not in counts or not np.isfinite(self.distortion).all():
            raise InputError(
                f"{len(self.distortion)} distortion coefficients {list(self.distortion)}; "
                f"expected {' or '.join(map(str, counts))} finite numbers for "
                f"{self.distortion_model}"
            )
        if not self._is_ideal and self.matrix is None:
            raise InputError("distortion without a camera matrix; give both or neither")
        if self.roi is not None:
            if len(self.roi) != 4:
                raise InputError(f"roi {list(self.roi)}; expected x, y, width, height")
            x, y, width, height = self.roi
            positive = x >= 0 and y >= 0 and width > 0 and height > 0
            if not (positive and x + width <= self.width and y + height <= self.height):
                raise InputError(
                    f"roi {list(self.roi)}; expected x, y, width, height inside "
                    f"{self.width}x{self.height}"
                )
        if not (np.shape(self.binning) == (2,) and all(0 < n < 1e3 for n in self.binning)):
            raise InputError(f"binning {list(self.binning)}; expected two numbers, 0 to 1000")

    def _name_distortion(self) -> None:
        """Give the distortion model its usual name and its usual number of coefficients."""
        distortion = tuple(float(k) for k in self.distortion)
        model = _OTHER_NAMES.get(self.distortion_model, self.distortion_model)
        if model not in DISTORTION_MODELS:
            raise InputError(
                f"distortion_model '{self.distortion_model[:40]}'; expected one of "
                f"{', '.join((*DISTORTION_MODELS, *_OTHER_NAMES))}"
            )
        if self.distortion_model == "none":
            if any(distortion):
                raise InputError(
                    f"distortion_model 'none' with coefficients {list(distortion)}; expected none, "
                    "or the name of their model"
                )
            distortion = ()
        if model == "equidistant" and len(distortion) == 5 and not distortion[4]:
            distortion = distortion[:4]
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "distortion", distortion)

    @property
    def _is_ideal(self) -> bool:
        """Whether straight lines stay straight. A fisheye lens bends them without coefficients."""
        return self.distortion_model != "equidistant" and not any(self.distortion)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the full image."""
        return self.width, self.height

    @property
    def focal(self) -> tuple[float, float]:
        """Horizontal and vertical focal length, full-image pixels."""
        assert self.matrix is not None
        return float(self.matrix[0, 0]), float(self.matrix[1, 1])

    @property
    def _window(self) -> tuple[int, int, int, int]:
        """x, y, width, height of the part that is read out, full-image pixels."""
        return self.roi or (0, 0, self.width, self.height)

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the sent images."""
        _, _, width, height = self._window
        return round(width / self.binning[0]), round(height / self.binning[1])

    def with_image_size(self, size: tuple[int, int], name: str = "camera") -> Camera:
        """This camera with sent images of `size`: unchanged, or with a resize in `binning`.

        name: the camera's name for error messages.

        Raises:
            InputError: `size` has another aspect ratio than the sent images.
        """
        if size == self.image_size:
            return self
        _, _, width, height = self._window
        # A resize rounds to whole pixels and may change the aspect ratio by one pixel.
        if abs(size[0] * height - size[1] * width) > max(width, height):
            raise InputError(
                f"{name} images of {size[0]}x{size[1]} pixels; expected {width}x{height} or a "
                f"resize of that, from a camera of {self.width}x{self.height}; calibrate again, or "
                "let the driver publish its region of interest in camera_info. Pairs that `ssvif "
                "extract` has cut need no calibration"
            )
        return replace(self, binning=(width / size[0], height / size[1]))

    def to_full(self, points: Float64Array) -> Float64Array:
        """Pixels of a sent image (n, 2) -> pixels of the full image (n, 2)."""
        full: Float64Array = (points + 0.5) * self.binning - 0.5 + self._window[:2]
        return full

    def to_sent(self, points: Float64Array) -> Float64Array:
        """Pixels of the full image (n, 2) -> pixels of a sent image (n, 2)."""
        sent: Float64Array = (points - self._window[:2] + 0.5) / self.binning - 0.5
        return sent

    @property
    def without_estimated_lens(self) -> Camera:
        """This camera. An estimated lens is removed, a measured one is kept."""
        if not self.estimated:
            return self
        return replace(self, matrix=None, distortion=(), estimated=False)

    @property
    def as_sent(self) -> Camera:
        """The camera with the same lens whose full image is the sent image of this one."""
        matrix = None if self.matrix is None else self._full_to_sent @ self.matrix
        width, height = self.image_size
        return replace(self, width=width, height=height, matrix=matrix, roi=None, binning=(1, 1))

    def with_sent_lens(self, sent: Camera) -> Camera:
        """This camera with the lens of `sent`, which has the geometry of `as_sent`."""
        matrix = None if sent.matrix is None else np.linalg.inv(self._full_to_sent) @ sent.matrix
        return replace(
            self, matrix=matrix, distortion_model=sent.distortion_model,
            distortion=sent.distortion, estimated=sent.estimated,
        )  # fmt: skip

    @property
    def _full_to_sent(self) -> Float64Array:
        """(3, 3): pixels of the full image -> pixels of a sent image."""
        origin, right, down = self.to_sent(np.array([[0.0, 0], [1, 0], [0, 1]]))
        return np.vstack([np.stack([right - origin, down - origin, origin], 1), [0, 0, 1]])

    def undistorted(self, points: Float64Array) -> Float64Array:
        """Full-image pixels (n, 2) of this lens -> pixels of a lens without distortion (n, 2)."""
        if self._is_ideal:
            return points
        assert self.matrix is not None
        shown = np.ascontiguousarray(points, np.float64).reshape(-1, 1, 2)
        if self.distortion_model == "equidistant":
            rays = _rays_of_fisheye(self._rays(shown.reshape(-1, 2)), self.distortion)
        else:
            distortion = np.array(self.distortion)
            rays = _undistorted(shown, self.matrix, distortion)
        return (_homogeneous(rays.reshape(-1, 2)) @ self.matrix.T)[:, :2]

    def distorted(self, points: Float64Array) -> Float64Array:
        """Pixels of a lens without distortion (n, 2) -> full-image pixels of this lens (n, 2).

        Points outside the field of view become NaN. The distortion polynomial is not valid there
        and may map them into the image.
        """
        if self._is_ideal:
            return points
        rays = self._rays(points)
        in_view: BoolArray = np.linalg.norm(rays, axis=1) <= self._field_of_view
        safe = np.where(in_view[:, None], rays, 0)
        distortion = np.array(self.distortion)
        if self.distortion_model == "equidistant":
            shown = cv2.fisheye.distortPoints(safe[:, None], self.matrix, distortion)
        else:
            shown, _ = cv2.projectPoints(
                _homogeneous(safe), np.zeros(3), np.zeros(3), self.matrix, distortion
            )
        return np.where(in_view[:, None], shown.reshape(-1, 2), np.nan)

    @property
    def _field_of_view(self) -> float:
        """Tangent of the angle between the axis and the farthest border pixel, plus 2 %."""
        x, y = np.linspace(-0.5, self.width - 0.5, 9), np.linspace(-0.5, self.height - 0.5, 9)
        border = [(a, b) for a in x for b in (y[0], y[-1])]
        border += [(a, b) for a in (x[0], x[-1]) for b in y]
        ideal = self.undistorted(np.array(border))
        return 1.02 * float(np.linalg.norm(self._rays(ideal), axis=1).max())

    def _rays(self, points: Float64Array) -> Float64Array:
        """Undistorted pixels (n, 2) -> x/z, y/z of their rays (n, 2)."""
        assert self.matrix is not None
        return (_homogeneous(points) @ np.linalg.inv(self.matrix).T)[:, :2]


@dataclass(frozen=True, eq=False)
class PlaneMapping:
    """Extrinsics, and the plane in which the mapping is exact.

    rotation: (3, 3) float64. translation: (3,) float64, metres.
        x_visible = rotation x_thermal + translation, in optical frames (REP 103: x right, y down,
        z forward).
    distance: metres from the visible camera to the plane, along the camera's axis; at least 0.05.

    Raises:
        InputError: a value is invalid.
    """

    rotation: Float64Array
    translation: Float64Array
    distance: float

    def __post_init__(self) -> None:
        rotation = _matrix(self.rotation, "rotation")
        orthogonal = np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3
        if not orthogonal or np.linalg.det(rotation) < 0:
            raise InputError("mapping.rotation is not a rotation; expected R Rt = 1 and det R = 1")
        translation = np.array(self.translation, np.float64).reshape(-1)
        if translation.shape != (3,) or not np.isfinite(translation).all():
            raise InputError(f"mapping.translation {self.translation}; expected x, y, z in metres")
        if not 0.05 <= self.distance < 1e6:
            raise InputError(f"mapping.distance {self.distance}; expected 0.05 m or more")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    def homography(self, visible: Camera, thermal: Camera) -> Float64Array:
        """Thermal -> visible pixels, (3, 3): Hartley and Zisserman, Multiple View Geometry, 13.1.

        Let X be a point on the plane n X = distance with n = (0, 0, 1). The thermal camera sees it
        at R^T (X - t) = R^T (1 - t n / distance) X.

        Raises:
            InputError: the plane contains the centre of the thermal camera.
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
    """The two cameras, the mapping between them, and the time offset.

    mapping: homography (3, 3) float64, thermal -> visible pixels; or extrinsics with a plane.
    time_offset: seconds to add to thermal stamps so that they fit the visible ones, -60 to 60.
    made: how the camera pair was calibrated (method, date, errors), for people to read.

    Raises:
        InputError: a value is invalid, or a plane mapping lacks a camera matrix.
    """

    visible: Camera
    thermal: Camera
    mapping: Float64Array | PlaneMapping
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
    def homography(self) -> Float64Array:
        """Thermal -> visible, (3, 3), undistorted pixels of the full images."""
        if isinstance(self.mapping, PlaneMapping):
            return self.mapping.homography(self.visible, self.thermal)
        return self.mapping

    def with_image_sizes(
        self, visible_size: tuple[int, int], thermal_size: tuple[int, int]
    ) -> CameraPair:
        """This camera pair with sent images of these sizes; see `Camera.with_image_size`."""
        return replace(
            self,
            visible=self.visible.with_image_size(visible_size, "visible"),
            thermal=self.thermal.with_image_size(thermal_size, "thermal"),
        )

    @property
    def as_sent(self) -> CameraPair:
        """The same camera pair, with the sent images as full images; see `Camera.as_sent`."""
        visible, thermal = self.visible._full_to_sent, self.thermal._full_to_sent
        return replace(
            self,
            visible=self.visible.as_sent,
            thermal=self.thermal.as_sent,
            mapping=visible @ self.homography @ np.linalg.inv(thermal),
        )

    def with_sent(self, sent: CameraPair) -> CameraPair:
        """This pair with the mapping and thermal lens of `sent`, which is like `as_sent`."""
        visible, thermal = self.visible._full_to_sent, self.thermal._full_to_sent
        return replace(
            self,
            thermal=self.thermal.with_sent_lens(sent.thermal),
            mapping=np.linalg.inv(visible) @ sent.homography @ thermal,
        )

    def to_visible(self, points: Float64Array) -> Float64Array:
        """Pixels of the sent thermal image (n, 2) -> of the sent visible image; NaN if unseen."""
        ideal = self.thermal.undistorted(self.thermal.to_full(np.asarray(points, np.float64)))
        return self.visible.to_sent(self.visible.distorted(_project(self.homography, ideal)))

    def to_thermal(self, points: Float64Array) -> Float64Array:
        """Pixels of the sent visible image (n, 2) -> of the sent thermal image; NaN if unseen."""
        ideal = self.visible.undistorted(self.visible.to_full(np.asarray(points, np.float64)))
        inverse = np.linalg.inv(self.homography)
        return self.thermal.to_sent(self.thermal.distorted(_project(inverse, ideal)))


def aligned(visible_size: tuple[int, int], thermal_size: tuple[int, int]) -> CameraPair:
    """The camera pair with one field of view for both cameras: the mapping is a resize.

    >>> aligned((640, 480), (320, 240)).to_visible(np.array([[0.0, 0.0]]))
    array([[0.5, 0.5]])
    """
    sx, sy = (v / t for v, t in zip(visible_size, thermal_size, strict=True))
    resize = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    return CameraPair(Camera(*visible_size), Camera(*thermal_size), resize)


def _matrix(values: Any, name: str) -> Float64Array:
    """Nine numbers -> a finite, invertible, read-only (3, 3) float64 matrix."""
    try:
        matrix = np.array(values, np.float64).reshape(3, 3)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} {values!r:.80}; expected nine numbers, row by row") from error
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise InputError(f"{name} {matrix.reshape(-1).tolist()}; expected an invertible matrix")
    matrix.setflags(write=False)
    return matrix


def _undistorted(
    points: Float64Array, matrix: Float64Array, distortion: Float64Array
) -> Float64Array:
    """Pixels (n, 1, 2) -> rays, as exactly as `_CRITERIA` says."""
    if hasattr(cv2, "undistortPointsIter"):
        return np.asarray(
            cv2.undistortPointsIter(points, matrix, distortion, None, None, _CRITERIA), np.float64
        )
    # OpenCV 5 has one function for both, which the types of OpenCV 4 do not know.
    undistort: Any = cv2.undistortPoints
    return np.asarray(undistort(points, matrix, distortion, criteria=_CRITERIA), np.float64)


def _rays_of_fisheye(shown: Float64Array, distortion: tuple[float, ...]) -> Float64Array:
    """Where a fisheye lens shows rays (n, 2) -> x/z, y/z of the rays (n, 2).

    The lens shows a ray at angle a from the axis at the radius a (1 + k1 a^2 + ... + k4 a^8), as in
    OpenCV's fisheye module. Newton's method finds a. Angles end below 90 degrees.
    """
    radius = np.linalg.norm(shown, axis=1)
    powers = np.array([1.0, *distortion])
    angle = radius.copy()
    for _ in range(40):
        squares = angle[:, None] ** (2 * np.arange(5))
        value = angle * (squares @ powers) - radius
        slope = squares @ (powers * (2 * np.arange(5) + 1))
        angle = np.clip(angle - value / np.where(np.abs(slope) < 1e-9, 1e-9, slope), 0, 1.56)
    scale = np.where(radius > 1e-12, np.tan(angle) / np.maximum(radius, 1e-12), 1.0)
    rays: Float64Array = shown * scale[:, None]
    return rays


def _homogeneous(points: Float64Array) -> Float64Array:
    """(n, 2) -> (n, 3) with ones."""
    return np.concatenate([points, np.ones((len(points), 1))], 1)


def _project(homography: AnyArray, points: Float64Array) -> Float64Array:
    """Points (n, 2) through a homography; NaN for points behind the camera."""
    space = _homogeneous(points) @ (homography / np.sign(np.linalg.det(homography))).T
    in_front = space[:, 2:] > 1e-9
    return np.where(in_front, space[:, :2] / np.where(in_front, space[:, 2:], 1), np.nan)
