"""Fine registration: from a similarity that is about right to homography and lens, sub-pixel.

Small patches of the thermal image, brought to the visible grid, look for their place near by; what
all of them say is fitted robustly. Correlations are summed over the frames before a place is
chosen, so that many frames help each other, as far as they show different things. How sharp a peak
is in each direction says how much its patch knows: one with horizontal edges alone knows nothing of
left and right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ssvif_core.calibration.features import edge_field, grey_of, scaled, total_length_squared
from ssvif_core.cameras.model import CameraPair


@dataclass(frozen=True)
class Pass:
    """One pass of refinement.

    width: working pixels across what both cameras see.
    patch: side of a patch; reach: how far it looks; both in working pixels.
    """

    width: int
    patch: int
    reach: int
    times: int


PASSES = (Pass(144, 48, 10, 3), Pass(288, 64, 8, 2), Pass(288, 64, 5, 2))
# Standard deviations of what a lens and a mounting do beyond a similarity, at half the visible
# width from the centre (share of it); of the radial distortion k1 at the thermal image's corner.
STRETCH, SHEAR, TILT, RADIAL = 0.03, 0.01, 0.02, 0.06


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined registration and what speaks for it.

    pair: the start with another homography, and the thermal lens's radial distortion if it had
        none.
    agreement: share of the patches that say the same to within `CLOSE` working pixels.
    patches: how many there were.
    deviation: (n,) standard deviation at the corners of the overlap, visible pixels: what the peaks
        allow, and half of what two halves of the patches differ by.
    frames: how many independent frames the images are worth, median of the patches.
    """

    pair: CameraPair
    agreement: float
    patches: int
    frames: float
    deviation: np.ndarray
    corners: np.ndarray
    score: float


CLOSE = 1.5
FEWEST = 8  # patches


def refine(
    visible: Sequence[np.ndarray],
    thermal: Sequence[np.ndarray],
    start: CameraPair,
    passes: Sequence[Pass] = PASSES,
) -> Refined:
    """Refine a calibration that is right to some 6 % of the width; see the module.

    visible: images (H, W, 3) uint8; thermal: (h, w), of the same moments, of the start's sizes.
    start: of cameras that send their full images (`CameraPair.as_sent`), so that one measure holds
        for what is seen and what is fitted; where the thermal one has a matrix, its lens is kept.
    """
    fit = _Fit(start)
    visible_grey = [grey_of(image) for image in visible]
    thermal_grey = [grey_of(image) for image in thermal]
    places = _Places.none()
    score = 0.0
    for one in passes:
        zoom = fit.zoom(one.width)
        fields = [edge_field(scaled(grey, zoom)) for grey in visible_grey]
        for _ in range(one.times):
            score, places = _look(fields, thermal_grey, fit.pair, one, zoom)
            if len(places.at) < FEWEST:
                return fit.result(places, zoom, score)
            fit.update(places, zoom)
    return fit.result(places, zoom, score)


@dataclass(frozen=True, eq=False)
class _Places:
    """What patches say: they lie at `at`, belong at `at + shift`; (n, 2) visible pixels.

    information: (n, 2, 2) inverse covariance of the shift, per visible pixel squared.
    surface: (n, 2r+1, 2r+1) correlation with the visible image at every shift, working pixels.
    weight: (n,) by how much the log-likelihood of a shift rises with its correlation.
    frames: (n,) how many independent frames speak.
    half: (n,) bool; like the fields of a chessboard, so that either half covers the image.
    """

    at: np.ndarray
    shift: np.ndarray
    information: np.ndarray
    surface: np.ndarray
    weight: np.ndarray
    frames: np.ndarray
    half: np.ndarray

    @classmethod
    def none(cls) -> _Places:
        zero = np.empty(0)
        return cls(np.empty((0, 2)), np.empty((0, 2)), np.empty((0, 2, 2)), *[zero] * 4)


