"""Fine registration: from a similarity that is about right to a homography and a lens, sub-pixel.

The thermal image is warped to the visible grid and cut into small patches. Each patch is correlated
with the visible image around it, and all patches together give the correction by a robust fit.
Correlations are summed over the frames first, so frames that show different things help each other.
The sharpness of a peak in each direction gives the patch's information. A patch with horizontal
edges only gives no information about left and right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ssvif_core.calibration.features import edge_field, grey_of, scaled, total_length_squared
from ssvif_core.cameras.model import CameraPair
from ssvif_core.types import AnyArray, BoolArray, Float32Array, Float64Array, UInt8Array


@dataclass(frozen=True)
class Pass:
    """One pass of the refinement.

    width: working pixels across the overlap.
    patch: side of a patch, working pixels.
    reach: largest shift of a patch, working pixels.
    repeats: how often the pass is repeated.
    """

    width: int
    patch: int
    reach: int
    repeats: int


PASSES = (Pass(144, 48, 10, 3), Pass(288, 64, 8, 2), Pass(288, 64, 5, 2))
# Prior standard deviations of the difference from a similarity: share of half the visible width at
# that distance from the centre. RADIAL: distortion k1 at the thermal image's corner.
STRETCH, SHEAR, TILT, RADIAL = 0.03, 0.01, 0.02, 0.06


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined registration and its reliability.

    pair: the start with another homography, and with a radial distortion if it had no thermal lens.
    agreement: share of the patches within `AGREEMENT_RADIUS` of the result, 0 to 1.
    patches: number of patches.
    frames: how many independent frames the images are worth, median of the patches.
    deviation: (n,) float64, standard deviation at the corners of the overlap, visible pixels. It
        combines the widths of the peaks with half the difference between two halves of the patches.
    corners: (n, 2) float64, corners of the overlap, visible pixels.
    score: correlation of the whole images divided by the chance level.
    """

    pair: CameraPair
    agreement: float
    patches: int
    frames: float
    deviation: Float64Array
    corners: Float64Array
    score: float


AGREEMENT_RADIUS = 1.5  # working pixels
MIN_PATCHES = 8


def refine(
    visible: Sequence[UInt8Array],
    thermal: Sequence[AnyArray],
    start: CameraPair,
    passes: Sequence[Pass] = PASSES,
) -> Refined:
    """Refine a camera pair that is right to about 6 % of the width.

    visible: images (H, W, 3) uint8 BGR. thermal: (h, w) of the same moments. Sizes as in `start`.
    start: its cameras send full images (see `CameraPair.as_sent`). A known thermal lens is kept.
    """
    fit = _Fit(start)
    visible_grey = [grey_of(image) for image in visible]
    thermal_grey = [grey_of(image) for image in thermal]
    shifts = _PatchShifts.none()
    score = 0.0
    for settings in passes:
        zoom = fit.zoom(settings.width)
        fields = [edge_field(scaled(grey, zoom)) for grey in visible_grey]
        for _ in range(settings.repeats):
            score, shifts = _compare(fields, thermal_grey, fit.pair, settings, zoom)
            if len(shifts.at) < MIN_PATCHES:
                return fit.result(shifts, zoom, score)
            fit.update(shifts, zoom)
    return fit.result(shifts, zoom, score)


@dataclass(frozen=True, eq=False)
class _PatchShifts:
    """Measured shifts of n patches: a patch lies at `at` and belongs at `at + shift`.

    at, shift: (n, 2) visible pixels.
    information: (n, 2, 2) inverse covariance of the shift, per visible pixel squared.
    surface: (n, 2r+1, 2r+1) correlation with the visible image at every shift, working pixels.
    weight: (n,) change of a shift's log-likelihood per unit of correlation.
    frames: (n,) number of independent frames.
    half: (n,) bool, the white fields of a chessboard; either half covers the whole image.
    """

    at: Float64Array
    shift: Float64Array
    information: Float64Array
    surface: Float64Array
    weight: Float64Array
    frames: Float64Array
    half: BoolArray

    @classmethod
    def none(cls) -> _PatchShifts:
        empty = np.empty(0)
        return cls(
            np.empty((0, 2)), np.empty((0, 2)), np.empty((0, 2, 2)), empty, empty, empty,
            np.empty(0, bool),
        )  # fmt: skip


