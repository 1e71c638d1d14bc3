"""Training pairs: read once, then kept in memory or on disk."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import track
from torch.utils.data import Dataset

from ssvif_core.errors import InputError
from ssvif_core.recordings.bag_pairs import bag_pairs
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.labels import fit_mask, read_mask
from ssvif_core.recordings.layouts import Listing, PairSource, some
from ssvif_core.recordings.video import video_pairs
from ssvif_core.thermal import ThermalGain, to_grey
from ssvif_core.training.data.cache import CACHES, CachedPair
from ssvif_core.training.data.crops import GreyPair
from ssvif_core.types import AnyArray, Pair, UInt8Array

logger = logging.getLogger(__name__)

# Largest difference of the images' shapes, as a ratio of their aspect ratios. Cameras of 4:3 and
# 5:4 often stand side by side; they differ by 0.07.
UNLIKE = 0.1


class PairDataset(Dataset[GreyPair]):
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

    def __getitem__(self, index: int) -> GreyPair:
        held = self._held[index]
        if isinstance(held, PairSource):
            return _fit(read_visible(held.visible), read_thermal(held.thermal))
        return held.load() if isinstance(held, CachedPair) else held

    def mask(self, index: int) -> UInt8Array | None:
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
        cached: dict[PairSource, CachedPair] = {}
        if cache == "disk" and folder is not None:
            cached = {source: CachedPair.of(source, folder) for source in group}
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


def _read(group: list[PairSource]) -> Iterator[tuple[PairSource, tuple[UInt8Array, AnyArray]]]:
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
        frames: Iterator[tuple[int, Pair | InputError]] = bag_pairs(
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


def _unlike(visible: UInt8Array, thermal: AnyArray) -> bool:
    """Whether the images differ so much in shape that one was cropped or turned."""
    shapes = (visible.shape[1] / visible.shape[0], thermal.shape[1] / thermal.shape[0])
    return max(shapes) / min(shapes) > 1 + UNLIKE


def _fit(visible: UInt8Array, thermal: AnyArray) -> GreyPair:
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


_Held = GreyPair | PairSource | CachedPair
