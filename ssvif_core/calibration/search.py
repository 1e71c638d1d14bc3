"""Coarse registration: scale, rotation and shift of a thermal image over a visible one.

Every scale and rotation on a grid is tried, with all shifts at once by Fourier transforms. What is
maximised is the correlation of the edge fields where both images are, times the root of that area:
for unrelated images the correlation falls with that root, so this is how far it is beyond chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.calibration.features import (
    edge_field,
    grey_of,
    length_squared,
    scaled,
    total_length_squared,
)


@dataclass(frozen=True)
class SearchLimits:
    """What the rig may be like.

    scale: the width of the thermal field of view over that of the visible one, lowest and highest.
    rotation: degrees either way.
    shift: of the fields' centres, share of the visible width and height.
    """

    scale: tuple[float, float] = (0.37, 2.7)
    rotation: float = 10.0
    shift: float = 0.3


@dataclass(frozen=True)
class Candidate:
    """A similarity thermal -> visible pixels, (3, 3), and how far it is beyond chance."""

    matrix: np.ndarray
    score: float
    scale: float
    rotation: float


STEP = 1.055  # of scale
TURN = 2.0  # degrees
NARROW = 112  # working pixels across the narrower field of view
BLUR = 1.2


def search(
    visible: Sequence[np.ndarray],
    thermal: Sequence[np.ndarray],
    limits: SearchLimits = SearchLimits(),
    most: int = 6,
) -> list[Candidate]:
    """The best similarities, far from each other, best first.

    visible: images (H, W, 3) uint8; thermal: (h, w) of the same moments; one mapping for all.
    """
    visible_grey = [grey_of(image) for image in visible]
    thermal_grey = [grey_of(image) for image in thermal]
    height, width = visible_grey[0].shape
    thermal_height, thermal_width = thermal_grey[0].shape
    levels: dict[float, _Level] = {}
    found: list[Candidate] = []
    low, high = limits.scale
    count = math.ceil(math.log(high / low) / math.log(STEP)) + 1
    turns = np.arange(-limits.rotation, limits.rotation + TURN / 2, TURN)
    for scale in np.geomspace(low, high, count):
        # A few levels only, so that the visible side is transformed once for many scales.
        zoom = min(NARROW / (width * 2 ** (math.floor(2 * math.log2(min(scale, 1))) / 2)), 1)
        if zoom not in levels:
            levels[zoom] = _Level(visible_grey, zoom, limits.shift)
        level = levels[zoom]
        factor = scale * width / thermal_width * zoom
        fields = [edge_field(scaled(grey, factor), BLUR) for grey in thermal_grey]
        for turn in turns:
            score, shift = level.best_shift(fields, float(turn))
            matrix = _similarity(
                scale * width / thermal_width, float(turn), (thermal_width, thermal_height),
                (width, height), shift / zoom,
            )  # fmt: skip
            found.append(Candidate(matrix, score, float(scale), float(turn)))
    found.sort(key=lambda candidate: -candidate.score)
    best: list[Candidate] = []
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    for candidate in found:
        if len(best) == most:
            break
        if all(_apart(candidate, other, corners) > 0.08 * width for other in best):
            best.append(candidate)
    return best


class _Level:
    """The visible images at one working resolution, transformed.

    The canvas is the visible image with room for all shifts around it. Images are transformed from
    its corner, so that index k of a correlation says: the visible image's corner lies at k.
    """

    def __init__(self, visible: Sequence[np.ndarray], zoom: float, shift: float) -> None:
        fields = [edge_field(scaled(grey, zoom), BLUR) for grey in visible]
        height, width = fields[0].shape[:2]
        self.size = (width, height)
        self.reach = (math.ceil(shift * width), math.ceil(shift * height))
        self.canvas = (
            cv2.getOptimalDFTSize(width + 2 * self.reach[0]),
            cv2.getOptimalDFTSize(height + 2 * self.reach[1]),
        )
        self.centre = (self.reach[0] + (width - 1) / 2, self.reach[1] + (height - 1) / 2)
        self.spectra = [cv2.dft(self._in_corner(field)) for field in fields]
        self.energy = cv2.dft(self._in_corner(total_length_squared(fields)))

    def _in_corner(self, image: np.ndarray) -> np.ndarray:
        canvas = np.zeros((self.canvas[1], self.canvas[0], *image.shape[2:]), np.float32)
        canvas[: image.shape[0], : image.shape[1]] = image
        return canvas

    def best_shift(self, thermal: Sequence[np.ndarray], turn: float) -> tuple[float, np.ndarray]:
        """Score and shift (x, y), working pixels, of edge fields turned by `turn` degrees."""
        height, width = thermal[0].shape[:2]
        angle = math.radians(turn)
        c, s = math.cos(angle), math.sin(angle)
        cx, cy = (width - 1) / 2, (height - 1) / 2
        place = np.array([
            [c, -s, self.centre[0] - c * cx + s * cy], [s, c, self.centre[1] - s * cx - c * cy]
        ])  # fmt: skip
        # Doubled angles turn twice as far.
        twist = np.array([[math.cos(2 * angle), -math.sin(2 * angle)],
                          [math.sin(2 * angle), math.cos(2 * angle)]])  # fmt: skip
        product = np.zeros((self.canvas[1], self.canvas[0], 2), np.float32)
        energy = np.zeros((self.canvas[1], self.canvas[0]), np.float32)
        for field, spectrum in zip(thermal, self.spectra, strict=True):
            turned = cv2.transform(cv2.warpAffine(field, place, self.canvas), twist)
            energy += length_squared(turned)
            product += cv2.mulSpectrums(cv2.dft(turned), spectrum, 0, conjB=True)
        seen = cv2.warpAffine(np.ones((height, width), np.float32), place, self.canvas)
        under = cv2.mulSpectrums(cv2.dft(seen), self.energy, 0, conjB=True)
        x, y = 2 * self.reach[0] + 1, 2 * self.reach[1] + 1
        common = cv2.idft(product, flags=cv2.DFT_SCALE)[:y, :x, 0]
        visible_energy = cv2.idft(under, flags=cv2.DFT_SCALE)[:y, :x]
        overlap = self._window_sums(seen)
        energies = visible_energy * self._window_sums(energy)
        score = common * np.sqrt(np.maximum(overlap, 0) / np.maximum(energies, 1e-9))
        score[overlap < 0.25 * min(height * width, self.size[0] * self.size[1])] = 0
        row, col = np.unravel_index(int(score.argmax()), score.shape)
        shift = np.array([self.reach[0] - col, self.reach[1] - row], np.float64)
        return float(score[row, col]) * math.sqrt(len(thermal)), shift

    def _window_sums(self, plane: np.ndarray) -> np.ndarray:
        """Sums of a plane under the visible image with its corner at each place it may have."""
        (width, height), total = self.size, cv2.integral(plane)
        x, y = 2 * self.reach[0] + 1, 2 * self.reach[1] + 1
        return (
            total[:y, :x] + total[height : height + y, width : width + x]
            - total[:y, width : width + x] - total[height : height + y, :x]
        )  # fmt: skip


def _similarity(
    scale: float,
    turn: float,
    thermal_size: tuple[int, int],
    visible_size: tuple[int, int],
    shift: np.ndarray,
) -> np.ndarray:
    """Scale and turn about the image centres, then shift; visible pixels."""
    angle = math.radians(turn)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    tx, ty = ((n - 1) / 2 for n in thermal_size)
    vx, vy = ((n - 1) / 2 for n in visible_size)
    return np.array([
        [c, -s, vx - c * tx + s * ty + shift[0]],
        [s, c, vy - s * tx - c * ty + shift[1]],
        [0, 0, 1],
    ])  # fmt: skip


def _apart(one: Candidate, other: Candidate, corners: np.ndarray) -> float:
    """How far two candidates put the visible image's corners apart, at most, visible pixels."""
    back = one.matrix @ np.linalg.inv(other.matrix)
    moved = cv2.perspectiveTransform(corners[None], back)[0]
    return float(np.linalg.norm(moved - corners, axis=1).max())
