"""Pairs in the memory of a device, which cuts the crops of a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ssvif_core.labels import IGNORE
from ssvif_core.training.data.crops import salient_places
from ssvif_core.types import AnyArray, UInt8Array

PLACES = 512  # places drawn in advance for each pair, and for each class in each pair
CLASS_PIXELS = 100  # a pair shows a class if more pixels than this have it


class Deck:
    """Pairs of one size on a device, and the places around which crops are drawn.

    Args:
        pairs: visible (H, W, 3) BGR, thermal (H, W), and class ids (H, W) or None. All are resized
            to `size`.
        classes: number of classes. Class 0 is background.
        device: holds the pairs and draws the crops.
        size: height and width in pixels.
        seed: of the places.

    Attributes:
        pixels: (pairs * H * W, 4) uint8, BGR and thermal.
        ids: (pairs * H * W,) uint8, class ids.
        salient: (pairs, PLACES, 2), row and column of salient places.
        class_places: (places, 3) for each class that a pair shows: pair, row and column.

    >>> images = np.zeros((96, 128, 3), np.uint8), np.zeros((96, 128), np.uint8), None
    >>> deck = Deck([images], classes=2, device=torch.device("cpu"), size=(96, 128))
    >>> visible, thermal, ids = deck.crops(4, 64, torch.ones(4), around_classes=False)
    >>> tuple(visible.shape), tuple(thermal.shape), tuple(ids.shape)
    ((4, 3, 64, 64), (4, 1, 64, 64), (4, 64, 64))
    """

    def __init__(
        self,
        pairs: Sequence[tuple[UInt8Array, UInt8Array, UInt8Array | None]],
        classes: int,
        device: torch.device,
        size: tuple[int, int] = (480, 640),
        seed: int = 0,
    ) -> None:
        random = np.random.default_rng(seed)
        self.size, self.count = size, len(pairs)
        stacked = np.empty((len(pairs), *size, 4), np.uint8)
        ids = np.full((len(pairs), *size), IGNORE, np.uint8)
        salient: list[AnyArray] = []
        class_places: list[list[AnyArray]] = [[] for _ in range(classes)]
        for index, (visible, thermal, mask) in enumerate(pairs):
            stacked[index, ..., :3] = _resized(visible, size)
            stacked[index, ..., 3] = _resized(thermal, size)
            salient.append(np.stack(salient_places(stacked[index, ..., 3], PLACES, random), 1))
            if mask is not None:
                ids[index] = _resized(mask, size, cv2.INTER_NEAREST)
                for class_id in range(1, classes):
                    rows, columns = np.nonzero(ids[index] == class_id)
                    if len(rows) > CLASS_PIXELS:
                        chosen = random.integers(len(rows), size=PLACES)
                        places = np.full(PLACES, index), rows[chosen], columns[chosen]
                        class_places[class_id].append(np.stack(places, 1))
        self.pixels = torch.from_numpy(stacked).to(device).view(-1, 4)
        self.ids = torch.from_numpy(ids).to(device).view(-1)
        self.salient = torch.from_numpy(np.stack(salient)).to(device)
        self.class_places = [
            torch.from_numpy(np.concatenate(places)).to(device) for places in class_places if places
        ]

    def crops(
        self, count: int, side: int, scale: Tensor, around_classes: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Random crops; half of them are mirrored.

        Args:
            count: number of crops.
            side: of a crop in pixels.
            scale: (count,), crop pixels per image pixel.
            around_classes: draw most crops around a pixel of a class, and choose each class
                equally often. Otherwise most crops are drawn around salient places.

        Returns:
            visible (count, 3, side, side) and thermal (count, 1, side, side) in [0, 1], and class
            ids (count, side, side).
        """
        device, (height, width) = self.pixels.device, self.size
        index = torch.randint(self.count, (count,), device=device)
        row = torch.randint(height, (count,), device=device)
        column = torch.randint(width, (count,), device=device)
        if around_classes:
            choices = len(self.class_places) + 1  # each class, or a random place
            for choice, places in enumerate(self.class_places, 1):
                is_chosen = torch.arange(count, device=device) % choices == choice
                place = places[torch.randint(len(places), (count,), device=device)]
                index = torch.where(is_chosen, place[:, 0], index)
                row = torch.where(is_chosen, place[:, 1], row)
                column = torch.where(is_chosen, place[:, 2], column)
        else:
            is_salient = torch.arange(count, device=device) % 10 < 7
            place = self.salient[index, torch.randint(PLACES, (count,), device=device)]
            row = torch.where(is_salient, place[:, 0], row)
            column = torch.where(is_salient, place[:, 1], column)
        y = self._positions(row, height, side, scale)
        x = self._positions(column, width, side, scale)
        x = torch.where(torch.rand(count, 1, device=device) < 0.5, x.flip(1), x)
        images = self._samples(index, y, x)
        nearest = self._flat(index, y.round().long(), x.round().long())
        return images[:, :3], images[:, 3:], self.ids[nearest]

    def _positions(self, place: Tensor, length: int, side: int, scale: Tensor) -> Tensor:
        """Image coordinates of the pixels along one axis of crops that hold `place`.

        Args:
            place: (count,), row or column.
            length: of the image along this axis, pixels.

        Returns:
            (count, side).
        """
        device = place.device
        covered = side / scale
        first = place - torch.rand(len(place), device=device) * covered
        first = first.clamp(min=0).minimum(length - covered)
        steps = (torch.arange(side, device=device) + 0.5) / scale[:, None] - 0.5
        return (first[:, None] + steps).clamp(0, length - 1)

    def _flat(self, index: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Indices of `pixels` and `ids`, (count, side, side)."""
        height, width = self.size
        return (index[:, None, None] * height + y[:, :, None]) * width + x[:, None, :]

    def _samples(self, index: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Bilinear samples, (count, 4, side, side) in [0, 1]."""
        height, width = self.size
        top, left = y.floor(), x.floor()
        down, across = (y - top)[:, :, None, None], (x - left)[:, None, :, None]
        top, left = top.long(), left.long()
        bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)

        def at(rows: Tensor, columns: Tensor) -> Tensor:
            return self.pixels[self._flat(index, rows, columns)].float()

        upper = torch.lerp(at(top, left), at(top, right), across)
        lower = torch.lerp(at(bottom, left), at(bottom, right), across)
        return (torch.lerp(upper, lower, down) / 255).permute(0, 3, 1, 2).contiguous()


def _resized(
    image: UInt8Array, size: tuple[int, int], interpolation: int = cv2.INTER_AREA
) -> UInt8Array:
    if image.shape[:2] == size:
        return image
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=interpolation), np.uint8)