def _compare(
    fields: Sequence[Float32Array],
    thermal: Sequence[Float32Array],
    pair: CameraPair,
    settings: Pass,
    zoom: float,
) -> tuple[float, _PatchShifts]:
    """The score of the whole images, and the shift of each patch."""
    height, width = fields[0].shape[:2]
    grid = _thermal_points(pair, width, height, zoom)
    thermal_height, thermal_width = thermal[0].shape
    seen = ((grid > 1) & (grid < (thermal_width - 2, thermal_height - 2))).all(2)
    # Working pixels per thermal pixel. If below 1, blur first to avoid aliasing.
    factor = zoom * math.sqrt(abs(np.linalg.det(pair.homography[:2, :2])))
    # Drop a margin: gradients there come from the border itself.
    inside = cv2.erode(seen.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0)
    warped_fields = []
    for grey in thermal:
        smooth = cv2.GaussianBlur(grey, (0, 0), 0.45 / factor) if factor < 0.9 else grey
        warped = cv2.remap(smooth, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        warped_fields.append(edge_field(warped) * inside[..., None])
    product = sum(float((a * b).sum()) for a, b in zip(fields, warped_fields, strict=True))
    energy = [total_length_squared(some) for some in (fields, warped_fields)]
    energies = float((energy[0] * inside).sum()) * float(energy[1].sum())
    score = product / math.sqrt(energies + 1e-9) * math.sqrt(float(inside.sum()) * len(fields))
    return score, _patch_shifts(fields, warped_fields, energy, inside, settings, zoom)


def _thermal_points(pair: CameraPair, width: int, height: int, zoom: float) -> Float32Array:
    """Thermal pixel of every working pixel, (height, width, 2), interpolated from every eighth."""
    x, y = np.meshgrid(np.arange(0, width + 8, 8), np.arange(0, height + 8, 8))
    visible = ((np.stack([x, y], -1) + 0.5) / zoom - 0.5).reshape(-1, 2)
    coarse = np.nan_to_num(pair.to_thermal(visible), nan=-1e4).reshape(*x.shape, 2)
    u, v = np.meshgrid(
        np.arange(width, dtype=np.float32) / 8, np.arange(height, dtype=np.float32) / 8
    )
    points: Float32Array = cv2.remap(coarse.astype(np.float32), u, v, cv2.INTER_LINEAR)
    return points


def _patch_shifts(
    fields: Sequence[Float32Array],
    warped: Sequence[Float32Array],
    energy: Sequence[Float32Array],
    inside: UInt8Array,
    settings: Pass,
    zoom: float,
) -> _PatchShifts:
    side, reach = settings.patch, settings.reach
    padded = [_padded(field, reach, reach) for field in fields]
    canvas = cv2.getOptimalDFTSize(side + 2 * reach)
    visible_energy = cv2.integral(_padded(energy[0], reach, reach))
    area, thermal_energy = cv2.integral(inside), cv2.integral(energy[1])
    height, width = inside.shape
    patches = []
    for top in range(0, height - side + 1, side // 2):
        for left in range(0, width - side + 1, side // 2):
            pixels = _box(area, left, top, side)
            if pixels < 0.6 * side * side:
                continue
            part = np.s_[top : top + side, left : left + side]
            around = np.s_[top : top + side + 2 * reach, left : left + side + 2 * reach]
            product = _correlation(
                [field[around] for field in padded], [field[part] for field in warped], canvas
            )[: 2 * reach + 1, : 2 * reach + 1]
            span = np.s_[top : top + side + 2 * reach + 1, left : left + side + 2 * reach + 1]
            box = visible_energy[span]
            under = (
                box[side:, side:] + box[:-side, :-side] - box[side:, :-side] - box[:-side, side:]
            )
            surface: Float64Array = product / np.sqrt(
                under * _box(thermal_energy, left, top, side) + 1e-6
            )
            independent = _independent_frames(
                [[field[part] for field in some] for some in (fields, warped)]
            )
            values = pixels * independent / CORRELATED
            peak = _peak(surface, values)
            if peak is not None:
                centre = (left + (side - 1) / 2, top + (side - 1) / 2)
                white = (top // side + left // side) % 2 == 0
                patches.append((centre, *peak, surface, values, independent, white))
    if not patches:
        return _PatchShifts.none()
    at, shift, information, surfaces, weight, frames, half = map(
        np.array, zip(*patches, strict=True)
    )
    return _PatchShifts(
        (at + 0.5) / zoom - 0.5, shift / zoom, information * zoom**2, surfaces,
        weight * float(np.median(surfaces.max((1, 2)))), frames, half,
    )  # fmt: skip


def _correlation(
    surroundings: Sequence[Float32Array], patches: Sequence[Float32Array], canvas: int
) -> Float32Array:
    """Correlation, summed over the frames, with the patch's corner at each (row, column).

    The fields are transformed as complex numbers and added before the single inverse transform.
    For twelve frames this is ten times faster than one `cv2.matchTemplate` per frame.
    """
    total = np.zeros((canvas, canvas, 2), np.float32)
    for around, patch in zip(surroundings, patches, strict=True):
        first, second = (cv2.dft(_padded(f, 0, canvas - len(f))) for f in (around, patch))
        total += cv2.mulSpectrums(first, second, 0, conjB=True)
    correlation: Float32Array = cv2.idft(total, flags=cv2.DFT_SCALE)[..., 0]
    return correlation


def _independent_frames(cameras: Sequence[Sequence[Float32Array]]) -> float:
    """How many independent frames the n frames of a patch are worth, 1 to n.

    cameras: the fields of the n frames, for each camera.

    n / (1 + (n - 1) r), where r is the mean correlation of two frames: the design effect of cluster
    samples (Kish, Survey Sampling, 1965, 5.4). Products of both cameras' fields are summed over the
    frames. If the fields are unrelated, r is the product of both cameras' correlations. The frames
    of a still camera differ only by noise and moving objects.
    """
    count = len(cameras[0])
    correlation = np.ones((count, count))
    for fields in cameras:
        flat = np.stack([field.ravel() for field in fields])
        flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9
        correlation *= flat @ flat.T
    # The sum is n (1 + (n - 1) r).
    return count**2 / max(float(correlation.sum()), count)


def _padded(image: Float32Array, before: int, after: int) -> Float32Array:
    """The image with rows and columns of zeros."""
    padded: Float32Array = cv2.copyMakeBorder(
        image, before, after, before, after, cv2.BORDER_CONSTANT
    )
    return padded


def _box(total: AnyArray, left: int, top: int, side: int) -> float:
    """Sum over a square, from an integral image."""
    return float(
        total[top + side, left + side] + total[top, left]
        - total[top, left + side] - total[top + side, left]
    )  # fmt: skip


# Least-squares fit of a paraboloid to 3x3 values: constant, x, y, xx, xy, yy.
_X, _Y = (axis.reshape(-1) for axis in np.meshgrid((-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0)))
_PARABOLOID = np.linalg.pinv(np.stack([_X * 0 + 1, _X, _Y, _X * _X, _X * _Y, _Y * _Y], 1))
CORRELATED = 12.0  # correlated neighbours that together count as one independent value
MIN_PATCH_DEVIATION = 0.1  # working pixels


def _peak(surface: Float64Array, count: float) -> tuple[Float64Array, Float64Array] | None:
    """Shift (2,) of the highest correlation, and its information (2, 2); None at the border.

    For `count` = n independent values and a correlation c, the log-likelihood of a shift is
    n c^2 / (2 (1 - c^2)). The information is its curvature: n c / (1 - c^2) times that of c.
    """
    row, col = np.unravel_index(int(surface.argmax()), surface.shape)
    last = surface.shape[0] - 1
    if not (0 < row < last and 0 < col < last):
        return None
    top = float(surface[row, col])
    if top <= 0:
        return None
    _, x, y, xx, xy, yy = _PARABOLOID @ surface[row - 1 : row + 2, col - 1 : col + 2].reshape(-1)
    curvature, axes = np.linalg.eigh(-np.array([[2 * xx, xy], [xy, 2 * yy]]))
    curvature = np.maximum(curvature, 1e-4)
    step = np.clip((axes / curvature) @ axes.T @ (x, y), -1, 1)
    information = np.clip(curvature * count * top / (1.01 - top**2), 0, MIN_PATCH_DEVIATION**-2)
    return np.array([col, row]) - last / 2 + step, (axes * information) @ axes.T


class _Fit:
    """Homography and radial distortion, and their sum of changes since the start.

    total: (9,) sum of the changes: shift x, y, growth, rotation, stretch, shear, tilt x, y, k1.
        Lengths are in halves of the visible width.
    """

    def __init__(self, start: CameraPair) -> None:
        self.start, self.homography = start, start.homography
        self.total: Float64Array = np.zeros(9)
        width, height = start.visible.size
        self.half_width = width / 2
        self.centre = np.array([(width - 1) / 2, (height - 1) / 2])
        self.thermal_size = start.thermal.size
        radial = RADIAL if start.thermal.matrix is None else 1e-6
        self.prior = np.array([0, 0, 0, 0, *(1 / d for d in (STRETCH, SHEAR, TILT, TILT, radial))])
        self.covariance: Float64Array = np.zeros((9, 9))

    @property
    def pair(self) -> CameraPair:
        """The camera pair with the current homography and distortion."""
        thermal, radial = self.start.thermal, float(self.total[8])
        if thermal.matrix is None and radial:
            width, height = thermal.size
            focal = math.hypot(width, height) / 2  # k1 is then the distortion at the corner
            matrix = np.array(
                [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
            )
            thermal = replace(thermal, matrix=matrix, distortion=(radial, 0, 0, 0), estimated=True)
        return replace(self.start, thermal=thermal, mapping=self.homography)

    def zoom(self, working_width: int) -> float:
        """Working pixels per visible pixel, for `working_width` pixels across the overlap."""
        corners = overlap(self.pair)
        if not len(corners):
            return working_width / self.start.visible.width
        return min(working_width / float(np.ptp(corners[:, 0])), 1.0)

    def jacobian(self, at: Float64Array) -> Float64Array:
        """(n, 2, 9): derivatives of visible points (n, 2), in halves of the width, by `total`."""
        u, v = ((at - self.centre) / self.half_width).T
        zero, one = np.zeros_like(u), np.ones_like(u)
        x = [one, zero, u, -v, u, v, u * u, u * v]
        y = [zero, one, v, u, -v, u, u * v, v * v]
        # The lens shows a ray r at r (1 + k r^2). For a fixed pixel, dr/dk = -r r^2 at k = 0.
        inverse = np.linalg.inv(self.homography)
        ideal = cv2.perspectiveTransform(at[None], inverse)[0]
        width, height = self.thermal_size
        ray = (ideal - ((width - 1) / 2, (height - 1) / 2)) / (math.hypot(width, height) / 2)
        square = np.minimum((ray**2).sum(1), 1.2)
        moved = ideal - ray * square[:, None] * math.hypot(width, height) / 2
        bent = (cv2.perspectiveTransform(moved[None], self.homography)[0] - at) / self.half_width
        return np.stack([np.stack([*x, bent[:, 0]], -1), np.stack([*y, bent[:, 1]], -1)], 1)

    def update(self, shifts: _PatchShifts, zoom: float) -> None:
        """Correct by the shifts of the patches. Outliers get small weights."""
        jacobian = self.jacobian(shifts.at)
        if self.start.thermal.matrix is not None:
            jacobian[:, :, 8] = 0
        shift = shifts.shift / self.half_width
        information = shifts.information * self.half_width**2
        solution: Float64Array = np.zeros(9)
        # Start at the shift on which most patches agree: there are many outliers.
        distance = np.linalg.norm(shifts.shift[:, None] - shifts.shift[None], axis=2) * zoom
        agreeing = distance[int((distance < 2.5).sum(1).argmax())] < 2.5
        solution[:2] = shift[agreeing].mean(0)
        for _ in range(15):
            weight, scale = self._weights(jacobian, shift, information, solution)
            weighted = np.einsum("n,nij->nij", weight, information)
            normal = np.einsum("nia,nij,njb->ab", jacobian, weighted, jacobian) / scale
            right = np.einsum("nia,nij,nj->a", jacobian, weighted, shift) / scale
            # The priors apply to the total change since the start.
            normal += np.diag(self.prior**2)
            right -= self.prior**2 * self.total
            solution = np.linalg.solve(normal, right)
        jacobian = jacobian * self.half_width * zoom  # working pixels
        solution, normal = self._maximise(jacobian, shifts, solution)
        # Half the difference of two halves of the patches has the standard deviation of the whole
        # if the peaks are right. It is larger if near and far objects, or objects that only one
        # camera sees, contradict each other.
        first, second = (
            self._maximise(jacobian, replace(shifts, weight=shifts.weight * half), solution)[0]
            for half in (shifts.half, ~shifts.half)
        )
        difference = (first - second) / 2
        self.covariance = np.linalg.inv(normal) * 4 + np.outer(difference, difference)
        self._apply(solution)

    def _maximise(
        self, jacobian: Float64Array, shifts: _PatchShifts, solution: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """The solution with the largest sum of correlations, and its normal matrix (9, 9).

        Newton's method from a solution of the peaks. A patch whose peak lies elsewhere has no slope
        here and therefore no influence.

        jacobian: (n, 2, 9), working pixels.
        """
        surface, rows = shifts.surface, np.arange(len(shifts.at))
        reach = surface.shape[1] // 2
        neighbours = np.arange(-1, 2)
        normal = np.diag(self.prior**2)
        for _ in range(8):
            shift = jacobian @ solution
            cell = np.clip(np.rint(shift), 1 - reach, reach - 1).astype(int)
            rest = np.clip(shift - cell, -1, 1)
            values = surface[
                rows[:, None, None],
                reach + cell[:, 1, None, None] + neighbours[:, None],
                reach + cell[:, 0, None, None] + neighbours,
            ]
            _, x, y, xx, xy, yy = (values.reshape(len(rows), 9) @ _PARABOLOID.T).T
            slope = np.stack([x + 2 * xx * rest[:, 0] + xy * rest[:, 1],
                              y + 2 * yy * rest[:, 1] + xy * rest[:, 0]], 1)  # fmt: skip
            hessian = -np.stack([np.stack([2 * xx, xy], 1), np.stack([xy, 2 * yy], 1)], 2)
            curvature, axes = np.linalg.eigh(hessian)
            hessian = np.einsum("nij,nj,nkj->nik", axes, np.maximum(curvature, 0), axes)
            outside = (np.abs(shift) > reach).any(1)
            weight = np.where(outside, 0, shifts.weight)
            normal = np.einsum("nia,n,nij,njb->ab", jacobian, weight, hessian, jacobian)
            right = np.einsum("nia,n,ni->a", jacobian, weight, slope)
            normal += np.diag(self.prior**2 + 1e-6)
            right -= self.prior**2 * (self.total + solution)
            solution = solution + np.linalg.solve(normal, right)
        return solution, normal

    @staticmethod
    def _weights(
        jacobian: Float64Array,
        shift: Float64Array,
        information: Float64Array,
        solution: Float64Array,
    ) -> tuple[Float64Array, float]:
        """Cauchy weights (n,), and the factor by which residuals exceed their covariance."""
        residual = shift - jacobian @ solution
        square = np.einsum("ni,nij,nj->n", residual, information, residual)
        # 1.386 is the median of chi square with two degrees of freedom. Patches overlap by half
        # in both directions, so four count as one.
        scale = max(float(np.median(square)) / 1.386, 1.0)
        return 1 / (1 + square / (6 * scale)), 4 * scale

    def _apply(self, solution: Float64Array) -> None:
        tx, ty, growth, rotation, stretch, shear, tilt_x, tilt_y, _ = solution
        u0, v0 = self.centre
        # The homography with the derivatives of `jacobian`, in halves of the width.
        change = np.array([
            [1 + growth + stretch, shear - rotation, tx],
            [shear + rotation, 1 + growth - stretch, ty],
            [-tilt_x, -tilt_y, 1],
        ])  # fmt: skip
        half = self.half_width
        norm = np.array([[1 / half, 0, -u0 / half], [0, 1 / half, -v0 / half], [0, 0, 1]])
        self.homography = np.linalg.inv(norm) @ change @ norm @ self.homography
        self.homography = self.homography / self.homography[2, 2]
        self.total = self.total + solution

    def result(self, shifts: _PatchShifts, zoom: float, score: float) -> Refined:
        corners = overlap(self.pair)
        agreement = 0.0
        deviation = np.full(len(corners), np.inf)
        if len(shifts.at) >= MIN_PATCHES and len(corners):
            # The shifts were measured before the last update, which is small.
            sharpest = np.linalg.eigvalsh(shifts.information)[:, 1]
            square = np.einsum("ni,nij,nj->n", shifts.shift, shifts.information, shifts.shift)
            agreement = float((np.sqrt(square / sharpest) * zoom < AGREEMENT_RADIUS).mean())
            jacobian = self.jacobian(corners)
            spread = np.einsum("nia,ab,nib->n", jacobian, self.covariance, jacobian)
            deviation = np.sqrt(spread) * self.half_width
        count = len(shifts.at)
        frames = float(np.median(shifts.frames)) if count else 1.0
        return Refined(self.pair, agreement, count, frames, deviation, corners, score)


def overlap(pair: CameraPair) -> Float64Array:
    """Corners (n, 2) of the area that both cameras see, visible pixels, without distortion.

    >>> from ssvif_core.cameras.model import aligned
    >>> overlap(aligned((64, 48), (32, 24))).max(0)
    array([63.5, 47.5])
    """
    width, height = pair.thermal.size
    thermal = cv2.perspectiveTransform(_outline(width, height)[None], pair.homography)[0]
    common, corners = cv2.intersectConvexConvex(
        thermal.astype(np.float32), _outline(*pair.visible.size).astype(np.float32)
    )
    return corners.reshape(-1, 2).astype(np.float64) if common > 0 else np.empty((0, 2))


def _outline(width: int, height: int) -> Float64Array:
    x, y = width - 0.5, height - 0.5
    return np.array([[-0.5, -0.5], [x, -0.5], [x, y], [-0.5, y]])
