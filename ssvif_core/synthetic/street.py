"""The static street: its dimensions, its surfaces as textures, and trees as sprites."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from ssvif_core.synthetic.numeric import noise
from ssvif_core.types import AnyArray, Float32Array, Float64Array, UInt8Array

PERIOD = 96.0  # m after which the street repeats
BLOCK = 32.0  # m between zebra crossings
CROSSING = 16.0  # m, z of the first crossing
WALL, ROOF = 9.5, 14.0  # m, |x| of the house fronts; largest height in the street texture
KERB = 6.2  # m, |x| of the kerb
LAMP_ROWS = ((1.0, 8.0), (-1.0, 24.0))  # side and first z of the lamps, one every BLOCK metres
ROW, COL = 24, 16  # pixels per metre of the street texture, across and along

_MIDDLE = ROOF + WALL  # m, middle of the road in the texture
_WALLS = np.array(
    [
        (84, 104, 158), (150, 178, 196), (172, 184, 190), (122, 138, 150), (138, 170, 206),
        (92, 118, 140), (188, 196, 200),
    ]
)  # fmt: skip
_FRAME = (200, 204, 206)  # colour of window frames
_JOINT = (100, 106, 110)  # colour of the joints between slabs


def lamp_light(x: Any, y: Any, z: Any) -> Any:
    """Brightness 0..1 of the street lamps at x, y, z (numbers, or arrays that broadcast)."""
    light = 0.0
    for side, start in LAMP_ROWS:
        dz = (z - start + BLOCK / 2) % BLOCK - BLOCK / 2
        light = light + np.exp(-(dz**2 + (x - side * 5.2) ** 2 + 0.4 * y**2) / 18)
    return light


class House(NamedTuple):
    side: int  # -1 left, +1 right
    z: float
    height: float
    colour: Float64Array


class _Layers:
    """Unlit layers of the street texture, filled rectangle by rectangle."""

    def __init__(self, rows: int, cols: int) -> None:
        self.colour = np.zeros((rows, cols, 3), np.float32)
        self.temperature = np.full((rows, cols), 2.0, np.float32)  # degC; 2 is open sky
        self.cover = np.zeros((rows, cols), np.float32)
        self.glow = np.zeros((rows, cols), np.float32)  # lit windows

    @staticmethod
    def part(z0: float, z1: float, s0: float, s1: float) -> tuple[slice, slice]:
        """Slices of the pixels of z0..z1 metres along, s0..s1 metres across."""
        s0, s1 = sorted((s0, s1))
        return np.s_[round(s0 * ROW) : round(s1 * ROW), max(round(z0 * COL), 0) : round(z1 * COL)]

    def fill(
        self,
        z0: float,
        z1: float,
        s0: float,
        s1: float,
        colour: Any,
        temperature: float | None = None,
    ) -> None:
        """Paint a rectangle; `temperature` (degC) None leaves that layer unchanged."""
        part = self.part(z0, z1, s0, s1)
        self.colour[part] = colour
        if temperature is not None:
            self.temperature[part] = temperature
        self.cover[part] = 1


def _draw_ground(layers: _Layers, rng: np.random.Generator) -> None:
    """Draw pavements, asphalt and road markings."""
    mid, end, fill = _MIDDLE, PERIOD, layers.fill
    fill(0, end, mid - WALL, mid + WALL, (128, 136, 140), 17.5)  # pavement
    for x in np.arange(KERB, WALL, 0.6).tolist():  # slabs
        for side in (-1, 1):
            fill(0, end, mid + side * x, mid + side * (x + 0.05), _JOINT, 17)
    for z in np.arange(0, end, 0.8).tolist():
        fill(z, z + 0.07, mid - WALL, mid - KERB, _JOINT, 17)
        fill(z, z + 0.07, mid + KERB, mid + WALL, _JOINT, 17)
    fill(0, end, mid - KERB, mid + KERB, (92, 90, 88), 20)  # asphalt
    for x in (-2.7, -1.1, 1.0, 2.6):  # tyre tracks
        fill(0, end, mid + x - 0.25, mid + x + 0.25, (82, 80, 79), 21)
    for _ in range(14):  # repairs
        z, x, w = rng.uniform(0, end - 5), rng.uniform(-5, 4), rng.uniform(0.6, 2)
        tone = rng.uniform(66, 108)
        fill(z, z + rng.uniform(1, 5), mid + x, mid + x + w, tone, 20.5)
    for z in rng.uniform(0, end, 5).tolist():  # manholes
        fill(z, z + 0.8, mid + 0.9, mid + 1.6, (60, 64, 68), 22)
    for side in (-1, 1):
        fill(0, end, mid + side * KERB, mid + side * (KERB + 0.22), (165, 168, 170), 18)
        fill(0, end, mid + side * 4.1, mid + side * 4.22, (215, 218, 220), 18.5)
    for z in np.arange(0, end, 4).tolist():
        fill(z, z + 2.2, mid - 0.07, mid + 0.07, (215, 220, 222), 18.5)
    for z in np.arange(CROSSING, end, BLOCK).tolist():
        for x in np.arange(-5.8, 5.6, 1.0).tolist():
            fill(z - 1.6, z + 1.6, mid + x, mid + x + 0.5, (222, 224, 226), 18)


class _HouseRow:
    """Draws the row of houses on one side, with gaps."""

    def __init__(self, layers: _Layers, rng: np.random.Generator, side: int) -> None:
        self.layers, self.rng, self.side = layers, rng, side

    def across(self, height: float) -> float:
        """Position of a height on the fronts in the unrolled texture, m."""
        return _MIDDLE + self.side * (WALL + height)

    def fill(
        self, z0: float, z1: float, low: float, high: float, colour: Any, temperature: float | None
    ) -> None:
        self.layers.fill(z0, z1, self.across(low), self.across(high), colour, temperature)

    def draw(self) -> list[House]:
        rng, houses, z = self.rng, [], 0.0
        while z < PERIOD - 6:
            width = min(rng.uniform(9, 17), PERIOD - z)
            floors = int(rng.integers(2, 5))
            height = floors * 3.0 + rng.uniform(0.8, 1.6)
            colour = _WALLS[rng.integers(len(_WALLS))] * rng.uniform(0.85, 1.05)
            houses.append(House(self.side, z, height, colour))
            self._draw_front(houses[-1], width, floors)
            z += width + (rng.uniform(3, 6) if rng.random() < 0.45 else 0)
        return houses

    def _draw_front(self, house: House, width: float, floors: int) -> None:
        rng, (_, z, height, colour) = self.rng, house
        celsius = rng.uniform(16, 18.5)
        self.fill(z, z + width, 0, height, colour, celsius)
        if rng.random() < 0.5:  # brick courses
            for h in np.arange(0, height, 0.25).tolist():
                self.fill(z, z + width, h, h + 0.06, colour * 0.82, None)
        self.fill(z, z + width, 0, 0.5, colour * 0.6, celsius + 0.5)
        self.fill(z, z + width, height - 0.4, height, colour * 0.55, celsius - 2)
        self.fill(z, z + width, height - 0.5, height - 0.4, colour * 1.15, celsius - 1)
        shop = rng.random() < 0.5
        pitch = rng.uniform(2.3, 3.2)
        for left in np.arange(z + 0.8, z + width - 1.5, pitch).tolist():
            for floor in range(floors):
                self._draw_opening(left, floor, shop, celsius)

    def _draw_opening(self, left: float, floor: int, shop: bool, celsius: float) -> None:
        """Draw a shop window, a door or a window, 1.1 m wide."""
        rng = self.rng
        low, tall = floor * 3.0 + 1.0, 1.5
        lit = rng.random() < 0.3
        if floor == 0 and shop:
            self.fill(left - 0.4, left + 1.7, 0.4, 2.4, (70, 62, 55), 14)
            self.fill(left - 0.6, left + 1.9, 2.4, 2.9, rng.uniform(50, 190, 3), 18)
            low, tall = 0.5, 1.8
        elif floor == 0 and rng.random() < 0.3:
            self.fill(left, left + 1.1, 0, 2.2, rng.uniform(30, 110, 3), 15)
            return
        else:
            edge = (205, 210, 212)
            self.fill(left - 0.12, left + 1.22, low - 0.15, low + tall + 0.1, edge, celsius + 1.5)
        tone = rng.uniform(0.6, 1.3)
        for i, h in enumerate(np.linspace(low, low + tall, 6)[:-1].tolist()):  # sky reflection
            glass = np.array((70, 58, 48)) + i * np.array((13, 11, 8))
            self.fill(left, left + 1.1, h, h + tall / 5, glass * tone, 12.5)
        self.fill(left + 0.52, left + 0.6, low, low + tall, _FRAME, None)
        self.fill(left, left + 1.1, low + 1, low + 1.05, _FRAME, None)
        if lit:
            part = _Layers.part(left, left + 1.1, self.across(low), self.across(low + tall))
            self.layers.glow[part] = rng.uniform(0.4, 1)


class Street:
    """Texture of the unrolled street.

    Rows run down the left house fronts, across the ground and up the right fronts. Columns run
    along the street and repeat after PERIOD. Three copies with increasing blur along the street
    are stacked, so that distant parts do not alias.

    day, night: (3 rows, cols, 3) uint8, lit surfaces.
    temperature: (3 rows, cols) uint16, (degC + 100) in 0.01 K.
    cover: (3 rows, cols) uint8, 255 for a surface, 0 for sky.
    wall: (h, w) uint8, brightness of bare plaster, 128 on average.
    """

    shape = (round((2 * ROOF + 2 * WALL) * ROW), round(PERIOD * COL))

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng((seed, 1))
        layers = _Layers(*self.shape)
        _draw_ground(layers, rng)
        self.houses = [house for side in (-1, 1) for house in _HouseRow(layers, rng, side).draw()]
        self._render(layers, rng)

    def _render(self, layers: _Layers, rng: np.random.Generator) -> None:
        """Add dirt and light to the layers and pack them for sampling."""
        rows, cols = self.shape
        across = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / ROW - ROOF - WALL
        along = (np.arange(cols, dtype=np.float32)[None] + 0.5) / COL
        x, y = np.clip(across, -WALL, WALL), np.maximum(np.abs(across) - WALL, 0)
        dirt, grain = noise(rng, self.shape, 1.4), noise(rng, self.shape, 0.25)
        shadow = np.full(cols, -WALL, np.float32)
        for house in self.houses:  # the sun is behind the left row
            if house.side < 0:
                shadow[round(house.z * COL) :] = -WALL + 0.55 * house.height
        shade = cv2.blur(((across < shadow) | (across <= -WALL)).astype(np.float32), (9, 9))
        sun = np.where(across > WALL, 1.12, 1.0) - 0.36 * shade
        texture = 1 + 0.07 * dirt + 0.075 * grain
        day = layers.colour * (sun * texture)[..., None]
        day += shade[..., None] * np.array((8, 2, -3), np.float32)
        lamps = lamp_light(x, y, along)
        tint = np.array((0.55, 0.78, 1.0), np.float32)  # sodium light
        dim = (lamps * 0.7)[..., None] * tint + np.array((0.085, 0.07, 0.06), np.float32)
        night = layers.colour * texture[..., None] * dim
        night += layers.glow[..., None] * np.array((60, 135, 190), np.float32) * texture[..., None]
        texture_celsius = 0.35 * dirt + 0.2 * grain + 1.0 - 2.2 * shade
        celsius = layers.temperature + layers.cover * texture_celsius
        self.day, self.night = (_stack_levels(plane, np.uint8) for plane in (day, night))
        self.temperature = _stack_levels(100 * (celsius + 100), np.uint16)
        self.cover = _stack_levels(layers.cover * 255, np.uint8)
        self.wall = (128 * np.clip(texture[: 9 * ROW, : 12 * COL], 0, 1.9)).astype(np.uint8)


def _stack_levels(layer: Float32Array, dtype: type[np.uint8] | type[np.uint16]) -> AnyArray:
    """The layer and, below it, two copies that are blurred along the street."""
    layer = np.clip(layer, 0, np.iinfo(dtype).max)
    wide = np.concatenate((layer[:, -32:], layer, layer[:, :32]), axis=1)
    levels = [layer] + [cv2.blur(wide, size)[:, 32:-32] for size in ((5, 1), (23, 3))]
    return np.concatenate(levels).astype(dtype)


Sprite = tuple[UInt8Array, Float32Array]  # (h, w, 4) BGRA, (h, w) degC


def _tree(rng: np.random.Generator) -> list[Sprite]:
    """A 6.5 m tree of 520 x 400 pixels, and five more sizes, each half of the one before."""
    h, w = 520, 400
    image, celsius = np.zeros((h, w, 4), np.uint8), np.full((h, w), 14.5, np.float32)
    trunk = np.array([(190, h), (212, h), (206, 250), (194, 250)], np.int32)
    cv2.fillConvexPoly(image, trunk, (48, 62, 78, 255), cv2.LINE_AA)
    cv2.fillConvexPoly(celsius, trunk, (17.0,))
    for n in range(420):  # leaves: dark first, sunlit last and higher
        angle, radius = rng.uniform(0, 2 * math.pi), math.sqrt(rng.uniform(0, 1))
        lift = n / 420
        cx = 200 + 165 * radius * math.cos(angle) + 14 * lift
        cy = 185 + 150 * radius * math.sin(angle) - 22 * lift
        tone = (0.45 + 0.75 * lift) * rng.uniform(0.8, 1.15)
        colour = (38 * tone, 92 * tone, 74 * tone, 255)
        cv2.circle(image, (int(cx), int(cy)), int(rng.integers(9, 24)), colour, -1, cv2.LINE_AA)
    grain = 1 + 0.22 * noise(rng, (h, w), 0.4)
    image[..., :3] = np.clip(image[..., :3] * grain[..., None], 0, 255)
    ragged = (noise(rng, (h, w), 0.8) > 1.15) & (np.arange(h)[:, None] < 330)
    image[..., 3][ragged] = 0  # sky between the leaves
    levels: list[Sprite] = [(image, celsius + 0.6 * grain)]
    for _ in range(5):
        levels.append((cv2.pyrDown(levels[-1][0]), cv2.pyrDown(levels[-1][1])))
    return levels


@lru_cache(maxsize=3)  # takes about 1 s; generators with the same seed share it
def static_street(seed: int) -> tuple[Street, list[list[Sprite]]]:
    """The street, and three variants of a tree in six sizes each."""
    rng = np.random.default_rng((seed, 2))
    return Street(seed), [_tree(rng) for _ in range(3)]
