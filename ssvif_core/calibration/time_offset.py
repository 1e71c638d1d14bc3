"""The constant delay between the two streams, from what moves in both.

Two witnesses, neither of which needs the other's pixels in place:

    moving camera    how the image as a whole shifts and turns; high-passed and compared over time
    moving objects   where something changes, above each pixel's own noise, as a small film; the
                     films are compared over all delays and all small shifts at once, so that an
                     error in space is not taken for one in time

Both give a curve over the delay. Its peak is the answer. How sure it is, the spread of the peaks
tells when seconds of the recording are drawn at random (block bootstrap: Künsch, Annals of
Statistics 17, 1989). What a still or a periodic scene leaves open is said, not guessed.

Without a mapping, moving objects need one that is good enough to lay the films over each other;
scale and shift are then searched. Each is a centre of exposure: what the cameras' drivers stamp,
and the some 10 ms in which a microbolometer warms up, are part of the delay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ssvif_core.errors import InputError

REACH = 0.5  # s; delays that are tried, either way
STEP = 0.005  # s
LONGEST = 60.0  # s of a recording that are used
SHORTEST = 4.0  # s
SURE = 0.010  # s; an uncertainty beyond this is no result
LAGS = np.linspace(-REACH, REACH, 2 * round(REACH / STEP) + 1)

_WIDTH = 160  # of the small images; their shape is the camera's
_SHIFT = 5  # small pixels; by how much films may be off, either way
_BASELINE = 1 / 15  # s between the two images of a change, at least
_FEWEST = 3e-4  # of all pixels that must change; noise beyond 4 deviations is 6e-5
_SEARCHED = 0.005  # s that a searched place adds to the uncertainty, as measured on real clips
_FLOOR = 0.003  # s; thirds of real clips differ by more than seconds drawn at random tell
_DRAWS = 100
_RIVAL = 0.95  # of the peak; from here on another one is as good
_SLOW = 0.3  # s; motion of the camera slower than this is left out

STILL, STEADY = 0.02, 0.25  # small pixels of shaking: none to be measured; none that matters
CAMERA, OBJECTS = "the camera's motion", "what moves in the image"

Stream = Iterable[tuple[int, np.ndarray]]


@dataclass(frozen=True)
class TimeOffset:
    """What was found.

    seconds: to add to thermal stamps so that they mean the visible camera's time.
    uncertainty: one standard deviation, seconds; infinite if nothing was found.
    confident: whether to use it.
    reason: for people: what it rests on, or why there is no result and what to do.
    """

    seconds: float
    uncertainty: float
    confident: bool
    reason: str


def time_offset(
    visible: Stream, thermal: Stream, homography: np.ndarray | None = None
) -> TimeOffset:
    """The delay between two streams of images; some 20 s in which something moves are enough.

    visible: (stamp in nanoseconds, (H, W, 3) uint8 BGR or (H, W) uint8), in order of time.
    thermal: (stamp in nanoseconds, (h, w) uint8 or uint16), in order of time, at any rate from
        5 Hz; its stamps are wrong by up to `REACH`. Images of both streams must be of one size.
    homography: (3, 3) thermal -> visible pixels, right to some 5 visible pixels in 160; None: it
        is searched, which takes a while and more motion.

    Raises:
        InputError: a stream is too short, too slow, out of order or no images.
    """
    seen, warm = _Film("visible", visible), _Film("thermal", thermal)
    start = max(seen.stamps[0], warm.stamps[0])
    common = min(seen.stamps[-1], warm.stamps[-1]) - start
    if common < SHORTEST:
        raise InputError(
            f"the streams have {common:.1f} s in common; expected {SHORTEST:.0f} s or more; record "
            "longer, and check that both stamp with the same clock"
        )
    # Nanoseconds since 1970 would leave no digits for fractions of a millisecond.
    seen_times, warm_times = seen.stamps - start, warm.stamps - start
    path, warm_path = _path(seen.frames), _path(warm.frames)
    by_camera = _of_camera(seen_times, path, warm_times, warm_path)
    if by_camera.confident:
        return by_camera
    shaking = min(_shaking(seen_times, path), _shaking(warm_times, warm_path))
    if shaking > STEADY:
        # Everything changes then, and parallax passes for delay.
        by_objects = _nothing(f"{OBJECTS}: not told from the camera's own motion")
    else:
        by_objects = _of_objects(seen, seen_times, warm, warm_times, homography)
    if by_objects.confident:
        return by_objects
    return TimeOffset(
        0.0, float("inf"), False,
        f"{by_camera.reason}; {by_objects.reason}; record again while the rig is turned by hand to "
        "and fro, unevenly, or stands still while people walk through both images",
    )  # fmt: skip


class _Film:
    """A stream, made small.

    stamps: (n,) seconds, float64.
    frames: (n, h, 160) float32, grey levels 0 to 255 of the whole film's range.
    size: width and height of the images that came.
    """

    def __init__(self, name: str, stream: Stream) -> None:
        nanoseconds: list[int] = []
        frames: list[np.ndarray] = []
        for stamp, image in stream:
            if nanoseconds and stamp <= nanoseconds[-1]:
                raise InputError(
                    f"{name} stamp {stamp} after {nanoseconds[-1]}; expected rising nanoseconds"
                )
            if nanoseconds and stamp - nanoseconds[0] > LONGEST * 1e9:
                break
            frames.append(self._small(name, image))
            nanoseconds.append(stamp)
        if len(frames) < 5 * SHORTEST:
            raise InputError(
                f"{len(frames)} {name} images; expected at least {5 * SHORTEST:.0f}, {SHORTEST:.0f}"
                " s at 5 Hz or more"
            )
        self.stamps = np.array(nanoseconds, np.float64) / 1e9
        self.period = float(np.median(np.diff(self.stamps)))
        if self.period > 0.21:
            raise InputError(f"{name} images at {1 / self.period:.1f} Hz; expected 5 Hz or more")
        self.frames = np.array(frames)
        if self.dtype != np.uint8:
            low, high = np.percentile(self.frames[:: max(len(frames) // 20, 1)], (0.5, 99.5))
            self.frames = np.clip((self.frames - low) * (255 / max(high - low, 64)), 0, 255)

    def _small(self, name: str, image: np.ndarray) -> np.ndarray:
        if not hasattr(self, "size"):
            self.size, self.dtype = image.shape[1::-1], image.dtype
        if image.shape[1::-1] != self.size or image.dtype not in (np.uint8, np.uint16):
            raise InputError(
                f"{name} image of shape {image.shape}, {image.dtype}; expected "
                f"{self.size[0]}x{self.size[1]} pixels like the first, uint8 or uint16"
            )
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
        height = max(round(_WIDTH * image.shape[0] / image.shape[1]), 16)
        return cv2.resize(grey, (_WIDTH, height), interpolation=cv2.INTER_AREA).astype(np.float32)

    @property
    def shrinking(self) -> np.ndarray:
        """Pixels that came -> small ones, (3, 3)."""
        height, width = self.frames.shape[1:]
        x, y = width / self.size[0], height / self.size[1]
        return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


# --- moving camera


def _path(frames: np.ndarray) -> np.ndarray:
    """Motion of the whole image, (n, 3): x and y in small pixels, turn in radians, summed.

    A step on which too few corners are found counts as none.
    """
    steps = np.zeros((len(frames), 3))
    before = _levelled(frames[0])
    for index in range(1, len(frames)):
        now = _levelled(frames[index])
        steps[index] = _step(before, now)
        before = now
    return np.cumsum(steps, 0)


def _levelled(frame: np.ndarray) -> np.ndarray:
    """Contrast made alike everywhere, uint8, so that a hot spot does not take all the corners."""
    mean = cv2.GaussianBlur(frame, (0, 0), 8)
    spread = np.sqrt(cv2.GaussianBlur((frame - mean) ** 2, (0, 0), 12))
    return np.clip(128 + 40 * (frame - mean) / (spread + 3), 0, 255).astype(np.uint8)


def _step(before: np.ndarray, now: np.ndarray) -> tuple[float, float, float]:
    """Shift of the image's middle, and turn, as most corners say."""
    corners = cv2.goodFeaturesToTrack(before, 150, 0.02, 5)
    if corners is None or len(corners) < 12:
        return 0, 0, 0
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, now, corners, None, winSize=(15, 15))
    back, again, _ = cv2.calcOpticalFlowPyrLK(now, before, there, None, winSize=(15, 15))
    good = (found & again)[:, 0].astype(bool) & (np.abs(back - corners).max((1, 2)) < 0.3)
    if good.sum() < 12:
        return 0, 0, 0
    middle = (np.array(before.shape[::-1]) - 1) / 2
    a, b = corners[good, 0] - middle, there[good, 0] - middle
    matrix, _ = cv2.estimateAffinePartial2D(a, b, method=cv2.LMEDS, refineIters=10)
    if matrix is None:
        return 0, 0, 0
    return matrix[0, 2], matrix[1, 2], float(np.arctan2(matrix[1, 0], matrix[0, 0]))


