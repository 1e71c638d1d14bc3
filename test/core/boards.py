"""Rendered pairs of a visible and a thermal camera that show a board."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from ssvif_core.calibration.board import Board
from ssvif_core.cameras.model import Camera, CameraPair, PlaneMapping
from ssvif_core.types import Pair

BOARD = Board("checkerboard", 8, 6, 0.06)
CIRCLES = Board("circles", 4, 11, 0.05)
RESOLUTION = 4096.0  # texture pixels per metre
VISIBLE = Camera(
    640, 480, np.array([[560, 0, 325], [0, 562, 236], [0, 0, 1]]), "plumb_bob",
    (-0.21, 0.05, 0.0008, -0.0005),
)  # fmt: skip
THERMAL = Camera(
    160, 120, np.array([[150, 0, 78.5], [0, 150, 61], [0, 0, 1]]), "plumb_bob", (-0.1, 0, 0, 0)
)
TURN = cv2.Rodrigues(np.array([0.01, -0.02, 0.015]))[0]
SHIFT = np.array([0.06, -0.01, 0.005])
TRUE = CameraPair(VISIBLE, THERMAL, PlaneMapping(TURN, SHIFT, 10.0))
# Rotation vector of the board (radians) and position of its middle (metres), visible camera.
POSES = [
    ((0.0, 0.0, 0.05), (0.0, 0.0, 0.9)),
    ((0.5, 0.1, 0.1), (-0.14, 0.08, 0.95)),
    ((-0.5, 0.2, -0.1), (0.16, -0.1, 0.95)),
    ((0.1, 0.55, 0.0), (0.15, 0.1, 0.95)),
    ((-0.1, -0.55, 0.1), (-0.16, -0.1, 0.9)),
    ((0.4, -0.4, -0.2), (0.0, 0.05, 0.9)),
    ((-0.35, 0.4, 0.2), (-0.2, 0.05, 1.1)),
    ((0.3, 0.35, 0.0), (0.2, -0.05, 1.2)),
    ((-0.45, -0.25, 0.0), (0.05, -0.1, 0.8)),
]
NEAR = [
    ((0.0, 0.0, turn), (x, y, 1.0))
    for turn, x, y in ((0, 0, 0), (0.1, 0.17, 0.09), (-0.1, -0.17, -0.09), (0, 0.17, -0.09),
                       (0, -0.17, 0.09))
]  # fmt: skip
Pose = tuple[tuple[float, float, float], tuple[float, float, float]]


@functools.lru_cache
def texture(board: Board) -> np.ndarray:
    """(h, w) float32, 0 to 1, with a margin. The first point lies 2 `size` from both edges."""
    step = board.size * RESOLUTION
    points = board.points[:, :2] * RESOLUTION
    width, height = (points.max(0) + 4 * step).astype(int)
    plane = np.ones((height, width), np.float32)
    y, x = np.mgrid[:height, :width]
    if board.kind == "checkerboard":
        column, row = (np.floor((axis + 0.5) / step - 1) for axis in (x, y))
        printed = (column >= 0) & (column <= board.columns) & (row >= 0) & (row <= board.rows)
        plane[printed & ((column + row) % 2 == 0)] = 0
    else:
        for point in points:
            centre = tuple((point + 2 * step - 0.5).round().astype(int).tolist())
            cv2.circle(plane, centre, round(0.55 * step), 0, -1)
    return plane


@functools.lru_cache
def rays(camera: Camera, samples: int) -> np.ndarray:
    """(n, 3) rays of a grid with `samples` rows and columns per pixel."""
    width, height = camera.size
    x, y = np.meshgrid(np.arange(width * samples), np.arange(height * samples))
    points = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) / samples - 0.5
    lens = np.array(camera.distortion)
    undistort = cv2.undistortPoints
    if camera.distortion_model == "equidistant":
        undistort = cv2.fisheye.undistortPoints
    flat = undistort(points[:, None], camera.matrix, lens)[:, 0]
    return np.column_stack([flat, np.ones(len(flat))])


def board_image(
    camera: Camera, board: Board, rotation: np.ndarray, origin: np.ndarray, samples: int
) -> np.ndarray:
    """(h, w) float32, 0 to 1: the board with its origin at `origin` (metres), by ray tracing."""
    normal = rotation[:, 2]
    directions = rays(camera, samples)
    depth = normal @ origin / (directions @ normal)
    on_board = (directions * depth[:, None] - origin) @ rotation[:, :2]
    at = ((on_board + 2 * board.size) * RESOLUTION - 0.5).astype(np.float32)
    at = at.reshape(camera.height * samples, camera.width * samples, 2)
    pattern = cv2.GaussianBlur(texture(board), (0, 0), 3)
    image = cv2.remap(pattern, at, None, cv2.INTER_LINEAR, borderValue=0.55)
    return cv2.resize(image, camera.size, interpolation=cv2.INTER_AREA)


def rendered(
    board: Board,
    pose: Pose,
    hot: bool = False,
    bits: int = 16,
    seed: int = 0,
    visible: Camera = VISIBLE,
    thermal: Camera = THERMAL,
) -> Pair:
    """A pair that shows a board. hot: the dark parts of the visible image are warm."""
    rng = np.random.default_rng(seed)
    turn, middle = cv2.Rodrigues(np.array(pose[0]))[0], np.array(pose[1])
    origin = middle - turn @ (board.points.max(0) / 2)
    light = board_image(visible, board, turn, origin, 2)
    # x_visible = TURN x_thermal + SHIFT
    heat = board_image(thermal, board, TURN.T @ turn, TURN.T @ (origin - SHIFT), 4)
    heat = cv2.GaussianBlur(1 - heat if hot else heat, (0, 0), 0.6)
    grey = 40 + 170 * cv2.GaussianBlur(light, (0, 0), 0.7) + rng.normal(0, 3, light.shape)
    counts = 7300 + 400 * heat + rng.normal(0, 8, heat.shape)
    if bits == 8:
        counts = 60 + (counts - 7300) / 4
    colour = cv2.cvtColor(np.clip(grey, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    return Pair(colour, counts.astype(np.uint16 if bits == 16 else np.uint8))


@functools.lru_cache
def board_pairs() -> tuple[Pair, ...]:
    """Nine pairs, of both polarities."""
    return tuple(
        rendered(BOARD, pose, hot=index % 3 == 0, seed=index) for index, pose in enumerate(POSES)
    )


def mapping_difference(first: CameraPair, second: CameraPair) -> float:
    """Largest distance of two mappings over the thermal image, visible pixels."""
    x, y = np.meshgrid(np.linspace(8, 151, 9), np.linspace(8, 111, 7))
    points = np.stack([x, y], -1).reshape(-1, 2)
    difference = first.to_visible(points) - second.to_visible(points)
    return float(np.nanmax(np.linalg.norm(difference, axis=1)))
