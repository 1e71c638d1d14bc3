"""Labelled visible + thermal street scenes, drawn with numpy and OpenCV.

A robot drives down an endless street; two cameras watch it. Every frame is a pure function of the
configuration and the frame index, so frames may be asked for in any order.

Conventions
    World: metres, x right (0 is the road's centre line), y up, z forward from the camera.
    Pixels: the centre of the top-left pixel is (0, 0). A homography maps thermal (x, y, 1) to
    visible (x, y, 1); "pure resize" by s is therefore x' = s * x + (s - 1) / 2.
    Thermal counts: temperature = offset + step * count, see ``THERMAL_SCALES``. With 14 bits a
    count is 0.04 K above absolute zero (20 degC is 7329); people and streets lie in 6500..8000.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

CLASS_NAMES = ("background", "person", "bicycle", "car")
CONDITIONS = ("day", "glare", "smoke", "night")  # also the order of a "drive"
PERSON, BICYCLE, CAR = 1, 2, 3

#: bits -> (degC at count 0, kelvin per count)
THERMAL_SCALES = {8: (-10.0, 0.2), 12: (-273.15, 0.16), 14: (-273.15, 0.04), 16: (-273.15, 0.01)}

PERIOD = 96.0  # the street repeats after this many metres ...
BLOCK = 32.0  # ... and has a zebra crossing every BLOCK metres
CROSSING = 16.0  # z of the first crossing
WALL, ROOF = 9.5, 14.0  # |x| of the house fronts; tallest height the street texture holds
KERB = 6.2  # |x| of the kerb
EYE_X, EYE_Y = 1.7, 1.4  # camera position across and above the road
SPEED = 4.0  # of the camera, m/s
NEAR, FAR = 2.2, 64.0  # objects are drawn in this range of z
CYCLE = 16.0  # s; traffic waits for pedestrians during the first 60 % of it
ROW, COL = 24, 16  # street texture, pixels per metre across and along
MIN_PIXELS = 12  # objects with fewer visible pixels are neither labelled nor boxed

Colour = tuple[float, float, float]


class Box(NamedTuple):
    """Bounding box of the visible pixels of one object, in visible pixels."""

    label: int  # index into CLASS_NAMES
    x: int
    y: int
    w: int
    h: int


def thermal_to_visible(
    thermal_size: tuple[int, int],
    visible_size: tuple[int, int],
    scale: float = 1.0,
    angle: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Homography (3, 3) float64 that resizes, then scales and turns about the image centre.

    Sizes are (width, height); ``angle`` is in degrees, ``shift`` in visible pixels. The defaults
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
class SceneConfig:
    """What to generate. Raises ``ValueError`` naming the first bad value and what was expected.

    Sizes are (width, height) in pixels. ``condition`` is one of ``CONDITIONS``, or "drive" to
    pass through all of them in ``frames`` frames. ``homography`` maps thermal to visible pixels
    (None: pure resize); it is exact for ``distortion`` 0 and ``parallax`` 0.
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
        def need(good: bool, name: str, expected: str) -> None:
            if not good:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected {expected}")

        def integer(value: object) -> bool:
            return isinstance(value, int | np.integer) and not isinstance(value, bool)

        def number(value: object) -> bool:
            return isinstance(value, int | float | np.number) and math.isfinite(float(value))

        need(integer(self.seed) and self.seed >= 0, "seed", "an integer >= 0")
        for name in ("visible_size", "thermal_size"):
            size = getattr(self, name)
            need(
                isinstance(size, Sequence) and len(size) == 2
                and all(integer(n) and 16 <= n <= 4096 for n in size),
                name, "(width, height), integers in 16..4096",
            )  # fmt: skip
        need(self.condition in (*CONDITIONS, "drive"), "condition",
             f"one of {', '.join(CONDITIONS)}, drive")  # fmt: skip
        need(integer(self.frames) and self.frames >= 1, "frames", "an integer >= 1")
        need(number(self.fps) and self.fps > 0, "fps", "frames per second > 0")
        need(self.thermal_bits in THERMAL_SCALES, "thermal_bits", f"one of {[*THERMAL_SCALES]}")
        need(number(self.distortion) and abs(self.distortion) <= 0.5, "distortion",
             "a number in -0.5..0.5")  # fmt: skip
        need(number(self.parallax) and abs(self.parallax) <= 1, "parallax", "metres in -1..1")
        for name in ("thermal_drift", "thermal_noise", "stripe_noise", "thermal_blur"):
            value = getattr(self, name)
            need(number(value) and 0 <= value <= 10, name, "a number in 0..10")
        area = math.prod(self.thermal_size)
        need(integer(self.dead_pixels) and 0 <= self.dead_pixels <= area // 10, "dead_pixels",
             f"an integer in 0..{area // 10} (a tenth of the thermal pixels)")  # fmt: skip
        if self.homography is None:
            matrix = thermal_to_visible(self.thermal_size, self.visible_size)
        else:
            try:
                matrix = np.array(self.homography, dtype=np.float64)
            except (TypeError, ValueError):
                matrix = np.zeros(0)
            need(matrix.shape == (3, 3) and bool(np.isfinite(matrix).all())
                 and abs(np.linalg.det(matrix)) > 1e-9, "homography",
                 "a finite, invertible (3, 3) matrix")  # fmt: skip
        matrix.setflags(write=False)
        object.__setattr__(self, "homography", matrix)


@dataclass(frozen=True, eq=False)
class Scene:
    """One moment seen by both cameras."""

    visible: np.ndarray  # (H, W, 3) uint8, BGR
    thermal: np.ndarray  # (h, w) uint16 counts; uint8 for 8 bits
    labels: np.ndarray  # (H, W) uint8, index into CLASS_NAMES
    boxes: tuple[Box, ...]  # nearest object last
    homography: np.ndarray  # (3, 3) float64, thermal -> visible pixels
    stamp: float  # s
    condition: str  # one of CONDITIONS


class _Mood(NamedTuple):
    """How much of each effect is on, 0..1."""

    night: float
    glare: float
    smoke: float


_MOODS = dict(zip(CONDITIONS, (_Mood(0, 0, 0), _Mood(0.82, 1, 0), _Mood(0.1, 0, 1),
                               _Mood(1, 0, 0)), strict=True))  # fmt: skip