def _of_camera(
    seen_times: np.ndarray, seen: np.ndarray, warm_times: np.ndarray, warm: np.ndarray
) -> TimeOffset:
    """The delay between two paths (n, 3).

    For jointly normal signals with correlation r, a channel tells -log(1 - r^2) / 2 about the
    delay (its mutual information), so that a channel of noise adds next to nothing.
    """
    if min(_shaking(seen_times, seen), _shaking(warm_times, warm)) < STILL:
        return _nothing(f"{CAMERA}: it stands still")
    fast, slow = _high_pass(seen_times, seen), _high_pass(warm_times, warm)
    inside = (warm_times > seen_times[0] + REACH) & (warm_times < seen_times[-1] - REACH)
    times, slow = warm_times[inside], slow[inside]
    blocks = _blocks(times)
    count = int(blocks.max(initial=-1)) + 1
    # Products of both and of each with itself, of every second: (count, lags, channels).
    both, own, other = (np.zeros((count, len(LAGS), 3)) for _ in range(3))
    for index, lag in enumerate(LAGS):
        moved = _cubic(seen_times, fast, times + lag)
        for target, product in ((both, moved * slow), (own, moved**2), (other, slow**2)):
            np.add.at(target[:, index], blocks, product)

    def curve(weights: np.ndarray) -> np.ndarray:
        xy, xx, yy = (np.tensordot(weights, part, 1) for part in (both, own, other))
        r = np.clip(xy / np.sqrt(xx * yy + 1e-12), 0, 0.9999)
        return -0.5 * np.log(1 - r**2).sum(1)

    return _judged(CAMERA, curve, count, 0.1)


