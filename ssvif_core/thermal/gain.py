"""Thermal gain: which counts are shown as black and as white, steady over time.

`ThermalGain` gives a range, `PlateauTone` a whole tone curve on top of it. Both look at a sample
of the pixels of each frame; what the counts are repaired from is left to `repair`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.thermal.clock import NOMINAL, StreamClock

# The narrowest range, in counts: a constant frame must not become amplified noise.
NARROWEST = {np.dtype(np.uint8): 8.0, np.dtype(np.uint16): 64.0}

# Percent of the counts below each mark. The marks between the hot and the cold end tell a change
# of the whole scene from a hot thing that comes or goes, which moves the uppermost alone.
BODY = (10, 20, 30, 40, 50, 60, 70, 80, 90)
MIDDLE = BODY.index(50)


class ThermalGain:
    """The thermal range of a stream of frames.

    8-bit frames come from a camera that has made its own gain, so all 256 grey levels are shown.
    Of 16-bit counts, the range between two percentiles is shown; but black lies at most `depth`
    times as far below the median as white above it. Otherwise a cold sky would make the road
    bright grey, and the fusion, which takes what is bright, would wash it out.

    Over time, the range does three things:

    - When most of the histogram has moved, the scene is another one (the robot leaves a hall):
      the range is there in half a second.
    - When all of it has moved by the same amount from one frame to the next, it was the camera
      (a flat-field correction): the range moves with it at once, so nothing changes on screen.
      Where it is known that the camera has just corrected itself, what most of it has moved by is
      taken for that: the scene goes on meanwhile.
    - When only an end has moved, something hot came or went: the range hardly follows, else all
      the rest would grow dark and bright again. What stays is let in slowly.

    Times are taken from the stamps, so the rate of the frames does not matter.

    Args:
        limits: fixed range in counts (black, white); None chooses as above.
        percentiles: lower and upper percentile of the counts, in (0, 100).
        smoothing: how calm the range is, in [0, 1): the share of the old range that stays for
            another 1/120 s while the scene changes, and for another 4/15 s while it does not.
            0 judges each frame alone.
        depth: see above; None does not bind black to the median.
        stretch_8_bit: choose the range of 8-bit frames as of 16-bit ones.
    """

    samples = 20_000
    # Exponents of `smoothing` for 1/30 s: with 0.9, time constants of 0.08 s and 2.5 s.
    haste, calm = 4.0, 1 / 8
    hurry = 0.5  # s of haste after most of the histogram has moved
    # All marks of the body but two moved by this share of the range. A hot thing moves the marks
    # too, for it takes pixels from what lies below; the lower ones less, hence all but two.
    moved = 0.1
    jump = 0.01  # share of the range that a jump of the camera must have
    # The most that a side of the range may grow or shrink, or its middle move, while the scene
    # does not change; shares of the range in a second. A side that is too long costs contrast
    # everywhere, one that is too short only detail in what is hot, hence the difference.
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
            raise InputError(f"thermal limits {limits}; expected black below white, in counts")
        if not is_range(percentiles) or not 0 < percentiles[0] < percentiles[1] < 100:
            raise InputError(f"thermal percentiles {percentiles}; expected 0 < lower < upper < 100")
        if not 0 <= smoothing < 1:
            raise InputError(f"thermal smoothing {smoothing}; expected 0 <= smoothing < 1")
        if depth is not None and not 0 < depth < math.inf:
            raise InputError(f"thermal depth {depth}; expected a number above 0, such as 0.6")
        self.limits, self.percentiles, self.smoothing = limits, percentiles, smoothing
        self.depth, self.stretch_8_bit = depth, stretch_8_bit
        self.sample = np.zeros(0, np.uint16)  # of the last frame's counts, in ascending order
        self.share = 1.0  # of what the last frame says that was taken over
        self.jumped = 0.0  # counts by which the camera moved all of them at the last frame
        self._clock = StreamClock()
        self._kind: np.dtype | None = None

    def reset(self) -> None:
        """Forget the past: the next frame sets the range alone."""
        self._kind = None
        self._clock.reset()

    def update(self, thermal: np.ndarray, stamp_ns: int = 0, corrected: bool = False) -> np.ndarray:
        """Range for this frame: (2,) float32, counts shown as black and as white.

        Args:
            thermal: (h, w) uint8 or uint16.
            stamp_ns: when it was taken; 0 where that is not known.
            corrected: whether the camera has corrected itself since the frame before.
        """
        if self.limits is not None:
            return np.array(self.limits, np.float32)
        if thermal.dtype == np.uint8 and not self.stretch_8_bit:
            return np.array((0, 255), np.float32)
        self.sample = sorted_sample(thermal, self.samples)
        lower, upper = self.percentiles
        marks = _percentiles(self.sample, (lower, *BODY, upper))
        body = marks[1:-1]
        # A percentile may be so far inside that it passes some of the body.
        sides = np.maximum(np.array((body[MIDDLE] - marks[0], marks[-1] - body[MIDDLE])), 0)
        elapsed = self._clock.tick(stamp_ns)
        if elapsed is None or not self.smoothing or thermal.dtype != self._kind:
            self._kind, self._hurry, self.share, self.jumped = thermal.dtype, 0.0, 1.0, 0.0
            self._body, self._sides = body, sides
        else:
            self._follow(body, sides, elapsed, corrected)
        self._previous = body
        return self._range().astype(np.float32)

    def _follow(self, body: np.ndarray, sides: np.ndarray, elapsed: float, corrected: bool) -> None:
        black, white = self._range()
        width = white - black
        step = body - self._previous
        jump = float(np.median(step))
        alike = corrected or np.all(np.abs(step - jump) < abs(jump) / 4)
        self.jumped = jump if alike and abs(jump) > self.jump * width else 0.0
        self._body = self._body + self.jumped
        change, stretch = body - self._body, sides - self._sides
        if np.sort(np.abs(change))[2] > self.moved * width:
            self._hurry = self.hurry
        pace = self.haste if self._hurry > 0 else self.calm
        self.share = 1 - self.smoothing ** (pace * elapsed / NOMINAL)
        change, stretch = self.share * change, self.share * stretch
        if self._hurry <= 0:
            most = width * elapsed
            change = np.clip(change, -self.creep * most, self.creep * most)
            stretch = np.clip(stretch, -self.shrink * most, self.grow * most)
        self._body, self._sides = self._body + change, self._sides + stretch
        self._hurry -= elapsed

    def _range(self) -> np.ndarray:
        below, above = self._sides
        if self.depth is not None:
            below = min(below, self.depth * above)
        assert self._kind is not None
        spare = max(0.0, NARROWEST[self._kind] - (below + above)) / 2
        middle = self._body[MIDDLE]
        return np.array((middle - below - spare, middle + above + spare))


class PlateauTone:
    """A tone curve that gives grey levels to where the counts are: plateau equalisation.

    The range of a `ThermalGain` is divided into 256 bins. With h(k) of n pixels in bin k, the
    plateau P as a share of the pixels, and x the place in the range from 0 to 1, the tone is

        tone(x) = sum over k up to x of min(h(k), P n) / n + (1 - kept) x
        kept    = sum over all k of min(h(k), P n) / n

    The first part is plateau equalisation (Vickers, "Plateau equalization algorithm for real-time
    display of high-quality infrared imagery", Optical Engineering 35(7), 1996): without a plateau
    a wall that fills the image takes all grey levels. The second is what the plateau cuts off,
    spread evenly (Pizer et al., "Adaptive histogram equalization and its variations", CVGIP 39,
    1987): it bounds the slope, and makes the tone of a flat scene a straight line, so that its
    noise stays noise. For the same reason the plateau is lowered where the range is narrow: no
    part of equalisation is steeper than the narrowest range is.

    Equalisation would show the median in middle grey. As in `ThermalGain`, it is shown no brighter
    than depth / (1 + depth): the tone is raised to the power that brings it there.

    Args:
        gain: gives the range and the pace; its own `depth` should be None.
        plateau: the largest share of the pixels that counts in one of the 256 bins, in (0, 1].
            Before the power, the tone is up to 256 plateau + 1 times as steep as a straight line.
        depth: see above; None leaves the median where it comes.
    """

    bins = 256
    strongest = 3.0  # power

    def __init__(
        self, gain: ThermalGain, plateau: float = 0.008, depth: float | None = 0.6
    ) -> None:
        if not 0 < plateau <= 1:
            raise InputError(
                f"thermal plateau {plateau}; expected a share of the pixels, 0 < plateau <= 1"
            )
        self.gain, self.plateau = gain, plateau
        self._brightest = None if depth is None else depth / (1 + depth)
        self._places = np.linspace(0, 1, self.bins + 1)
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next frame sets the curve alone."""
        self.gain.reset()
        # Tone at each border of a bin, and the counts of these borders.
        self._curve, self._borders = self._places, self._places
        self._table = np.zeros(0, np.uint16)

    def update(self, thermal: np.ndarray, stamp_ns: int = 0, corrected: bool = False) -> None:
        """Follow the scene; arguments as of `ThermalGain.update`."""
        black, white = self.gain.update(thermal, stamp_ns, corrected).astype(float)
        borders = black + (white - black) * self._places
        curve = self._tone(self.gain.sample, borders)
        if self.gain.share < 1:
            # Taken over by count, for the same count is to keep its tone while the range moves.
            before = np.interp(borders - self.gain.jumped, self._borders, self._curve)
            curve = before + self.gain.share * (curve - before)
        self._borders, self._curve = borders, curve
        self._table = self._levels(thermal.dtype)

    def apply(self, thermal: np.ndarray) -> np.ndarray:
        """Counts -> levels of the full range of their type, (h, w) of the same dtype."""
        return np.take(self._table, thermal)

    def _tone(self, sample: np.ndarray, borders: np.ndarray) -> np.ndarray:
        """Tone at each border of a bin, (bins + 1,), from 0 to 1."""
        steepest = (borders[-1] - borders[0]) / NARROWEST[sample.dtype]
        plateau = min(self.plateau, steepest / self.bins)
        below = np.searchsorted(sample, borders) / sample.size
        equalised = np.concatenate(((0.0,), np.minimum(np.diff(below), plateau).cumsum()))
        tone = equalised + (1 - equalised[-1]) * self._places
        if self._brightest is None:
            return tone
        middle = float(np.interp(sample[sample.size // 2], borders, tone))
        middle = min(max(middle, 0.01), 0.99)  # a power of 0 or infinity says nothing
        power = math.log(self._brightest) / math.log(middle)
        return tone ** min(max(power, 1.0), self.strongest)

    def _levels(self, kind: np.dtype) -> np.ndarray:
        """Level of each count there can be, (256,) uint8 or (65536,) uint16."""
        full = int(np.iinfo(kind).max)
        first = max(math.ceil(self._borders[0]), 0)
        last = min(math.floor(self._borders[-1]), full)
        table = np.zeros(full + 1, kind)
        table[last + 1 :] = full  # hotter than white
        inside = np.interp(np.arange(first, last + 1), self._borders, self._curve)
        table[first : last + 1] = np.rint(inside * full)
        return table


def to_grey(thermal: np.ndarray, thermal_range: np.ndarray, height: int, width: int) -> np.ndarray:
    """Counts as the grey levels they are shown in, (height, width) uint8.

    Args:
        thermal: (h, w) uint8 or uint16.
        thermal_range: (2,) counts shown as black and as white.
    """
    black, white = (float(count) for count in thermal_range)
    grey = np.clip((thermal.astype(np.float32) - black) * (255 / (white - black)), 0, 255)
    return cv2.resize(np.rint(grey).astype(np.uint8), (width, height))


def sorted_sample(thermal: np.ndarray, samples: int) -> np.ndarray:
    """About `samples` of the counts from all over the image, in ascending order, (n,)."""
    step = max(1, int((thermal.size / samples) ** 0.5))
    # The stable sort of 16-bit integers is a radix sort, three times as fast as a partition.
    return np.sort(thermal[::step, ::step], axis=None, kind="stable")


def is_range(value: object) -> bool:
    """Whether it is two finite numbers, the lower one first."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    try:
        return -math.inf < value[0] < value[1] < math.inf
    except TypeError:
        return False


def _percentiles(ordered: np.ndarray, percent: tuple[float, ...]) -> np.ndarray:
    """As `np.percentile` of counts that are in order already, (len(percent),) float64."""
    places = np.array(percent) / 100 * (ordered.size - 1)
    below = places.astype(int)
    above = np.minimum(below + 1, ordered.size - 1)
    low, high = ordered[below].astype(float), ordered[above].astype(float)
    return low + (places - below) * (high - low)
