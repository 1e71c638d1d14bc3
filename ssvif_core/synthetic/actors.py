"""The objects in the street: persons, cyclists, cars, trees, lamps, and their places over time.

`shapes` builds their bodies, `painter` draws them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from ssvif_core.synthetic.numeric import Colour, smooth
from ssvif_core.synthetic.shapes import Clothes, Mesh, car
from ssvif_core.synthetic.street import BLOCK, CROSSING, LAMP_ROWS, PERIOD
from ssvif_core.types import Float64Array

CYCLE_S = 16.0  # traffic waits for pedestrians during the first 60 % of a cycle
REACH = 7.2  # |x| in metres at which a pedestrian's crossing starts and ends
STEP = 4.2  # radians of gait per metre


class Pose(NamedTuple):
    x: float
    z: float
    heading: tuple[float, float]  # (x, z), unit
    gait: float  # radians
    stride: float  # 0 standing .. 1


@dataclass(frozen=True)
class Actor:
    """An object that stands or moves in the street; z repeats every PERIOD.

    rule: "along" moves at `speed` along z. "across" walks over a zebra crossing while traffic
        waits, towards the sign of `speed`, and back in the next cycle. "traffic" waits meanwhile.
    body: the mesh of a car, the clothes of a person or cyclist, None for a tree or lamp.
    """

    category: Literal["person", "cyclist", "car", "tree", "lamp"]
    x: float
    z: float
    speed: float = 0.0  # m/s
    rule: Literal["along", "across", "traffic"] = "along"
    size: float = 1.0
    # along: radians of gait; across: share of the crossing time spent waiting; tree: its variant
    phase: float = 0.0
    body: Mesh | Clothes | None = None

    def at(self, t: float) -> Pose:
        """Pose at time t (s)."""
        cycle, cycle_share = divmod(t / CYCLE_S + 0.2, 1)
        direction = math.copysign(1.0, self.speed)
        if self.rule == "traffic":
            distance = BLOCK * (cycle + smooth((cycle_share - 0.62) / 0.38))
            return Pose(self.x, self.z - distance, (0, -1), 0, 0)
        if self.rule == "across":
            direction *= (-1) ** int(cycle)
            progress = min(max((cycle_share / 0.58 - self.phase) / (1 - self.phase), 0), 1)
            x = REACH * direction * (2 * progress - 1)
            moving = float(0 < progress < 1)
            return Pose(x, self.z, (direction, 0), STEP * REACH * progress, moving)
        gait = self.phase + abs(self.speed) * t * STEP
        return Pose(self.x, self.z + self.speed * t, (0, direction), gait, 1)


@lru_cache(maxsize=3)  # this takes most of the time of constructing a small generator
def create_actors(seed: int) -> tuple[Actor, ...]:
    """All actors in one PERIOD of the street."""
    rng = np.random.default_rng((seed, 3))
    crossings = np.arange(CROSSING, PERIOD, BLOCK).tolist()
    actors = [actor for z in crossings for actor in _at_crossing(rng, z)]
    actors += [_stroller(rng, side=-1 if n % 2 else 1) for n in range(16)]
    for x, z, speed in ((3.55, 12.0, 4.6), (3.5, 50.0, 3.6), (-3.6, 34.0, -3.5)):
        phase = rng.uniform(0, 6)
        actors.append(Actor("cyclist", x, z, speed, phase=phase, body=_clothes(rng)))
    for side, start in LAMP_ROWS:
        for z in np.arange(start, PERIOD, BLOCK).tolist():
            actors.append(Actor("lamp", side * 6.6, z))
            actors += [_tree(rng, side, z + dz) for dz in (6.0, 14.0)]
    return tuple(actors)


def _at_crossing(rng: np.random.Generator, z: float) -> list[Actor]:
    """A waiting car, three people who cross, and the cars parked up to the next crossing."""
    mesh = car(rng, away=False, hot=True)
    actors = [Actor("car", -1.95, z + 3.2, rule="traffic", body=mesh)]
    for n, (direction, wait) in enumerate(((1.0, 0.08), (1.0, 0.0), (-1.0, 0.15))):
        size = rng.uniform(0.9, 1.06)
        category: Literal["person", "cyclist"] = "cyclist" if n == 2 else "person"
        lane_z = z - 1.2 + 0.9 * n
        actors.append(Actor(category, 0, lane_z, direction, "across", size, wait, _clothes(rng)))
    for side in (-1, 1):
        for gap in (6.0, 12.5, 19.0):
            if rng.random() < 0.62:
                hot = bool(rng.random() < 0.3)
                mesh = car(rng, away=side > 0, hot=hot)
                actors.append(Actor("car", side * 5.15, z + gap, body=mesh))
    return actors


def _stroller(rng: np.random.Generator, side: int) -> Actor:
    """A person on a pavement."""
    speed = rng.uniform(0.9, 1.5) * float(rng.choice((-1, 1)))
    x, z = side * rng.uniform(6.8, 8.8), rng.uniform(0, PERIOD)
    size, phase = rng.uniform(0.9, 1.06), rng.uniform(0, 6)
    return Actor("person", x, z, speed, "along", size, phase, _clothes(rng))


def _tree(rng: np.random.Generator, side: float, z: float) -> Actor:
    x, size = side * rng.uniform(6.9, 7.4), rng.uniform(0.75, 1.1)
    return Actor("tree", x, z, size=size, phase=float(rng.integers(3)))


def _clothes(rng: np.random.Generator) -> Clothes:
    bright = rng.random() < 0.5
    coat = rng.uniform(40, 220, 3) if bright else rng.uniform(60, 150) + rng.uniform(-15, 15, 3)
    tone = rng.uniform(0.55, 1.0)
    legs = rng.uniform(30, 95) * np.array((1.1, 1, 0.9))
    return Clothes(_bgr(coat), _bgr(legs), (28, 36, 48), (130 * tone, 165 * tone, 215 * tone))


def _bgr(values: Float64Array) -> Colour:
    blue, green, red = values.tolist()
    return blue, green, red
