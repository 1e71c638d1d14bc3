"""The constant delay between the two streams, from motion that both cameras show.

Two methods, neither of which needs registered pixels:

    moving camera    compares the shift and rotation of the whole image over time, without slow
                     motion
    moving objects   compares films of where each pixel changes more than its noise, for all delays
                     and all small shifts at once, so that a shift is not taken for a delay

Both give a curve over the delay, and its peak is the result. Its uncertainty is the spread of the
peaks when seconds of the recording are drawn at random (block bootstrap: Künsch, Annals of
Statistics 17, 1989). A still or periodic scene gives a refusal.

Without a mapping, scale and shift of the films are searched for moving objects. Each stamp counts
as the centre of exposure. The delay includes what the drivers stamp and the thermal time constant
of a microbolometer, about 10 ms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.types import AnyArray, Float32Array, Float64Array, Int64Array, UInt8Array

# Seconds.
MAX_DELAY = 0.5  # in both directions
DELAY_STEP = 0.005
MAX_LENGTH = 60.0  # of a recording that is used
MIN_LENGTH = 4.0
MAX_UNCERTAINTY = 0.010  # of an accepted result
DELAYS = np.linspace(-MAX_DELAY, MAX_DELAY, 2 * round(MAX_DELAY / DELAY_STEP) + 1, dtype=np.float64)

_MIN_BASELINE = 1 / 15  # between the two images of a change
_SEARCH_UNCERTAINTY = 0.005  # added by a searched mapping, measured on real clips
_MIN_UNCERTAINTY = 0.003  # thirds of real clips differ by more than the bootstrap shows
_SMOOTHING = 0.3  # slower motion of the camera is ignored

_WIDTH = 160  # small pixels, width of the reduced images; they keep their aspect ratio
_MAX_SHIFT = 5  # small pixels, error of the registration in all directions
_MIN_CHANGED = 3e-4  # share of the pixels; noise beyond 4 deviations gives 6e-5
_DRAWS = 100
_MAX_RIVAL = 0.95  # height of the second peak, share of the first

# Shaking of the camera, small pixels. Below STILL it is not measurable, below STEADY harmless.
STILL, STEADY = 0.02, 0.25
CAMERA, OBJECTS = "the camera's motion", "objects that move in the image"

Stream = Iterable[tuple[int, AnyArray]]


@dataclass(frozen=True)
class TimeOffset:
    """The measured time offset.

    seconds: to add to thermal stamps so that they fit the visible ones.
    uncertainty: one standard deviation, seconds; infinite without a result.
    confident: whether to use the result.
    reason: for people: the method, or why there is no result and what to do.
    """

    seconds: float
    uncertainty: float
    confident: bool
    reason: str


class _Series(NamedTuple):
    """Values (n, ...) at rising times (n,) in seconds."""

    times: Float64Array
    values: AnyArray


def time_offset(
    visible: Stream, thermal: Stream, homography: Float64Array | None = None
) -> TimeOffset:
    """The time offset between two streams. About 20 s with motion are enough.

    visible: (stamp in nanoseconds, (H, W, 3) uint8 BGR or (H, W) uint8), in order of time.
    thermal: (stamp in nanoseconds, (h, w) uint8 or uint16), in order of time, at 5 Hz or more. The
        stamps may be wrong by up to `MAX_DELAY`. All images of a stream have one size.
    homography: (3, 3) thermal -> visible pixels, right to about 5 visible pixels of 160. None: it
        is searched, which takes longer and needs more motion.

    Raises:
        InputError: a stream is too short, too slow, out of order, or has invalid images.
    """
    films = _Film("visible", visible), _Film("thermal", thermal)
    start = max(film.times[0] for film in films)
    common = min(film.times[-1] for film in films) - start
    if common < MIN_LENGTH:
        raise InputError(
            f"the streams have {common:.1f} s in common; expected {MIN_LENGTH:.0f} s or more; "
            "record longer, and check that both cameras use the same clock"
        )
    # Relative times: nanoseconds since 1970 exceed the precision of float64.
    for film in films:
        film.times = film.times - start
    paths = [_Series(film.times, _camera_path(film.frames)) for film in films]
    by_camera = _by_camera(*paths)
    if by_camera.confident:
        return by_camera
    if min(map(_shaking, paths)) > STEADY:
        # The whole image changes, and parallax looks like a delay.
        by_objects = _refused(f"{OBJECTS}: the camera itself moves too much")
    else:
        by_objects = _by_objects(*films, homography)
    if by_objects.confident:
        return by_objects
    return _refused(
        f"{by_camera.reason}; {by_objects.reason}; record again: turn the cameras by hand to and "
        "fro, unevenly, or keep them still while people walk through both images"
    )


class _Film:
    """A stream of reduced images.

    times: (n,) seconds, float64.
    frames: (n, h, 160), grey levels 0 to 255 of the film's range.
    size: width and height of the original images.
    """

    def __init__(self, name: str, stream: Stream) -> None:
        nanoseconds: list[int] = []
        frames: list[Float32Array] = []
        for stamp, image in stream:
            if nanoseconds and stamp <= nanoseconds[-1]:
                raise InputError(
                    f"{name} stamp {stamp} after {nanoseconds[-1]}; expected rising nanoseconds"
                )
            if nanoseconds and stamp - nanoseconds[0] > MAX_LENGTH * 1e9:
                break
            frames.append(self._reduced(name, image))
            nanoseconds.append(stamp)
        if len(frames) < 5 * MIN_LENGTH:
            raise InputError(
                f"{len(frames)} {name} images; expected at least {5 * MIN_LENGTH:.0f}: "
                f"{MIN_LENGTH:.0f} s at 5 Hz or more"
            )
        self.times = np.array(nanoseconds, np.float64) / 1e9
        self.period = float(np.median(np.diff(self.times)))
        if self.period > 0.21:
            raise InputError(f"{name} images at {1 / self.period:.1f} Hz; expected 5 Hz or more")
        self.frames: AnyArray = np.array(frames)
        if self.dtype != np.uint8:
            low, high = np.percentile(self.frames[:: max(len(frames) // 20, 1)], (0.5, 99.5))
            self.frames = np.clip((self.frames - low) * (255 / max(high - low, 64)), 0, 255)

    def _reduced(self, name: str, image: AnyArray) -> Float32Array:
        if not hasattr(self, "size"):
            self.size, self.dtype = image.shape[1::-1], image.dtype
        if image.shape[1::-1] != self.size or image.dtype not in (np.uint8, np.uint16):
            raise InputError(
                f"{name} image of shape {image.shape}, {image.dtype}; expected "
                f"{self.size[0]}x{self.size[1]} pixels like the first, uint8 or uint16"
            )
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
        height = max(round(_WIDTH * image.shape[0] / image.shape[1]), 16)
        reduced: AnyArray = cv2.resize(grey, (_WIDTH, height), interpolation=cv2.INTER_AREA)
        return reduced.astype(np.float32)

    @property
    def reduction(self) -> Float64Array:
        """Original pixels -> small pixels, (3, 3)."""
        height, width = self.frames.shape[1:]
        x, y = width / self.size[0], height / self.size[1]
        return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


# --- moving camera


def _camera_path(frames: AnyArray) -> Float64Array:
    """Accumulated motion of the whole image, (n, 3): x and y in small pixels, rotation in radians.

    A step with too few corners counts as no motion.
    """
    levelled = [_levelled(frame) for frame in frames]
    steps = [(0.0, 0.0, 0.0), *map(_step, levelled[:-1], levelled[1:])]
    return np.cumsum(steps, 0)


def _levelled(frame: AnyArray) -> UInt8Array:
    """The image with equal contrast everywhere, so that a hot spot does not attract all corners."""
    mean = cv2.GaussianBlur(frame, (0, 0), 8)
    spread = np.sqrt(cv2.GaussianBlur((frame - mean) ** 2, (0, 0), 12))
    levelled: AnyArray = 128 + 40 * (frame - mean) / (spread + 3)
    return np.clip(levelled, 0, 255).astype(np.uint8)


def _step(before: UInt8Array, after: UInt8Array) -> tuple[float, float, float]:
    """Shift of the image centre and rotation, by a robust fit to tracked corners."""
    corners = cv2.goodFeaturesToTrack(before, 150, 0.02, 5)
    if corners is None or len(corners) < 12:
        return 0, 0, 0
    tracked, forward, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, winSize=(15, 15))
    back, backward, _ = cv2.calcOpticalFlowPyrLK(after, before, tracked, None, winSize=(15, 15))
    good = (forward & backward)[:, 0].astype(bool) & (np.abs(back - corners).max((1, 2)) < 0.3)
    if good.sum() < 12:
        return 0, 0, 0
    middle = (np.array(before.shape[::-1]) - 1) / 2
    start, end = corners[good, 0] - middle, tracked[good, 0] - middle
    matrix, _ = cv2.estimateAffinePartial2D(start, end, method=cv2.LMEDS, refineIters=10)
    if matrix is None:
        return 0, 0, 0
    return matrix[0, 2], matrix[1, 2], float(np.arctan2(matrix[1, 0], matrix[0, 0]))


def _by_camera(visible: _Series, thermal: _Series) -> TimeOffset:
    """The time offset between two paths (n, 3).

    A channel of jointly normal signals with correlation r adds -log(1 - r^2) / 2, their mutual
    information. A channel of noise therefore adds almost nothing.
    """
    if min(_shaking(visible), _shaking(thermal)) < STILL:
        return _refused(f"{CAMERA}: the camera stands still")
    fast_visible, fast_thermal = _high_pass(visible), _high_pass(thermal)
    inside = (thermal.times > visible.times[0] + MAX_DELAY) & (
        thermal.times < visible.times[-1] - MAX_DELAY
    )
    times, fast_thermal = thermal.times[inside], fast_thermal[inside]
    blocks = _blocks(times)
    count = int(blocks.max(initial=-1)) + 1
    # Sums over each second of v t, v^2 and t^2: (seconds, delays, channels).
    sums = [np.zeros((count, len(DELAYS), 3)) for _ in range(3)]
    for index, delay in enumerate(DELAYS):
        moved = _cubic(visible.times, fast_visible, times + delay)
        products = (moved * fast_thermal, moved**2, fast_thermal**2)
        for total, product in zip(sums, products, strict=True):
            np.add.at(total[:, index], blocks, product)

    def curve(weights: Float64Array) -> Float64Array:
        vt, vv, tt = (np.tensordot(weights, total, 1) for total in sums)
        r = np.clip(vt / np.sqrt(vv * tt + 1e-12), 0, 0.9999)
        information: Float64Array = -0.5 * np.log(1 - r**2).sum(1)
        return information

    return _judged(CAMERA, curve, count, 0.1)


def _shaking(path: _Series) -> float:
    """Standard deviation of the fast motion, small pixels."""
    return float(_high_pass(path)[:, :2].std(0).max())


def _high_pass(path: _Series) -> Float64Array:
    weights = np.exp(-0.5 * ((path.times[:, None] - path.times[None]) / _SMOOTHING) ** 2)
    fast: Float64Array = path.values - weights @ path.values / weights.sum(1, keepdims=True)
    return fast


# --- moving objects


def _by_objects(visible: _Film, thermal: _Film, homography: Float64Array | None) -> TimeOffset:
    slower = max(visible.period, thermal.period)
    baseline = slower * math.ceil(_MIN_BASELINE / slower - 0.1)
    visible_changes = _changes(_Series(visible.times, visible.frames), baseline)
    thermal_changes = _changes(_Series(thermal.times, thermal.frames), baseline)
    if min(len(visible_changes.times), len(thermal_changes.times)) < 5 * MIN_LENGTH:
        return _refused(f"{OBJECTS}: too many images are missing")
    moves = visible_changes.values.any(), thermal_changes.values.any()
    if not all(moves):
        image = "either" if not any(moves) else "the thermal" if moves[0] else "the visible"
        return _refused(f"{OBJECTS}: nothing moves in {image} image")
    if homography is None:
        mapping = _searched_mapping(visible_changes, thermal_changes)
    else:
        mapping = visible.reduction @ np.asarray(homography) @ np.linalg.inv(thermal.reduction)
    size = visible_changes.values.shape[:0:-1]
    warped = [cv2.warpPerspective(frame, mapping, size) for frame in thermal_changes.values]
    result = _by_films(visible_changes, _Series(thermal_changes.times, np.array(warped)))
    if homography is None and result.confident:
        return replace(result, uncertainty=math.hypot(result.uncertainty, _SEARCH_UNCERTAINTY))
    return result


def _changes(film: _Series, baseline: float) -> _Series:
    """How much each pixel changes over `baseline` seconds, beyond its noise.

    Returns the middles of the intervals, and (m, h, w) with zero mean over time.
    """
    times, frames = film
    later = np.abs(times[:, None] + baseline - times[None]).argmin(1)
    interval = times[later] - times
    good = np.abs(interval - baseline) < 0.55 * float(np.median(np.diff(times)))
    before, later = np.flatnonzero(good), later[good]
    if not len(before):
        return _Series(times[:0], frames[:0])
    change = frames[later] - frames[before]
    # A change of the whole image is the camera's gain.
    change = np.abs(change - np.median(change, (1, 2), keepdims=True))
    noise = 1.48 * np.median(change, 0) + 1  # from the median absolute deviation of normal noise
    change = np.clip(change / noise - 3, 0, 12)
    if (change > 1).mean() < _MIN_CHANGED:
        change[:] = 0
    return _Series((times[before] + times[later]) / 2, change - change.mean(0))


def _searched_mapping(visible: _Series, thermal: _Series) -> Float64Array:
    """The similarity (3, 3) in small pixels, thermal -> visible, that fits both films best.

    For each scale, one Fourier transform over time and space compares all delays and shifts.
    """
    rate, shrink = 15.0, 3
    times = np.arange(0, min(visible.times[-1], thermal.times[-1], 30.0), 1 / rate)
    max_lag = round(MAX_DELAY * rate)
    height, width = (n // shrink for n in visible.values.shape[1:])
    y, x = reach = (round(0.3 * height), round(0.3 * width))
    canvas = tuple(
        cv2.getOptimalDFTSize(n) for n in (len(times) + max_lag, height + 2 * y, width + 2 * x)
    )
    fixed = np.zeros(canvas, np.float32)
    for index, frame in enumerate(visible.values[_nearest(visible.times, times)]):
        fixed[index, y : y + height, x : x + width] = cv2.resize(
            frame, (width, height), interpolation=cv2.INTER_AREA
        )
    fixed_spectrum = np.fft.rfftn(fixed)
    source = thermal.values[_nearest(thermal.times, times)]
    scales = np.geomspace(0.37, 2.7, 33)
    scores = np.zeros(len(scales))
    shifts, delays = np.zeros((len(scales), 2)), np.zeros(len(scales))
    rows, cols = (np.arange(-n, n + 1) for n in reach)
    searched = np.ix_(np.arange(-max_lag, max_lag + 1), rows, cols)
    middle = np.array([x + (width - 1) / 2, y + (height - 1) / 2])
    thermal_middle = (np.array(source.shape[:0:-1]) - 1) / 2
    for number, scale in enumerate(scales):
        zoom = scale / shrink
        matrix = np.array([[zoom, 0, 0], [0, zoom, 0]])
        matrix[:, 2] = middle - zoom * thermal_middle
        moving = np.zeros(canvas, np.float32)
        for index, frame in enumerate(source):
            if zoom < 1:  # avoid aliasing
                frame = cv2.GaussianBlur(frame, (0, 0), 0.5 / zoom)
            moving[index] = cv2.warpAffine(frame, matrix, canvas[:0:-1])
        spectrum = np.fft.rfftn(moving).conj() * fixed_spectrum
        score = np.fft.irfftn(spectrum, canvas, (0, 1, 2))[searched]
        lag, row, col = np.unravel_index(int(score.argmax()), score.shape)
        scores[number] = score.max() / (float(np.linalg.norm(moving)) + 1e-9)
        shifts[number] = cols[col], rows[row]
        delays[number] = (lag - max_lag) / rate
    best = int(scores.argmax())
    scale, shift = scales[best], shifts[best]
    if 0 < best < len(scales) - 1:
        scale *= (scales[1] / scales[0]) ** _vertex(*scores[best - 1 : best + 2])
    # Small visible pixel = shrink * (coarse - (x, y) + 0.5) - 0.5.
    centre = shrink * (middle + shift - (x, y) + 0.5) - 0.5
    return _refined_mapping(visible, thermal, delays[best], scale, centre)


def _refined_mapping(
    visible: _Series, thermal: _Series, delay: float, scale: float, centre: Float64Array
) -> Float64Array:
    """The similarity (3, 3) near a delay (s), a scale, and the thermal image's centre (x, y).

    Newton's method refines all parameters together. One after the other would hardly move, because
    a wrong position compensates for a wrong delay.
    """
    reach = 0.1  # s around the coarse delay
    inside = (thermal.times + delay - reach > visible.times[0]) & (
        thermal.times + delay + reach < visible.times[-1]
    )
    chosen = np.flatnonzero(inside)[:: max(int(inside.sum()) // 200, 1)]
    size = visible.values.shape[:0:-1]
    middle = (np.array(thermal.values.shape[:0:-1]) - 1) / 2

    def similarity(values: Float64Array) -> Float64Array:
        c, s = np.exp(values[0]) * np.array([np.cos(values[1]), np.sin(values[1])])
        x, y = values[2:4] - np.array([[c, -s], [s, c]]) @ middle
        return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])

    def score(values: Float64Array) -> float:
        matrix = similarity(values)[:2]
        times = np.clip(thermal.times[chosen] + values[4], visible.times[0], visible.times[-1])
        after = np.clip(np.searchsorted(visible.times, times), 1, len(visible.times) - 1)
        gap = visible.times[after] - visible.times[after - 1]
        shares = ((times - visible.times[after - 1]) / gap).astype(np.float32)
        product = thermal_energy = visible_energy = 0.0
        for index, late, share in zip(chosen, after, shares, strict=True):
            warped = cv2.warpAffine(thermal.values[index], matrix, size)
            early_frame, late_frame = visible.values[late - 1], visible.values[late]
            frame = cv2.addWeighted(early_frame, 1 - share, late_frame, share, 0)
            product += float(np.vdot(warped, frame))
            thermal_energy += float(np.vdot(warped, warped))
            visible_energy += float(np.vdot(frame, frame))
        return product / math.sqrt(thermal_energy * visible_energy + 1e-9)

    values: Float64Array = np.array([np.log(scale), 0, *centre, delay])
    steps = np.diag([0.015, 0.01, 0.7, 0.7, 0.012])
    best = score(values)
    for _ in range(8):
        ahead = np.array([score(values + step) for step in steps])
        behind = np.array([score(values - step) for step in steps])
        gradient = (ahead - behind) / 2
        hessian = np.diag(ahead + behind - 2 * best)
        for i in range(5):
            for j in range(i):
                both = score(values + steps[i] + steps[j])
                hessian[i, j] = hessian[j, i] = both - ahead[i] - ahead[j] + best
        # A Newton step that always leads uphill and has a limited length.
        curvature, axes = np.linalg.eigh(hessian)
        move = axes @ ((axes.T @ gradient) / np.maximum(np.abs(curvature), 1e-9))
        move = steps @ (move / max(1.0, float(np.abs(move).max()) / 3))
        while (moved := score(values + move)) <= best:
            move = move / 2
            if np.abs(move[2:4]).max() < 0.02 and abs(move[4]) < 5e-4:
                return similarity(values)
        values, best = values + move, moved
    return similarity(values)


def _nearest(times: Float64Array, wanted: Float64Array) -> Int64Array:
    """Index of the nearest time for each wanted one."""
    after = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    return after - (wanted - times[after - 1] < times[after] - wanted)


def _by_films(visible: _Series, thermal: _Series) -> TimeOffset:
    """The time offset between two films of one size, registered to within `_MAX_SHIFT` pixels.

    Each thermal frame is correlated with all visible frames around it, for all shifts. Only the
    correlation, which is smooth, is interpolated in time; images are not.
    """
    side = 2 * _MAX_SHIFT + 1
    canvas = tuple(cv2.getOptimalDFTSize(n + _MAX_SHIFT) for n in visible.values.shape[1:])
    spectra = np.fft.rfft2(visible.values, canvas)
    energy = (visible.values**2).sum((1, 2))[:, None]
    margin = MAX_DELAY + 2 * float(np.median(np.diff(visible.times)))
    inside = (thermal.times > visible.times[0] + margin) & (
        thermal.times < visible.times[-1] - margin
    )
    times, frames = thermal.times[inside], thermal.values[inside]
    blocks = _blocks(times)
    count = int(blocks.max(initial=-1)) + 1
    products = np.zeros((count, len(DELAYS), side * side), np.float32)
    energies = np.zeros((count, len(DELAYS), 1))
    for block, time, frame in zip(blocks, times, frames, strict=True):
        first = int(np.searchsorted(visible.times, time - MAX_DELAY)) - 2
        last = int(np.searchsorted(visible.times, time + MAX_DELAY)) + 2
        spectrum = spectra[first:last] * np.fft.rfft2(frame, canvas).conj()
        product = np.roll(np.fft.irfft2(spectrum, canvas), (_MAX_SHIFT, _MAX_SHIFT), (1, 2))
        product = product[:, :side, :side].reshape(-1, side * side)
        delays = visible.times[first:last] - time
        products[block] += _cubic(delays, product, DELAYS)
        energies[block] += _cubic(delays, energy[first:last], DELAYS)

    def curve(weights: Float64Array) -> Float64Array:
        product = np.tensordot(weights, products, 1)
        energy = np.maximum(np.tensordot(weights, energies, 1), 1e-9)
        return _best_shift(product / np.sqrt(energy))

    return _judged(OBJECTS, curve, count, 0.12)


def _best_shift(correlation: Float64Array) -> Float64Array:
    """(n, y and x shifts) -> the maximum of each row (n,), also between whole shifts."""
    side = 2 * _MAX_SHIFT + 1
    rows = np.arange(len(correlation))
    y, x = np.divmod(correlation.argmax(1), side)
    y, x = np.clip(y, 1, side - 2), np.clip(x, 1, side - 2)
    planes = correlation.reshape(-1, side, side)
    peak: Float64Array = planes[rows, y, x]
    gain = np.zeros(len(correlation))
    for dy, dx in ((1, 0), (0, 1)):
        low, high = planes[rows, y - dy, x - dx], planes[rows, y + dy, x + dx]
        curvature = 2 * peak - low - high
        is_peak = (peak >= low) & (peak >= high) & (curvature > 0)
        gain += np.where(is_peak, (high - low) ** 2 / np.where(is_peak, 8 * curvature, 1), 0)
    return peak + gain


# --- the peak of a curve over the delay


def _blocks(times: Float64Array) -> Int64Array:
    """The whole seconds since the first time."""
    return (times - times[0]).astype(int) if len(times) else np.zeros(0, int)


def _judged(
    name: str, curve: Callable[[Float64Array], Float64Array], count: int, distance: float
) -> TimeOffset:
    """The peak of a curve and its uncertainty, or a refusal.

    curve: weights (count,) of the recording's seconds -> values at `DELAYS`.
    distance: seconds from the peak from which another peak counts as a rival.
    """
    if count < 3:
        return _refused(f"{name}: the recording is too short")
    whole = curve(np.ones(count))
    best = _peak(whole)
    if not whole.max() > 0:
        return _refused(f"{name}: the streams have nothing in common")
    rival = whole[np.abs(DELAYS - best) > distance].max() / whole.max()
    if rival > _MAX_RIVAL:
        return _refused(f"{name}: other delays fit as well, as in periodic motion")
    if abs(best) > MAX_DELAY - 0.02:
        return _refused(f"{name}: no peak within {MAX_DELAY} s")
    rng = np.random.default_rng(0)
    peaks = np.array([
        _peak(curve(rng.multinomial(count, np.full(count, 1 / count)).astype(float)))
        for _ in range(_DRAWS)
    ])  # fmt: skip
    if (np.abs(peaks - best) > distance / 3).mean() > 0.03:
        return _refused(f"{name}: parts of the recording contradict each other")
    # The interquartile range times 0.741 is the standard deviation of normal errors.
    spread = 0.741 * float(np.subtract(*np.percentile(peaks, (75, 25))))
    uncertainty = float(np.hypot(max(spread, peaks.std() / 2), _MIN_UNCERTAINTY))
    if uncertainty > MAX_UNCERTAINTY:
        return _refused(f"{name}: the delay is uncertain by {1000 * uncertainty:.0f} ms")
    return TimeOffset(best, uncertainty, True, name)


def _refused(reason: str) -> TimeOffset:
    return TimeOffset(0.0, float("inf"), False, reason)


def _peak(curve: Float64Array) -> float:
    """The delay at which a curve over `DELAYS` is highest, with a parabola through three values."""
    index = int(curve.argmax())
    if not 0 < index < len(curve) - 1:
        return float(DELAYS[index])
    low, top, high = curve[index - 1 : index + 2]
    return float(DELAYS[index] + _vertex(low, top, high, DELAY_STEP))


def _vertex(low: float, top: float, high: float, step: float = 1.0) -> float:
    """Distance from the middle to the maximum of a parabola through three values `step` apart."""
    return step * 0.5 * (low - high) / min(low - 2 * top + high, -1e-12)


def _cubic(times: Float64Array, values: AnyArray, wanted: Float64Array) -> Float64Array:
    """Rows of values (n, k) between times (n,), by the cubic of Catmull and Rom (1974)."""
    k = np.clip(np.searchsorted(times, wanted) - 1, 1, len(times) - 3)
    u = ((wanted - times[k]) / (times[k + 1] - times[k]))[:, None]
    a, b, c, d = values[k - 1], values[k], values[k + 1], values[k + 2]
    slope = c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a))
    between: Float64Array = b + 0.5 * u * slope
    return between
