"""Thermal gain: which counts are shown as black and as white, steady over time.

`ThermalGain` gives the thermal range; `PlateauTone` adds a tone curve. Both use a sample of the
pixels of each frame. `repair` replaces dead pixels.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.thermal.clock import NOMINAL_S, StreamClock
from ssvif_core.types import AnyArray, Float32Array, Float64Array, UInt8Array

# Narrowest range in counts, so that the noise of a constant frame is not amplified.
NARROWEST = {np.dtype(np.uint8): 8.0, np.dtype(np.uint16): 64.0}

# Percentiles between the cold and the hot end, called the body. A change of the whole scene moves
# most of them; a hot object that appears or leaves moves only the uppermost.
BODY = (10, 20, 30, 40, 50, 60, 70, 80, 90)
MIDDLE = BODY.index(50)


class ThermalGain:
    """The thermal range of a stream of frames.

    8-bit frames come from cameras with their own gain, so all 256 grey levels are shown. For
    16-bit counts, the range lies between two percentiles, but black lies at most `depth` times as
    far below the median as white lies above it. Otherwise a cold sky would make the road bright
    grey, and the fusion, which keeps bright content, would wash the road out.

    The range follows three kinds of change:

    - Scene change: most of the histogram moved (the robot leaves a hall). The range follows
      within half a second.
    - Camera jump: the whole histogram moved by the same amount between two frames (a flat-field
      correction). The range moves with it at once, so the shown image does not change. With
      `corrected`, the median movement counts as a jump, because the scene went on meanwhile.
    - Hot object: only an end of the histogram moved. The range hardly follows, because everything
      else would turn dark and bright again. It adapts slowly to objects that stay.

    All times come from the stamps, so the frame rate does not matter.

    Args:
        limits: fixed range in counts (black, white); None follows the scene.
        percentiles: lower and upper percentile of the counts, in (0, 100).
        smoothing: steadiness in [0, 1): the share of the old range that remains after 1/120 s
            during a scene change, and after 4/15 s otherwise. 0 treats each frame alone.
        depth: see above; None removes the bound on black.
        stretch_8_bit: choose the range of 8-bit frames in the same way as of 16-bit frames.

    Raises:
        InputError: an argument is invalid.

    >>> counts = np.arange(7000, 8000, dtype=np.uint16).reshape(20, 50)
    >>> ThermalGain(percentiles=(1, 99), depth=None).update(counts)
    array([7009.99, 7989.01], dtype=float32)
    """

    samples = 20_000
    # Exponents of `smoothing` per 1/30 s: with 0.9, time constants of 0.08 s and 2.5 s.
    fast, slow = 4.0, 1 / 8
    fast_s = 0.5  # duration of the fast pace after a scene change
    # Scene change: all but two marks of the body moved by this share of the range. A hot object
    # displaces pixels and so moves the marks below it too, but hardly the lowest ones.
    scene_change = 0.1
    smallest_jump = 0.01  # share of the range
    # Largest change per second outside scene changes, as shares of the range: growing and
    # shrinking of a side, movement of the middle. Shrinking is faster because a side that is too
    # long costs contrast everywhere; one that is too short costs detail in hot objects only.
    grow, shrink, creep = 0.05, 0.4, 0.05

    def __init__(
        self,
        limits: tuple[float, float] | None = None,
        percentiles: tuple[float, float] = (0.5, 99.5),
        smoothing: float = 0.9,
        depth: float | None = 0.6,
        stretch_8_bit: bool = False,
    ) -> None:
        if limits is not None and not is_range(limits):
            raise InputError(
                f"thermal limits {limits}; expected counts (black, white), black < white"
            )
        if not is_range(percentiles) or not 0 < percentiles[0] < percentiles[1] < 100:
            raise InputError(f"thermal percentiles {percentiles}; expected 0 < lower < upper < 100")
        if not 0 <= smoothing < 1:
            raise InputError(f"thermal smoothing {smoothing}; expected 0 <= smoothing < 1")
        if depth is not None and not 0 < depth < math.inf:
            raise InputError(f"thermal depth {depth}; expected a number above 0, such as 0.6")
        self.limits, self.percentiles, self.smoothing = limits, percentiles, smoothing
        self.depth, self.stretch_8_bit = depth, stretch_8_bit
        self.sample: AnyArray = np.zeros(0, np.uint16)  # sorted counts of the last frame
        self.weight = 1.0  # of the last frame against the past
        self.jump = 0.0  # counts; the camera jump at the last frame
        self._clock = StreamClock()
        self._dtype: np.dtype[Any] | None = None

    def reset(self) -> None:
        """Forget the past: the next frame alone sets the range."""
        self._dtype = None
        self._clock.reset()

    def update(self, thermal: AnyArray, stamp_ns: int = 0, corrected: bool = False) -> Float32Array:
        """Range for this frame: (2,) float32, counts shown as black and as white.

        Args:
            thermal: (h, w) uint8 or uint16.
            stamp_ns: time of the frame; 0 if unknown.
            corrected: whether the camera corrected itself since the previous frame.
        """
        if self.limits is not None:
            return np.array(self.limits, np.float32)
        if thermal.dtype == np.uint8 and not self.stretch_8_bit:
            return np.array((0, 255), np.float32)
        self.sample = sorted_sample(thermal, self.samples)
        lower, upper = self.percentiles
        marks = _percentiles(self.sample, (lower, *BODY, upper))
        body = marks[1:-1]
        # Configured percentiles may lie inside the body, so a side could be negative.
        sides = np.maximum(np.array((body[MIDDLE] - marks[0], marks[-1] - body[MIDDLE])), 0)
        elapsed_s = self._clock.tick(stamp_ns)
        if elapsed_s is None or not self.smoothing or thermal.dtype != self._dtype:
            self._dtype, self._fast_left_s, self.weight, self.jump = thermal.dtype, 0.0, 1.0, 0.0
            self._body, self._sides = body, sides
        else:
            self._follow(body, sides, elapsed_s, corrected)
        self._previous_body = body
        return self._range().astype(np.float32)

    def _follow(
        self, body: Float64Array, sides: Float64Array, elapsed_s: float, corrected: bool
    ) -> None:
        black, white = self._range()
        width = white - black
        step = body - self._previous_body
        jump = float(np.median(step))
        uniform = corrected or np.all(np.abs(step - jump) < abs(jump) / 4)
        self.jump = jump if uniform and abs(jump) > self.smallest_jump * width else 0.0
        self._body = self._body + self.jump
        body_change, side_change = body - self._body, sides - self._sides
        if np.sort(np.abs(body_change))[2] > self.scene_change * width:
            self._fast_left_s = self.fast_s
        pace = self.fast if self._fast_left_s > 0 else self.slow
        self.weight = 1 - self.smoothing ** (pace * elapsed_s / NOMINAL_S)
        body_change, side_change = self.weight * body_change, self.weight * side_change
        if self._fast_left_s <= 0:
            limit = width * elapsed_s
            body_change = np.clip(body_change, -self.creep * limit, self.creep * limit)
            side_change = np.clip(side_change, -self.shrink * limit, self.grow * limit)
        self._body, self._sides = self._body + body_change, self._sides + side_change
        self._fast_left_s -= elapsed_s

    def _range(self) -> Float64Array:
        below, above = self._sides
        if self.depth is not None:
            below = min(below, self.depth * above)
        assert self._dtype is not None
        padding = max(0.0, NARROWEST[self._dtype] - (below + above)) / 2
        middle = self._body[MIDDLE]
        return np.array((middle - below - padding, middle + above + padding))


class PlateauTone:
    """A tone curve that gives more grey levels to frequent counts: plateau equalisation.

    The range of a `ThermalGain` is divided into 256 bins. With h(k) of n pixels in bin k, the
    plateau P as a share of the pixels, and x the position in the range from 0 to 1, the tone is

        tone(x) = sum over k up to x of min(h(k), P n) / n + (1 - kept) x
        kept    = sum over all k of min(h(k), P n) / n

    The first term is plateau equalisation (Vickers, "Plateau equalization algorithm for real-time
    display of high-quality infrared imagery", Optical Engineering 35(7), 1996): without a plateau
    a wall that fills the image would take all grey levels. The second term spreads evenly what the
    plateau cuts off (Pizer et al., "Adaptive histogram equalization and its variations", CVGIP 39,
    1987): it bounds the slope, and the tone of a flat scene becomes a straight line, so its noise
    is not amplified. A narrow range lowers the plateau for the same reason: equalisation never
    becomes steeper than the narrowest range.

    Equalisation would show the median in middle grey. As in `ThermalGain`, the median is shown no
    brighter than depth / (1 + depth): the tone is raised to the power that achieves this.

    Args:
        gain: gives the range and the pace; its own `depth` should be None.
        plateau: largest share of the pixels that counts in one of the 256 bins, in (0, 1].
            Before the power, the tone is up to 256 plateau + 1 times as steep as a straight line.
        depth: see above; None does not change the median.

    Raises:
        InputError: the plateau is invalid.
    """

    bins = 256
    largest_power = 3.0

    def __init__(
        self, gain: ThermalGain, plateau: float = 0.008, depth: float | None = 0.6
    ) -> None:
        if not 0 < plateau <= 1:
            raise InputError(
                f"thermal plateau {plateau}; expected a share of the pixels, 0 < plateau <= 1"
            )
        self.gain, self.plateau = gain, plateau
        self._brightest_median = None if depth is None else depth / (1 + depth)
        self._positions = np.linspace(0, 1, self.bins + 1)
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next frame alone sets the curve."""
        self.gain.reset()
        # Tone at each bin border, and the counts of these borders.
        self._curve, self._borders = self._positions, self._positions
        self._table: AnyArray = np.zeros(0, np.uint16)

    def update(self, thermal: AnyArray, stamp_ns: int = 0, corrected: bool = False) -> None:
        """Follow the scene; same arguments as `ThermalGain.update`."""
        black, white = self.gain.update(thermal, stamp_ns, corrected).astype(float)
        borders = black + (white - black) * self._positions
        curve = self._tone(self.gain.sample, borders)
        if self.gain.weight < 1:
            # Blend by count, so that a count keeps its tone while the range moves.
            previous = np.interp(borders - self.gain.jump, self._borders, self._curve)
            curve = previous + self.gain.weight * (curve - previous)
        self._borders, self._curve = borders, curve
        self._table = self._levels(thermal.dtype)

    def apply(self, thermal: AnyArray) -> AnyArray:
        """Counts -> levels over the full range of their type, (h, w) of the same dtype."""
        return np.take(self._table, thermal)

    def _tone(self, sample: AnyArray, borders: Float64Array) -> Float64Array:
        """Tone at each bin border, (bins + 1,), from 0 to 1."""
        steepest = (borders[-1] - borders[0]) / NARROWEST[sample.dtype]
        plateau = min(self.plateau, steepest / self.bins)
        below = np.searchsorted(sample, borders) / sample.size
        equalised = np.concatenate(((0.0,), np.minimum(np.diff(below), plateau).cumsum()))
        tone: Float64Array = equalised + (1 - equalised[-1]) * self._positions
        if self._brightest_median is not None:
            median = float(np.interp(sample[sample.size // 2], borders, tone))
            median = min(max(median, 0.01), 0.99)  # keeps the power finite and above 0
            power = math.log(self._brightest_median) / math.log(median)
            tone = tone ** min(max(power, 1.0), self.largest_power)
        return tone

    def _levels(self, dtype: np.dtype[Any]) -> AnyArray:
        """Level of each possible count, (256,) uint8 or (65536,) uint16."""
        full = int(np.iinfo(dtype).max)
        first = max(math.ceil(self._borders[0]), 0)
        last = min(math.floor(self._borders[-1]), full)
        table = np.zeros(full + 1, dtype)
        table[last + 1 :] = full  # hotter than white
        tone = np.interp(np.arange(first, last + 1), self._borders, self._curve)
        table[first : last + 1] = np.rint(tone * full)
        return table


def to_grey(thermal: AnyArray, thermal_range: AnyArray, height: int, width: int) -> UInt8Array:
    """Counts -> grey levels, resized to (height, width) uint8.

    Args:
        thermal: (h, w) uint8 or uint16.
        thermal_range: (2,) counts shown as black and as white.

    >>> to_grey(np.array([[6900, 7000, 8000]], np.uint16), np.array((7000, 8000)), 1, 3)
    array([[  0,   0, 255]], dtype=uint8)
    """
    black, white = (float(count) for count in thermal_range)
    scaled = np.clip((thermal.astype(np.float32) - black) * (255 / (white - black)), 0, 255)
    grey: UInt8Array = cv2.resize(np.rint(scaled).astype(np.uint8), (width, height))
    return grey


def sorted_sample(thermal: AnyArray, samples: int) -> AnyArray:
    """About `samples` counts from the whole image, in ascending order, (n,)."""
    step = max(1, int((thermal.size / samples) ** 0.5))
    # A stable sort of 16-bit integers is a radix sort, three times as fast as a partition.
    return np.sort(thermal[::step, ::step], axis=None, kind="stable")


def is_range(value: object) -> bool:
    """Whether `value` is two finite numbers, the lower one first."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    try:
        return bool(-math.inf < value[0] < value[1] < math.inf)
    except TypeError:
        return False


def _percentiles(ordered: AnyArray, percent: tuple[float, ...]) -> Float64Array:
    """Like `np.percentile`, for sorted counts: (len(percent),) float64."""
    positions = np.array(percent) / 100 * (ordered.size - 1)
    below = positions.astype(int)
    above = np.minimum(below + 1, ordered.size - 1)
    low, high = ordered[below].astype(float), ordered[above].astype(float)
    percentiles: Float64Array = low + (positions - below) * (high - low)
    return percentiles
