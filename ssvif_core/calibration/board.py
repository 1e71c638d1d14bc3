"""Calibration from a board that both cameras see: a checkerboard or a grid of circles.

The thermal camera sees a board whose parts differ in emissivity or temperature: a printed board in
the sun or near a heater, or a plate with holes in front of something warm. Either part may be the
brighter one, so both polarities are tried.

With known lenses, or enough views to estimate them, the result is extrinsics plus the plane of a
working distance. Otherwise the board is held at the working distance, and the result is the
homography of that plane.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from ssvif_core.cameras.model import Camera, CameraPair, PlaneMapping
from ssvif_core.errors import InputError
from ssvif_core.types import AnyArray, Float32Array, Float64Array, Pair, Shapes, UInt8Array

# Metres. With cameras b apart and a focal length of f pixels, the mapping error at a distance z is
# f b |1/d - 1/z|. For d = 10 m it is equal at 5 m and at the horizon: 3 pixels for b = 5 cm and
# f = 600.
DEFAULT_DISTANCE = 10.0
CELLS = 5  # rows and columns of the grid for coverage
MIN_COVERAGE = 0.4
MIN_VIEWS, MIN_LENS_VIEWS = 3, 6
MIN_TILT = 15.0  # degrees between the two most different views, to estimate a lens
MAX_ERROR = 0.0015  # reprojection error, share of the image width; one pixel is always accepted
MAX_FOCAL_ERROR = 0.02  # standard deviation of an estimated focal length, share of it

_MIN_WIDTH = 640  # pixels; narrower images are enlarged
_OUTLIER_RATIO = 3.0  # to the median error of all views
_MIN_OUTLIER_ERROR = 0.3  # pixels; a view below this is no outlier


@dataclass(frozen=True)
class Board:
    """The printed pattern.

    kind: "checkerboard", or "circles": OpenCV's asymmetric grid, every second row shifted by half.
    columns, rows: numbers of inner corners or of circles, 3 to 50.
    size: metres, 0.001 to 5: a square's side, or the distance between two rows of circles.

    Raises:
        InputError: a value is invalid.

    >>> board = Board("checkerboard", 9, 6, 0.04)
    >>> print(board)
    checkerboard of 9x6 inner corners
    >>> board.points[1]
    array([0.04, 0.  , 0.  ], dtype=float32)
    """

    kind: Literal["checkerboard", "circles"]
    columns: int
    rows: int
    size: float

    def __post_init__(self) -> None:
        if self.kind not in ("checkerboard", "circles"):
            raise InputError(f"board '{self.kind}'; expected checkerboard or circles")
        for name, count in (("columns", self.columns), ("rows", self.rows)):
            if not (isinstance(count, int | np.integer) and 3 <= count <= 50):
                raise InputError(f"board {name} {count!r}; expected a whole number, 3 to 50")
        if not 0.001 <= self.size <= 5:
            raise InputError(f"board size {self.size!r}; expected metres, 0.001 to 5")
        if self.kind == "checkerboard" and self.columns == self.rows:
            raise InputError(
                f"checkerboard of {self.columns}x{self.rows} inner corners; expected different "
                "numbers, which show its orientation; count inner corners, not squares"
            )

    @property
    def points(self) -> Float32Array:
        """(n, 3) float32 metres, row by row, in the board's plane z = 0."""
        column, row = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
        x = column if self.kind == "checkerboard" else 2 * column + row % 2
        flat = np.stack([x, row, np.zeros_like(x)], -1).reshape(-1, 3)
        return (self.size * flat).astype(np.float32)

    def __str__(self) -> str:
        elements = "inner corners" if self.kind == "checkerboard" else "circles"
        return f"{self.kind} of {self.columns}x{self.rows} {elements}"


