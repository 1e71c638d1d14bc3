"""Training pairs, which are read once and then kept in memory or on disk."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import track
from torch.utils.data import Dataset

from ssvif_core.cameras.model import CameraPair
from ssvif_core.cameras.overlap import Overlaps
from ssvif_core.errors import InputError
from ssvif_core.labels import fit_mask, read_mask
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.reading import read_sources, spread_pairs
from ssvif_core.recordings.sources import Listing, PairSource, some
from ssvif_core.thermal import ThermalGain, to_grey
from ssvif_core.training.data.cache import CACHES, CachedPair
from ssvif_core.training.data.crops import GreyPair
from ssvif_core.types import Pair, Shapes, UInt8Array

logger = logging.getLogger(__name__)

# How much the aspect ratios of the two images may differ. A 4:3 and a 5:4 camera, a common pair,
# differ by 0.07.
MAX_SHAPE_DIFFERENCE = 0.1

_Held = GreyPair | PairSource | CachedPair
# What the dataset keeps of each pair, the pairs with images of different shapes, and a problem.
_Result = tuple[dict[PairSource, _Held], set[PairSource], str]


class PairDataset(Dataset[GreyPair]):
    """Pairs of images, from which crops are cut.

    Item n is the visible image, (H, W, 3) uint8 BGR, and the thermal image, (H, W) uint8. The
    thermal image is resized to the visible one, and its counts become grey. With a calibration,
    both are cut to what both cameras see. All pairs are decoded once at the start, except those in
    the disk cache. Pairs that cannot be read are logged and left out.

    Args:
        listings: results of `find_pairs`, or single sources.
        cache: `ram` keeps all pairs in memory. `disk` keeps them as .npy files, for more pairs
            than the memory can hold. `none` decodes images on access; frames of videos and bags,
            which can only be read in order, stay in memory.
        cache_folder: folder of the disk cache. The dataset never removes its files; users may
            remove them between runs. A changed image is read again.
        calibration: of the cameras; None means that both have the same field of view.

    Attributes:
        sources: the readable pairs, in the given order.
        names: their names.
        skipped: a message for each image pair, video or bag with unreadable pairs.
        different_shapes: names of the pairs whose aspect ratios differ by more than
            `MAX_SHAPE_DIFFERENCE`.

    Raises:
        InputError: nothing can be read, the memory is too small, or the cache cannot be written.
    """

    def __init__(
        self,
        listings: Sequence[Listing | PairSource],
        cache: str = "ram",
        cache_folder: Path | None = None,
        calibration: CameraPair | None = None,
    ) -> None:
        if cache not in CACHES:
            raise InputError(f"cache '{cache}'; expected one of {', '.join(CACHES)}")
        if cache == "disk" and cache_folder is None:
            raise InputError("a disk cache needs a folder; give cache_folder")
        sources = [
            source
            for listing in listings
            for source in (listing.pairs if isinstance(listing, Listing) else (listing,))
        ]
        if not sources:
            raise InputError("no pairs to read")
        held: dict[PairSource, _Held] = {}
        skipped: list[str] = []
        different: set[PairSource] = set()
        try:
            if cache_folder is not None and cache == "disk":
                cache_folder.mkdir(parents=True, exist_ok=True)
            # After an error the generator is closed at once, so that its threads stop.
            reader = _Reader(cache, cache_folder, calibration)
            with contextlib.closing(_read_in_threads(sources, reader)) as results:
                for kept, of_different_shape, problem in results:
                    different |= of_different_shape
                    if not held and cache == "ram":
                        _require_memory(kept, len(sources))
                    held |= kept
                    if problem:
                        logger.warning("skipped: %s", problem)
                        skipped.append(problem)
        except OSError as error:
            raise InputError(
                f"{cache_folder}: the cache cannot be written ({error.strerror}); free some space "
                "or choose another folder"
            ) from error
        self.sources = tuple(source for source in sources if source in held)
        self.names = tuple(source.name for source in self.sources)
        self.skipped = tuple(skipped)
        self.different_shapes = tuple(s.name for s in self.sources if s in different)
        self._held = [held[source] for source in self.sources]
        self._reader = reader
        if not held:
            raise InputError(f"none of {len(sources)} pairs can be read; the first: {skipped[0]}")
        if skipped:
            logger.warning("%d of %d pairs skipped", len(sources) - len(self.sources), len(sources))
        if self.different_shapes:
            logger.warning(
                "%d of %d pairs have images of different shapes (%s); the thermal images were "
                "stretched to the visible ones, but both must show the same field of view; run "
                "`ssvif calibrate`, and give its file as calibration",
                len(self.different_shapes), len(self.sources), some(self.different_shapes),
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> GreyPair:
        held = self._held[index]
        if isinstance(held, PairSource):
            return self._reader.grey(Pair(read_visible(held.visible), read_thermal(held.thermal)))
        return held.load() if isinstance(held, CachedPair) else held

    def mask(self, index: int) -> UInt8Array | None:
        """Class ids of a pair on the grid of the visible image, (H, W); None without a mask.

        Raises:
            InputError: the mask cannot be read, or its values are not class ids from 0 to 255.
        """
        path = self.sources[index].mask
        if path is None:
            return None
        mask = read_mask(path)
        return self.fit(index, lambda height, width: fit_mask(mask, height, width))

    def fit(self, index: int, draw: Callable[[int, int], UInt8Array]) -> UInt8Array:
        """An image on the grid of a pair, such as a mask.

        Args:
            draw: gives it for the height and width of the visible image, before it is cut.
        """
        return self._reader.fit(self.sources[index], self[index], draw)


def _read_in_threads(sources: list[PairSource], reader: _Reader) -> Generator[_Result, None, None]:
    """Run `_Reader.keep` for each image pair, video or bag."""
    groups: dict[object, list[PairSource]] = {}  # all frames of a video or bag are one group
    for source in dict.fromkeys(sources):
        groups.setdefault(source.stream or source, []).append(source)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from track(
            pool.map(reader.keep, groups.values()),
            "reading pairs",
            len(groups),
            console=Console(stderr=True),
            disable=len(sources) <= 200,
        )


class _Reader:
    """Reads pairs, and puts them onto one grid and into the cache."""

    def __init__(self, cache: str, folder: Path | None, calibration: CameraPair | None) -> None:
        self._cache, self._folder, self._calibration = cache, folder, calibration
        self._overlaps = Overlaps(calibration) if calibration else None
        self._shapes: dict[PairSource, Shapes] = {}  # before the pairs are cut

    def keep(self, group: list[PairSource]) -> _Result:
        """Read the pairs of one group, and put them into the cache."""
        kept: dict[PairSource, _Held] = {}
        different: set[PairSource] = set()
        errors: list[Exception] = []
        try:
            cached: dict[PairSource, CachedPair] = {}
            if self._cache == "disk" and self._folder is not None:
                cached = {s: CachedPair.of(s, self._folder, self._calibration) for s in group}
                if all(pair.exists() for pair in cached.values()):
                    return dict(cached), different, ""
            for index, pair in read_sources(group):
                try:
                    if isinstance(pair, InputError):
                        raise pair
                    grey = self.grey(pair)
                except InputError as error:
                    errors.append(error)
                    continue
                source = group[index]
                self._shapes[source] = Shapes.of(pair)
                if self._overlaps is None and _differ_in_shape(pair):
                    different.add(source)
                if self._cache == "disk":
                    cached[source].save(grey)
                    kept[source] = cached[source]
                else:
                    is_read_again = self._cache == "none" and source.frame is None
                    kept[source] = source if is_read_again else grey
        except (InputError, cv2.error) as error:
            errors.append(error)
        problem = str(errors[0]) if errors else ""
        if errors and len(group) > 1:
            problem = f"{len(errors)} of {len(group)} pairs cannot be read; {problem}"
        return kept, different, problem

    def grey(self, pair: Pair) -> GreyPair:
        """The pair on one grid; the node shows its first thermal image like this.

        Raises:
            InputError: the calibration does not fit its sizes.
        """
        thermal_range = ThermalGain(smoothing=0).update(pair.thermal)
        if self._overlaps is not None:
            pair = self._overlaps.of(pair).pair(pair)
        return pair.visible, to_grey(pair.thermal, thermal_range, *pair.visible.shape[:2])

    def fit(
        self, source: PairSource, pair: GreyPair, draw: Callable[[int, int], UInt8Array]
    ) -> UInt8Array:
        """See `PairDataset.fit`."""
        if self._overlaps is None:
            return draw(*pair[0].shape[:2])
        if source not in self._shapes:  # from the disk cache
            self._shapes[source] = Shapes.of(spread_pairs([source], 1)[0])
        shapes = self._shapes[source]
        drawn = draw(shapes.height, shapes.width)
        cut: UInt8Array = self._overlaps.of_shapes(shapes).cut(drawn)
        return cut


def _differ_in_shape(pair: Pair) -> bool:
    """Whether the aspect ratios differ so much that one image was cropped or rotated."""
    ratios = [image.shape[1] / image.shape[0] for image in (pair.visible, pair.thermal)]
    return max(ratios) / min(ratios) > 1 + MAX_SHAPE_DIFFERENCE


def _require_memory(kept: dict[PairSource, _Held], count: int) -> None:
    """Check that `count` pairs like the kept ones fit into the memory of this machine.

    Raises:
        InputError: they do not fit.
    """
    sizes = [sum(image.nbytes for image in pair) for pair in kept.values() if type(pair) is tuple]
    if not sizes:
        return
    needed_bytes = max(sizes) * count
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed_bytes > memory_bytes:
        raise InputError(
            f"{count} pairs need about {needed_bytes / 1e9:.0f} GB, but this machine has "
            f"{memory_bytes / 1e9:.0f} GB of memory; use a disk cache (cache=disk)"
        )
