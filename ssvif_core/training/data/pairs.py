"""Training pairs: what was found, read once, kept in memory or on disk, cut into crops by number.

A crop is a function of (seed, number) alone. So a run resumes exactly where it stopped, and n
processes that share the numbers see what one process would.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from ssvif_core import types
from ssvif_core.errors import InputError
from ssvif_core.files import fingerprint, write_atomically
from ssvif_core.recordings.bag_pairs import bag_pairs
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.labels import fit_mask, read_mask
from ssvif_core.recordings.layouts import Listing, PairSource, some
from ssvif_core.recordings.video import video_pairs
from ssvif_core.thermal import ThermalGain, to_grey

logger = logging.getLogger(__name__)

CACHES = ("ram", "disk", "none")
SALIENCY_STRIDE = 8  # pixels of an image a pixel of the map of what stands out
SURROUNDINGS = 11  # side of the surroundings, on that map
UNLIKE = 0.1  # of the ratio of the sides; 4:3 and 5:4, which cameras have side by side, are .07
CACHE_VERSION = 2  # part of every name in a disk cache; to be raised when `_fit` changes

Pair = tuple[np.ndarray, np.ndarray]


class Pairs(Protocol):
    """Anything that holds pairs: a `PairDataset`, or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pair: ...


class PairDataset(Dataset[Pair]):
    """Pairs of images, ready to be cut into crops.

    Item n: visible, (H, W, 3) uint8 BGR, and thermal, (H, W) uint8: resized to the visible image,
    and stretched to 8 bits where it has more. Everything is decoded once at the start, but for
    what a disk cache holds already. What cannot be read is logged and left out.

    Args:
        listings: what `find_pairs` returns, or single sources.
        cache: `ram` keeps all pairs in memory; `disk` keeps them as .npy files, for more than
            memory holds; `none` decodes images on access (frames of videos and bags, which
            cannot be read in any order, are kept in memory).
        cache_folder: of the disk cache. Files there are never removed, but may be at any time
            between runs. An image that was edited is read anew.

    Attributes:
        sources: where the pairs lie that could be read, in the order given.
        names: their names.
        skipped: what could not be read and why, a message for each image, video or bag.
        unlike: names of the pairs whose images differ in shape by more than `UNLIKE`.

    Raises:
        InputError: nothing can be read, memory is too small, or the cache cannot be written.
    """

    def __init__(
        self,
        listings: Sequence[Listing | PairSource],
        cache: str = "ram",
        cache_folder: Path | None = None,
    ) -> None:
        if cache not in CACHES:
            raise InputError(f"cache '{cache}'; expected one of {', '.join(CACHES)}")
        if cache == "disk" and cache_folder is None:
            raise InputError("a disk cache needs a folder; say where it may lie")
        sources = [
            source
            for listing in listings
            for source in (listing.pairs if isinstance(listing, Listing) else (listing,))
        ]
        if not sources:
            raise InputError("no pairs to read")
        held: dict[PairSource, _Held] = {}
        skipped: list[str] = []
        unlike: set[PairSource] = set()
        try:
            if cache_folder is not None and cache == "disk":
                cache_folder.mkdir(parents=True, exist_ok=True)
            # Closed at once if something is raised, so that the threads stop.
            with contextlib.closing(_in_threads(sources, cache, cache_folder)) as results:
                for kept, strange, problem in results:
                    unlike |= strange
                    if not held and cache == "ram":
                        _require_memory(kept, len(sources))
                    held |= kept
                    if problem:
                        logger.warning("skipped: %s", problem)
                        skipped.append(problem)
        except OSError as error:
            raise InputError(
                f"{cache_folder}: the cache cannot be written ({error.strerror}); free some space "
                "or give another folder"
            ) from error
        self.sources = tuple(source for source in sources if source in held)
        self.names = tuple(source.name for source in self.sources)
        self.skipped = tuple(skipped)
        self.unlike = tuple(source.name for source in self.sources if source in unlike)
        self._held = [held[source] for source in self.sources]
        if not held:
            raise InputError(f"none of {len(sources)} pairs can be read; the first: {skipped[0]}")
        if skipped:
            logger.warning("%d of %d pairs skipped", len(sources) - len(self.sources), len(sources))
        if self.unlike:
            logger.warning(
                "%d of %d pairs have images of unlike shape (%s); the thermal ones were stretched, "
                "and must show the same field of view: calibrate and rectify them first",
                len(self.unlike), len(self.sources), some(self.unlike),
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Pair:
        held = self._held[index]
        if isinstance(held, PairSource):
            return _fit(read_visible(held.visible), read_thermal(held.thermal))
        return held.load() if isinstance(held, _CachedPair) else held

    def mask(self, index: int) -> np.ndarray | None:
        """Class ids of pair `index`, (H, W) uint8 on the visible image's grid; None without mask.

        Raises:
            InputError: the file cannot be read, or holds something other than ids up to 255.
        """
        path = self.sources[index].mask
        if path is None:
            return None
        height, width = self[index][0].shape[:2]
        return fit_mask(read_mask(path), height, width)


# --- reading


def _in_threads(
    sources: list[PairSource], cache: str, folder: Path | None
) -> Generator[tuple[dict[PairSource, _Held], set[PairSource], str]]:
    """What is kept of each image pair, video or bag, which are unlike, and what is wrong."""
    # Frames of one video or bag are read together, in one go.
    groups: dict[object, list[PairSource]] = {}
    for source in dict.fromkeys(sources):
        way = (source.topics, source.slop, source.recover, source.offset)
        key = source if source.frame is None else (source.visible, source.thermal, way)
        groups.setdefault(key, []).append(source)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from track(
            pool.map(partial(_keep, cache=cache, folder=folder), groups.values()),
            "reading pairs",
            len(groups),
            console=Console(stderr=True),
            disable=len(sources) <= 200,
        )


def _keep(
    group: list[PairSource], cache: str, folder: Path | None
) -> tuple[dict[PairSource, _Held], set[PairSource], str]:
    kept: dict[PairSource, _Held] = {}
    unlike: set[PairSource] = set()
    try:
        cached = {}
        if cache == "disk" and folder is not None:
            cached = {source: _CachedPair.of(source, folder) for source in group}
            if all(pair.exists() for pair in cached.values()):
                return dict(cached), unlike, ""
        for source, images in _read(group):
            if _unlike(*images):
                unlike.add(source)
            pair = _fit(*images)
            if cache == "disk":
                cached[source].save(pair)
                kept[source] = cached[source]
            else:
                kept[source] = source if cache == "none" and source.frame is None else pair
    except (InputError, cv2.error) as error:
        return kept, unlike, str(error)
    return kept, unlike, ""


def _read(group: list[PairSource]) -> Iterator[tuple[PairSource, Pair]]:
    """The images of one image pair, video or bag, as they come.

    Raises:
        InputError: something cannot be read, or ends before its last frame.
    """
    first = group[0]
    if first.frame is None:
        yield first, (read_visible(first.visible), read_thermal(first.thermal))
        return
    wanted = {source.frame or 0: source for source in group}
    if first.topics:
        frames: Iterator[tuple[int, types.Pair | InputError]] = bag_pairs(
            first.visible, first.topics, set(wanted), first.slop, first.recover, first.offset
        )
    else:
        frames = enumerate(video_pairs(first.visible, first.thermal))
    useless: list[InputError] = []
    for number, pair in frames:
        source = wanted.pop(number, None)
        if isinstance(pair, InputError):
            useless.append(pair)
        elif source is not None:
            yield source, (pair.visible, pair.thermal)
        if not wanted:
            break
    if wanted:
        raise InputError(
            f"{first.visible}: ends before frame {min(wanted)}, so {len(wanted)} of {len(group)} "
            "pairs are missing"
        )
    if useless:
        raise InputError(
            f"{first.visible}: {len(useless)} of {len(group)} pairs are of no use; {useless[0]}"
        )


def _unlike(visible: np.ndarray, thermal: np.ndarray) -> bool:
    """Whether the images differ so much in shape that one was cropped or turned."""
    shapes = (visible.shape[1] / visible.shape[0], thermal.shape[1] / thermal.shape[0])
    return max(shapes) / min(shapes) > 1 + UNLIKE


def _fit(visible: np.ndarray, thermal: np.ndarray) -> Pair:
    # As the node shows an image of which it does not know the ones before.
    shown = ThermalGain(smoothing=0).update(thermal)
    return visible, to_grey(thermal, shown, *visible.shape[:2])


def _require_memory(kept: dict[PairSource, _Held], count: int) -> None:
    """Raises InputError if `count` pairs like the kept ones cannot fit into this machine."""
    sizes = [sum(image.nbytes for image in pair) for pair in kept.values() if type(pair) is tuple]
    if not sizes:
        return
    needed = max(sizes) * count
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise InputError(
            f"{count} pairs need some {needed / 1e9:.0f} GB, and this machine has "
            f"{memory / 1e9:.0f} GB of memory; use a disk cache"
        )


# --- the disk cache


@dataclass(frozen=True)
class _CachedPair:
    """Two .npy files."""

    visible: Path
    thermal: Path

    @classmethod
    def of(cls, source: PairSource, folder: Path) -> _CachedPair:
        """Named by what the pair depends on: path, time and size of its files."""
        bag = source.topics and (*source.topics, source.slop, source.offset)
        facts = [fingerprint(source.visible), fingerprint(source.thermal), source.frame, bag]
        digest = hashlib.sha256(repr((CACHE_VERSION, facts)).encode()).hexdigest()[:32]
        return cls(folder / f"{digest}_visible.npy", folder / f"{digest}_thermal.npy")

    def exists(self) -> bool:
        return self.visible.is_file() and self.thermal.is_file()

    def save(self, pair: Pair) -> None:
        for path, image in zip((self.visible, self.thermal), pair, strict=True):
            # Not np.save into the file: what does not fit on a disk it may lose in silence.
            data = io.BytesIO()
            np.save(data, image)
            write_atomically(path, data.getvalue())

    def load(self) -> Pair:
        try:
            visible, thermal = (
                np.load(path, mmap_mode="r") for path in (self.visible, self.thermal)
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.visible.parent}: the cache has changed while in use ({error}); start again"
            ) from error
        return visible, thermal


