"""Crops: squares cut from pairs at random.

A crop depends on seed and number alone. So a run resumes exactly where it stopped, and n processes
that share the numbers see what one process would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssvif_core.errors import InputError
from ssvif_core.types import AnyArray, Float64Array, UInt8Array

GreyPair = tuple[UInt8Array, UInt8Array]  # visible (H, W, 3) BGR, thermal (H, W)
SALIENCE_STRIDE = 8  # pixels of an image for one pixel of its salience map
SURROUNDINGS = 11  # side of the surroundings, on that map


class Pairs(Protocol):
    """Anything that holds pairs of one size: a `PairDataset`, or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> GreyPair: ...


@dataclass(frozen=True)
class Window:
    """A square of an image that becomes a crop, mirrored or not."""

    row: int
    column: int
    side: int
    mirrored: bool

    @classmethod
    def draw(
        cls,
        shape: tuple[int, ...],
        crop: int,
        random: np.random.Generator,
        around: tuple[int, int] | None = None,
    ) -> Window:
        """A random window; a crop shows the image between 0.5 and 1.4 times its scale.

        Args:
            shape: of the image, (H, W) or (H, W, C).
            crop: side of the crop, pixels.
            around: row and column that the window must hold, if it fits.
        """
        height, width = shape[:2]
        side = min(int(crop / random.uniform(0.5, 1.4)), height, width)
        row, column = random.integers(height - side + 1), random.integers(width - side + 1)
        if around is not None:
            row = np.clip(around[0] - random.integers(side), 0, height - side)
            column = np.clip(around[1] - random.integers(side), 0, width - side)
        return cls(int(row), int(column), side, bool(random.random() < 0.5))

    def cut(self, image: AnyArray, crop: int, interpolation: int | None = None) -> AnyArray:
        """The crop of an image (H, W) or (H, W, C), resized to (crop, crop)."""
        if interpolation is None:
            interpolation = cv2.INTER_AREA if self.side > crop else cv2.INTER_LINEAR
        part = image[self.row : self.row + self.side, self.column : self.column + self.side]
        resized: AnyArray = cv2.resize(part, (crop, crop), interpolation=interpolation)
        return resized[:, ::-1] if self.mirrored else resized


def salience(thermal: UInt8Array) -> Float64Array:
    """How much each place differs from its surroundings, at stride 8, all places summing to 1.

    People and cars stand out in the thermal image. They are small, and crops at random rarely show
    them. In a flat image every place counts the same.
    """
    height, width = thermal.shape
    size = max(width // SALIENCE_STRIDE, 1), max(height // SALIENCE_STRIDE, 1)
    small = cv2.resize(thermal, size, interpolation=cv2.INTER_AREA).astype(np.float64)
    contrast = np.abs(small - cv2.blur(small, (SURROUNDINGS, SURROUNDINGS)))
    odds: Float64Array = np.square(contrast) + 1e-6
    odds /= odds.sum()
    return odds


def salient_places(
    thermal: UInt8Array, count: int, random: np.random.Generator
) -> tuple[AnyArray, AnyArray]:
    """Rows and columns of random places, likelier where the thermal image stands out, (count,)."""
    odds = salience(thermal)
    cells = np.divmod(random.choice(odds.size, count, p=odds.ravel()), odds.shape[1])
    rows, columns = (
        ((cell + random.random(count)) * length / cells_along).astype(np.intp)
        for cell, length, cells_along in zip(cells, thermal.shape, odds.shape, strict=True)
    )
    return rows, columns


class CropDataset(Dataset[dict[str, Tensor]]):
    """Random crops of pairs.

    Item n: `visible` (3, S, S) uint8 BGR, `thermal` (1, S, S) uint8, and `seed`, a number below
    2**28 from which the views of this crop are drawn.

    Args:
        pairs: by number, from 0; both images of a pair have one size.
        crop: side S in pixels, a multiple of 16.
        seed: of the run.
        length: number of crops.
        salient: share of the crops that are drawn around salient places; see `salience`.

    Raises:
        InputError: there are no pairs, or the side is no multiple of 16.
    """

    def __init__(
        self, pairs: Pairs, crop: int, seed: int, length: int, salient: float = 0.0
    ) -> None:
        if not len(pairs):
            raise InputError("no pairs to train on")
        if crop % 16:
            raise InputError(f"crop of {crop} pixels; expected a multiple of 16")
        self.pairs, self.crop, self.seed, self.length = pairs, crop, seed, length
        self.salient = salient

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        random = np.random.default_rng((self.seed, number))
        visible, thermal = self.pairs[int(random.integers(len(self.pairs)))]
        around = None
        if self.salient and random.random() < self.salient:
            rows, columns = salient_places(thermal, 1, random)
            around = int(rows[0]), int(columns[0])
        window = Window.draw(thermal.shape, self.crop, random, around)
        crops = [
            torch.from_numpy(np.ascontiguousarray(np.atleast_3d(image).transpose(2, 0, 1)))
            for image in (window.cut(visible, self.crop), window.cut(thermal, self.crop))
        ]
        seed = torch.tensor(int(random.integers(2**28)))
        return {"visible": crops[0], "thermal": crops[1], "seed": seed}


def unit(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images.float() / 255


def stacked(crops: CropDataset | Sequence[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """All crops as two batches in [0, 1]: visible (N, 3, S, S), thermal (N, 1, S, S)."""
    items = [crops[index] for index in range(len(crops))]
    visible, thermal = (torch.stack([item[name] for item in items]) for name in
                        ("visible", "thermal"))  # fmt: skip
    return unit(visible), unit(thermal)