@dataclass(frozen=True)
class BoardCalibration:
    """The camera pair from a board, and its quality.

    visible_error, thermal_error: root mean square of the reprojection, pixels of that camera's
        sent images. For a homography: of the mapping in either direction.
    mapping_error: root mean square, visible pixels, of thermal points mapped to the visible image
        by the plane of their view; for a homography, by the homography.
    visible_coverage, thermal_coverage: share of the image's 5x5 cells that contain points.
    used: indices of the used pairs.
    rejected: index of a rejected pair -> reason.
    problems: why the result is not good enough, and what to do; empty if it is good.
    """

    pair: CameraPair
    visible_error: float
    thermal_error: float
    mapping_error: float
    visible_coverage: float
    thermal_coverage: float
    used: tuple[int, ...]
    rejected: dict[int, str]
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.problems


# --- finding the board


def find_board(image: AnyArray, board: Board) -> Float64Array | None:
    """Pixels of the board's points, (n, 2) float64 in the order of `Board.points`, or None.

    image: visible (H, W, 3) uint8 BGR, or thermal (h, w) uint8 or uint16.

    If the board looks the same upside down, the order may start at either end.
    """
    grey = _grey(image)
    factor = max(1, math.ceil(_MIN_WIDTH / grey.shape[1]))
    if factor > 1:
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    find = _corners if board.kind == "checkerboard" else _circles
    for polarity in (grey, 255 - grey):
        points = find(polarity, (board.columns, board.rows))
        if points is not None:
            return (points.reshape(-1, 2).astype(np.float64) + 0.5) / factor - 0.5
    return None


def _grey(image: AnyArray) -> UInt8Array:
    grey: UInt8Array
    if image.ndim == 3:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        return grey
    # Stretch 8-bit images as well: a board with small temperature differences has few grey levels.
    low, high = np.percentile(image, (0.5, 99.5))
    stretched = (image.astype(np.float32) - low) * (255 / max(high - low, 1))
    grey = np.clip(stretched, 0, 255).astype(np.uint8)
    return grey


def _corners(grey: UInt8Array, size: tuple[int, int]) -> Float32Array | None:
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
    success, corners = cv2.findChessboardCornersSB(grey, size, flags=flags)
    if not success:
        return None
    grid: Float32Array = corners.reshape(size[1], size[0], 2)
    # Undo a mirrored order: a board is seen from the front only.
    (ax, ay), (bx, by) = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
    return grid[:, ::-1] if ax * by < ay * bx else grid


def _circles(grey: UInt8Array, size: tuple[int, int]) -> Float32Array | None:
    # These names exist in every version of OpenCV.
    settings = cv2.SimpleBlobDetector_Params()  # type: ignore[attr-defined]
    settings.blobColor = 0
    settings.minArea, settings.maxArea = 12, grey.size / 30
    settings.minDistBetweenBlobs = 4
    settings.minThreshold, settings.maxThreshold, settings.thresholdStep = 10, 245, 10
    detector = cv2.SimpleBlobDetector_create(settings)  # type: ignore[attr-defined]
    centres: Float32Array
    for flags in (0, cv2.CALIB_CB_CLUSTERING):
        success, centres = cv2.findCirclesGrid(
            grey, size, flags=cv2.CALIB_CB_ASYMMETRIC_GRID | flags, blobDetector=detector
        )
        if success:
            return centres
    return None


# --- calibration


@dataclass(frozen=True)
class _View:
    """A board in both images: index of the pair, and pixels (n, 2) in each sent image."""

    index: int
    visible: Float64Array
    thermal: Float64Array


# Camera pair, reprojection errors (views, 2 cameras, n), mapping errors (views, n); in pixels.
_Fit = tuple[CameraPair, Float64Array, Float64Array]


