"""Dead pixels are detected and replaced; hot objects are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np
import pytest

from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.thermal import DeadPixels

SECOND = 1_000_000_000
SHAPE = (64, 80)


def watch(pixels: DeadPixels, frames: Iterable[np.ndarray], rate: float = 10) -> list[np.ndarray]:
    """The repaired frames."""
    return [pixels(f, round((1 + n / rate) * SECOND)) for n, f in enumerate(frames)]


def noise(n: int, sigma: float = 1.5) -> np.ndarray:
    """A 14-bit scene without texture."""
    return np.rint(np.random.default_rng(n).normal(7300, sigma, SHAPE)).astype(np.uint16)


@pytest.mark.parametrize(
    "bits,condition,recall", [(8, "day", 0.9), (14, "night", 1), (16, "smoke", 1)]
)
def test_the_dead_pixels_of_a_drive_are_found_within_three_seconds(
    bits: int, condition: str, recall: float
) -> None:
    """All of them and no other pixels; the replacements fit the scene.

    With 8 bits full scale is close to the counts of the scene, so detection takes longer in
    textured regions.
    """
    config = DriveConfig(
        condition=condition, fps=9, visible_size=(160, 128), thermal_size=(160, 128),
        thermal_bits=bits, dead_pixels=60,
    )  # fmt: skip
    drive, clean = (
        DriveGenerator(c) for c in (config, DriveConfig(**{**vars(config), "dead_pixels": 0}))
    )
    pixels = DeadPixels()
    frames = [drive.frame(n).thermal for n in range(28)]
    repaired = watch(pixels, frames, rate=9)[-1]
    truth, detected = (set(map(tuple, p.tolist())) for p in (drive.dead_pixels, pixels.found))
    assert detected <= truth
    assert len(detected) >= recall * len(truth)
    x, y = drive.dead_pixels.T
    expected = clean.frame(27).thermal[y, x].astype(float)
    spread = np.ptp(clean.frame(27).thermal)
    assert np.median(np.abs(repaired[y, x] - expected)) < 0.02 * spread


def test_a_pixel_with_an_added_offset_is_found() -> None:
    pixels = DeadPixels()
    frames = []
    for n in range(30):
        frame = noise(n)
        frame[30, 40] += 150 + 20 * (n % 3)
        frames.append(frame)
    watch(pixels, frames)
    assert pixels.found.tolist() == [[40, 30]]


def test_dead_pixels_beside_each_other_and_in_corners_are_found() -> None:
    pixels = DeadPixels()
    dead = [(0, 0), (0, 40), (63, 79), (20, 20), (20, 21)]
    frames = [noise(n) for n in range(30)]
    for frame in frames:
        for row_column in dead:
            frame[row_column] = 16383
    repaired = watch(pixels, frames)[-1]
    assert {(y, x) for x, y in pixels.found.tolist()} == set(dead)
    assert repaired.max() < 7320


def spot(x: float, y: float, blur: float) -> np.ndarray:
    """(h, w) in 0..1: a point behind a lens; `blur` 0 is exactly one pixel."""
    if not blur:
        plane = np.zeros(SHAPE)
        plane[round(y), round(x)] = 1
        return plane
    rows, columns = np.indices(SHAPE)
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * blur**2))


@pytest.mark.parametrize(
    "path,blur",
    [
        (lambda t: (10 + 4 * t, 30), 0.0),  # 4 pixels per second, sharper than any lens
        (lambda t: (10 + 1 * t, 30), 0.0),
        (lambda t: (10 + 0.3 * t, 30.2), 0.7),  # a person far away
        (lambda t: (40, 30), 0.7),  # who stands still
        (lambda t: (40.5, 30.5), 0.7),
    ],
)
@pytest.mark.parametrize("rate", [9, 30])
def test_a_small_hot_target_is_not_erased(path: Callable, blur: float, rate: int) -> None:
    pixels = DeadPixels()
    frames = [
        noise(n) + np.rint(400 * spot(*path(n / rate), blur)).astype(np.uint16)
        for n in range(8 * rate)
    ]
    for before, after in zip(frames, watch(pixels, frames, rate), strict=True):
        assert np.array_equal(before, after)


def test_a_pixel_that_recovers_is_no_longer_replaced() -> None:
    pixels = DeadPixels()
    broken = [noise(n) for n in range(40)]
    for frame in broken:
        frame[30, 40] = 0
    watch(pixels, broken)
    assert len(pixels.found) == 1
    for n in range(40):
        last = pixels(noise(n), round((6 + n / 10) * SECOND))
    assert len(pixels.found) == 0
    assert np.array_equal(last, noise(39))


def test_frozen_frames_are_not_learned() -> None:
    """A hot target on one pixel stays a target while the camera is frozen."""
    pixels = DeadPixels()
    frame = noise(0)
    frame[30, 40] += 400
    for n in range(60):
        pixels(frame, round((1 + n / 10) * SECOND), learn=n == 0)
    assert len(pixels.found) == 0


def test_the_input_is_never_changed() -> None:
    pixels = DeadPixels()
    message = bytearray(noise(0).tobytes() + bytes(7))
    frame = np.frombuffer(message, np.uint16, 64 * 80).reshape(SHAPE)
    frame[30, 40] = 0
    before = bytes(message)
    for n in range(30):
        repaired = pixels(frame, round((1 + n / 10) * SECOND))
    assert repaired[30, 40] > 7000 and not np.shares_memory(repaired, frame)
    assert bytes(message) == before


def test_a_frame_without_dead_pixels_is_not_copied() -> None:
    frame = noise(0)
    assert DeadPixels()(frame) is frame


def test_edges_and_texture_in_front_of_a_still_camera_are_not_dead_pixels() -> None:
    """Steps, thin wires and a checkered floor behind a lens."""
    scene = np.full(SHAPE, 7000, np.float32)
    scene[:, 40:] += 300
    scene[::6, :30] += 200
    scene[40:, 50:][::4] += 150
    scene[:20, 60] += 500
    scene = cv2.GaussianBlur(scene, (0, 0), 0.6)
    pixels = DeadPixels()
    frames = [
        np.rint(scene + np.random.default_rng(n).normal(0, 1.5, SHAPE)).astype(np.uint16)
        for n in range(50)
    ]
    watch(pixels, frames)
    assert len(pixels.found) == 0