def _shaking(times: np.ndarray, path: np.ndarray) -> float:
    """Standard deviation of the faster motion, small pixels."""
    return float(_high_pass(times, path)[:, :2].std(0).max())


def _high_pass(times: np.ndarray, path: np.ndarray) -> np.ndarray:
    apart = (times[:, None] - times[None]) / _SLOW
    weights = np.exp(-0.5 * apart**2)
    return path - weights @ path / weights.sum(1, keepdims=True)


# --- moving objects


def _of_objects(
    seen: _Film,
    seen_times: np.ndarray,
    warm: _Film,
    warm_times: np.ndarray,
    homography: np.ndarray | None,
) -> TimeOffset:
    slower = max(seen.period, warm.period)
    baseline = slower * math.ceil(_BASELINE / slower - 0.1)
    seen_times, changes = _changes(seen_times, seen.frames, baseline)
    warm_times, warm_changes = _changes(warm_times, warm.frames, baseline)
    if min(len(seen_times), len(warm_times)) < 5 * SHORTEST:
        return _nothing(f"{OBJECTS}: too many images are missing")
    if not (changes.any() and warm_changes.any()):
        where = "either" if not (changes.any() or warm_changes.any()) else (
            "the thermal" if changes.any() else "the visible"
        )  # fmt: skip
        return _nothing(f"{OBJECTS}: nothing does in {where} image")
    if homography is None:
        place = _place(seen_times, changes, warm_times, warm_changes)
    else:
        place = seen.shrinking @ np.asarray(homography) @ np.linalg.inv(warm.shrinking)
    size = changes.shape[:0:-1]
    laid = np.array([cv2.warpPerspective(one, place, size) for one in warm_changes])
    found = _compared(seen_times, changes, warm_times, laid)
    if homography is None and found.confident:
        return replace(found, uncertainty=math.hypot(found.uncertainty, _SEARCHED))
    return found


