"""Pairs in the memory of a device. A GPU cuts their crops by itself, a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ssvif_core.recordings.labels import IGNORE
from ssvif_core.training.data.crops import salient_places
from ssvif_core.types import AnyArray, UInt8Array

PLACES = 512  # crop centres drawn beforehand for each pair, and for each class in each pair


class Deck:
    """Pairs of one size on a device, and the places around which crops are drawn.

    Args:
        pairs: visible (H, W, 3) BGR, thermal (H, W), and class ids (H, W) or None. All are resized
            to `size`.
        classes: number of classes.
        device: where everything lies.
        size: height and width.
        seed: of the places.
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
        shown: list[list[AnyArray]] = [[] for _ in range(classes)]
        for index, (visible, thermal, mask) in enumerate(pairs):
            stacked[index, ..., :3] = _resized(visible, size)
            stacked[index, ..., 3] = _resized(thermal, size)
            places = salient_places(stacked[index, ..., 3], PLACES, random)
            salient.append(np.stack(places, 1))
            if mask is not None:
                ids[index] = _resized(mask, size, cv2.INTER_NEAREST)
                for kind in range(1, classes):
                    rows, columns = np.nonzero(ids[index] == kind)
                    if len(rows) > 100:
                        at = random.integers(len(rows), size=PLACES)
                        place = np.full(PLACES, index), rows[at], columns[at]
                        shown[kind].append(np.stack(place, 1))
        self.pixels = torch.from_numpy(stacked).to(device).view(-1, 4)
        self.ids = torch.from_numpy(ids).to(device).view(-1)
        self.salient = torch.from_numpy(np.stack(salient)).to(device)
        self.shown = [torch.from_numpy(np.concatenate(each)).to(device) for each in shown if each]

    def crops(
        self, count: int, side: int, scale: Tensor, around_classes: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Random crops, mirrored in half of the cases.

        Args:
            scale: (count,), pixels of the crop for one pixel of the image.
            around_classes: draw most crops around a pixel of a class, each class equally often.
                Otherwise most crops are drawn around salient places.

        Returns:
            visible (count, 3, side, side) and thermal (count, 1, side, side) in [0, 1], and class
            ids (count, side, side).
        """
        device, (height, width) = self.pixels.device, self.size
        index = torch.randint(self.count, (count,), device=device)
        row = torch.randint(height, (count,), device=device)
        column = torch.randint(width, (count,), device=device)
        if around_classes:
            kinds = len(self.shown) + 1
            for kind, places in enumerate(self.shown, 1):
                here = torch.arange(count, device=device) % kinds == kind
                place = places[torch.randint(len(places), (count,), device=device)]
                index = torch.where(here, place[:, 0], index)
                row = torch.where(here, place[:, 1], row)
                column = torch.where(here, place[:, 2], column)
        else:
            here = torch.arange(count, device=device) % 10 < 7
            place = self.salient[index, torch.randint(PLACES, (count,), device=device)]
            row = torch.where(here, place[:, 0], row)
            column = torch.where(here, place[:, 1], column)
        y = self._line(row, height, side, scale)
        x = self._line(column, width, side, scale)
        x = torch.where(torch.rand(count, 1, device=device) < 0.5, x.flip(1), x)
        images = self._sampled(index, y, x)
        nearest = self._flat(index, y.round().long(), x.round().long())
        return images[:, :3], images[:, 3:], self.ids[nearest]

    def _line(self, centre: Tensor, length: int, side: int, scale: Tensor) -> Tensor:
        """Positions of the pixels of a line of a crop that holds `centre`, (count, side)."""
        device = centre.device
        covered = side / scale
        first = centre - torch.rand(len(centre), device=device) * covered
        first = first.clamp(min=0).minimum(length - covered)
        steps = (torch.arange(side, device=device) + 0.5) / scale[:, None] - 0.5
        return (first[:, None] + steps).clamp(0, length - 1)

    def _flat(self, index: Tensor, y: Tensor, x: Tensor) -> Tensor:
        height, width = self.size
        return (index[:, None, None] * height + y[:, :, None]) * width + x[:, None, :]

    def _sampled(self, index: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Bilinear samples, (count, 4, side, side) in [0, 1]."""
        height, width = self.size
        top, left = y.floor(), x.floor()
        down, right = (y - top)[:, :, None, None], (x - left)[:, None, :, None]
        top, left = top.long(), left.long()
        bottom, end = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)

        def at(rows: Tensor, columns: Tensor) -> Tensor:
            return self.pixels[self._flat(index, rows, columns)].float()

        upper = torch.lerp(at(top, left), at(top, end), right)
        lower = torch.lerp(at(bottom, left), at(bottom, end), right)
        return (torch.lerp(upper, lower, down) / 255).permute(0, 3, 1, 2).contiguous()


def _resized(
    image: UInt8Array, size: tuple[int, int], interpolation: int = cv2.INTER_AREA
) -> UInt8Array:
    if image.shape[:2] == size:
        return image
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=interpolation), np.uint8)