def _smooth(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def _noise(rng: np.random.Generator, shape: tuple[int, int], slope: float) -> np.ndarray:
    """(rows, cols) float32 periodic noise with spectrum 1/f^slope, mean 0, deviation 1."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * (np.hypot(fy, fx) + 0.004) ** -slope
    field = np.fft.irfft2(spectrum, shape).astype(np.float32)
    return (field - field.mean()) / field.std()


def _lamp_light(x, y, z):
    """Brightness 0..1 of the street lamps at a place (arrays broadcast)."""
    light = 0.0
    for side, start in ((1.0, 8.0), (-1.0, 24.0)):
        dz = (z - start + BLOCK / 2) % BLOCK - BLOCK / 2
        light = light + np.exp(-(dz**2 + (x - side * 5.2) ** 2 + 0.4 * y**2) / 18)
    return light


class _House(NamedTuple):
    side: int  # -1 left, +1 right
    z: float
    height: float
    colour: np.ndarray


class _Street:
    """Texture of the street, unrolled: rows run down the left house fronts, across the ground and
    up the right ones; columns run along the street and repeat after PERIOD. Three copies, ever
    more blurred along the street, are stacked so that distant parts do not alias.
    """

    shape = (round((2 * ROOF + 2 * WALL) * ROW), round(PERIOD * COL))

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng((seed, 1))
        rows, cols = self.shape
        self.colour = np.zeros((rows, cols, 3), np.float32)
        self.warmth = np.full((rows, cols), 2.0, np.float32)  # degC; open sky where no house is
        self.cover = np.zeros((rows, cols), np.float32)
        self.glow = np.zeros((rows, cols), np.float32)
        self.houses: list[_House] = []
        self._pave(rng)
        for side in (-1, 1):
            self._build(rng, side)
        self._finish(rng)

    def _fill(self, z0: float, z1: float, s0: float, s1: float, colour=None, warmth=None) -> None:
        """Paint z0..z1 metres along, s0..s1 across; None leaves that layer."""
        s0, s1 = sorted((s0, s1))
        part = np.s_[round(s0 * ROW):round(s1 * ROW), max(round(z0 * COL), 0):round(z1 * COL)]
        if colour is not None:
            self.colour[part] = colour
        if warmth is not None:
            self.warmth[part] = warmth
        self.cover[part] = 1

    def _pave(self, rng: np.random.Generator) -> None:
        mid, end = ROOF + WALL, PERIOD
        self._fill(0, end, mid - WALL, mid + WALL, (128, 136, 140), 17.5)  # pavement
        for x in np.arange(KERB, WALL, 0.6):  # slabs
            for side in (-1, 1):
                self._fill(0, end, mid + side * x, mid + side * (x + 0.05), (100, 106, 110), 17)
        for z in np.arange(0, end, 0.8):
            self._fill(z, z + 0.07, mid - WALL, mid - KERB, (100, 106, 110), 17)
            self._fill(z, z + 0.07, mid + KERB, mid + WALL, (100, 106, 110), 17)
        self._fill(0, end, mid - KERB, mid + KERB, (92, 90, 88), 20)  # asphalt
        for x in (-2.7, -1.1, 1.0, 2.6):  # tyre tracks
            self._fill(0, end, mid + x - 0.25, mid + x + 0.25, (82, 80, 79), 21)
        for _ in range(14):  # repairs and manholes
            z, x, w = rng.uniform(0, end - 5), rng.uniform(-5, 4), rng.uniform(0.6, 2)
            tone = rng.uniform(66, 108)
            self._fill(z, z + rng.uniform(1, 5), mid + x, mid + x + w, (tone,) * 3, 20.5)
        for z in rng.uniform(0, end, 5):
            self._fill(z, z + 0.8, mid + 0.9, mid + 1.6, (60, 64, 68), 22)
        for side in (-1, 1):
            self._fill(0, end, mid + side * KERB, mid + side * (KERB + 0.22), (165, 168, 170), 18)
            self._fill(0, end, mid + side * 4.1, mid + side * 4.22, (215, 218, 220), 18.5)
        for z in np.arange(0, end, 4):
            self._fill(z, z + 2.2, mid - 0.07, mid + 0.07, (215, 220, 222), 18.5)
        for z in np.arange(CROSSING, end, BLOCK):
            for x in np.arange(-5.8, 5.6, 1.0):
                self._fill(z - 1.6, z + 1.6, mid + x, mid + x + 0.5, (222, 224, 226), 18)

    def _build(self, rng: np.random.Generator, side: int) -> None:
        """Row of house fronts with windows, doors and shops; some gaps."""

        def s(height: float) -> float:
            return ROOF + WALL + side * (WALL + height)

        walls = [(84, 104, 158), (150, 178, 196), (172, 184, 190), (122, 138, 150),
                 (138, 170, 206), (92, 118, 140), (188, 196, 200)]  # fmt: skip
        z = 0.0
        while z < PERIOD - 6:
            width = min(rng.uniform(9, 17), PERIOD - z)
            floors = int(rng.integers(2, 5))
            height = floors * 3.0 + rng.uniform(0.8, 1.6)
            colour = np.array(walls[rng.integers(len(walls))]) * rng.uniform(0.85, 1.05)
            self.houses.append(_House(side, z, height, colour))
            warm = rng.uniform(16, 18.5)
            self._fill(z, z + width, s(0), s(height), colour, warm)
            if rng.random() < 0.5:  # brick courses
                for h in np.arange(0, height, 0.25):
                    self._fill(z, z + width, s(h), s(h + 0.06), colour * 0.82)
            self._fill(z, z + width, s(0), s(0.5), colour * 0.6, warm + 0.5)
            self._fill(z, z + width, s(height - 0.4), s(height), colour * 0.55, warm - 2)
            self._fill(z, z + width, s(height - 0.5), s(height - 0.4), colour * 1.15, warm - 1)
            shop = rng.random() < 0.5
            pitch = rng.uniform(2.3, 3.2)
            for left in np.arange(z + 0.8, z + width - 1.5, pitch):
                for floor in range(floors):
                    low = floor * 3.0 + 1.0
                    lit = rng.random() < 0.3
                    if floor == 0 and shop:
                        self._fill(left - 0.4, left + 1.7, s(0.4), s(2.4), (70, 62, 55), 14)
                        self._fill(left - 0.6, left + 1.9, s(2.4), s(2.9),
                                   rng.uniform(50, 190, 3), 18)  # fmt: skip
                        low, tall = 0.5, 1.8
                    elif floor == 0 and rng.random() < 0.3:
                        self._fill(left, left + 1.1, s(0), s(2.2), rng.uniform(30, 110, 3), 15)
                        continue
                    else:
                        tall = 1.5
                        self._fill(left - 0.12, left + 1.22, s(low - 0.15), s(low + tall + 0.1),
                                   (205, 210, 212), warm + 1.5)  # fmt: skip
                    tone = rng.uniform(0.6, 1.3)
                    for i, h in enumerate(np.linspace(low, low + tall, 6)[:-1]):  # sky reflection
                        glass = np.array((70, 58, 48)) + i * np.array((13, 11, 8))
                        self._fill(left, left + 1.1, s(h), s(h + tall / 5), glass * tone, 12.5)
                    self._fill(left + 0.52, left + 0.6, s(low), s(low + tall), (200, 204, 206))
                    self._fill(left, left + 1.1, s(low + 1), s(low + 1.05), (200, 204, 206))
                    if lit:
                        a, b = sorted((s(low), s(low + tall)))
                        self.glow[round(a * ROW):round(b * ROW),
                                  round(left * COL):round((left + 1.1) * COL)] = (
                                      rng.uniform(0.4, 1))  # fmt: skip
            z += width + (rng.uniform(3, 6) if rng.random() < 0.45 else 0)

    def _finish(self, rng: np.random.Generator) -> None:
        """Weather and light the surfaces; pack what the renderer samples."""
        rows, cols = self.shape
        across = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / ROW - ROOF - WALL
        along = (np.arange(cols, dtype=np.float32)[None] + 0.5) / COL
        x, y = np.clip(across, -WALL, WALL), np.maximum(np.abs(across) - WALL, 0)
        dirt, grain = _noise(rng, self.shape, 1.4), _noise(rng, self.shape, 0.25)
        shadow = np.full(cols, -WALL, np.float32)
        for house in self.houses:  # the sun stands behind the left row
            if house.side < 0:
                shadow[round(house.z * COL):] = -WALL + 0.55 * house.height
        shade = cv2.blur(((across < shadow) | (across <= -WALL)).astype(np.float32), (9, 9))
        sun = np.where(across > WALL, 1.12, 1.0) - 0.36 * shade
        texture = 1 + 0.07 * dirt + 0.075 * grain
        day = self.colour * (sun * texture)[..., None]
        day += shade[..., None] * np.array((8, 2, -3), np.float32)
        lamps = _lamp_light(x, y, along)
        tint = np.array((0.55, 0.78, 1.0), np.float32)  # sodium light
        dim = (lamps * 0.7)[..., None] * tint + np.array((0.085, 0.07, 0.06), np.float32)
        night = self.colour * texture[..., None] * dim
        night += self.glow[..., None] * np.array((60, 135, 190), np.float32) * texture[..., None]
        warm = self.warmth + self.cover * (0.35 * dirt + 0.2 * grain + 1.0 - 2.2 * shade)
        self.day, self.night = (self._stack(a, np.uint8) for a in (day, night))
        self.matter = self._stack(100 * (warm + 100), np.uint16)  # (degC + 100) in 0.01 K
        self.cover = self._stack(self.cover * 255, np.uint8)
        self.wall = (128 * np.clip(texture[: 9 * ROW, : 12 * COL], 0, 1.9)).astype(np.uint8)
        del self.colour, self.warmth, self.glow

    @staticmethod
    def _stack(layer: np.ndarray, kind: type) -> np.ndarray:
        layer = np.clip(layer, 0, np.iinfo(kind).max)
        wide = np.concatenate((layer[:, -32:], layer, layer[:, :32]), axis=1)
        levels = [layer] + [cv2.blur(wide, size)[:, 32:-32] for size in ((5, 1), (23, 3))]
        return np.concatenate(levels).astype(kind)


_Sprite = tuple[np.ndarray, np.ndarray]  # (h, w, 4) BGRA uint8, (h, w) float32 degC


def _tree(rng: np.random.Generator) -> list[_Sprite]:
    """A 6.5 m tree of 520 x 400 pixels, and five times the half of it."""
    h, w = 520, 400
    image, warm = np.zeros((h, w, 4), np.uint8), np.full((h, w), 14.5, np.float32)
    trunk = np.array([(190, h), (212, h), (206, 250), (194, 250)], np.int32)
    cv2.fillConvexPoly(image, trunk, (48, 62, 78, 255), cv2.LINE_AA)
    cv2.fillConvexPoly(warm, trunk, 17.0)
    for n in range(420):  # leaves: dark ones first, sunlit ones last and higher up
        angle, radius = rng.uniform(0, 2 * math.pi), math.sqrt(rng.uniform(0, 1))
        lift = n / 420
        cx = 200 + 165 * radius * math.cos(angle) + 14 * lift
        cy = 185 + 150 * radius * math.sin(angle) - 22 * lift
        tone = (0.45 + 0.75 * lift) * rng.uniform(0.8, 1.15)
        colour = (38 * tone, 92 * tone, 74 * tone, 255)
        cv2.circle(image, (int(cx), int(cy)), int(rng.integers(9, 24)), colour, -1, cv2.LINE_AA)
    grain = 1 + 0.22 * _noise(rng, (h, w), 0.4)
    image[..., :3] = np.clip(image[..., :3] * grain[..., None], 0, 255)
    ragged = (_noise(rng, (h, w), 0.8) > 1.15) & (np.arange(h)[:, None] < 330)
    image[..., 3][ragged] = 0  # sky between the leaves
    levels = [(image, warm + 0.6 * grain)]
    for _ in range(5):
        levels.append((cv2.pyrDown(levels[-1][0]), cv2.pyrDown(levels[-1][1])))
    return levels


@lru_cache(maxsize=3)
def _clouds(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clouds and grass, (1024, 1024) float32 each."""
    rng = np.random.default_rng((seed, 7))
    return _noise(rng, (1024, 1024), 1.6) + 0.25, _noise(rng, (1024, 1024), 0.5)


@lru_cache(maxsize=3)
def _assets(seed: int) -> tuple[_Street, list[list[_Sprite]]]:
    rng = np.random.default_rng((seed, 2))
    return _Street(seed), [_tree(rng) for _ in range(3)]


# --- Things in the street ------------------------------------------------------------------------


class _Mesh(NamedTuple):
    """n flat faces with m corners in total, far ones first; x, y, z in metres."""

    points: np.ndarray  # (m, 3)
    ends: np.ndarray  # (n,) index in points behind the last corner of each face
    normals: np.ndarray  # (n, 3)
    middles: np.ndarray  # (n, 3)
    colours: np.ndarray  # (n, 3)
    warmth: np.ndarray  # (n,) K above the air
    lamps: np.ndarray  # (n,) bool, shines by itself


def _car(rng: np.random.Generator, away: bool, hot: bool) -> _Mesh:
    """A car, origin on the ground at its nearer end. ``away``: seen from behind."""
    paints = [(60, 48, 170), (150, 90, 40), (190, 192, 194), (62, 60, 58), (120, 130, 136),
              (210, 214, 216), (70, 110, 60)]  # fmt: skip
    paint = np.array(paints[rng.integers(len(paints))], float)
    heat = 1.0 if hot else 0.1
    length, grow = 4.3, rng.uniform(0.95, 1.12)
    faces: list[tuple] = []

    def half(y):
        return np.interp(y, (0.3, 0.95, 1.45), (0.86, 0.88, 0.66))

    def add(points, colour, warmth, lamp=False) -> None:
        p = np.array(points, float)
        if away:
            p[:, 2] = length - p[:, 2]
        p[:, 1] *= grow
        n = np.cross(p[1] - p[0], p[2] - p[0])
        n *= math.copysign(1.0, float(n @ (p.mean(0) - (0, 0.75, length / 2))))
        faces.append((p, n, p.mean(0), colour, warmth, lamp))

    def slab(x0, x1, y0, y1, z, colour, warmth, lamp=False) -> None:
        add([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], colour, warmth, lamp=lamp)

    side = [(0.3, 0.0), (0.72, 0.0), (0.93, 1.05), (1.4, 1.75), (1.45, 3.0), (1.02, 3.75),
            (0.95, length), (0.3, length)]  # fmt: skip
    window = [(0.96, 1.3), (1.33, 1.85), (1.37, 2.95), (1.03, 3.5)]
    slab(-0.8, 0.8, 0.1, 0.35, 0.3, (22, 22, 22), 12 * heat)
    slab(-0.8, 0.8, 0.1, 0.35, length - 0.3, (22, 22, 22), 6 * heat)
    for s in (-1, 1):
        add([(s * half(y), y, z) for y, z in side], paint * 0.78, 1)
        add([(s * (half(y) + 0.01), y, z) for y, z in window], (66, 58, 52), -2)
        add([(s * half(0.3), 0.3, 0.1), (s * half(0.3), 0.3, 4.2), (s * half(0.42), 0.42, 4.2),
             (s * half(0.42), 0.42, 0.1)], paint * 0.45, 2 * heat)  # fmt: skip
        for z in (0.82, 3.45):
            for radius, tone, warm in ((0.33, 26, 9), (0.18, 120, 13)):
                a = np.linspace(0, 2 * math.pi, 14, endpoint=False)
                ring = [(s * 0.89, 0.33 + radius * math.sin(i), z + radius * math.cos(i))
                        for i in a]  # fmt: skip
                add(ring, (tone,) * 3, warm * heat)
        for z in (0.35, length - 0.35):
            slab(s * 0.6, s * 0.86, 0.0, 0.36, z, (20, 20, 20), 10 * heat)
    names = ("front", "hood", "screen", "roof", "screen", "trunk", "back")
    quads = list(zip(names, side[:-1], side[1:], strict=True))
    style = {"front": (0.9, 16), "hood": (1.1, 17), "screen": (0.9, 1), "roof": (1.2, -1),
             "trunk": (1.1, 2), "back": (0.85, 3)}  # fmt: skip
    for name, (y0, z0), (y1, z1) in quads if away else quads[::-1]:
        a, b = half(y0), half(y1)
        quad = np.array([(-a, y0, z0), (a, y0, z0), (b, y1, z1), (-b, y1, z1)])
        tone, warm = style[name]
        add(quad, paint * tone, warm * (heat if warm > 2 else 1))
        if name == "screen":
            mid = quad.mean(0)
            add(mid + (quad - mid) * (0.9, 0.84, 0.84), (84, 72, 62), -2.5)
    front, tail = (-0.02, length + 0.02)
    slab(-0.45, 0.45, 0.38, 0.6, front, (30, 30, 30), 23 * heat)
    slab(-0.26, 0.26, 0.36, 0.47, front, (220, 224, 226), 4)
    slab(-0.26, 0.26, 0.5, 0.62, tail, (220, 224, 226), 1)
    slab(-0.86, 0.86, 0.3, 0.42, tail, paint * 0.5, 3 * heat)
    slab(0.3, 0.5, 0.24, 0.31, tail, (30, 30, 30), 25 * heat)  # exhaust
    for s in (-1, 1):
        slab(s * 0.5, s * 0.82, 0.54, 0.7, front, (240, 246, 250), 20 * heat, lamp=hot)
        slab(s * 0.6, s * 0.86, 0.66, 0.86, tail, (40, 30, 200), 5 * heat, lamp=hot)
    corners, *rest = zip(*faces, strict=True)
    ends = np.cumsum([len(c) for c in corners])
    return _Mesh(np.concatenate(corners), ends, *(np.array(r) for r in rest))


class _Limb(NamedTuple):
    """Tapered rod between two points (forward, sideways, up), with end radii in metres."""

    a: tuple[float, float, float]
    b: tuple[float, float, float]
    ra: float
    rb: float
    colour: Colour
    warmth: float  # K above the air


def _swing(p, length: float, angle: float, side: float = 0.0):
    """End of a bone that hangs from p, turned forward by ``angle`` (radians)."""
    return p[0] + length * math.sin(angle), p[1] + side, p[2] - length * math.cos(angle)


class _Clothes(NamedTuple):
    coat: Colour
    legs: Colour
    hair: Colour
    skin: Colour


def _upper_body(c: _Clothes, hip, neck, hands: Sequence[tuple], elbows: Sequence[tuple]):
    head = (neck[0] + 0.05, 0.0, neck[2] + 0.2)
    yield _Limb(hip, (neck[0], 0, neck[2] - 0.12), 0.15, 0.185, c.coat, 10)
    for side, elbow, hand in zip((-1, 1), elbows, hands, strict=True):
        shoulder = (neck[0], 0.2 * side, neck[2] - 0.07)
        yield _Limb(shoulder, elbow, 0.068, 0.055, c.coat, 9)
        yield _Limb(elbow, hand, 0.053, 0.045, c.coat, 9)
        yield _Limb(hand, _swing(hand, 0.07, 0.3), 0.05, 0.04, c.skin, 15)
    yield _Limb(neck, head, 0.06, 0.06, c.skin, 17)
    yield _Limb((head[0] - 0.02, 0, head[2] + 0.05), head, 0.115, 0.11, c.hair, 14)
    yield _Limb((head[0] + 0.02, 0, head[2]), (head[0] + 0.02, 0, head[2] - 0.06), 0.098, 0.085,
                c.skin, 18)  # fmt: skip


def _walker(c: _Clothes, gait: float, stride: float) -> list[_Limb]:
    """A walking person, 1.75 m; ``gait`` in radians, ``stride`` 0 (standing) .. 1."""
    limbs, hands, elbows = [], [], []
    bob = 0.02 * stride * math.cos(2 * gait)
    for side, phase in ((-1, gait), (1, gait + math.pi)):
        thigh = 0.5 * stride * math.sin(phase)
        bend = 0.75 * stride * max(0.0, math.cos(phase)) + 0.05
        hip = (0.0, 0.1 * side, 0.9 + bob)
        knee = _swing(hip, 0.43, thigh)
        foot = _swing(knee, 0.42, thigh - bend)
        limbs += [_Limb(hip, knee, 0.105, 0.075, c.legs, 8), _Limb(knee, foot, 0.072, 0.05,
                  c.legs, 7), _Limb(foot, (foot[0] + 0.17, foot[1], foot[2]), 0.055, 0.045,
                  (34, 32, 30), 4)]  # fmt: skip
        shoulder = (0.0, 0.22 * side, 1.4 + bob)
        arm = -0.55 * stride * math.sin(phase)
        elbows.append(_swing(shoulder, 0.28, arm, 0.03 * side))
        hands.append(_swing(elbows[-1], 0.24, arm + 0.15 + 0.3 * stride))
    return limbs + list(_upper_body(c, (0, 0, 0.98 + bob), (0.02, 0, 1.47 + bob), hands, elbows))


def _rider(c: _Clothes, gait: float) -> list[_Limb]:
    """The person on a bicycle whose wheels touch the ground at forward -0.52 and 0.52."""
    limbs = []
    for side, phase in ((-1, gait), (1, gait + math.pi)):
        hip = (-0.2, 0.1 * side, 0.95)
        foot = (0.0 + 0.17 * math.sin(phase), 0.1 * side, 0.32 + 0.17 * math.cos(phase))
        knee = ((hip[0] + foot[0]) / 2 + 0.24, 0.12 * side, (hip[2] + foot[2]) / 2 + 0.06)
        limbs += [_Limb(hip, knee, 0.1, 0.075, c.legs, 9), _Limb(knee, foot, 0.07, 0.05, c.legs,
                  8), _Limb(foot, (foot[0] + 0.14, foot[1], foot[2]), 0.05, 0.04, (34, 32, 30),
                  4)]  # fmt: skip
    hands = [(0.42, 0.25 * s, 1.02) for s in (-1, 1)]
    elbows = [(0.28, 0.28 * s, 1.14) for s in (-1, 1)]
    return limbs + list(_upper_body(c, (-0.2, 0, 1.0), (0.15, 0, 1.44), hands, elbows))


def _bicycle() -> list[tuple[np.ndarray, float]]:
    """Strokes (points (n, 3) as in a limb, radius in metres) of a bicycle."""
    a = np.linspace(0, 2 * math.pi, 25)
    wheels = [(np.stack((x + 0.33 * np.cos(a), 0 * a, 0.34 + 0.33 * np.sin(a)), 1), 0.032)
              for x in (-0.52, 0.52)]  # fmt: skip
    frame = [(-0.52, 0, 0.34), (-0.02, 0, 0.32), (0.38, 0, 0.8), (-0.2, 0, 0.82), (-0.02, 0, 0.32)]
    rest = [frame, [(-0.52, 0, 0.34), (-0.2, 0, 0.82), (-0.22, 0, 0.93)],
            [(0.52, 0, 0.34), (0.36, 0, 0.98)], [(0.38, -0.27, 1.02), (0.38, 0.27, 1.02)]]
    return wheels + [(np.array(p, float), 0.028) for p in rest]  # fmt: skip


class _Pose(NamedTuple):
    x: float
    z: float
    heading: tuple[float, float]  # (x, z), unit
    gait: float  # radians
    stride: float  # 0 standing .. 1


@dataclass(frozen=True)
class _Actor:
    """Something that stands or moves in the street; z repeats every PERIOD.

    ``rule`` "along": at ``speed`` along z. "across": on a zebra crossing while traffic waits,
    towards the sign of ``speed``, back in the next cycle. "traffic": waits for those.
    """

    kind: str  # person, cyclist, car, tree or lamp
    x: float
    z: float
    speed: float = 0.0  # m/s
    rule: str = "along"
    size: float = 1.0
    phase: float = 0.0  # radians of gait; fraction of the wait across; variant of a tree
    clothes: _Clothes | None = None
    mesh: _Mesh | None = None

    def at(self, t: float) -> _Pose:
        """Pose at time t (s)."""
        turn, part = divmod(t / CYCLE + 0.2, 1)
        way = math.copysign(1.0, self.speed)
        if self.rule == "traffic":
            ahead = BLOCK * (turn + _smooth((part - 0.62) / 0.38))
            return _Pose(self.x, self.z - ahead, (0, -1), 0, 0)
        if self.rule == "across":
            way *= (-1) ** int(turn)
            done = min(max((part / 0.58 - self.phase) / (1 - self.phase), 0), 1)
            x = 7.2 * way * (2 * done - 1)
            return _Pose(x, self.z, (way, 0), 4.2 * 7.2 * done, float(0 < done < 1))
        gait = self.phase + abs(self.speed) * t * 4.2
        return _Pose(self.x, self.z + self.speed * t, (0, way), gait, 1)


def _cast(seed: int) -> list[_Actor]:
    """Everybody and everything in one PERIOD of the street."""
    rng = np.random.default_rng((seed, 3))

    def clothes() -> _Clothes:
        bright = rng.random() < 0.5
        coat = rng.uniform(40, 220, 3) if bright else rng.uniform(60, 150) + rng.uniform(-15, 15, 3)
        tone = rng.uniform(0.55, 1.0)
        return _Clothes(tuple(coat), tuple(rng.uniform(30, 95) * np.array((1.1, 1, 0.9))),
                        (28, 36, 48), (130 * tone, 165 * tone, 215 * tone))  # fmt: skip

    cast = []
    for z in np.arange(CROSSING, PERIOD, BLOCK):
        mesh = _car(rng, away=False, hot=True)
        cast.append(_Actor("car", -1.95, z + 3.2, rule="traffic", mesh=mesh))
        for n, (kind, wait) in enumerate((("person", 0.08), ("person", 0), ("cyclist", 0.15))):
            cast.append(_Actor(kind, 0, z - 1.2 + 0.9 * n, -1 if n == 2 else 1, "across",
                               rng.uniform(0.9, 1.06), wait, clothes()))  # fmt: skip
        for side in (-1, 1):
            for gap in (6.0, 12.5, 19.0):
                if rng.random() < 0.62:
                    mesh = _car(rng, away=side > 0, hot=rng.random() < 0.3)
                    cast.append(_Actor("car", side * 5.15, z + gap, mesh=mesh))
    for n in range(16):
        side = -1 if n % 2 else 1
        pace = rng.uniform(0.9, 1.5) * rng.choice((-1, 1))
        cast.append(_Actor("person", side * rng.uniform(6.8, 8.8), rng.uniform(0, PERIOD), pace,
                           "along", rng.uniform(0.9, 1.06), rng.uniform(0, 6), clothes()))
    for x, z, pace in ((3.55, 12, 4.6), (3.5, 50, 3.6), (-3.6, 34, -3.5)):
        cast.append(_Actor("cyclist", x, z, pace, phase=rng.uniform(0, 6), clothes=clothes()))
    for side, start in ((1.0, 8.0), (-1.0, 24.0)):
        for z in np.arange(start, PERIOD, BLOCK):
            cast.append(_Actor("lamp", side * 6.6, z))
            for dz in (6.0, 14.0):
                cast.append(_Actor("tree", side * rng.uniform(6.9, 7.4), z + dz,
                                   size=rng.uniform(0.75, 1.1), phase=float(rng.integers(3))))
    return cast


# --- Drawing -------------------------------------------------------------------------------------


class _Flare(NamedTuple):
    u: float
    v: float
    depth: float
    power: float
    colour: Colour


class _View:
    """Pinhole camera and, for each pixel, where its ray meets the street.

    The canvas covers the visible image and as much of the thermal view as lies near it.
    """

    def __init__(self, config: SceneConfig) -> None:
        w, h = config.visible_size
        self.f = 0.9 * w  # pixels
        seen = self._thermal_rays(config)
        reach = (math.ceil(abs(config.parallax) * self.f / NEAR), 0)
        most = np.array((w, h)) // 4
        low = np.clip(np.ceil(1 - seen.min((0, 1))) + reach, 0, most).astype(int)
        high = np.clip(np.ceil(seen.max((0, 1)) + 2 - (w, h)) + reach, 0, most).astype(int)
        self.left, self.top = map(int, low)
        self.size = (w + int(low[0] + high[0]), h + int(low[1] + high[1]))  # width, height
        self.window = np.s_[self.top:self.top + h, self.left:self.left + w]
        self.lens = cv2.split((seen + low).astype(np.float32))  # x, y seen by a thermal pixel
        self.cx, self.cy = self.left + (w - 1) / 2, self.top + 0.46 * h
        self.margin = max(2, w // 50)  # room for the camera's shake
        self._rays(config.seed)

    @staticmethod
    def _thermal_rays(config: SceneConfig) -> np.ndarray:
        """(h, w, 2) visible pixel x, y under each thermal pixel."""
        w, h = config.thermal_size
        x, y = np.meshgrid(np.arange(w, dtype=float), np.arange(h, dtype=float))
        cx, cy = (w - 1) / 2, (h - 1) / 2
        bend = 1 + config.distortion * ((x - cx) ** 2 + (y - cy) ** 2) / (cx**2 + cy**2)
        ideal = np.stack((cx + (x - cx) * bend, cy + (y - cy) * bend), -1)
        return cv2.perspectiveTransform(ideal, config.homography)

    def _rays(self, seed: int) -> None:
        m = self.margin
        dx = ((np.arange(self.size[0] + 2 * m) - m - self.cx) / self.f)[None]
        dy = ((np.arange(self.size[1] + 2 * m) - m - self.cy) / self.f)[:, None]
        left = dx < 0
        gap = np.where(left, WALL + EYE_X, WALL - EYE_X)
        wall = gap / np.maximum(np.abs(dx), 1e-4)
        ground = EYE_Y / np.maximum(dy, 1e-4)
        z = np.minimum(np.minimum(wall, ground), 300.0)
        on_ground = ground < wall
        x, y = EYE_X + dx * z, np.clip(EYE_Y - dy * z, 0, ROOF - 0.1)
        s = np.where(on_ground, ROOF + WALL + x,
                     ROOF + WALL + np.where(left, -1, 1) * (WALL + y))  # fmt: skip
        rows = _Street.shape[0]
        step = z**2 / (self.f * np.where(on_ground, EYE_Y, gap)) * COL  # texels per pixel
        level = (step > 2.5).astype(int) + (step > 11)
        self.rows = (np.clip(s * ROW - 0.5, 0, rows - 1) + level * rows).astype(np.float32)
        self.cols = (z * COL).astype(np.float32)
        self.depth = z.astype(np.float32)
        self.clear = np.exp(-z / 170).astype(np.float32)  # haze
        self._backdrop(seed, dy)

    def _backdrop(self, seed: int, dy: np.ndarray) -> None:
        """Sky with clouds, distant roofs and open ground, by day and by night."""
        h, w = self.depth.shape
        # Indexed from the visible image, so that it looks the same on any canvas.
        pick = np.ix_(np.arange(h) - self.top & 1023, np.arange(w) - self.left & 1023)
        cloud, grain = (plane[pick] for plane in _clouds(seed))
        up = np.clip(-dy / 0.5, 0, 1)
        zenith, rim = np.array((205, 160, 112)), np.array((226, 218, 206))
        sky = rim + (zenith - rim) * (up**0.7)[..., None] * np.ones((h, w, 1))
        veil = np.clip(cloud * 0.45, 0, 0.85)[..., None] * np.minimum(up * 5, 1)[..., None]
        sky += (np.array((240, 238, 236)) - 12 * cloud[..., None] - sky) * veil
        heights = np.random.default_rng((seed, 4)).uniform(0.015, 0.075, 171)
        roofs = np.repeat(heights, 6)[pick[1][0]]
        town = (-dy < roofs) & (dy < 0)
        grass = dy >= 0
        day = np.where(town[..., None], (176, 170, 160), sky)
        day = np.where(grass[..., None], np.array((70, 112, 104)) * (1 + 0.15 * grain[..., None]),
                       day)  # fmt: skip
        night = np.where(town[..., None], (20, 17, 16), (44, 30, 24) + 10 * (1 - up[..., None]))
        night = np.where(grass[..., None], (8, 9, 8), night)
        self.day = np.clip(day, 0, 255).astype(np.uint8)
        self.night = np.clip(night, 0, 255).astype(np.uint8)
        warm = np.where(town, 12, np.where(grass, 14, 10 - 11 * up**0.6 + 1.5 * cloud))
        self.warm = warm.astype(np.float32)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Pixels to OpenCV's fixed point with 4 fractional bits."""
    return np.rint(points * 16).astype(np.int32)


class _Painter:
    """Draws one moment, from far to near, as colour and as (temperature, object, depth)."""

    CIRCLE = np.stack([f(np.arange(16) * math.pi / 8) for f in (np.sin, np.cos)])
    # Outline of a rod that points right: half a circle at its start, then one at its end.
    ROD = np.concatenate([np.linspace(-0.5, 0.5, 6) * math.pi + turn for turn in (math.pi, 0)])

    def __init__(self, view: _View, assets, mood: _Mood, at: float, shake: tuple[int, int]):
        self.view, self.mood, self.at = view, mood, at
        self.street, self.trees = assets
        self.cx, self.cy = view.cx + shake[0], view.cy + shake[1]
        self.air = 17.0 - 8.0 * mood.night  # degC
        self.flares: list[_Flare] = []
        self.boxes: list[tuple[int, int, slice, slice]] = []  # object, label, rows, columns
        x, y = view.margin - shake[0], view.margin - shake[1]
        self.crop = np.s_[y:y + view.size[1], x:x + view.size[0]]
        self.haze = np.array((226, 218, 206)) * (1 - mood.night) + np.array((52, 38, 32)) * (
            mood.night)  # fmt: skip
        self._street()

    def _street(self) -> None:
        view, street, night = self.view, self.street, self.mood.night
        rows, depth = view.rows[self.crop], view.depth[self.crop]
        width = street.shape[1]
        cols = view.cols[self.crop] + np.float32((self.at % PERIOD) * COL - 0.5)
        cols -= np.floor(cols * np.float32(1 / width)) * width

        def sample(layer: np.ndarray) -> np.ndarray:
            return cv2.remap(layer, cols, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)

        def mix(day: np.ndarray, dark: np.ndarray, pick) -> np.ndarray:
            if night in (0, 1):
                return pick(dark if night else day)
            return cv2.addWeighted(pick(day), 1 - night, pick(dark), night, 0)

        cover = sample(street.cover).astype(np.float32) * np.float32(1 / 255)
        warm = sample(street.matter).astype(np.float32) * np.float32(0.01) - np.float32(100)
        self.bgr = mix(view.day, view.night, lambda a: a[self.crop].copy())
        behind = view.warm[self.crop].copy()
        self._gables(behind)
        warm = behind + (warm - behind) * cover - np.float32(8 * night)
        self.heat = cv2.merge([warm, np.zeros_like(warm), depth + (1 - cover) * 100])
        cover *= view.clear[self.crop]
        front = mix(street.day, street.night, sample)
        self.bgr = cv2.blendLinear(front, self.bgr, cover, 1 - cover)

    def _gables(self, warm: np.ndarray) -> None:
        """The side of each house that faces the camera; the street's fronts are laid over it."""
        ahead = [((house.z - self.at) % PERIOD, house) for house in self.street.houses]
        for z, house in sorted(ahead, key=lambda pair: -pair[0]):
            x = house.side * WALL
            corners = np.array([(x, house.height, z), (x + house.side * 12, 0, z)])
            u, v = self.project(corners).T
            part = self._part(u.min(), u.max() + 1, v.min(), v.max() + 1)
            if z > 6 and self.bgr[part].size:
                gain, veil = self.light(x, z, 3)
                grain = self._laid(self.street.wall, u.min(), u.max(), *v, part)
                tone = house.colour * gain * (0.75 if house.side < 0 else 0.95) / 128
                self.bgr[part] = cv2.transform(grain, np.stack((tone, veil), 1))
                warm[part] = grain * np.float32(1 / 128) + 15

    def _part(self, u0: float, u1: float, v0: float, v1: float) -> tuple[slice, slice]:
        w, h = self.view.size
        a, b = (int(min(max(u, 0), w)) for u in (u0, u1))
        c, d = (int(min(max(v, 0), h)) for v in (v0, v1))
        return np.s_[c:d, a:b]

    def project(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) world points -> (n, 2) canvas pixels."""
        scale = self.view.f / np.maximum(points[:, 2], 0.5)
        uv = np.empty((len(points), 2))
        uv[:, 0] = (points[:, 0] - EYE_X) * scale + self.cx
        uv[:, 1] = (EYE_Y - points[:, 1]) * scale + self.cy
        return uv

    def light(self, x: float, z: float, y: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Gain (3,) of a surface's colour there under sun or lamps, and the haze to add (3,)."""
        night = self.mood.night
        lamps = 0.7 * float(_lamp_light(x, y, z + self.at))
        dark = lamps * np.array((0.55, 0.78, 1.0)) + (0.085, 0.07, 0.06)
        clear = math.exp(-z / 170)
        sun = 0.72 if x < -4 else 1.0
        return ((1 - night) * sun + night * dark) * clear, self.haze * (1 - clear)

    @staticmethod
    def _laid(texture: np.ndarray, u0, u1, v0, v1, part: tuple[slice, slice]) -> np.ndarray:
        """The texture spread over u0..u1, v0..v1, cut to ``part`` of the canvas."""
        rows, cols = part
        sx, sy = (u1 - u0) / texture.shape[1], (v1 - v0) / texture.shape[0]
        place = np.array([[1 / sx, 0, (cols.start - u0) / sx], [0, 1 / sy, (rows.start - v0) / sy]])
        size = (cols.stop - cols.start, rows.stop - rows.start)
        return cv2.warpAffine(texture, place, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                              borderMode=cv2.BORDER_REFLECT)  # fmt: skip

    def fill(self, points: np.ndarray, colour, warmth: float) -> None:
        """Paint one polygon, (n, 2) int32 in 1/16 pixel."""
        cv2.fillPoly(self.bgr, [points], colour, cv2.LINE_AA, 4)
        cv2.fillPoly(self.heat, [points], (self.air + warmth, self.tag, self.z), cv2.LINE_8, 4)

    def begin(self, label: int, x: float, z: float) -> None:
        self.tag = len(self.boxes) + 1 if label else 0
        self.z, self.label = z, label
        self.gain, self.veil = self.light(x, z)

    def end(self, outline: np.ndarray, grain: np.ndarray) -> None:
        """Give what was drawn since ``begin`` a texture that moves with it, and note its box."""
        (u0, v0), (u1, v1) = outline.min(0) - 2, outline.max(0) + 3
        part = self._part(u0, u1, v0, v1)
        self.boxes.append((self.tag, self.label, *part))
        roi = self.bgr[part]
        if roi.size and self.z < 28:
            mask = (self.heat[part][..., 1] == self.tag).view(np.uint8)
            grain = self._laid(grain, u0, u1, v0, v1, part)
            cv2.copyTo(cv2.multiply(roi, grain, dtype=cv2.CV_8U), mask, roi)

    def shadow(self, x: float, z: float, half_x: float, half_z: float) -> None:
        """Dark ellipse on the ground."""
        if z > 28:
            return
        ring = np.stack((x + half_x * self.CIRCLE[0], 0 * self.CIRCLE[0],
                         z + half_z * self.CIRCLE[1]), 1)  # fmt: skip
        p = self.project(ring)
        part = self._part(p[:, 0].min(), p[:, 0].max() + 1, p[:, 1].min(), p[:, 1].max() + 1)
        roi = self.bgr[part]
        if roi.size:
            mask = np.zeros(roi.shape[:2], np.uint8)
            cv2.fillConvexPoly(mask, _fixed(p - (part[1].start, part[0].start)), 1, cv2.LINE_8, 4)
            cv2.copyTo(cv2.multiply(roi, (0.6, 0.6, 0.62, 0), dtype=cv2.CV_8U), mask, roi)

    # Each of the following draws one actor whose place relative to the camera is x, z.

    def person(self, limbs: list[_Limb], x, z, heading, size: float, grain: np.ndarray) -> None:
        self.begin(PERSON, x, z)
        ends = np.array([limb[:2] for limb in limbs]).reshape(-1, 3)
        ends = self._turned(ends, x, z, heading, size)
        uv, scale = self.project(ends).reshape(-1, 2, 2), self.view.f * size / z
        radius = np.array([(limb.ra, limb.rb) for limb in limbs]) * scale
        colours = np.array([limb.colour for limb in limbs]) * self.gain
        along = uv[:, 1] - uv[:, 0]
        turn = np.arctan2(along[:, 1], along[:, 0])[:, None] + self.ROD
        round_ = np.stack((np.cos(turn), np.sin(turn)), 2) * np.repeat(radius, 6, 1)[..., None]
        centre = np.repeat(uv, 6, 1)
        edge = _fixed(centre + round_)
        core = _fixed(centre + 0.62 * round_ + radius[:, :1, None] * (0.2, -0.2))
        dark, bright = (0.8 * colours + self.veil).tolist(), (1.12 * colours + self.veil).tolist()
        for i in np.argsort(-ends[:, 2].reshape(-1, 2).sum(1)):
            self.fill(edge[i], dark[i], limbs[i].warmth)
            if scale > 12:  # the sunlit middle
                cv2.fillConvexPoly(self.bgr, core[i], bright[i], cv2.LINE_AA, 4)
        outline = uv.reshape(-1, 2)
        self.end(np.concatenate((outline - 0.2 * scale, outline + 0.2 * scale)), grain)

    @staticmethod
    def _turned(points: np.ndarray, x: float, z: float, heading, size: float) -> np.ndarray:
        """(forward, sideways, up) -> world, for a body at x, z that faces ``heading`` (x, z)."""
        hx, hz = heading
        f, s, up = points.T * size
        return np.stack((x + f * hx + s * hz, up, z + f * hz - s * hx), 1)

    def bicycle(self, x: float, z: float, heading, grain: np.ndarray) -> None:
        self.begin(BICYCLE, x, z)
        every = []
        colour = (np.array((44, 40, 38)) * self.gain + self.veil).tolist()
        for points, radius in _bicycle():
            uv = self.project(self._turned(points, x, z, heading, 1.0))
            p = [_fixed(uv)]
            width = max(1, round(2 * radius * self.view.f / z))
            cv2.polylines(self.bgr, p, False, colour, width, cv2.LINE_AA, 4)
            cv2.polylines(self.heat, p, False, (self.air + 2, self.tag, z), width, cv2.LINE_8, 4)
            every.append(uv)
        self.end(np.concatenate(every), grain)

    def car(self, mesh: _Mesh, x: float, z: float, grain: np.ndarray) -> None:
        self.shadow(x, z + 2.1, 1.0, 2.3)
        self.begin(CAR, x, z)
        uv = self.project(mesh.points + (x, 0, z))
        outlines = np.split(_fixed(uv), mesh.ends[:-1])
        facing = (mesh.normals * ((EYE_X - x, EYE_Y, -z) - mesh.middles)).sum(1) > 0
        colours = (mesh.colours * self.gain + self.veil).tolist()
        mood = self.mood
        for i in np.flatnonzero(facing):
            if mesh.lamps[i] and mood.night > 0.3:
                colours[i] = mesh.colours[i].tolist()
                white = mesh.colours[i, 0] > 200
                power = 0.7 * mood.glare + 0.35 * mood.night if white else 0.05 * mood.night
                tint = (0.92, 0.97, 1.0) if white else (0.1, 0.1, 1.0)
                self.flares.append(_Flare(*outlines[i].mean(0) / 16, z, power, tint))
            self.fill(outlines[i], colours[i], mesh.warmth[i])
        self.end(uv, grain)

    def tree(self, x: float, z: float, size: float, kind: int) -> None:
        per_metre = self.view.f / z * size / 80  # sprite pixels to canvas pixels
        level = min(max(int(math.log2(0.8 / per_metre)) + 1, 0), 5) if per_metre < 0.8 else 0
        image, warm = self.trees[kind][level]
        per_metre *= 2**level
        (u, v), = self.project(np.array([(x, 0.0, z)]))
        h, w = warm.shape
        u0, v0 = u - w / 2 * per_metre, v - h * per_metre
        part = self._part(u0, u0 + w * per_metre, v0, v)
        roi, heat = self.bgr[part], self.heat[part]
        if not roi.size:
            return
        place = np.array([[per_metre, 0, u0 - part[1].start], [0, per_metre, v0 - part[0].start]])
        to = (roi.shape[1], roi.shape[0])
        sprite = cv2.warpAffine(image, place, to)
        alpha = sprite[..., 3].astype(np.float32) * np.float32(1 / 255)
        gain, _ = self.light(x, z, 2.5)
        leaf = cv2.multiply(cv2.cvtColor(sprite, cv2.COLOR_BGRA2BGR), (*gain, 0), dtype=cv2.CV_8U)
        roi[:] = cv2.blendLinear(leaf, np.ascontiguousarray(roi), alpha, 1 - alpha)
        solid = alpha > 0.5
        heat[..., 0][solid] = (cv2.warpAffine(warm, place, to) + self.air - 17)[solid]
        heat[..., 1][solid] = 0
        heat[..., 2][solid] = z

    def lamp(self, x: float, z: float) -> None:
        self.begin(0, x, z)
        lean = -math.copysign(1.4, x)
        colour = (np.array((96, 100, 98)) * self.gain + self.veil).tolist()
        for (x0, y0), (x1, y1), r in (((x, 0), (x, 6), 0.06), ((x, 6), (x + lean, 6.3), 0.045)):
            a, b = self.project(np.array([(x0, y0, z), (x1, y1, z)]))
            r *= self.view.f / z
            across = np.array((r, 0)) if x0 == x1 else np.array((0, r))
            pole = np.array((a - across, a + across, b + across, b - across))
            self.fill(_fixed(pole), colour, -1)
        head = self.project(np.array([(x + lean * k, y, z) for k, y in
                                      ((0.8, 6.2), (1.15, 6.2), (1.15, 6.32), (0.8, 6.34))]))
        night = self.mood.night
        self.fill(_fixed(head), (190, 235, 255) if night > 0.3 else colour, 12 * night)
        self.flares.append(_Flare(*head.mean(0), z, 0.12 * night, (0.5, 0.8, 1.0)))


# --- Generator -----------------------------------------------------------------------------------


def _halo() -> np.ndarray:
    """(257, 257) float32 glare of a lamp in the lens: core, bloom, streaks; peak 1."""
    y, x = np.mgrid[-128:129, -128:129].astype(np.float32)
    r = np.hypot(x, y)
    angle = np.arctan2(y, x)
    rays = (0.5 + 0.5 * np.cos(8 * angle)) ** 6 + 0.6 * (0.5 + 0.5 * np.cos(14 * angle + 1)) ** 8
    glow = np.exp(-((r / 11) ** 2)) + 0.6 * np.exp(-r / 17) + 0.3 * rays * np.exp(-r / 24)
    streak = 0.45 * np.exp(-np.abs(y) / 1.6 - np.abs(x) / 50)
    fade = np.clip((128 - r) / 40, 0, 1)
    return ((glow + streak) * fade / 1.9).astype(np.float32)


class SceneGenerator:
    """Frames of one street scene.

    ``frame(i)`` is the same whatever was asked before. Iterating gives ``config.frames`` frames.
    ``dead_pixels`` (n, 2) int lists the stuck thermal pixels as (x, y).
    """

    def __init__(self, config: SceneConfig | None = None) -> None:
        self.config = config = config or SceneConfig()
        self._view = _View(config)
        self._assets = _assets(config.seed)
        self._cast = _cast(config.seed)
        rng = np.random.default_rng((config.seed, 5))
        (w, h), (tw, th) = config.visible_size, config.thermal_size
        self._grain = rng.normal(0, 1, (h + 64, w + 64, 3)).astype(np.float32)
        self._cloths = self._cloth(rng, 0.9, 0.13), self._cloth(rng, 1.2, 0.08)
        self._smoke = [_noise(rng, (256, 512), slope) for slope in (1.7, 1.4)]
        self._halo = _halo()
        stripes = rng.normal(0, config.stripe_noise, (1, tw))
        pixels = rng.normal(0, 0.5 * config.stripe_noise, (th, tw))
        self._pattern = (stripes + pixels).astype(np.float32)
        self._shading = cv2.resize(rng.normal(0, 1, (3, 4)).astype(np.float32), (tw, th),
                                   interpolation=cv2.INTER_CUBIC)  # fmt: skip
        flat = rng.choice(tw * th, config.dead_pixels, replace=False)
        self.dead_pixels = np.stack((flat % tw, flat // tw), 1)
        self._stuck = np.where(rng.random(config.dead_pixels) < 0.5, 0, 2**config.thermal_bits - 1)

    def __len__(self) -> int:
        return self.config.frames

    def __iter__(self) -> Iterator[Scene]:
        return (self.frame(i) for i in range(len(self)))

    def frame(self, index: int) -> Scene:
        """Frame at ``index / fps`` seconds; "drive" stays in its last condition after the end.

        Raises ``ValueError`` for a negative index.
        """
        if index < 0:
            raise ValueError(f"index={index}: expected an integer >= 0")
        config, t = self.config, index / self.config.fps
        rng = np.random.default_rng((config.seed, 6, index))
        condition, mood = self._mood(index)
        painter = self._paint(t, mood)
        labels, boxes = self._label(painter)
        return Scene(
            visible=self._visible(painter, t, rng),
            thermal=self._thermal(painter, t, rng),
            labels=labels,
            boxes=boxes,
            homography=config.homography,
            stamp=t,
            condition=condition,
        )

    def _mood(self, index: int) -> tuple[str, _Mood]:
        """Condition by name, and its effects; a drive blends over the borders between them."""
        if self.config.condition != "drive":
            return self.config.condition, _MOODS[self.config.condition]
        last = len(CONDITIONS) - 1
        place = min(index / self.config.frames * (last + 1), last + 0.999)
        mood = np.array(_MOODS[CONDITIONS[0]], float)
        for border in range(1, last + 1):
            step = np.subtract(_MOODS[CONDITIONS[border]], _MOODS[CONDITIONS[border - 1]])
            mood += step * _smooth((place - border) / 0.3 + 0.5)
        return CONDITIONS[int(place)], _Mood(*np.clip(mood, 0, 1).tolist())

    def _paint(self, t: float, mood: _Mood) -> _Painter:
        view, at = self._view, SPEED * t
        reach = view.margin
        shake = (round(reach * (0.7 * math.sin(0.5 * t) + 0.2 * math.sin(7 * t))),
                 round(reach * (0.25 * math.sin(5.3 * t) + 0.15 * math.sin(11 * t + 1))))
        painter = _Painter(view, self._assets, mood, at, shake)
        ahead = [((pose.z - at) % PERIOD, a, pose) for a in self._cast for pose in (a.at(t),)]
        for z, actor, pose in sorted(ahead, key=lambda item: -item[0]):
            if NEAR < z < FAR and abs(pose.x - EYE_X) < 0.7 * z + 3:
                self._draw(painter, actor, pose, z)
        return painter

    def _draw(self, painter: _Painter, actor: _Actor, pose: _Pose, z: float) -> None:
        (cloth, metal), x, heading = self._cloths, pose.x, pose.heading
        if actor.kind == "car":
            painter.car(actor.mesh, x, z, metal)
        elif actor.kind == "tree":
            painter.shadow(x, z, 1.2, 1.0)
            painter.tree(x, z, actor.size, int(actor.phase))
        elif actor.kind == "lamp":
            painter.lamp(x, z)
        elif actor.kind == "cyclist":
            painter.shadow(x, z, 0.5, 0.5)
            painter.bicycle(x, z, heading, cloth)
            painter.person(_rider(actor.clothes, pose.gait), x, z, heading, 1.0, cloth)
        else:
            painter.shadow(x, z, 0.35, 0.25)
            limbs = _walker(actor.clothes, pose.gait, pose.stride)
            painter.person(limbs, x, z, heading, actor.size, cloth)

    @staticmethod
    def _cloth(rng: np.random.Generator, slope: float, depth: float) -> np.ndarray:
        """(64, 64, 3) float32 factors: texture, and darker towards the ground."""
        fade = np.linspace(1.1, 0.86, 64, dtype=np.float32)[:, None]
        plane = fade * (1 + depth * _noise(rng, (64, 64), slope))
        return np.ascontiguousarray(np.repeat(np.clip(plane, 0.4, 1.6)[..., None], 3, 2))

    def _label(self, painter: _Painter) -> tuple[np.ndarray, tuple[Box, ...]]:
        objects = painter.heat[..., 1][self._view.window].astype(np.uint8)
        top, left = self._view.top, self._view.left
        table, boxes = np.zeros(256, np.uint8), []
        for tag, label, rows, cols in painter.boxes:
            y0, x0 = max(rows.start - top, 0), max(cols.start - left, 0)
            mask = (objects[y0:max(rows.stop - top, 0), x0:max(cols.stop - left, 0)] == tag)
            if np.count_nonzero(mask) >= MIN_PIXELS:
                x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
                boxes.append(Box(label, x + x0, y + y0, w, h))
                table[tag] = label
        return cv2.LUT(objects, table), tuple(boxes)

    # Visible camera

    def _visible(self, painter: _Painter, t: float, rng: np.random.Generator) -> np.ndarray:
        mood, window = painter.mood, self._view.window
        image = np.ascontiguousarray(painter.bgr[window])
        if mood.smoke > 0:
            image = self._smoked(image, painter.heat[..., 2][window], t, mood)
        if mood.night > 0 or mood.glare > 0:
            image = self._glare(image, painter)
        dx, dy = rng.integers(0, 64, 2)
        h, w = image.shape[:2]
        grain = self._grain[dy:dy + h, dx:dx + w] * np.float32(2.0 + 4.5 * mood.night)
        return cv2.add(image, grain, dtype=cv2.CV_8U)

    def _smoked(self, image: np.ndarray, depth: np.ndarray, t: float, mood: _Mood) -> np.ndarray:
        """Grey veil: thicker with distance, in drifting swathes."""
        h, w = image.shape[:2]
        small = (max(w // 4, 1), max(h // 4, 1))
        thick = np.zeros(small[::-1], np.float32)
        for layer, speed, weight in zip(self._smoke, (9.0, 23.0), (0.6, 0.4), strict=True):
            x = np.arange(small[0], dtype=np.float32)[None] * (200 / small[0]) + speed * t
            y = np.arange(small[1], dtype=np.float32)[:, None] * (150 / small[1]) - 4 * t
            x, y = np.broadcast_arrays(x % layer.shape[1], y % layer.shape[0])
            thick += weight * cv2.remap(layer, np.ascontiguousarray(x), np.ascontiguousarray(y),
                                        cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)  # fmt: skip
        near = cv2.resize(depth, small, interpolation=cv2.INTER_AREA)
        amount = np.clip(2.4 + 1.3 * thick, 0.25, 6) * (0.12 + 1.1 * (1 - np.exp(-near / 9)))
        clear = cv2.resize(np.exp(-mood.smoke * amount), (w, h))
        tone = cv2.resize(np.clip(172 + 16 * thick, 90, 235), (w, h)) * (1 - 0.8 * mood.night)
        veil = cv2.merge([tone.astype(np.uint8)] * 3)
        return cv2.blendLinear(image, veil, clear, 1 - clear)

    def _glare(self, image: np.ndarray, painter: _Painter) -> np.ndarray:
        """Light scattered in the lens by head lamps and street lamps; saturates near them."""
        h, w = image.shape[:2]
        scale = 160 / w  # the halo is drawn at a width of 160
        size = (160, max(round(h * scale), 1))
        lights: dict[Colour, np.ndarray] = {}
        for flare in painter.flares:
            u, v = (flare.u - self._view.left) * scale, (flare.v - self._view.top) * scale
            power = flare.power * min((12 / flare.depth) ** 0.6, 1.6)
            if power < 0.02 or not (-60 < u < size[0] + 60 and -60 < v < size[1] + 60):
                continue
            iu, iv = round(flare.u), round(flare.v)
            if 0 <= iv < painter.heat.shape[0] and 0 <= iu < painter.heat.shape[1]:
                if painter.heat[iv, iu, 2] < flare.depth - 0.8:
                    power *= 0.3  # somebody stands before it
            place = np.array([[1, 0, u - 128], [0, 1, v - 128]])
            halo = cv2.warpAffine(self._halo, place, size)
            plane = lights.setdefault(flare.colour, np.zeros(size[::-1], np.float32))
            cv2.scaleAdd(halo, 330 * power, plane, plane)
        light = np.full((*size[::-1], 3), 14 * painter.mood.glare, np.float32)
        for colour, plane in lights.items():
            light += plane[..., None] * np.float32(colour)
        light = np.clip(light, 0, 255).astype(np.uint8)
        return cv2.add(image, cv2.resize(light, (w, h)))

    # Thermal camera

    def _thermal(self, painter: _Painter, t: float, rng: np.random.Generator) -> np.ndarray:
        config = self.config
        warm = np.ascontiguousarray(painter.heat[..., 0])
        if config.parallax:
            warm = self._shifted(warm, painter.heat[..., 2])
        haze = np.float32(0.12 * painter.mood.smoke)
        warm = warm * (1 - haze) + haze * np.float32(painter.air)
        ratio = math.sqrt(abs(np.linalg.det(config.homography)))  # visible pixels per thermal one
        if ratio > 1.2:  # each thermal pixel collects from several
            warm = cv2.GaussianBlur(warm, (0, 0), 0.4 * ratio)
        warm = cv2.remap(warm, *self._view.lens, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if config.thermal_blur > 0:
            warm = cv2.GaussianBlur(warm, (0, 0), config.thermal_blur)
        drift = config.thermal_drift
        warm += drift * (math.sin(2 * math.pi * t / 47) + 0.3 * math.sin(0.05 * t) * self._shading)
        warm += self._pattern
        warm += rng.standard_normal(warm.shape, np.float32) * np.float32(config.thermal_noise)
        zero, step = THERMAL_SCALES[config.thermal_bits]
        counts = np.clip(np.rint((warm - zero) / step), 0, 2**config.thermal_bits - 1)
        counts = counts.astype(np.uint8 if config.thermal_bits == 8 else np.uint16)
        counts[self.dead_pixels[:, 1], self.dead_pixels[:, 0]] = self._stuck
        return counts

    def _shifted(self, warm: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """What a camera ``parallax`` metres to the right sees: near things move left."""
        h, w = warm.shape
        pull = (self.config.parallax * self._view.f / np.maximum(depth, NEAR)).astype(np.float32)
        reach = max(3, 2 * math.ceil(float(np.abs(pull).max())) + 1)
        x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
        # Start from the nearest thing that could land on a pixel, so that it hides what is behind.
        spread = cv2.dilate(np.abs(pull), np.ones((1, reach), np.uint8))
        shift = spread * math.copysign(1.0, self.config.parallax)
        for _ in range(3):
            shift = cv2.remap(pull, x + shift, y, cv2.INTER_NEAREST,
                              borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        return cv2.remap(warm, x + shift, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