def calibrate_from_board(
    pairs: Iterable[Pair],
    board: Board,
    visible: Camera | None = None,
    thermal: Camera | None = None,
    distance: float = DEFAULT_DISTANCE,
    plane: bool = False,
) -> BoardCalibration:
    """Calibrate two cameras from pairs that show a board.

    visible, thermal: cameras with known lenses. Unknown lenses are estimated, which needs
        `MIN_LENS_VIEWS` views with different tilts.
    distance: metres at which the mapping is exact. It is stored with the extrinsics and can be
        changed later.
    plane: fit a homography, for a board at the working distance. Known lenses are used, and one
        view is enough.

    The worst view is left out, one at a time, while its error is above 0.3 pixels and 3 times the
    median, and two thirds of the views remain.

    Raises:
        InputError: too few views show the board, or the views do not determine a lens.
    """
    views, rejected, sizes = _views(pairs, board)
    min_views = 1 if plane else MIN_VIEWS
    if len(views) < min_views:
        raise InputError(_too_few(len(views), min_views, rejected, board))
    visible = (visible or Camera(*sizes[0])).with_image_size(sizes[0], "visible")
    thermal = (thermal or Camera(*sizes[1])).with_image_size(sizes[1], "thermal")
    fit = _fit_plane if plane else _fit_extrinsics
    max_outliers = len(views) // 3
    outliers: dict[int, str] = {}
    while True:
        camera_pair, errors, mapping_errors = fit(views, board, visible, thermal, distance)
        view_errors = np.sqrt((errors**2).mean(2))  # (views, cameras)
        median = np.median(view_errors, 0)
        ratio = view_errors / np.maximum(median, _MIN_OUTLIER_ERROR / _OUTLIER_RATIO)
        worst, camera = divmod(int(ratio.argmax()), 2)
        if ratio[worst, camera] <= _OUTLIER_RATIO or len(outliers) >= max_outliers:
            break
        outliers[views.pop(worst).index] = (
            f"{('visible', 'thermal')[camera]} error of {view_errors[worst, camera]:.2f} pixels, "
            f"median {median[camera]:.2f}"
        )
    visible_error, thermal_error = np.sqrt((errors**2).mean((0, 2))).tolist()
    mapping_error = float(np.sqrt((mapping_errors**2).mean()))
    coverage = (
        _coverage(np.concatenate([view.visible for view in views]), sizes[0]),
        _coverage(np.concatenate([view.thermal for view in views]), sizes[1]),
    )
    made = {
        "method": f"{board}, {board.size:g} m, {'homography' if plane else 'extrinsics'}",
        "date": time.strftime("%Y-%m-%d"),
        "views": len(views),
        "visible_error": round(visible_error, 3),
        "thermal_error": round(thermal_error, 3),
        "mapping_error": round(mapping_error, 3),
    }
    problems = _problems((visible_error, thermal_error), coverage, sizes, plane)
    return BoardCalibration(
        replace(camera_pair, made=made), visible_error, thermal_error, mapping_error, *coverage,
        tuple(view.index for view in views), {**rejected, **outliers}, problems,
    )  # fmt: skip


def _views(
    pairs: Iterable[Pair], board: Board
) -> tuple[list[_View], dict[int, str], Sequence[tuple[int, int]]]:
    """The views, the reasons why other pairs have none, and the sizes of both images."""
    views: list[_View] = []
    rejected: dict[int, str] = {}
    first: Shapes | None = None
    for index, pair in enumerate(pairs):
        shapes = Shapes.of(pair)
        first = first or shapes
        if shapes.sizes != first.sizes:
            raise InputError(
                f"pair {index} of {shapes.width}x{shapes.height} and {shapes.thermal_width}x"
                f"{shapes.thermal_height} pixels; expected {first.width}x{first.height} and "
                f"{first.thermal_width}x{first.thermal_height} like the first; calibrate each "
                "resolution alone"
            )
        visible, thermal = find_board(pair.visible, board), find_board(pair.thermal, board)
        if visible is None or thermal is None:
            missing = ["visible"] * (visible is None) + ["thermal"] * (thermal is None)
            rejected[index] = f"no board found in the {' and the '.join(missing)} image"
            continue
        # If the board looks the same upside down, let both orders start at the same end.
        if np.dot(visible[-1] - visible[0], thermal[-1] - thermal[0]) < 0:
            thermal = thermal[::-1]
        views.append(_View(index, visible, thermal))
    return views, rejected, first.sizes if first else ()