_Held = Pair | PairSource | _CachedPair


# --- crops


class CropDataset(Dataset[dict[str, Tensor]]):
    """Random crops of pairs.

    Item n: `visible` (3, S, S) uint8 BGR, `thermal` (1, S, S) uint8, and `seed`, the number below
    2**28 that the views of this crop are drawn from.

    Args:
        pairs: by number, from 0; visible and thermal image of a pair have one size.
        crop: side S in pixels, a multiple of 16.
        seed: seed of the run.
        length: how many crops there are in all.
        salient: share of the crops that are drawn around what stands out of its surroundings in
            the thermal image; people and cars are small, and else hardly seen.
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
        height, width = thermal.shape
        side = min(int(self.crop / random.uniform(0.5, 1.4)), height, width)
        y, x = random.integers(height - side + 1), random.integers(width - side + 1)
        if self.salient and random.random() < self.salient:
            row, column = _salient_place(thermal, random)
            y = int(np.clip(row - random.integers(side), 0, height - side))
            x = int(np.clip(column - random.integers(side), 0, width - side))
        flip = random.random() < 0.5
        images = []
        for image in (visible, thermal):
            image = cv2.resize(
                image[y : y + side, x : x + side],
                (self.crop, self.crop),
                interpolation=cv2.INTER_AREA if side > self.crop else cv2.INTER_LINEAR,
            )
            image = image[:, ::-1] if flip else image
            image = np.atleast_3d(image).transpose(2, 0, 1)
            images.append(torch.from_numpy(np.ascontiguousarray(image)))
        return {
            "visible": images[0],
            "thermal": images[1],
            "seed": torch.tensor(int(random.integers(2**28))),
        }


def _salient_place(thermal: np.ndarray, random: np.random.Generator) -> tuple[int, int]:
    """Row and column of a random place, likelier where the thermal image stands out."""
    height, width = thermal.shape
    size = max(width // SALIENCY_STRIDE, 1), max(height // SALIENCY_STRIDE, 1)
    small = cv2.resize(thermal, size, interpolation=cv2.INTER_AREA).astype(np.float64)
    contrast = np.abs(small - cv2.blur(small, (SURROUNDINGS, SURROUNDINGS)))
    odds = np.square(contrast).ravel() + 1e-6  # a flat image: anywhere
    place = int(random.choice(odds.size, p=odds / odds.sum()))
    row, column = divmod(place, size[0])
    return row * height // size[1], column * width // size[0]
