"""Classes, conditions and thermal scales of a drive, and its validated configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.synthetic.numeric import smooth
from ssvif_core.types import Float64Array

CLASS_NAMES = ("background", "person", "bicycle", "car")
CONDITIONS = ("day", "glare", "smoke", "night")  # in this order in a "drive"
PERSON, BICYCLE, CAR = 1, 2, 3

# bits -> (degC at count 0, kelvin per count)
THERMAL_SCALES = {8: (-10.0, 0.2), 12: (-273.15, 0.16), 14: (-273.15, 0.04), 16: (-273.15, 0.01)}


class Effects(NamedTuple):
    """Strength of each effect, 0..1."""

    night: float
    glare: float
    smoke: float


EFFECTS = {
    "day": Effects(night=0, glare=0, smoke=0),
    "glare": Effects(night=0.82, glare=1, smoke=0),
    "smoke": Effects(night=0.1, glare=0, smoke=1),
    "night": Effects(night=1, glare=0, smoke=0),
}


def thermal_to_visible(
    thermal_size: tuple[int, int],
    visible_size: tuple[int, int],
    scale: float = 1.0,
    angle: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Float64Array:
    """Homography (3, 3) float64 that resizes, then scales and rotates about the image centre.

    Sizes are (width, height) in pixels; `angle` is in degrees, `shift` in visible pixels. The
    defaults give the pure resize that maps the whole thermal image onto the whole visible image.

    >>> thermal_to_visible((320, 240), (640, 480))
    array([[2. , 0. , 0.5],
           [0. , 2. , 0.5],
           [0. , 0. , 1. ]])
    """
    sx, sy = (v / t for v, t in zip(visible_size, thermal_size, strict=True))
    resize = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    cx, cy = ((v - 1) / 2 for v in visible_size)
    c, s = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    rotation = [
        [c, -s, cx - c * cx + s * cy + shift[0]],
        [s, c, cy - s * cx - c * cy + shift[1]],
        [0, 0, 1],
    ]
    matrix: Float64Array = np.array(rotation) @ resize
    return matrix


@dataclass(frozen=True, eq=False)
class DriveConfig:
    """Settings of a drive.

    Sizes are (width, height) in pixels. `condition` is one of `CONDITIONS`, or "drive" to pass
    through all of them in `frames` frames. `homography` maps thermal to visible pixels (None:
    pure resize); it is exact for `distortion` 0 and `parallax` 0.

    Raises:
        InputError: a value is invalid. The message names the first one.
    """

    seed: int = 0
    visible_size: tuple[int, int] = (640, 480)
    thermal_size: tuple[int, int] = (320, 256)
    condition: str = "drive"
    frames: int = 300
    fps: float = 30.0
    thermal_bits: int = 14
    homography: Float64Array | None = None  # read-only (3, 3) float64 after construction
    distortion: float = 0.0  # radial, thermal lens: r -> r (1 + k r^2), r = 1 at the corners
    parallax: float = 0.0  # m, from the visible camera to the right
    thermal_drift: float = 0.5  # K, amplitude of the slow drift
    thermal_noise: float = 0.06  # K, standard deviation of the temporal noise
    stripe_noise: float = 0.08  # K, standard deviation of the fixed column pattern
    thermal_blur: float = 0.7  # thermal pixels, standard deviation
    dead_pixels: int = 6  # stuck at 0 or at full scale

    def __post_init__(self) -> None:
        for name, valid, expected in self._checks():
            if not valid:
                raise InputError(f"{name}={getattr(self, name)!r}; expected {expected}")
        if self.homography is None:
            matrix = thermal_to_visible(self.thermal_size, self.visible_size)
        else:
            matrix = np.array(self.homography, dtype=np.float64)
        matrix.setflags(write=False)
        object.__setattr__(self, "homography", matrix)

    def _checks(self) -> Iterator[tuple[str, bool, str]]:
        """Name, validity and expected value of each field. Later checks rely on earlier ones."""
        yield "seed", _is_integer(self.seed, 0), "an integer >= 0"
        for name in ("visible_size", "thermal_size"):
            size = getattr(self, name)
            valid = isinstance(size, Sequence) and len(size) == 2
            valid = valid and all(_is_integer(n, 16, 4096) for n in size)
            yield name, valid, "(width, height), integers in 16..4096"
        names = (*CONDITIONS, "drive")
        valid = isinstance(self.condition, str) and self.condition in names
        yield "condition", valid, f"one of {', '.join(names)}"
        yield "frames", _is_integer(self.frames, 1), "an integer >= 1"
        yield "fps", _is_number(self.fps, 0.001, 100_000), "frames per second in 0.001..100000"
        valid = _is_integer(self.thermal_bits, 0) and self.thermal_bits in THERMAL_SCALES
        yield "thermal_bits", valid, f"one of {', '.join(map(str, THERMAL_SCALES))}"
        valid = self.homography is None or _is_invertible(self.homography)
        yield "homography", valid, "a finite, invertible (3, 3) matrix"
        yield "distortion", _is_number(self.distortion, -0.5, 0.5), "a number in -0.5..0.5"
        yield "parallax", _is_number(self.parallax, -1, 1), "metres in -1..1"
        for name in ("thermal_drift", "thermal_noise", "stripe_noise", "thermal_blur"):
            yield name, _is_number(getattr(self, name), 0, 10), "a number in 0..10"
        largest = math.prod(self.thermal_size) // 10
        valid = _is_integer(self.dead_pixels, 0, largest)
        yield "dead_pixels", valid, f"an integer in 0..{largest} (a tenth of the thermal pixels)"

    @property
    def mapping(self) -> Float64Array:
        """`homography`, which is never None after construction."""
        assert self.homography is not None
        return self.homography

    def effects(self, index: int) -> tuple[str, Effects]:
        """Condition and effects of a frame; a drive blends neighbouring conditions."""
        if self.condition != "drive":
            return self.condition, EFFECTS[self.condition]
        last = len(CONDITIONS) - 1
        position = min(index / self.frames * (last + 1), last + 0.999)
        effects = np.array(EFFECTS[CONDITIONS[0]], float)
        for border in range(1, last + 1):
            step = np.subtract(EFFECTS[CONDITIONS[border]], EFFECTS[CONDITIONS[border - 1]])
            effects += step * smooth((position - border) / 0.3 + 0.5)
        return CONDITIONS[int(position)], Effects(*np.clip(effects, 0, 1).tolist())


def _is_integer(value: object, low: int, high: float = math.inf) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False  # Python counts a bool as an int, but frames=True is a mistake
    return bool(low <= value <= high)


def _is_number(value: object, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(low <= value <= high)  # False for NaN


def _is_invertible(value: object) -> bool:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return False
    return bool(abs(np.linalg.det(matrix)) > 1e-9)