def _changes(
    times: np.ndarray, frames: np.ndarray, baseline: float
) -> tuple[np.ndarray, np.ndarray]:
    """How much more than its noise each pixel changes over `baseline` seconds.

    Returns the middles of the intervals (m,), and (m, h, w) float32 of zero mean over time.
    """
    later = np.abs(times[:, None] + baseline - times[None]).argmin(1)
    apart = times[later] - times
    good = np.abs(apart - baseline) < 0.55 * float(np.median(np.diff(times)))
    before, later = np.flatnonzero(good), later[good]
    if not len(before):
        return times[:0], frames[:0]
    change = frames[later] - frames[before]
    # What changes everywhere is the camera's gain.
    change = np.abs(change - np.median(change, (1, 2), keepdims=True))
    noise = 1.48 * np.median(change, 0) + 1  # median absolute deviation of normal noise
    change = np.clip(change / noise - 3, 0, 12)
    if (change > 1).mean() < _FEWEST:
        change[:] = 0
    return (times[before] + times[later]) / 2, change - change.mean(0)


def _place(
    seen_times: np.ndarray, seen: np.ndarray, warm_times: np.ndarray, warm: np.ndarray
) -> np.ndarray:
    """Scale and shift, as a homography (3, 3) of small pixels, that lay one film over the other.

    All delays and shifts of each scale are tried by one Fourier transform over time and space.
    """
    rate, shrink = 15.0, 3
    times = np.arange(0, min(seen_times[-1], warm_times[-1], 30.0), 1 / rate)
    lags = round(REACH * rate)
    height, width = (n // shrink for n in seen.shape[1:])
    reach = (round(0.3 * height), round(0.3 * width))
    canvas = tuple(
        cv2.getOptimalDFTSize(n)
        for n in (len(times) + lags, height + 2 * reach[0], width + 2 * reach[1])
    )
    y, x = reach
    fixed = np.zeros(canvas, np.float32)
    for index, frame in enumerate(seen[_nearest(seen_times, times)]):
        fixed[index, y : y + height, x : x + width] = cv2.resize(
            frame, (width, height), interpolation=cv2.INTER_AREA
        )
    fixed_spectrum = np.fft.rfftn(fixed)
    source = warm[_nearest(warm_times, times)]
    scales = np.geomspace(0.37, 2.7, 33)
    scores = np.zeros(len(scales))
    shifts, delays = np.zeros((len(scales), 2)), np.zeros(len(scales))
    rows, cols = (np.arange(-n, n + 1) for n in reach)
    which = np.ix_(np.arange(-lags, lags + 1), rows, cols)
    middle = np.array([x + (width - 1) / 2, y + (height - 1) / 2])
    own_middle = (np.array(source.shape[:0:-1]) - 1) / 2
    for number, scale in enumerate(scales):
        zoom = scale / shrink
        matrix = np.array([[zoom, 0, 0], [0, zoom, 0]])
        matrix[:, 2] = middle - zoom * own_middle
        moving = np.zeros(canvas, np.float32)
        for index, frame in enumerate(source):
            if zoom < 1:  # against aliasing
                frame = cv2.GaussianBlur(frame, (0, 0), 0.5 / zoom)
            moving[index] = cv2.warpAffine(frame, matrix, canvas[:0:-1])
        spectrum = np.fft.rfftn(moving).conj() * fixed_spectrum
        score = np.fft.irfftn(spectrum, canvas, (0, 1, 2))[which]
        lag, row, col = np.unravel_index(int(score.argmax()), score.shape)
        scores[number] = score.max() / (float(np.linalg.norm(moving)) + 1e-9)
        shifts[number] = cols[col], rows[row]
        delays[number] = (lag - lags) / rate
    best = int(scores.argmax())
    scale, shift = scales[best], shifts[best]
    if 0 < best < len(scales) - 1:
        low, top, high = scores[best - 1 : best + 2]
        between = 0.5 * (low - high) / min(low - 2 * top + high, -1e-12)
        scale *= (scales[1] / scales[0]) ** between
    # Small visible pixel = shrink * (coarse - (x, y) + 0.5) - 0.5.
    there = shrink * (middle + shift - (x, y) + 0.5) - 0.5
    return _refined(seen_times, seen, warm_times, warm, delays[best], scale, there)


def _refined(
    seen_times: np.ndarray,
    seen: np.ndarray,
    warm_times: np.ndarray,
    warm: np.ndarray,
    delay: float,
    scale: float,
    there: np.ndarray,
) -> np.ndarray:
    """The similarity (3, 3) near a scale, a place of the thermal image's middle and a delay.

    All are found together, by Newton's method: a wrong place makes up for a wrong delay, so that
    one after the other would hardly move.
    """
    reach = 0.1  # s around the coarse delay
    inside = (warm_times + delay - reach > seen_times[0]) & (
        warm_times + delay + reach < seen_times[-1]
    )
    chosen = np.flatnonzero(inside)[:: max(int(inside.sum()) // 200, 1)]
    size = seen.shape[:0:-1]
    middle = (np.array(warm.shape[:0:-1]) - 1) / 2

    def similarity(values: np.ndarray) -> np.ndarray:
        c, s = np.exp(values[0]) * np.array([np.cos(values[1]), np.sin(values[1])])
        x, y = values[2:4] - np.array([[c, -s], [s, c]]) @ middle
        return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])

    def score(values: np.ndarray) -> float:
        matrix = similarity(values)[:2]
        at = np.clip(warm_times[chosen] + values[4], seen_times[0], seen_times[-1])
        after = np.clip(np.searchsorted(seen_times, at), 1, len(seen_times) - 1)
        gap = seen_times[after] - seen_times[after - 1]
        share = ((at - seen_times[after - 1]) / gap).astype(np.float32)
        product = own = other = 0.0
        for index, late, part in zip(chosen, after, share, strict=True):
            laid = cv2.warpAffine(warm[index], matrix, size)
            frame = cv2.addWeighted(seen[late - 1], 1 - part, seen[late], part, 0)
            product += float(np.vdot(laid, frame))
            own += float(np.vdot(laid, laid))
            other += float(np.vdot(frame, frame))
        return product / math.sqrt(own * other + 1e-9)

    values = np.array([np.log(scale), 0, *there, delay])
    steps = np.diag([0.015, 0.01, 0.7, 0.7, 0.012])
    best = score(values)
    for _ in range(8):
        ahead = [score(values + step) for step in steps]
        back = [score(values - step) for step in steps]
        slope = (np.array(ahead) - back) / 2
        bend = np.diag(np.array(ahead) + back - 2 * best)
        for i in range(5):
            for j in range(i):
                both = score(values + steps[i] + steps[j])
                bend[i, j] = bend[j, i] = both - ahead[i] - ahead[j] + best
        # Newton's step, uphill also where the score is no hill yet, and not too far.
        power, axes = np.linalg.eigh(bend)
        move = axes @ ((axes.T @ slope) / np.maximum(np.abs(power), 1e-9))
        move = steps @ (move / max(1.0, float(np.abs(move).max()) / 3))
        while (now := score(values + move)) <= best:
            move = move / 2
            if np.abs(move[2:4]).max() < 0.02 and abs(move[4]) < 5e-4:
                return similarity(values)
        values, best = values + move, now
    return similarity(values)


def _nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    after = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    return after - (wanted - times[after - 1] < times[after] - wanted)


def _compared(
    seen_times: np.ndarray, seen: np.ndarray, warm_times: np.ndarray, warm: np.ndarray
) -> TimeOffset:
    """The delay between two films of one size, that may be off by `_SHIFT` pixels.

    Every thermal frame is correlated with all visible ones around it, for all shifts; so no image
    is ever interpolated in time, only the correlation, which is smooth.
    """
    side = 2 * _SHIFT + 1
    canvas = tuple(cv2.getOptimalDFTSize(n + _SHIFT) for n in seen.shape[1:])
    fixed = np.fft.rfft2(seen, canvas)
    energy = (seen**2).sum((1, 2))[:, None]
    margin = REACH + 2 * float(np.median(np.diff(seen_times)))
    inside = (warm_times > seen_times[0] + margin) & (warm_times < seen_times[-1] - margin)
    times, warm = warm_times[inside], warm[inside]
    blocks = _blocks(times)
    count = int(blocks.max(initial=-1)) + 1
    both = np.zeros((count, len(LAGS), side * side), np.float32)
    own = np.zeros((count, len(LAGS), 1))
    for block, time, frame in zip(blocks, times, warm, strict=True):
        first = int(np.searchsorted(seen_times, time - REACH)) - 2
        last = int(np.searchsorted(seen_times, time + REACH)) + 2
        product = fixed[first:last] * np.fft.rfft2(frame, canvas).conj()
        near = np.fft.irfft2(product, canvas)
        near = np.roll(near, (_SHIFT, _SHIFT), (1, 2))[:, :side, :side].reshape(-1, side * side)
        delays = seen_times[first:last] - time
        both[block] += _cubic(delays, near, LAGS)
        own[block] += _cubic(delays, energy[first:last], LAGS)

    def curve(weights: np.ndarray) -> np.ndarray:
        product = np.tensordot(weights, both, 1)
        return _best_shift(product / np.sqrt(np.maximum(np.tensordot(weights, own, 1), 1e-9)))

    return _judged(OBJECTS, curve, count, 0.12)


def _best_shift(product: np.ndarray) -> np.ndarray:
    """Per row of (n, shifts y by x), the maximum over fractions of a shift."""
    side = 2 * _SHIFT + 1
    each = np.arange(len(product))
    y, x = np.divmod(product.argmax(1), side)
    y, x = np.clip(y, 1, side - 2), np.clip(x, 1, side - 2)
    planes = product.reshape(-1, side, side)
    peak = planes[each, y, x]
    gain = np.zeros(len(product))
    for dy, dx in ((1, 0), (0, 1)):
        low, high = planes[each, y - dy, x - dx], planes[each, y + dy, x + dx]
        bend = 2 * peak - low - high
        top = (peak >= low) & (peak >= high) & (bend > 0)
        gain += np.where(top, (high - low) ** 2 / np.where(top, 8 * bend, 1), 0)
    return peak + gain


# --- what a curve over the delay says


def _blocks(times: np.ndarray) -> np.ndarray:
    """The second in which each time lies, from 0."""
    return (times - times[0]).astype(int) if len(times) else np.zeros(0, int)


def _judged(
    name: str, curve: Callable[[np.ndarray], np.ndarray], count: int, apart: float
) -> TimeOffset:
    """The peak of a curve that is a function of the weights of `count` seconds.

    apart: seconds from the peak at which another one is another.
    """
    if count < 3:
        return _nothing(f"{name}: the recording is too short")
    whole = curve(np.ones(count))
    best = _peak(whole)
    if not whole.max() > 0:
        return _nothing(f"{name}: nothing in common")
    rival = whole[np.abs(LAGS - best) > apart].max() / whole.max()
    if rival > _RIVAL:
        return _nothing(f"{name}: other delays fit as well, as in periodic motion")
    if abs(best) > REACH - 0.02:
        return _nothing(f"{name}: no peak within {REACH} s")
    rng = np.random.default_rng(0)
    drawn = np.array([
        _peak(curve(rng.multinomial(count, np.full(count, 1 / count)).astype(float)))
        for _ in range(_DRAWS)
    ])  # fmt: skip
    astray = float((np.abs(drawn - best) > apart / 3).mean())
    if astray > 0.03:
        return _nothing(f"{name}: parts of the recording contradict each other")
    spread = 0.741 * float(np.subtract(*np.percentile(drawn, (75, 25))))  # as of normal errors
    uncertainty = float(np.hypot(max(spread, drawn.std() / 2), _FLOOR))
    if uncertainty > SURE:
        return _nothing(f"{name}: only to {1000 * uncertainty:.0f} ms")
    return TimeOffset(best, uncertainty, True, name)


def _nothing(reason: str) -> TimeOffset:
    return TimeOffset(0.0, float("inf"), False, reason)


def _peak(curve: np.ndarray) -> float:
    """Where a curve over `LAGS` is highest, by the parabola through three samples."""
    index = int(curve.argmax())
    if not 0 < index < len(curve) - 1:
        return float(LAGS[index])
    low, top, high = curve[index - 1 : index + 2]
    return float(LAGS[index] + STEP * 0.5 * (low - high) / min(low - 2 * top + high, -1e-12))


def _cubic(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows of y (n, k) between times x (n,), by the cubic of Catmull and Rom (1974)."""
    k = np.clip(np.searchsorted(x, at) - 1, 1, len(x) - 3)
    u = ((at - x[k]) / (x[k + 1] - x[k]))[:, None]
    a, b, c, d = y[k - 1], y[k], y[k + 1], y[k + 2]
    return b + 0.5 * u * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))