def _too_few(count: int, min_views: int, rejected: dict[int, str], board: Board) -> str:
    reasons = list(rejected.values())
    summary = "; ".join(f"{reasons.count(text)} with {text}" for text in dict.fromkeys(reasons))
    return (
        f"the {board} was found in both images of {count} of {count + len(rejected)} pairs"
        f"{f' ({summary})' if summary else ''}; expected {min_views} or more; check the counts of "
        "columns and rows, show the whole board in both images and nearer to the cameras, and make "
        "its parts differ in temperature"
    )


def _fit_extrinsics(
    views: Sequence[_View], board: Board, visible: Camera, thermal: Camera, distance: float
) -> _Fit:
    layout = board.points
    visible = _with_lens(visible, [view.visible for view in views], layout, "visible")
    thermal = _with_lens(thermal, [view.thermal for view in views], layout, "thermal")
    assert visible.matrix is not None and thermal.matrix is not None
    visible_points = [visible.undistorted(visible.to_full(view.visible)) for view in views]
    thermal_points = [thermal.undistorted(thermal.to_full(view.thermal)) for view in views]
    no_distortion = np.zeros(5)
    # The points are undistorted, so this works for any lens model. Thermal first: x_v = R x_t + t.
    results = cv2.stereoCalibrateExtended(
        [layout] * len(views), _as_points(thermal_points), _as_points(visible_points),
        thermal.matrix.copy(), no_distortion, visible.matrix.copy(), no_distortion, thermal.size,
        np.eye(3), np.zeros(3), flags=cv2.CALIB_FIX_INTRINSIC,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9),
    )  # fmt: skip
    rotation, translation = results[5:7]
    if len(results) == 12:
        turns, origins = results[9:11]
    else:  # before OpenCV 4.7 this function does not return where the boards are
        poses = [
            cv2.solvePnP(layout, points[:, None], thermal.matrix, no_distortion)[1:]
            for points in thermal_points
        ]
        turns, origins = zip(*poses, strict=True)
    camera_pair = CameraPair(visible, thermal, PlaneMapping(rotation, translation, distance))
    errors, mapping_errors = [], []
    for view, points, turn, origin in zip(views, thermal_points, turns, origins, strict=True):
        board_rotation = cv2.Rodrigues(turn)[0]
        in_thermal = layout @ board_rotation.T + origin.reshape(3)
        in_visible = in_thermal @ rotation.T + translation.reshape(3)
        visible_pixels = visible.to_sent(visible.distorted(_flat(in_visible @ visible.matrix.T)))
        thermal_pixels = thermal.to_sent(thermal.distorted(_flat(in_thermal @ thermal.matrix.T)))
        errors.append(
            [_lengths(visible_pixels - view.visible), _lengths(thermal_pixels - view.thermal)]
        )
        # Homographies of the view's own plane: board -> thermal and board -> visible pixels.
        board_to_thermal = np.column_stack([board_rotation[:, :2], origin.reshape(3)])
        board_to_visible = rotation @ board_to_thermal
        board_to_visible[:, 2] += translation.reshape(3)
        homography = (visible.matrix @ board_to_visible) @ np.linalg.inv(
            thermal.matrix @ board_to_thermal
        )
        mapped = _flat(np.concatenate([points, np.ones((len(points), 1))], 1) @ homography.T)
        mapping_errors.append(_lengths(visible.to_sent(visible.distorted(mapped)) - view.visible))
    return camera_pair, np.array(errors), np.array(mapping_errors)


