"""Where one pair lies, and what a search for pairs gives."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from ssvif_core.recordings.bag_pairs import BagMatch, BagStream


@dataclass(frozen=True)
class PairSource:
    """Where one pair lies: in two image files, in two synchronised videos, or in a bag.

    Attributes:
        name: of the pair.
        visible, thermal: the files; of a bag, both are the bag.
        mask: image of class ids.
        frame: number of the frame in both videos, or of the pair in the bag, from 0.
        bag: how the bag is read.
        match: the two messages in the bag.
    """

    name: str
    visible: Path
    thermal: Path
    mask: Path | None = None
    frame: int | None = None
    bag: BagStream | None = None
    match: BagMatch | None = None

    @property
    def stream(self) -> object | None:
        """What the frames of one video or bag have in common; None for image files."""
        return None if self.frame is None else (self.visible, self.thermal, self.bag)

    @property
    def recording(self) -> object:
        """What the pairs of one video, bag or folder have in common."""
        return self.stream or self.visible.parent

    def file_names(self, prefix: str = "") -> list[str]:
        """Names, without suffix, that files about this pair may have, the best first.

        a/1 or 1, or the name of one of its own files; drive#12, drive/0012 or 0012.

        Args:
            prefix: of the names of its recording. Every name must start with it, since another
                recording may have a pair of the same name.

        >>> PairSource("a/1", Path("a/1_vis.png"), Path("a/1_ir.png")).file_names()
        ['a/1', '1', '1_vis', '1_ir']
        """
        names = [self.name]
        if not prefix:
            names.append(self.name.rpartition("/")[2])
        if self.frame is None:
            names += [self.visible.stem, self.thermal.stem] if not prefix else []
        else:
            stem = self.name.rpartition("#")[0]
            for width in range(1, 9):
                number = f"{self.frame:0{width}}"
                names += [f"{stem}#{number}", f"{stem}/{number}", number]
        return list(dict.fromkeys(prefix + name for name in names))


@dataclass(frozen=True)
class Listing:
    """What is below `root`: pairs with unique names, and what could not be paired.

    Attributes:
        layout: what was recognised, in words.
        only_visible, only_thermal: files without a partner.
        left_out: folders that were not entered, because they may hold test data.
        problems: what is wrong with other files.
    """

    root: Path
    layout: str
    pairs: tuple[PairSource, ...]
    only_visible: tuple[Path, ...] = ()
    only_thermal: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def unpaired(self) -> tuple[Path, ...]:
        """All files without a partner."""
        return self.only_visible + self.only_thermal

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the pairs."""
        return tuple(pair.name for pair in self.pairs)

    @property
    def is_video(self) -> bool:
        """Whether all pairs are frames of videos or bags, so that neighbours follow in time."""
        return all(pair.stream is not None for pair in self.pairs)

    def only(self, names: Collection[str]) -> Listing:
        """This listing with only those pairs whose names are in `names`."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair.name in names))

    def describe(self) -> str:
        """A few lines of text for people."""
        masks = sum(pair.mask is not None for pair in self.pairs)
        with_masks = f", {masks} with masks" if masks else ""
        lines = [f"{self.root}: {self.layout}", f"  {len(self.pairs)} pairs{with_masks}"]
        for what, paths in (
            ("not read, because it may be test data", self.left_out),
            (f"{len(self.only_visible)} visible without partner", self.only_visible),
            (f"{len(self.only_thermal)} thermal without partner", self.only_thermal),
        ):
            if paths:
                names = [path.relative_to(self.root).as_posix() for path in paths]
                lines.append(f"  {what}: {some(names)}")
        return "\n".join(lines + [f"  {problem}" for problem in self.problems])


def split_by_time(
    sources: Iterable[PairSource], last: float
) -> tuple[list[PairSource], list[PairSource]]:
    """The first part of each video, bag or folder, and its last part.

    Args:
        last: share of the last part, 0 to 1; it has at least one pair.
    """
    first_parts: list[PairSource] = []
    last_parts: list[PairSource] = []
    for _, group in groupby(sources, lambda source: source.recording):
        members = list(group)
        count = len(members) - max(int(len(members) * last), 1)
        first_parts += members[:count]
        last_parts += members[count:]
    return first_parts, last_parts


def some(names: Sequence[str], count: int = 3) -> str:
    """The first few names, in words.

    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    rest = len(names) - count
    return ", ".join(names[:count]) + (f" and {rest} more" if rest > 0 else "")
