"""Bodies in metres around their own origin: cars as faces, people as limbs, bicycles as strokes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ssvif_core.synthetic.numeric import Colour
from ssvif_core.types import BoolArray, Float64Array, Int64Array

Point = tuple[float, float, float]


class Mesh(NamedTuple):
    """n flat faces with m corners in total, far faces first; x, y, z in metres."""

    points: Float64Array  # (m, 3)
    ends: Int64Array  # (n,) index in `points` after the last corner of each face
    normals: Float64Array  # (n, 3)
    middles: Float64Array  # (n, 3)
    colours: Float64Array  # (n, 3)
    warmth: Float64Array  # (n,) K above the air
    lamps: BoolArray  # (n,) whether the face emits light


_LENGTH = 4.3  # m, of a car
_PAINTS = np.array(
    [
        (60, 48, 170), (150, 90, 40), (190, 192, 194), (62, 60, 58), (120, 130, 136),
        (210, 214, 216), (70, 110, 60),
    ],
    float,
)  # fmt: skip
# Left outline of a car: (y, z), from the front bumper over the roof to the back.
_SIDE = [
    (0.3, 0.0), (0.72, 0.0), (0.93, 1.05), (1.4, 1.75), (1.45, 3.0), (1.02, 3.75),
    (0.95, _LENGTH), (0.3, _LENGTH),
]  # fmt: skip
_WINDOW = [(0.96, 1.3), (1.33, 1.85), (1.37, 2.95), (1.03, 3.5)]
# Panel between two points of the outline: name, factor of the paint, K above the air.
_PANELS = [
    ("front", 0.9, 16), ("hood", 1.1, 17), ("screen", 0.9, 1), ("roof", 1.2, -1),
    ("screen", 0.9, 1), ("trunk", 1.1, 2), ("back", 0.85, 3),
]  # fmt: skip


def _half_width(y: float) -> float:
    return float(np.interp(y, (0.3, 0.95, 1.45), (0.86, 0.88, 0.66)))


class _CarBuilder:
    """Collects the faces of a car; reverses them along z if the camera is behind the car."""

    def __init__(self, away: bool, grow: float) -> None:
        self.away, self.grow = away, grow
        self.faces: list[tuple[Float64Array, Float64Array, Float64Array, Any, float, bool]] = []

    def add(self, points: Any, colour: Any, warmth: float, lamp: bool = False) -> None:
        p = np.array(points, float)
        if self.away:
            p[:, 2] = _LENGTH - p[:, 2]
        p[:, 1] *= self.grow
        n = np.cross(p[1] - p[0], p[2] - p[0])
        # Corners have any order, so make the normal point away from the car's middle.
        n *= math.copysign(1.0, float(n @ (p.mean(0) - (0, 0.75, _LENGTH / 2))))
        self.faces.append((p, n, p.mean(0), colour, warmth, lamp))

    def slab(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: float,
        colour: Any,
        warmth: float,
        lamp: bool = False,
    ) -> None:
        """An upright rectangle across the car."""
        (x0, x1), (y0, y1) = x, y
        self.add([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], colour, warmth, lamp)

    def mesh(self) -> Mesh:
        corners, *rest = zip(*self.faces, strict=True)
        ends = np.cumsum([len(c) for c in corners])
        return Mesh(np.concatenate(corners), ends, *(np.array(r) for r in rest))


def car(rng: np.random.Generator, away: bool, hot: bool) -> Mesh:
    """A car; the origin is on the ground at its nearer end.

    away: the camera is behind it. hot: its engine is warm and its lamps are on.
    """
    paint = _PAINTS[rng.integers(len(_PAINTS))]
    heat = 1.0 if hot else 0.1
    build = _CarBuilder(away, grow=rng.uniform(0.95, 1.12))
    build.slab((-0.8, 0.8), (0.1, 0.35), 0.3, (22, 22, 22), 12 * heat)
    build.slab((-0.8, 0.8), (0.1, 0.35), _LENGTH - 0.3, (22, 22, 22), 6 * heat)
    for s in (-1, 1):
        _flank(build, s, paint, heat)
    panels = list(zip(_PANELS, _SIDE[:-1], _SIDE[1:], strict=True))
    for (name, tone, warm), (y0, z0), (y1, z1) in panels if away else panels[::-1]:
        a, b = _half_width(y0), _half_width(y1)
        quad = np.array([(-a, y0, z0), (a, y0, z0), (b, y1, z1), (-b, y1, z1)])
        build.add(quad, paint * tone, warm * (heat if warm > 2 else 1))
        if name == "screen":
            mid = quad.mean(0)
            build.add(mid + (quad - mid) * (0.9, 0.84, 0.84), (84, 72, 62), -2.5)
    front, tail = -0.02, _LENGTH + 0.02
    plate, black = (220, 224, 226), (30, 30, 30)
    build.slab((-0.45, 0.45), (0.38, 0.6), front, black, 23 * heat)  # grille
    build.slab((-0.26, 0.26), (0.36, 0.47), front, plate, 4)
    build.slab((-0.26, 0.26), (0.5, 0.62), tail, plate, 1)
    build.slab((-0.86, 0.86), (0.3, 0.42), tail, paint * 0.5, 3 * heat)
    build.slab((0.3, 0.5), (0.24, 0.31), tail, black, 25 * heat)  # exhaust
    for s in (-1, 1):
        build.slab((s * 0.5, s * 0.82), (0.54, 0.7), front, (240, 246, 250), 20 * heat, lamp=hot)
        build.slab((s * 0.6, s * 0.86), (0.66, 0.86), tail, (40, 30, 200), 5 * heat, lamp=hot)
    return build.mesh()


def _flank(build: _CarBuilder, s: int, paint: Float64Array, heat: float) -> None:
    """Add one side: body, window, sill and wheels."""
    build.add([(s * _half_width(y), y, z) for y, z in _SIDE], paint * 0.78, 1)
    build.add([(s * (_half_width(y) + 0.01), y, z) for y, z in _WINDOW], (66, 58, 52), -2)
    low, high = s * _half_width(0.3), s * _half_width(0.42)
    sill = [(low, 0.3, 0.1), (low, 0.3, 4.2), (high, 0.42, 4.2), (high, 0.42, 0.1)]
    build.add(sill, paint * 0.45, 2 * heat)
    angles = np.linspace(0, 2 * math.pi, 14, endpoint=False).tolist()
    for z in (0.82, 3.45):
        for r, tone, warm in ((0.33, 26, 9), (0.18, 120, 13)):  # tyre, rim
            ring = [(s * 0.89, 0.33 + r * math.sin(a), z + r * math.cos(a)) for a in angles]
            build.add(ring, (tone,) * 3, warm * heat)
    for z in (0.35, _LENGTH - 0.35):
        build.slab((s * 0.6, s * 0.86), (0.0, 0.36), z, (20, 20, 20), 10 * heat)


class Limb(NamedTuple):
    """Tapered rod between two points (forward, sideways, up), with end radii in metres."""

    a: Point
    b: Point
    ra: float
    rb: float
    colour: Colour
    warmth: float  # K above the air


class Clothes(NamedTuple):
    coat: Colour
    legs: Colour
    hair: Colour
    skin: Colour


_SHOES = (34, 32, 30)


def _swing(p: Point, length: float, angle: float, side: float = 0.0) -> Point:
    """End of a bone that hangs from p and is turned forward by `angle` (radians)."""
    return p[0] + length * math.sin(angle), p[1] + side, p[2] - length * math.cos(angle)


def _upper_body(
    c: Clothes, hip: Point, neck: Point, hands: Sequence[Point], elbows: Sequence[Point]
) -> list[Limb]:
    limbs = [Limb(hip, (neck[0], 0, neck[2] - 0.12), 0.15, 0.185, c.coat, 10)]
    for side, elbow, hand in zip((-1, 1), elbows, hands, strict=True):
        shoulder = (neck[0], 0.2 * side, neck[2] - 0.07)
        limbs.append(Limb(shoulder, elbow, 0.068, 0.055, c.coat, 9))
        limbs.append(Limb(elbow, hand, 0.053, 0.045, c.coat, 9))
        limbs.append(Limb(hand, _swing(hand, 0.07, 0.3), 0.05, 0.04, c.skin, 15))
    head = (neck[0] + 0.05, 0.0, neck[2] + 0.2)
    limbs.append(Limb(neck, head, 0.06, 0.06, c.skin, 17))
    limbs.append(Limb((head[0] - 0.02, 0, head[2] + 0.05), head, 0.115, 0.11, c.hair, 14))
    brow, chin = (head[0] + 0.02, 0, head[2]), (head[0] + 0.02, 0, head[2] - 0.06)
    limbs.append(Limb(brow, chin, 0.098, 0.085, c.skin, 18))
    return limbs


def walker(c: Clothes, gait: float, stride: float) -> list[Limb]:
    """A walking person, 1.75 m; `gait` in radians, `stride` 0 (standing) .. 1."""
    limbs: list[Limb] = []
    hands: list[Point] = []
    elbows: list[Point] = []
    bob = 0.02 * stride * math.cos(2 * gait)
    for side, phase in ((-1, gait), (1, gait + math.pi)):
        thigh = 0.5 * stride * math.sin(phase)
        bend = 0.75 * stride * max(0.0, math.cos(phase)) + 0.05
        hip = (0.0, 0.1 * side, 0.9 + bob)
        knee = _swing(hip, 0.43, thigh)
        foot = _swing(knee, 0.42, thigh - bend)
        toe = (foot[0] + 0.17, foot[1], foot[2])
        limbs.append(Limb(hip, knee, 0.105, 0.075, c.legs, 8))
        limbs.append(Limb(knee, foot, 0.072, 0.05, c.legs, 7))
        limbs.append(Limb(foot, toe, 0.055, 0.045, _SHOES, 4))
        shoulder = (0.0, 0.22 * side, 1.4 + bob)
        arm = -0.55 * stride * math.sin(phase)
        elbows.append(_swing(shoulder, 0.28, arm, 0.03 * side))
        hands.append(_swing(elbows[-1], 0.24, arm + 0.15 + 0.3 * stride))
    return limbs + _upper_body(c, (0, 0, 0.98 + bob), (0.02, 0, 1.47 + bob), hands, elbows)


def rider(c: Clothes, gait: float) -> list[Limb]:
    """A person on a bicycle whose wheels touch the ground at forward -0.52 and 0.52."""
    limbs: list[Limb] = []
    for side, phase in ((-1, gait), (1, gait + math.pi)):
        hip = (-0.2, 0.1 * side, 0.95)
        foot = (0.0 + 0.17 * math.sin(phase), 0.1 * side, 0.32 + 0.17 * math.cos(phase))
        knee = ((hip[0] + foot[0]) / 2 + 0.24, 0.12 * side, (hip[2] + foot[2]) / 2 + 0.06)
        toe = (foot[0] + 0.14, foot[1], foot[2])
        limbs.append(Limb(hip, knee, 0.1, 0.075, c.legs, 9))
        limbs.append(Limb(knee, foot, 0.07, 0.05, c.legs, 8))
        limbs.append(Limb(foot, toe, 0.05, 0.04, _SHOES, 4))
    hands = [(0.42, 0.25 * s, 1.02) for s in (-1, 1)]
    elbows = [(0.28, 0.28 * s, 1.14) for s in (-1, 1)]
    return limbs + _upper_body(c, (-0.2, 0, 1.0), (0.15, 0, 1.44), hands, elbows)


def bicycle() -> list[tuple[Float64Array, float]]:
    """Strokes of a bicycle: points (n, 3) as in `Limb`, radius in metres."""
    a = np.linspace(0, 2 * math.pi, 25)
    strokes = []
    for x in (-0.52, 0.52):
        wheel = np.stack((x + 0.33 * np.cos(a), 0 * a, 0.34 + 0.33 * np.sin(a)), 1)
        strokes.append((wheel, 0.032))
    pedals, saddle = (-0.02, 0, 0.32), (-0.2, 0, 0.82)
    tubes = [
        [(-0.52, 0, 0.34), pedals, (0.38, 0, 0.8), saddle, pedals],
        [(-0.52, 0, 0.34), saddle, (-0.22, 0, 0.93)],
        [(0.52, 0, 0.34), (0.36, 0, 0.98)],
        [(0.38, -0.27, 1.02), (0.38, 0.27, 1.02)],
    ]
    return strokes + [(np.array(tube, float), 0.028) for tube in tubes]