def _look(
    fields: Sequence[np.ndarray],
    thermal: Sequence[np.ndarray],
    pair: CameraPair,
    one: Pass,
    zoom: float,
) -> tuple[float, _Places]:
    """Correlation of the whole, beyond chance, and where each patch belongs."""
    height, width = fields[0].shape[:2]
    grid = _thermal_places(pair, width, height, zoom)
    thermal_height, thermal_width = thermal[0].shape
    seen = ((grid > 1) & (grid < (thermal_width - 2, thermal_height - 2))).all(2)
    # Working pixels per thermal pixel: finer thermal pixels are averaged first.
    factor = zoom * math.sqrt(abs(np.linalg.det(pair.homography[:2, :2])))
    # Gradients at the border are the border's.
    inside = cv2.erode(seen.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0)
    moved = []
    for grey in thermal:
        smooth = cv2.GaussianBlur(grey, (0, 0), 0.45 / factor) if factor < 0.9 else grey
        warped = cv2.remap(smooth, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        moved.append(edge_field(warped) * inside[..., None])
    both = sum(float((a * b).sum()) for a, b in zip(fields, moved, strict=True))
    energy = [total_length_squared(some) for some in (fields, moved)]
    alone = float((energy[0] * inside).sum()) * float(energy[1].sum())
    score = both / math.sqrt(alone + 1e-9) * math.sqrt(float(inside.sum()) * len(fields))
    return score, _patches(fields, moved, energy, inside, one, zoom)


def _thermal_places(pair: CameraPair, width: int, height: int, zoom: float) -> np.ndarray:
    """Thermal place of every working pixel, (height, width, 2) float32; from every eighth."""
    x, y = np.meshgrid(np.arange(0, width + 8, 8), np.arange(0, height + 8, 8))
    at = ((np.stack([x, y], -1) + 0.5) / zoom - 0.5).reshape(-1, 2)
    coarse = np.nan_to_num(pair.to_thermal(at), nan=-1e4).reshape(*x.shape, 2)
    u, v = np.meshgrid(
        np.arange(width, dtype=np.float32) / 8, np.arange(height, dtype=np.float32) / 8
    )
    return cv2.remap(coarse.astype(np.float32), u, v, cv2.INTER_LINEAR)


def _patches(
    fields: Sequence[np.ndarray],
    moved: Sequence[np.ndarray],
    energy: Sequence[np.ndarray],
    inside: np.ndarray,
    one: Pass,
    zoom: float,
) -> _Places:
    side, reach = one.patch, one.reach
    padded = [_framed(field, reach) for field in fields]
    canvas = cv2.getOptimalDFTSize(side + 2 * reach)
    total = cv2.integral(_framed(energy[0], reach))
    area, own = cv2.integral(inside), cv2.integral(energy[1])
    height, width = inside.shape
    at, shift, information, surfaces, weights = [], [], [], [], []
    frames, half = [], []
    for top in range(0, height - side + 1, side // 2):
        for left in range(0, width - side + 1, side // 2):
            count = _box(area, left, top, side)
            if count < 0.6 * side * side:
                continue
            part = np.s_[top : top + side, left : left + side]
            around = np.s_[top : top + side + 2 * reach, left : left + side + 2 * reach]
            wide = [field[around] for field in padded]
            surface = _correlation(wide, [field[part] for field in moved], canvas)
            surface = surface[: 2 * reach + 1, : 2 * reach + 1]
            span = np.s_[top : top + side + 2 * reach + 1, left : left + side + 2 * reach + 1]
            box = total[span]
            under = (
                box[side:, side:] + box[:-side, :-side] - box[side:, :-side] - box[:-side, side:]
            )
            surface = surface / np.sqrt(under * _box(own, left, top, side) + 1e-6)
            worth = _independent([[f[part] for f in some] for some in (fields, moved)])
            values = count * worth / CORRELATED
            found = _peak(surface, values)
            if found is not None:
                at.append((left + (side - 1) / 2, top + (side - 1) / 2))
                shift.append(found[0])
                information.append(found[1])
                surfaces.append(surface)
                weights.append(values)
                frames.append(worth)
                half.append((top // side + left // side) % 2 == 0)
    if not at:
        return _Places.none()
    tops = np.array([surface.max() for surface in surfaces])
    return _Places(
        (np.array(at) + 0.5) / zoom - 0.5,
        np.array(shift) / zoom,
        np.array(information) * zoom**2,
        np.array(surfaces),
        np.array(weights) * float(np.median(tops)),
        np.array(frames),
        np.array(half),
    )


def _correlation(
    around: Sequence[np.ndarray], patches: Sequence[np.ndarray], canvas: int
) -> np.ndarray:
    """Sum over the frames of the fields' products with the patch's corner at each (row, column).

    By Fourier transforms of fields as complex numbers, added up before the one way back: ten times
    faster for twelve frames than one `cv2.matchTemplate` a frame.
    """
    total = np.zeros((canvas, canvas, 2), np.float32)
    for wide, patch in zip(around, patches, strict=True):
        spectrum = cv2.dft(_in_corner(wide, canvas))
        total += cv2.mulSpectrums(spectrum, cv2.dft(_in_corner(patch, canvas)), 0, conjB=True)
    return cv2.idft(total, flags=cv2.DFT_SCALE)[..., 0]


def _in_corner(field: np.ndarray, canvas: int) -> np.ndarray:
    height, width = field.shape[:2]
    return cv2.copyMakeBorder(
        field, 0, canvas - height, 0, canvas - width, cv2.BORDER_CONSTANT, value=(0, 0)
    )


def _independent(views: Sequence[Sequence[np.ndarray]]) -> float:
    """How many independent frames the frames of a patch are worth, 1 to n.

    views: of either camera, the n frames' fields.

    n / (1 + (n - 1) r), with r the mean correlation of two frames: the design effect of cluster
    samples (Kish, Survey Sampling, 1965, 5.4). What is summed over the frames are products of both
    cameras' fields, and where these have nothing to do with each other, their products correlate
    as the product of their correlations. A still camera's frames are alike in all but noise and
    what moves.
    """
    count = len(views[0])
    alike = np.ones((count, count))
    for fields in views:
        flat = np.stack([field.ravel() for field in fields])
        flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9
        alike *= flat @ flat.T
    # The sum is n (1 + (n - 1) r).
    return count**2 / max(float(alike.sum()), count)


def _framed(image: np.ndarray, by: int) -> np.ndarray:
    return cv2.copyMakeBorder(image, by, by, by, by, cv2.BORDER_CONSTANT)


def _box(total: np.ndarray, left: int, top: int, side: int) -> float:
    return float(
        total[top + side, left + side] + total[top, left]
        - total[top, left + side] - total[top + side, left]
    )  # fmt: skip


# Least squares of a paraboloid over 3x3 values: constant, x, y, xx, xy, yy.
_X, _Y = (axis.reshape(-1) for axis in np.meshgrid((-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0)))
_PARABOLOID = np.linalg.pinv(np.stack([_X * 0 + 1, _X, _Y, _X * _X, _X * _Y, _Y * _Y], 1))
CORRELATED = 12.0  # neighbouring values of a field that tell the same
SHARPEST = 0.1  # working pixels; no patch is believed to know better


def _peak(surface: np.ndarray, count: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Shift of the highest correlation, and its information; None if it is at the border.

    With n independent values the log-likelihood of a shift falls as n c^2 / (2 (1 - c^2)) does, so
    that its curvature, the information, is n c / (1 - c^2) times the correlation's.
    """
    row, col = np.unravel_index(int(surface.argmax()), surface.shape)
    last = surface.shape[0] - 1
    if not (0 < row < last and 0 < col < last):
        return None
    top = float(surface[row, col])
    if top <= 0:
        return None
    _, x, y, xx, xy, yy = _PARABOLOID @ surface[row - 1 : row + 2, col - 1 : col + 2].reshape(-1)
    bend = -np.array([[2 * xx, xy], [xy, 2 * yy]])
    curve, axes = np.linalg.eigh(bend)
    curve = np.maximum(curve, 1e-4)
    step = np.clip((axes / curve) @ axes.T @ (x, y), -1, 1)
    information = np.clip(curve * count * top / (1.01 - top**2), 0, SHARPEST**-2)
    middle = last / 2
    return np.array([col, row]) - middle + step, (axes * information) @ axes.T


class _Fit:
    """Homography and radial distortion, and how far they have come from a similarity."""

    def __init__(self, start: CameraPair) -> None:
        self.start, self.homography, self.total = start, start.homography, np.zeros(9)
        width, height = start.visible.size
        self.half, self.centre = width / 2, np.array([(width - 1) / 2, (height - 1) / 2])
        self.thermal_size = start.thermal.size
        radial = RADIAL if start.thermal.matrix is None else 1e-6
        self.prior = np.array([0, 0, 0, 0, *(1 / d for d in (STRETCH, SHEAR, TILT, TILT, radial))])
        self.covariance: np.ndarray = np.zeros((9, 9))

    @property
    def pair(self) -> CameraPair:
        """The registration as it stands."""
        thermal, radial = self.start.thermal, float(self.total[8])
        if thermal.matrix is None and radial:
            width, height = thermal.size
            half = math.hypot(width, height) / 2  # so that k1 is what happens at the corner
            matrix = np.array([[half, 0, (width - 1) / 2], [0, half, (height - 1) / 2], [0, 0, 1]])
            thermal = replace(thermal, matrix=matrix, distortion=(radial, 0, 0, 0), estimated=True)
        return replace(self.start, thermal=thermal, mapping=self.homography)

    def zoom(self, across: int) -> float:
        """Working pixels per visible pixel that lay so many across what both cameras see."""
        corners = overlap(self.pair)
        if not len(corners):
            return across / self.start.visible.width
        return min(across / float(np.ptp(corners[:, 0])), 1.0)

    def jacobian(self, at: np.ndarray) -> np.ndarray:
        """(n, 2, 9): how visible places (n, 2) move, in halves of the width, with each parameter:
        shift x, y, growth, turn, stretch, shear, tilts, k1."""
        u, v = ((at - self.centre) / self.half).T
        zero, one = np.zeros_like(u), np.ones_like(u)
        x = [one, zero, u, -v, u, v, u * u, u * v]
        y = [zero, one, v, u, -v, u, u * v, v * v]
        # An ideal ray r that is shown at r (1 + k r^2) moves by -r r^2 for the same shown place.
        inverse = np.linalg.inv(self.homography)
        ideal = cv2.perspectiveTransform(at[None], inverse)[0]
        width, height = self.thermal_size
        ray = (ideal - ((width - 1) / 2, (height - 1) / 2)) / (math.hypot(width, height) / 2)
        square = np.minimum((ray**2).sum(1), 1.2)
        moved = ideal - ray * square[:, None] * math.hypot(width, height) / 2
        bent = (cv2.perspectiveTransform(moved[None], self.homography)[0] - at) / self.half
        return np.stack([np.stack([*x, bent[:, 0]], -1), np.stack([*y, bent[:, 1]], -1)], 1)

    def update(self, places: _Places, zoom: float) -> None:
        """Move by what the patches say, those that disagree with the most left aside."""
        jacobian = self.jacobian(places.at)
        if self.start.thermal.matrix is not None:
            jacobian[:, :, 8] = 0
        shift, information = places.shift / self.half, places.information * self.half**2
        solution = np.zeros(9)
        # The shift on which most agree: outliers are many, and lie anywhere.
        distance = np.linalg.norm(places.shift[:, None] - places.shift[None], axis=2) * zoom
        crowd = distance[int((distance < 2.5).sum(1).argmax())] < 2.5
        solution[:2] = shift[crowd].mean(0)
        for _ in range(15):
            weight, scale = self._weights(jacobian, shift, information, solution)
            sure = np.einsum("n,nij->nij", weight, information)
            normal = np.einsum("nia,nij,njb->ab", jacobian, sure, jacobian) / scale
            right = np.einsum("nia,nij,nj->a", jacobian, sure, shift) / scale
            # The priors are on what has come together since the start.
            normal += np.diag(self.prior**2)
            right -= self.prior**2 * self.total
            solution = np.linalg.solve(normal, right)
        slopes = jacobian * self.half * zoom
        solution, normal = self._climb(slopes, places, solution)
        # Half of what two halves differ by has the deviation of the whole, if the peaks are right;
        # it has more where near and far things, or things that only one camera sees, pull apart.
        one, other = (
            self._climb(slopes, replace(places, weight=places.weight * half), solution)[0]
            for half in (places.half, ~places.half)
        )
        apart = (one - other) / 2
        self.covariance = np.linalg.inv(normal) * 4 + np.outer(apart, apart)
        self._move(solution)

    def _climb(
        self, jacobian: np.ndarray, places: _Places, solution: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """From the peaks' solution to the maximum of all correlations at the shifts it implies.

        Newton's method. A patch whose peak is elsewhere has no slope here, and so no say.
        """
        surface, rows = places.surface, np.arange(len(places.at))
        reach = surface.shape[1] // 2
        near = np.arange(-1, 2)
        normal = np.diag(self.prior**2)
        for _ in range(8):
            place = jacobian @ solution
            cell = np.clip(np.rint(place), 1 - reach, reach - 1).astype(int)
            off = np.clip(place - cell, -1, 1)
            values = surface[
                rows[:, None, None],
                reach + cell[:, 1, None, None] + near[:, None],
                reach + cell[:, 0, None, None] + near,
            ]
            _, x, y, xx, xy, yy = (values.reshape(len(rows), 9) @ _PARABOLOID.T).T
            slope = np.stack([x + 2 * xx * off[:, 0] + xy * off[:, 1],
                              y + 2 * yy * off[:, 1] + xy * off[:, 0]], 1)  # fmt: skip
            bend = -np.stack([np.stack([2 * xx, xy], 1), np.stack([xy, 2 * yy], 1)], 2)
            curve, axes = np.linalg.eigh(bend)
            bend = np.einsum("nij,nj,nkj->nik", axes, np.maximum(curve, 0), axes)
            gone = (np.abs(place) > reach).any(1)
            weight = np.where(gone, 0, places.weight)
            normal = np.einsum("nia,n,nij,njb->ab", jacobian, weight, bend, jacobian)
            right = np.einsum("nia,n,ni->a", jacobian, weight, slope)
            normal += np.diag(self.prior**2 + 1e-6)
            right -= self.prior**2 * (self.total + solution)
            solution = solution + np.linalg.solve(normal, right)
        return solution, normal

    @staticmethod
    def _weights(
        jacobian: np.ndarray, shift: np.ndarray, information: np.ndarray, solution: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Cauchy weights, and the scale by which residuals are larger than they say."""
        left = shift - jacobian @ solution
        square = np.einsum("ni,nij,nj->n", left, information, left)
        # 1.386 is the median of chi square with two degrees of freedom. Patches overlap by half
        # in both directions, so four tell as much as one.
        scale = max(float(np.median(square)) / 1.386, 1.0)
        return 1 / (1 + square / (6 * scale)), 4 * scale

    def _move(self, solution: np.ndarray) -> None:
        tx, ty, growth, turn, stretch, shear, tilt_x, tilt_y, radial = solution
        u0, v0 = self.centre
        # x + h J p to first order in p, as a homography in halves of the width.
        change = np.array([
            [1 + growth + stretch, shear - turn, tx],
            [shear + turn, 1 + growth - stretch, ty],
            [-tilt_x, -tilt_y, 1],
        ])  # fmt: skip
        norm = np.array([[1 / self.half, 0, -u0 / self.half], [0, 1 / self.half, -v0 / self.half],
                         [0, 0, 1]])  # fmt: skip
        self.homography = np.linalg.inv(norm) @ change @ norm @ self.homography
        self.homography = self.homography / self.homography[2, 2]
        self.total = self.total + solution

    def result(self, places: _Places, zoom: float, score: float) -> Refined:
        corners = overlap(self.pair)
        agreement = 0.0
        deviation = np.full(len(corners), np.inf)
        if len(places.at) >= FEWEST and len(corners):
            # `places` were seen before the last update, which moved by little.
            sharp = np.linalg.eigvalsh(places.information)[:, 1]
            square = np.einsum("ni,nij,nj->n", places.shift, places.information, places.shift)
            agreement = float((np.sqrt(square / sharp) * zoom < CLOSE).mean())
            jacobian = self.jacobian(corners)
            spread = np.einsum("nia,ab,nib->n", jacobian, self.covariance, jacobian)
            deviation = np.sqrt(spread) * self.half
        frames = float(np.median(places.frames)) if len(places.at) else 1.0
        return Refined(self.pair, agreement, len(places.at), frames, deviation, corners, score)


def overlap(pair: CameraPair) -> np.ndarray:
    """Corners (n, 2) of what both cameras see, in visible pixels, lenses left aside."""
    width, height = pair.thermal.size
    thermal = cv2.perspectiveTransform(_outline(width, height)[None], pair.homography)[0]
    common, corners = cv2.intersectConvexConvex(
        thermal.astype(np.float32), _outline(*pair.visible.size).astype(np.float32)
    )
    return corners.reshape(-1, 2).astype(np.float64) if common > 0 else np.empty((0, 2))


def _outline(width: int, height: int) -> np.ndarray:
    x, y = width - 0.5, height - 0.5
    return np.array([[-0.5, -0.5], [x, -0.5], [x, y], [-0.5, y]])