def _with_lens(
    camera: Camera, views: Sequence[Float64Array], layout: Float32Array, name: str
) -> Camera:
    """The camera; its lens is estimated if unknown: Zhang, PAMI 22 (2000), by OpenCV.

    Only two radial terms are estimated. A third would follow the noise of small images.
    """
    if camera.matrix is not None:
        return camera
    advice = (
        "; take more pictures with the board tilted by 20 to 40 degrees to all sides and in all "
        f"corners of the image, or give the {name} camera's intrinsics (camera_info), or hold the "
        "board at the working distance and fit a homography"
    )
    if len(views) < MIN_LENS_VIEWS:
        raise InputError(
            f"{len(views)} views for the lens of the {name} camera; expected {MIN_LENS_VIEWS} or "
            f"more{advice}"
        )
    _, matrix, distortion, turns, _, deviations, _, _ = cv2.calibrateCameraExtended(
        [layout] * len(views), _as_points([camera.to_full(points) for points in views]),
        camera.size, None, None, flags=cv2.CALIB_FIX_K3,
    )  # fmt: skip
    normals = np.array([cv2.Rodrigues(turn)[0][:, 2] for turn in turns])
    tilt = float(np.degrees(np.arccos(np.clip(normals @ normals.T, -1, 1)).max()))
    if not tilt >= MIN_TILT:  # the deviations below are too optimistic for parallel boards
        raise InputError(
            f"the views of the {name} camera differ in tilt by {tilt:.0f} degrees; expected "
            f"{MIN_TILT:.0f} or more{advice}"
        )
    focal_error = float(deviations[0, 0] / matrix[0, 0])
    if not 0 <= focal_error < MAX_FOCAL_ERROR:
        raise InputError(
            f"the focal length of the {name} camera is uncertain by {100 * focal_error:.0f} %; "
            f"expected less than {100 * MAX_FOCAL_ERROR:.0f} %; the views are too similar{advice}"
        )
    return replace(camera, matrix=matrix, distortion=tuple(distortion.reshape(-1)[:5].tolist()))


def _fit_plane(
    views: Sequence[_View], board: Board, visible: Camera, thermal: Camera, distance: float
) -> _Fit:
    matrix, _ = cv2.findHomography(
        np.concatenate([thermal.undistorted(thermal.to_full(view.thermal)) for view in views]),
        np.concatenate([visible.undistorted(visible.to_full(view.visible)) for view in views]),
    )
    if matrix is None or not np.isfinite(np.linalg.cond(matrix)):
        raise InputError("the points of the board define no homography; hold it nearer")
    camera_pair = CameraPair(visible, thermal, matrix)
    forward = [_lengths(camera_pair.to_visible(view.thermal) - view.visible) for view in views]
    backward = [_lengths(camera_pair.to_thermal(view.visible) - view.thermal) for view in views]
    return camera_pair, np.stack([forward, backward], 1), np.array(forward)


def _problems(
    errors: Sequence[float],
    coverage: Sequence[float],
    sizes: Sequence[tuple[int, int]],
    plane: bool,
) -> tuple[str, ...]:
    problems = []
    for name, error, share, size in zip(
        ("visible", "thermal"), errors, coverage, sizes, strict=True
    ):
        max_error = max(1.0, MAX_ERROR * size[0])
        if not error <= max_error:  # also for NaN
            advice = (
                "hold the board at one distance, the working distance"
                if plane
                else "check the board's size and flatness, hold it still, and give the lens that "
                "belongs to the camera"
            )
            problems.append(
                f"{name} error {error:.2f} pixels; expected {max_error:.1f} or less; {advice}"
            )
        if share < MIN_COVERAGE:
            problems.append(
                f"the points cover {100 * share:.0f} % of the {name} image; expected "
                f"{100 * MIN_COVERAGE:.0f} % or more; hold the board nearer and also in the corners"
            )
    return tuple(problems)


def _coverage(points: Float64Array, size: tuple[int, int]) -> float:
    cells = np.floor((points + 0.5) / size * CELLS).astype(int)
    inside = ((cells >= 0) & (cells < CELLS)).all(1)
    return len(np.unique(cells[inside], axis=0)) / CELLS**2


def _as_points(views: Sequence[Float64Array]) -> list[Float32Array]:
    return [np.ascontiguousarray(points, np.float32).reshape(-1, 1, 2) for points in views]


def _lengths(vectors: Float64Array) -> Float64Array:
    lengths: Float64Array = np.linalg.norm(vectors, axis=1)
    return lengths


def _flat(space: Float64Array) -> Float64Array:
    """Homogeneous (n, 3) -> (n, 2)."""
    flat: Float64Array = space[:, :2] / space[:, 2:]
    return flat
