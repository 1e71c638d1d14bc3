"""Calibration from a board that both cameras see: a checkerboard or a grid of circles.

A board that a thermal camera sees has parts of unlike emissivity or temperature: a printed board
in the sun or before a heater, holes in a plate before something warm. Which parts are bright in it
is anybody's guess, so both polarities are tried.

With lenses known, or views enough to find them: extrinsics, and the plane of a working distance.
Otherwise, with the board held at the working distance: a homography of that plane.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np

from ssvif_core.cameras.model import Camera, CameraPair, PlaneMapping
from ssvif_core.errors import InputError
from ssvif_core.types import Pair

# m. With lenses apart by b and a focal length of f pixels the mapping is off by f b |1/d - 1/z| at
# a distance z: for d = 10 m by the same at 5 m and at the horizon, 3 pixels for 5 cm and 600.
DISTANCE = 10.0
CELLS = 5  # of coverage, each way
MIN_COVERAGE = 0.4
MIN_VIEWS, MIN_LENS_VIEWS = 3, 6
MIN_TILT = 15.0  # degrees between the most unlike views from which a lens is estimated
MAX_ERROR = 0.0015  # of the image's width, reprojection; but a pixel at least is allowed
MAX_FOCAL_ERROR = 0.02  # standard deviation of an estimated focal length, share of it

_LARGE = 640  # pixels to which narrower images are enlarged
_OUTLIER = 3.0  # times the median of all views
_SMALL = 0.3  # pixels of error below which no view is an outlier


@dataclass(frozen=True)
class Board:
    """What is held before the cameras.

    kind: "checkerboard", or "circles": OpenCV's asymmetric grid, every other row moved by half.
    columns, rows: of inner corners, or of circles.
    size: metres; a square's side, or from one row of circles to the next.

    Raises:
        InputError: a value is not what was expected; names it.
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
                f"checkerboard of {self.columns}x{self.rows} inner corners; expected unlike numbers"
                ", which tell how it is turned; count inner corners, not squares"
            )

    @property
    def points(self) -> np.ndarray:
        """(n, 3) float32 metres, row by row, in the board's plane z = 0."""
        column, row = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
        x = column if self.kind == "checkerboard" else 2 * column + row % 2
        flat = np.stack([x, row, np.zeros_like(x)], -1).reshape(-1, 3)
        return (self.size * flat).astype(np.float32)

    def __str__(self) -> str:
        what = "inner corners" if self.kind == "checkerboard" else "circles"
        return f"{self.kind} of {self.columns}x{self.rows} {what}"


