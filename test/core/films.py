"""Drawn films of a still visible and a still thermal camera."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

START = 1_700_000_000_000_000_000  # ns; exceeds the precision of float64
Images = list[tuple[int, np.ndarray]]
MAPPING = np.array([[1.9, 0.02, -14], [-0.02, 1.9, 8], [0, 0, 1]])  # thermal -> visible


def late(images: Images, seconds: float) -> Images:
    """The stream with stamps that are too late by `seconds`."""
    return [(stamp + round(seconds * 1e9), image) for stamp, image in images]


def walk(seed: int) -> Callable[[float], np.ndarray]:
    """A person's path: time in seconds -> (x, y) in visible pixels of 320x240."""
    rng = np.random.default_rng(seed)
    phase, pace = rng.uniform(0, 6, 4), rng.uniform(0.4, 3.1, 4)

    def position(t: float) -> np.ndarray:
        wave = np.sin(pace * t + phase)
        return np.array([160 + 75 * wave[0] + 18 * wave[1], 125 + 40 * wave[2] + 12 * wave[3]])

    return position


def swing(t: float) -> np.ndarray:
    """A periodic path, like those of `walk`."""
    return np.array([160 + 30 * np.sin(2 * np.pi * t / 0.25), 120.0])


def film(
    walkers: list[Callable[[float], np.ndarray]],
    rate: float,
    seconds: float,
    thermal: bool,
    first: float = 0.0,
) -> Images:
    """A film of people in front of a wall. Only the sensor's noise varies besides the people.

    Thermal: 160x120, 16 bit, people are warm. Visible: 320x240, 8 bit, people are dark.
    rate: Hz. first: time of the first frame, seconds.
    """
    rng = np.random.default_rng(int(thermal))
    width, height = (160, 120) if thermal else (320, 240)
    wall = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 2)
    wall = 7300 + 200 * wall if thermal else 120 + 150 * wall
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    to_thermal = np.linalg.inv(MAPPING)
    images = []
    for t in np.arange(first, seconds, 1 / rate):
        image = wall.copy()
        for walker in walkers:
            position, size = walker(t), 9.0
            if thermal:
                position, size = (to_thermal @ [*position, 1])[:2], size / 1.9
            body = ((x - position[0]) / size) ** 2 + ((y - position[1]) / (2.2 * size)) ** 2
            # Soft edges make motion by fractions of a pixel visible.
            opacity = 1 / (1 + np.exp(np.minimum(4 * (body - 1), 50)))
            image += opacity * ((7900 if thermal else 30) - image)
        image += rng.normal(0, 4 if thermal else 1.5, image.shape)
        image = image.astype(np.uint16) if thermal else np.clip(image, 0, 255).astype(np.uint8)
        images.append((START + round(1e9 * t), image))
    return images


@pytest.fixture(scope="module")
def people() -> tuple[Images, Images]:
    """7 s: visible at 30 Hz, thermal at 9 Hz, interleaved."""
    walkers = [walk(2), walk(3)]
    return film(walkers, 30, 7, False), film(walkers, 9, 7, True, first=0.011)
