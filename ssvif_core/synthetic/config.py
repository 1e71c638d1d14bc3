"""What to generate: classes, conditions, thermal scales, and the checked configuration.

How a condition looks is left to `canvas`, `camera` and `thermal`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.synthetic.numeric import smooth

CLASS_NAMES = ("background", "person", "bicycle", "car")
CONDITIONS = ("day", "glare", "smoke", "night")  # also the order of a "drive"
PERSON, BICYCLE, CAR = 1, 2, 3

#: bits -> (degC at count 0, kelvin per count)
THERMAL_SCALES = {8: (-10.0, 0.2), 12: (-273.15, 0.16), 14: (-273.15, 0.04), 16: (-273.15, 0.01)}


class Mood(NamedTuple):
    """How much of each effect is on, 0..1."""

    night: float
    glare: float
    smoke: float


MOODS = {
    "day": Mood(night=0, glare=0, smoke=0),
    "glare": Mood(night=0.82, glare=1, smoke=0),
    "smoke": Mood(night=0.1, glare=0, smoke=1),
    "night": Mood(night=1, glare=0, smoke=0),
}


def thermal_to_visible(
    thermal_size: tuple[int, int],
    visible_size: tuple[int, int],
    scale: float = 1.0,
    angle: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Homography (3, 3) float64 that resizes, then scales and turns about the image centre.

    Sizes are (width, height); `angle` is in degrees, `shift` in visible pixels. The defaults
    give the pure resize that lays the whole thermal image over the whole visible one.
    """
    sx, sy = (v / t for v, t in zip(visible_size, thermal_size, strict=True))
    resize = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    cx, cy = ((v - 1) / 2 for v in visible_size)
    c, s = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    turn = [
        [c, -s, cx - c * cx + s * cy + shift[0]],
        [s, c, cy - s * cx - c * cy + shift[1]],
        [0, 0, 1],
    ]
    return np.array(turn) @ resize


@dataclass(frozen=True, eq=False)
class DriveConfig:
    """What to generate.

    Sizes are (width, height) in pixels. `condition` is one of `CONDITIONS`, or "drive" to pass
    through all of them in `frames` frames. `homography` maps thermal to visible pixels (None:
    pure resize); it is exact for `distortion` 0 and `parallax` 0.

    Raises:
        InputError: a value is not what was expected; names the first such.
    """

    seed: int = 0
    visible_size: tuple[int, int] = (640, 480)
    thermal_size: tuple[int, int] = (320, 256)
    condition: str = "drive"
    frames: int = 300
    fps: float = 30.0
    thermal_bits: int = 14
    homography: np.ndarray | None = None  # a read-only (3, 3) float64 once constructed
    distortion: float = 0.0  # radial, thermal lens: r -> r (1 + k r^2), r = 1 at the corners
    parallax: float = 0.0  # m, thermal camera to the right of the visible one
    thermal_drift: float = 0.5  # K, amplitude of the slow drift
    thermal_noise: float = 0.06  # K, standard deviation from frame to frame
    stripe_noise: float = 0.08  # K, standard deviation of the fixed column pattern
    thermal_blur: float = 0.7  # thermal pixels, standard deviation
    dead_pixels: int = 6  # stuck at 0 or at full scale

    def __post_init__(self) -> None:
        for name, good, expected in self._checks():
            if not good:
                raise InputError(f"{name}={getattr(self, name)!r}: expected {expected}")
        if self.homography is None:
            matrix = thermal_to_visible(self.thermal_size, self.visible_size)
        else:
            matrix = np.array(self.homography, dtype=np.float64)
        matrix.setflags(write=False)
        object.__setattr__(self, "homography", matrix)

    def _checks(self) -> Iterator[tuple[str, bool, str]]:
        """Name, whether its value is good, what was expected. Later ones rely on earlier ones."""
        yield "seed", _integer(self.seed, 0), "an integer >= 0"
        for name in ("visible_size", "thermal_size"):
            size = getattr(self, name)
            good = isinstance(size, Sequence) and len(size) == 2
            good = good and all(_integer(n, 16, 4096) for n in size)
            yield name, good, "(width, height), integers in 16..4096"
        names = (*CONDITIONS, "drive")
        good = isinstance(self.condition, str) and self.condition in names
        yield "condition", good, f"one of {', '.join(names)}"
        yield "frames", _integer(self.frames, 1), "an integer >= 1"
        yield "fps", _number(self.fps, 0.001, 100_000), "frames per second in 0.001..100000"
        good = _integer(self.thermal_bits, 0) and self.thermal_bits in THERMAL_SCALES
        yield "thermal_bits", good, f"one of {', '.join(map(str, THERMAL_SCALES))}"
        good = self.homography is None or _invertible(self.homography)
        yield "homography", good, "a finite, invertible (3, 3) matrix"
        yield "distortion", _number(self.distortion, -0.5, 0.5), "a number in -0.5..0.5"
        yield "parallax", _number(self.parallax, -1, 1), "metres in -1..1"
        for name in ("thermal_drift", "thermal_noise", "stripe_noise", "thermal_blur"):
            yield name, _number(getattr(self, name), 0, 10), "a number in 0..10"
        most = math.prod(self.thermal_size) // 10
        good = _integer(self.dead_pixels, 0, most)
        yield "dead_pixels", good, f"an integer in 0..{most} (a tenth of the thermal pixels)"

    @property
    def mapping(self) -> np.ndarray:
        """`homography`, which is a matrix once constructed."""
        assert self.homography is not None
        return self.homography

    def mood(self, index: int) -> tuple[str, Mood]:
        """Condition of a frame, and its effects; a drive blends over the borders between them."""
        if self.condition != "drive":
            return self.condition, MOODS[self.condition]
        last = len(CONDITIONS) - 1
        place = min(index / self.frames * (last + 1), last + 0.999)
        mood = np.array(MOODS[CONDITIONS[0]], float)
        for border in range(1, last + 1):
            step = np.subtract(MOODS[CONDITIONS[border]], MOODS[CONDITIONS[border - 1]])
            mood += step * smooth((place - border) / 0.3 + 0.5)
        return CONDITIONS[int(place)], Mood(*np.clip(mood, 0, 1).tolist())


def _integer(value: object, low: int, high: float = math.inf) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False  # a bool is an int to Python, but True frames are a slip
    return bool(low <= value <= high)


def _number(value: object, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(low <= value <= high)  # so NaN is none


def _invertible(value: object) -> bool:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return False
    return bool(abs(np.linalg.det(matrix)) > 1e-9)
