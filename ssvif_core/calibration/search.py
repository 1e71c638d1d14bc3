"""Coarse registration: the scale, rotation and shift of the thermal image over the visible one.

All scales and rotations of a grid are tried. A Fourier transform compares all shifts at once. The
score is the correlation of the edge fields in the overlap, times the root of the overlap's area.
The correlation of unrelated images falls with that root, so the score measures significance.
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
from ssvif_core.types import AnyArray, Float32Array, Float64Array, UInt8Array


@dataclass(frozen=True)
class SearchLimits:
    """Which mountings of the cameras are searched.

    scale: lowest and highest ratio of the thermal field of view's width to the visible one's.
    rotation: degrees in both directions.
    shift: between the centres of the fields of view, share of the visible width and height.
    """

    scale: tuple[float, float] = (0.37, 2.7)
    rotation: float = 10.0
    shift: float = 0.3


@dataclass(frozen=True)
class Candidate:
    """A similarity (3, 3) float64, thermal -> visible pixels, and its score.

    scale, rotation: as in `SearchLimits`.
    """

    matrix: Float64Array
    score: float
    scale: float
    rotation: float


SCALE_STEP = 1.055
ROTATION_STEP = 2.0  # degrees
WORKING_WIDTH = 112  # working pixels across the narrower field of view
BLUR = 1.2


def search(
    visible: Sequence[UInt8Array],
    thermal: Sequence[AnyArray],
    limits: SearchLimits = SearchLimits(),
    count: int = 6,
) -> list[Candidate]:
    """The `count` best similarities that differ clearly, best first.

    visible: images (H, W, 3) uint8 BGR. thermal: (h, w) of the same moments. One mapping fits all.
    """
    visible_grey = [grey_of(image) for image in visible]
    thermal_grey = [grey_of(image) for image in thermal]
    height, width = visible_grey[0].shape
    thermal_height, thermal_width = thermal_grey[0].shape
    levels: dict[float, _Level] = {}
    candidates: list[Candidate] = []
    low, high = limits.scale
    scale_count = math.ceil(math.log(high / low) / math.log(SCALE_STEP)) + 1
    rotations = np.arange(-limits.rotation, limits.rotation + ROTATION_STEP / 2, ROTATION_STEP)
    for scale in np.geomspace(low, high, scale_count):
        # Few levels, so that one transform of the visible images serves many scales.
        zoom = min(WORKING_WIDTH / (width * 2 ** (math.floor(2 * math.log2(min(scale, 1))) / 2)), 1)
        if zoom not in levels:
            levels[zoom] = _Level(visible_grey, zoom, limits.shift)
        factor = scale * width / thermal_width * zoom
        fields = [edge_field(scaled(grey, factor), BLUR) for grey in thermal_grey]
        for rotation in rotations:
            score, shift = levels[zoom].best_shift(fields, float(rotation))
            matrix = _similarity(
                scale * width / thermal_width, float(rotation), (thermal_width, thermal_height),
                (width, height), shift / zoom,
            )  # fmt: skip
            candidates.append(Candidate(matrix, score, float(scale), float(rotation)))
    candidates.sort(key=lambda candidate: -candidate.score)
    best: list[Candidate] = []
    for candidate in candidates:
        if len(best) == count:
            break
        if all(
            corner_distance(candidate.matrix, other.matrix, (width, height)) > 0.08 * width
            for other in best
        ):
            best.append(candidate)
    return best


class _Level:
    """The Fourier transforms of the visible images at one working resolution.

    The canvas is the visible image plus a margin for all shifts. The image lies in its top-left
    corner. Index k of a correlation therefore means that the visible image's corner lies at k.
    """

    def __init__(self, visible: Sequence[Float32Array], zoom: float, shift: float) -> None:
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

    def _in_corner(self, image: Float32Array) -> Float32Array:
        canvas = np.zeros((self.canvas[1], self.canvas[0], *image.shape[2:]), np.float32)
        canvas[: image.shape[0], : image.shape[1]] = image
        return canvas

    def best_shift(
        self, thermal: Sequence[Float32Array], rotation: float
    ) -> tuple[float, Float64Array]:
        """Score and shift (x, y) in working pixels of edge fields after `rotation` in degrees."""
        height, width = thermal[0].shape[:2]
        angle = math.radians(rotation)
        c, s = math.cos(angle), math.sin(angle)
        cx, cy = (width - 1) / 2, (height - 1) / 2
        to_canvas = np.array([
            [c, -s, self.centre[0] - c * cx + s * cy], [s, c, self.centre[1] - s * cx - c * cy]
        ])  # fmt: skip
        # Vectors with doubled angles turn twice as far.
        double = np.array([[math.cos(2 * angle), -math.sin(2 * angle)],
                           [math.sin(2 * angle), math.cos(2 * angle)]])  # fmt: skip
        product = np.zeros((self.canvas[1], self.canvas[0], 2), np.float32)
        energy = np.zeros((self.canvas[1], self.canvas[0]), np.float32)
        for field, spectrum in zip(thermal, self.spectra, strict=True):
            rotated = cv2.transform(cv2.warpAffine(field, to_canvas, self.canvas), double)
            energy += length_squared(rotated)
            product += cv2.mulSpectrums(cv2.dft(rotated), spectrum, 0, conjB=True)
        mask = cv2.warpAffine(np.ones((height, width), np.float32), to_canvas, self.canvas)
        masked = cv2.mulSpectrums(cv2.dft(mask), self.energy, 0, conjB=True)
        x, y = 2 * self.reach[0] + 1, 2 * self.reach[1] + 1
        correlation = cv2.idft(product, flags=cv2.DFT_SCALE)[:y, :x, 0]
        visible_energy = cv2.idft(masked, flags=cv2.DFT_SCALE)[:y, :x]
        overlap = self._window_sums(mask)
        energies = visible_energy * self._window_sums(energy)
        score = correlation * np.sqrt(np.maximum(overlap, 0) / np.maximum(energies, 1e-9))
        score[overlap < 0.25 * min(height * width, self.size[0] * self.size[1])] = 0
        row, col = np.unravel_index(int(score.argmax()), score.shape)
        shift = np.array([self.reach[0] - col, self.reach[1] - row], np.float64)
        return float(score[row, col]) * math.sqrt(len(thermal)), shift

    def _window_sums(self, plane: Float32Array) -> Float64Array:
        """Sum of a plane under the visible image, for every position of the image's corner."""
        width, height = self.size
        total: Float64Array = cv2.integral(plane)
        x, y = 2 * self.reach[0] + 1, 2 * self.reach[1] + 1
        return (
            total[:y, :x] + total[height : height + y, width : width + x]
            - total[:y, width : width + x] - total[height : height + y, :x]
        )  # fmt: skip


def _similarity(
    scale: float,
    rotation: float,
    thermal_size: tuple[int, int],
    visible_size: tuple[int, int],
    shift: Float64Array,
) -> Float64Array:
    """(3, 3): scale and rotate (degrees) about the image centres, then shift in visible pixels."""
    angle = math.radians(rotation)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    tx, ty = ((n - 1) / 2 for n in thermal_size)
    vx, vy = ((n - 1) / 2 for n in visible_size)
    return np.array([
        [c, -s, vx - c * tx + s * ty + shift[0]],
        [s, c, vy - s * tx - c * ty + shift[1]],
        [0, 0, 1],
    ])  # fmt: skip


def corner_distance(first: Float64Array, second: Float64Array, size: tuple[int, int]) -> float:
    """Largest distance in visible pixels between two mappings at the visible image's corners.

    first, second: homographies (3, 3), thermal -> visible pixels. size: of the visible image.

    >>> shift = np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])
    >>> corner_distance(shift, np.eye(3), (640, 480))
    5.0
    """
    width, height = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    moved = cv2.perspectiveTransform(corners[None], first @ np.linalg.inv(second))[0]
    return float(np.linalg.norm(moved - corners, axis=1).max())