@dataclass(frozen=True)
class BoardCalibration:
    """What came out, and how good it is.

    pair: the calibration.
    visible_error, thermal_error: root mean square of reprojection, pixels of that camera's images.
        Of a homography, where no board's place is known: the mapping's error, either way.
    mapping_error: root mean square, visible pixels, of thermal points mapped to visible ones by
        the plane of their own view; of a homography by itself.
    visible_coverage, thermal_coverage: share of 5x5 cells of the image in which points lie.
    used: indices of the pairs it rests on.
    rejected: index of a pair -> why it was left out.
    problems: what is too bad to use it, and what to do; empty: it is good.
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


# --- finding it


def find_board(image: np.ndarray, board: Board) -> np.ndarray | None:
    """Pixels of the board's points, (n, 2) float64 in the order of `Board.points`, or None.

    image: visible (H, W, 3) uint8 BGR, or thermal (h, w) uint8 or uint16.

    Where the board looks the same upside down, the order begins at either end.
    """
    grey = _grey(image)
    factor = max(1, math.ceil(_LARGE / grey.shape[1]))
    if factor > 1:
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    find = _corners if board.kind == "checkerboard" else _circles
    for polarity in (grey, 255 - grey):
        found = find(polarity, (board.columns, board.rows))
        if found is not None:
            return (found.reshape(-1, 2).astype(np.float64) + 0.5) / factor - 0.5
    return None


def _grey(image: np.ndarray) -> np.ndarray:
    if image.ndim == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    # Also of 8 bits: a board that is hardly warmer than its surroundings is of few grey levels.
    low, high = np.percentile(image, (0.5, 99.5))
    stretched = (image.astype(np.float32) - low) * (255 / max(high - low, 1))
    return np.clip(stretched, 0, 255).astype(np.uint8)


def _corners(grey: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
    found, corners = cv2.findChessboardCornersSB(grey, size, flags=flags)
    if not found:
        return None
    grid = corners.reshape(size[1], size[0], 2)
    # Seen from behind it would be mirrored; a board has no back.
    (ax, ay), (bx, by) = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
    return grid[:, ::-1] if ax * by < ay * bx else grid


def _circles(grey: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    settings = cv2.SimpleBlobDetector.Params()
    settings.blobColor = 0
    settings.minArea, settings.maxArea = 12, grey.size / 30
    settings.minDistBetweenBlobs = 4
    settings.minThreshold, settings.maxThreshold, settings.thresholdStep = 10, 245, 10
    detector = cv2.SimpleBlobDetector.create(settings)
    for flags in (0, cv2.CALIB_CB_CLUSTERING):
        found, centres = cv2.findCirclesGrid(
            grey, size, flags=cv2.CALIB_CB_ASYMMETRIC_GRID | flags, blobDetector=detector
        )
        if found:
            return centres
    return None


# --- calibrating


@dataclass(frozen=True)
class _View:
    """A board in both images: index of the pair, and pixels of each image, (n, 2)."""

    index: int
    visible: np.ndarray
    thermal: np.ndarray


def calibrate_from_board(
    pairs: Iterable[Pair],
    board: Board,
    visible: Camera | None = None,
    thermal: Camera | None = None,
    distance: float = DISTANCE,
    plane: bool = False,
) -> BoardCalibration:
    """The calibration of two cameras from pairs of images of one board.

    visible, thermal: lenses, if known; else they are estimated, which takes `MIN_LENS_VIEWS` views
        at unlike tilts.
    distance: metres at which the mapping is to fit; kept beside the extrinsics, to be changed.
    plane: fit a homography instead: for a board held at the working distance; lenses are used as
        far as they are known, and one view is enough.

    Views are left out one by one, the worst first, while its error is more than 3 times the median
    and 0.3 pixels, and two thirds of the views remain.

    Raises:
        InputError: the board is not found often enough, or the views do not tell the lens.
    """
    views, rejected, sizes = _views(pairs, board)
    least = 1 if plane else MIN_VIEWS
    if len(views) < least:
        raise InputError(_too_few(len(views), least, rejected, board))
    visible = (visible or Camera(*sizes[0])).sending(sizes[0], "visible")
    thermal = (thermal or Camera(*sizes[1])).sending(sizes[1], "thermal")
    dropped: dict[int, str] = {}
    most_dropped = len(views) // 3
    while True:
        fit = _fit_plane if plane else _fit_extrinsics
        pair, errors, transfer = fit(views, board, visible, thermal, distance)
        each = np.sqrt((errors**2).mean(2))  # (views, cameras)
        ratio = each / np.maximum(np.median(each, 0), _SMALL / _OUTLIER)
        worst = int(ratio.max(1).argmax())
        if ratio[worst].max() <= _OUTLIER or len(dropped) >= most_dropped:
            break
        camera = int(ratio[worst].argmax())
        dropped[views[worst].index] = (
            f"{('visible', 'thermal')[camera]} error of {each[worst, camera]:.2f} pixels, median "
            f"{np.median(each[:, camera]):.2f}"
        )
        views = [view for view in views if view is not views[worst]]
    visible_error, thermal_error = np.sqrt((errors**2).mean((0, 2))).tolist()
    mapping_error = float(np.sqrt((transfer**2).mean()))
    coverage = (
        _coverage(np.concatenate([view.visible for view in views]), sizes[0]),
        _coverage(np.concatenate([view.thermal for view in views]), sizes[1]),
    )
    made: dict[str, Any] = {
        "method": f"{board}, {board.size:g} m, {'homography' if plane else 'extrinsics'}",
        "date": time.strftime("%Y-%m-%d"),
        "views": len(views),
        "visible_error": round(visible_error, 3),
        "thermal_error": round(thermal_error, 3),
        "mapping_error": round(mapping_error, 3),
    }
    problems = _problems((visible_error, thermal_error), coverage, sizes, plane)
    return BoardCalibration(
        replace(pair, made=made), visible_error, thermal_error, mapping_error, *coverage,
        tuple(view.index for view in views), {**rejected, **dropped}, problems,
    )  # fmt: skip


def _views(
    pairs: Iterable[Pair], board: Board
) -> tuple[list[_View], dict[int, str], list[tuple[int, int]]]:
    """The views, why there is none in the other pairs, and the sizes of both images."""
    views: list[_View] = []
    rejected: dict[int, str] = {}
    sizes: list[tuple[int, int]] = []
    for index, pair in enumerate(pairs):
        images = (pair.visible, pair.thermal)
        now = [(image.shape[1], image.shape[0]) for image in images]
        sizes = sizes or now
        if now != sizes:
            raise InputError(
                f"pair {index} of {now[0][0]}x{now[0][1]} and {now[1][0]}x{now[1][1]} pixels; "
                f"expected {sizes[0][0]}x{sizes[0][1]} and {sizes[1][0]}x{sizes[1][1]} like the "
                "first; calibrate each resolution for itself"
            )
        seen, warm = (find_board(image, board) for image in images)
        if seen is None or warm is None:
            which = ["visible"] * (seen is None) + ["thermal"] * (warm is None)
            rejected[index] = f"no board found in the {' and the '.join(which)} image"
            continue
        # A board that looks the same upside down: both cameras are the same way up.
        if np.dot(seen[-1] - seen[0], warm[-1] - warm[0]) < 0:
            warm = warm[::-1]
        views.append(_View(index, seen, warm))
    return views, rejected, sizes


def _too_few(count: int, least: int, rejected: dict[int, str], board: Board) -> str:
    reasons = list(rejected.values())
    told = "; ".join(f"{reasons.count(why)} with {why}" for why in dict.fromkeys(reasons))
    return (
        f"the {board} was found in both images of {count} of {count + len(rejected)} pairs"
        f"{f' ({told})' if told else ''}; expected {least} or more; check the counts of columns "
        "and rows, hold it nearer and wholly in both images, and make its parts differ in warmth"
    )


def _fit_extrinsics(
    views: Sequence[_View], board: Board, visible: Camera, thermal: Camera, distance: float
) -> tuple[CameraPair, np.ndarray, np.ndarray]:
    """The pair, and errors in pixels: (views, 2 cameras, n) of reprojection, (views, n) mapped."""
    layout = board.points
    if visible.matrix is None:
        visible = _lens([view.visible for view in views], layout, visible, "visible")
    if thermal.matrix is None:
        thermal = _lens([view.thermal for view in views], layout, thermal, "thermal")
    assert visible.matrix is not None and thermal.matrix is not None
    seen = [visible.undistorted(visible.to_full(view.visible)) for view in views]
    warm = [thermal.undistorted(thermal.to_full(view.thermal)) for view in views]
    nothing = np.zeros(5)
    # Points are undistorted already, so any lens model will do. Thermal first: x_v = R x_t + t.
    _, _, _, _, _, rotation, translation, _, _, turns, places, _ = cv2.stereoCalibrateExtended(
        [layout] * len(views), _as_points(warm), _as_points(seen), thermal.matrix.copy(), nothing,
        visible.matrix.copy(), nothing, thermal.size, np.eye(3), np.zeros(3),
        flags=cv2.CALIB_FIX_INTRINSIC,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9),
    )  # fmt: skip
    mapping = PlaneMapping(rotation, translation, distance)
    pair = CameraPair(visible, thermal, mapping)
    errors, transfer = [], []
    for view, warm_points, turn, place in zip(views, warm, turns, places, strict=True):
        turned = cv2.Rodrigues(turn)[0]
        in_thermal = layout @ turned.T + place.reshape(3)
        in_visible = in_thermal @ rotation.T + translation.reshape(3)
        seen_as = visible.to_sent(visible.distorted(_flat(in_visible @ visible.matrix.T)))
        warm_as = thermal.to_sent(thermal.distorted(_flat(in_thermal @ thermal.matrix.T)))
        errors.append([_lengths(seen_as - view.visible), _lengths(warm_as - view.thermal)])
        # The view's own plane: coordinates on the board -> thermal and -> visible pixels.
        onto = np.column_stack([turned[:, :2], place.reshape(3)])
        to_thermal = thermal.matrix @ onto
        onto_visible = rotation @ onto
        onto_visible[:, 2] += translation.reshape(3)
        to_visible = visible.matrix @ onto_visible
        mapped = _mapped(to_visible @ np.linalg.inv(to_thermal), warm_points)
        transfer.append(_lengths(visible.to_sent(visible.distorted(mapped)) - view.visible))
    return pair, np.array(errors), np.array(transfer)


def _lens(points: list[np.ndarray], layout: np.ndarray, camera: Camera, name: str) -> Camera:
    """The camera with its lens estimated: Zhang, PAMI 22 (2000), by OpenCV.

    Two radial terms only: a third would follow the noise of small images.
    """
    advice = (
        f"; take more pictures of the board, tilted by 20 to 40 degrees to all sides and in all "
        f"corners of the image, give the {name} camera's intrinsics (camera_info), or hold it at "
        "the working distance and fit a homography"
    )
    if len(points) < MIN_LENS_VIEWS:
        raise InputError(
            f"{len(points)} views for the lens of the {name} camera; expected {MIN_LENS_VIEWS} or "
            f"more{advice}"
        )
    _, matrix, distortion, turns, _, deviations, _, _ = cv2.calibrateCameraExtended(
        [layout] * len(points), _as_points([camera.to_full(one) for one in points]),
        camera.size, None, None,  # type: ignore[arg-type]
        flags=cv2.CALIB_FIX_K3,
    )  # fmt: skip
    normals = np.array([cv2.Rodrigues(turn)[0][:, 2] for turn in turns])
    tilt = float(np.degrees(np.arccos(np.clip(normals @ normals.T, -1, 1)).max()))
    if not tilt >= MIN_TILT:  # of parallel boards the deviations below promise too much
        raise InputError(
            f"the views of the {name} camera differ in tilt by {tilt:.0f} degrees; expected "
            f"{MIN_TILT:.0f} or more{advice}"
        )
    focal_error = float(deviations[0, 0] / matrix[0, 0])
    if not 0 <= focal_error < MAX_FOCAL_ERROR:
        raise InputError(
            f"the focal length of the {name} camera is known to {100 * focal_error:.0f} % only; "
            f"expected {100 * MAX_FOCAL_ERROR:.0f} %: the views are too much alike{advice}"
        )
    return replace(camera, matrix=matrix, distortion=tuple(distortion.reshape(-1)[:5].tolist()))


def _fit_plane(
    views: Sequence[_View], board: Board, visible: Camera, thermal: Camera, distance: float
) -> tuple[CameraPair, np.ndarray, np.ndarray]:
    """As `_fit_extrinsics`, of a homography."""
    seen = np.concatenate([visible.undistorted(visible.to_full(view.visible)) for view in views])
    warm = np.concatenate([thermal.undistorted(thermal.to_full(view.thermal)) for view in views])
    matrix, _ = cv2.findHomography(warm, seen)
    if matrix is None or not np.isfinite(np.linalg.cond(matrix)):
        raise InputError("the points of the board define no homography; hold it nearer")
    pair = CameraPair(visible, thermal, matrix)
    there = [_lengths(pair.to_visible(view.thermal) - view.visible) for view in views]
    back = [_lengths(pair.to_thermal(view.visible) - view.thermal) for view in views]
    return pair, np.stack([there, back], 1), np.array(there)


def _problems(
    errors: Sequence[float],
    coverage: Sequence[float],
    sizes: Sequence[tuple[int, int]],
    plane: bool,
) -> tuple[str, ...]:
    found = []
    for name, error, share, size in zip(
        ("visible", "thermal"), errors, coverage, sizes, strict=True
    ):
        most = max(1.0, MAX_ERROR * size[0])
        if not error <= most:  # so that NaN is caught
            cause = (
                "hold the board at one distance, the working distance"
                if plane
                else "check the board's size and flatness, hold it still, and give the lens that "
                "belongs to the camera"
            )
            found.append(f"{name} error {error:.2f} pixels; expected {most:.1f} or less; {cause}")
        if share < MIN_COVERAGE:
            found.append(
                f"the points cover {100 * share:.0f} % of the {name} image; expected "
                f"{100 * MIN_COVERAGE:.0f} % or more; hold the board nearer, and also in the "
                "corners"
            )
    return tuple(found)


def _coverage(points: np.ndarray, size: tuple[int, int]) -> float:
    cells = np.floor((points + 0.5) / size * CELLS).astype(int)
    inside = ((cells >= 0) & (cells < CELLS)).all(1)
    return len(np.unique(cells[inside], axis=0)) / CELLS**2


def _as_points(views: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.ascontiguousarray(points, np.float32).reshape(-1, 1, 2) for points in views]


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=1)


def _flat(space: np.ndarray) -> np.ndarray:
    return space[:, :2] / space[:, 2:]


def _mapped(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return _flat(np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T)
