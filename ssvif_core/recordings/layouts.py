"""Finds pairs in what people have: folders by modality, files by modality, videos, bags.

Names decide, in any case of letters: a folder or file is visible, thermal or a mask if its name
holds such a word. Folders of test data are never entered; to read one, give it as the root. This
module only lists pairs; `reading` reads them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssvif_core.errors import InputError
from ssvif_core.recordings.bag_files import is_storage_file
from ssvif_core.recordings.bag_pairs import BagStream, choose_topics, match_images
from ssvif_core.recordings.bags import Bag
from ssvif_core.recordings.decode import Reading
from ssvif_core.recordings.images import SUFFIXES as IMAGE_SUFFIXES
from ssvif_core.recordings.images import list_images, mixed_bits
from ssvif_core.recordings.pair_list import read_pair_list
from ssvif_core.recordings.sources import Listing, PairSource, some
from ssvif_core.recordings.time_pairing import SLOP_NS
from ssvif_core.recordings.video import frame_count, pair_count
from ssvif_core.recordings.words import (
    HELD_OUT,
    HELD_OUT_NAME,
    MASK,
    MASK_WORDS,
    THERMAL,
    THERMAL_WORDS,
    VISIBLE,
    VISIBLE_WORDS,
    in_order,
    pattern,
)

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov")
logger = logging.getLogger(__name__)

DEPTH = 5  # folders below the root; links may form circles


def find_pairs(
    root: Path,
    frame_step: int = 10,
    topics: tuple[str, str] | None = None,
    slop_ns: int = SLOP_NS,
    recover: bool = False,
    offset_ns: int = 0,
    reading: Reading = Reading(),
) -> Listing:
    """Find the pairs below `root`, a folder or a bag.

    Files in a visible and a thermal folder next to each other (vi and ir, Visible and Infrared,
    ...) are paired by stem, with masks if there is a folder of masks. Files in one folder are
    paired by the part of their names without the modality (1_vis.png and 1_ir.png). Otherwise the
    folders below are searched in the same way. Two videos and bags give every `frame_step`-th
    pair.

    Args:
        topics: visible and thermal topic of bags. By default names, then encodings decide.
        slop_ns: the stamps of a pair in a bag are less than this apart.
        recover: list a bag that was cut off, up to its break; the break goes into `problems`.
        offset_ns: is added to a bag's thermal stamps first, as a calibration's time offset.
        reading: what must be known of a bag's cameras.

    Raises:
        InputError: there is no such folder, or there are no pairs; says what is there.
    """
    if frame_step < 1:
        raise InputError(f"frame_step={frame_step}; expected at least 1")
    if not root.exists():
        raise InputError(f"{root}: no such folder; expected a folder of pairs, or a bag")
    if root.suffix.lower() == ".csv" and root.is_file():
        return read_pair_list(root)
    search = _Search(root, frame_step, topics, slop_ns, recover, offset_ns, reading)
    try:
        if is_bag(root):
            search.bag(root, "")
        elif root.is_dir():
            search.folder(root, "", DEPTH)
    except OSError as error:
        raise InputError(f"{root}: cannot be listed ({error})") from error
    if not search.pairs:
        raise InputError(search.why_nothing())
    _warn_of_mixed_bits(root, search.pairs)
    return search.listing()


def pair_folders(visible: Path, thermal: Path) -> Listing:
    """Pair the images of two folders by file stem.

    Raises:
        InputError: a folder is missing, or no name is in both.
    """
    left, right = list_images(visible), list_images(thermal)
    pairs = tuple(PairSource(name, left[name], right[name]) for name in left if name in right)
    if not pairs:
        raise InputError(
            f"no pairs: {visible} has {_counted(left)}, {thermal} has {_counted(right)}, and no "
            "name is in both; a pair is two files of the same name (without its ending)"
        )
    _warn_of_mixed_bits(thermal, pairs)
    return Listing(
        visible,
        f"{visible.name} + {thermal.name}",
        pairs,
        tuple(path for name, path in left.items() if name not in right),
        tuple(path for name, path in right.items() if name not in left),
    )


def _warn_of_mixed_bits(root: Path, pairs: Sequence[PairSource]) -> None:
    if text := mixed_bits([pair.thermal for pair in pairs if pair.stream is None]):
        logger.warning("%s: %s", root, text)


def _counted(images: dict[str, Path]) -> str:
    names = list(images)
    examples = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
    return f"{len(names)} images{examples}"


# --- names


Keys = Callable[[str, "re.Pattern[str]"], dict[str, str]]
Match = tuple[str, Path, Path]


def _whole(name: str, _modality: re.Pattern[str]) -> dict[str, str]:
    return {name: name}


def _slots(name: str, modality: re.Pattern[str]) -> dict[str, str]:
    """`name` with each word of the modality blanked -> the name without that word."""
    return {
        f"{name[: word.start()]}\0{name[word.end() :]}": _without(name, word)
        for word in modality.finditer(name)
    }


def _shortened(name: str, modality: re.Pattern[str]) -> dict[str, str]:
    return {short: short for short in (name, *_slots(name, modality).values())}


def _without(name: str, word: re.Match[str]) -> str:
    before, after = name[: word.start()], name[word.end() :]
    if before.endswith(("_", "-", ".", " ")):
        before = before[:-1]
    elif after.startswith(("_", "-", ".", " ")):
        after = after[1:]
    return before + after


def match_names(
    visible: dict[str, Path],
    thermal: dict[str, Path],
    rules: Sequence[Keys] = (_whole, _slots, _shortened),
) -> list[Match]:
    """Pair files by name.

    The first rule that gives pairs is used: equal names; names that differ in the word for the
    modality (1_vis, 1_ir); names that are equal without that word (1, ir_1). A file with several
    possible partners gets none.

    Returns:
        Name of the pair, visible file, thermal file.

    >>> match_names({"1_vis": Path("1_vis.png")}, {"1_ir": Path("1_ir.png")})[0][0]
    '1'
    """
    for keys in rules:
        by_key: tuple[dict[str, list[Path]], ...] = ({}, {})
        shorts: dict[str, str] = {}
        for side, files, modality in zip(
            by_key, (visible, thermal), (VISIBLE, THERMAL), strict=True
        ):
            for name, path in files.items():
                for key, short in keys(name, modality).items():
                    side.setdefault(key, []).append(path)
                    shorts[key] = short
        matches: list[Match] = []
        used: set[Path] = set()
        for key, left in by_key[0].items():
            right = by_key[1].get(key, [])
            if len(left) == len(right) == 1 and used.isdisjoint(left + right):
                matches.append((shorts[key], left[0], right[0]))
                used.update(left + right)
        if matches:
            return matches
    return []


# --- folders


class _Search:
    """Collects what `find_pairs` returns."""

    def __init__(
        self,
        root: Path,
        frame_step: int,
        topics: tuple[str, str] | None,
        slop_ns: int,
        recover: bool,
        offset_ns: int,
        reading: Reading,
    ) -> None:
        self.reading = reading
        self.root, self.frame_step, self.topics = root, frame_step, topics
        self.slop_ns, self.recover, self.offset_ns = slop_ns, recover, offset_ns
        self.layouts: list[str] = []
        self.pairs: list[PairSource] = []
        self.only_visible: list[Path] = []
        self.only_thermal: list[Path] = []
        self.left_out: list[Path] = []
        self.problems: list[str] = []

    def listing(self) -> Listing:
        return Listing(
            self.root,
            some(self.layouts),
            tuple(self.pairs),
            tuple(self.only_visible),
            tuple(self.only_thermal),
            tuple(self.left_out),
            tuple(self.problems),
        )

    def folder(self, folder: Path, prefix: str, depth: int) -> None:
        """Search a folder; the names of its pairs begin with `prefix`."""
        entries = _entries(folder)
        folders = [path for path in entries if path.is_dir()]
        visible, thermal, masks = (
            self._of_modality(folders, words, depth)
            for words in (VISIBLE_WORDS, THERMAL_WORDS, MASK_WORDS)
        )
        if visible and thermal:
            self._two_folders(visible, thermal, masks, prefix)
            return
        if self._by_file_name(folder, [path for path in entries if path.is_file()], prefix):
            return
        for path in entries:
            if path.is_file() and is_bag(path):
                self._bag_among_others(path, prefix)
        for name, path in self._to_enter(folders) if depth else ():
            if is_bag(path):
                self._bag_among_others(path, prefix)
            else:
                self.folder(path, prefix + name, depth - 1)

    def _of_modality(
        self, folders: list[Path], words: tuple[str, ...], depth: int
    ) -> _Files | None:
        """The files of the folder whose name fits a modality best, if any such folder has files."""
        exact = [path for word in words for path in folders if path.name.lower() == word]
        modality = pattern(words)
        others = [
            p for p in (VISIBLE, THERMAL, MASK, HELD_OUT_NAME) if p.pattern != modality.pattern
        ]
        loose = [
            path
            for path in folders
            if modality.search(path.name) and not any(p.search(path.name) for p in others)
        ]
        for path in dict.fromkeys(exact + loose):
            files = list(self._files(path, "", depth))
            if files:
                return _Files(path, files)
        return None

    def _files(self, folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, Path]]:
        """The images and videos in and below a folder, with their names relative to it."""
        entries = _entries(folder)
        for path in entries:
            if path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES and path.is_file():
                yield prefix + path.stem, path
        if depth:
            for name, path in self._to_enter([path for path in entries if path.is_dir()]):
                yield from self._files(path, prefix + name, depth - 1)

    def _to_enter(self, folders: list[Path]) -> list[tuple[str, Path]]:
        """The subfolders that may be read, each with its prefix for names."""
        held_out = [path for path in folders if path.name.lower() in HELD_OUT]
        train = [path for path in folders if path.name.lower() == "train"]
        # Copies of `train` or `test` may lie next to them, so nothing else is entered then.
        kept = train if held_out and train else [p for p in folders if p not in held_out]
        self.left_out += [path for path in folders if path not in kept + self.left_out]
        if kept == train:
            return [("", path) for path in kept]
        return [(f"{path.name}/", path) for path in kept]

    def _two_folders(
        self, visible: _Files, thermal: _Files, masks: _Files | None, prefix: str
    ) -> None:
        mask_of = _mask_names(masks.files) if masks else {}
        before = len(self.pairs)
        for suffixes in (IMAGE_SUFFIXES, VIDEO_SUFFIXES):
            left, right = (self._by_name(side, suffixes) for side in (visible, thermal))
            self._add(match_names(left, right), left, right, mask_of, prefix)
        folders = [visible.folder, thermal.folder]
        if masks and any(pair.mask for pair in self.pairs[before:]):
            folders.append(masks.folder)
        self.layouts.append(" + ".join(self._short(folder) for folder in folders))

    def _by_file_name(self, folder: Path, files: list[Path], prefix: str) -> bool:
        """Pair the files of one folder by the modality in their names; whether there are pairs."""
        before = len(self.pairs)
        masks, others = [], _Files(folder, [])
        for path in files:
            if MASK.search(path.stem):
                masks.append((path.stem, path))
            elif VISIBLE.search(path.stem) or THERMAL.search(path.stem):
                others.files.append((path.stem, path))
        for suffixes in (IMAGE_SUFFIXES, VIDEO_SUFFIXES):
            named = self._by_name(others, suffixes)
            left, right = (
                {name: path for name, path in named.items() if modality.search(name)}
                for modality in (VISIBLE, THERMAL)
            )
            mask_of = _mask_names(masks)
            matches = match_names(left, right, (_slots,))
            if not matches and len(left) == len(right) == 1 and left != right:
                # A single file of each modality belong together, whatever their names are.
                matches = [("", next(iter(left.values())), next(iter(right.values())))]
                if masks:
                    mask_of[""] = masks[0][1]
            self._add(matches, left, right, mask_of, prefix)
        added = self.pairs[before:]
        if added and not any(layout.startswith("files") for layout in self.layouts):
            example = f"{self._short(added[0].visible)} + {added[0].thermal.name}"
            self.layouts.append(f"files named by modality, as {example}")
        return bool(added)

    def _by_name(self, files: _Files, suffixes: tuple[str, ...]) -> dict[str, Path]:
        """Files with one of the suffixes, by name; shared names go into `problems`."""
        named: dict[str, list[Path]] = {}
        for name, path in files.files:
            if path.suffix.lower() in suffixes:
                named.setdefault(name, []).append(path)
        clashes = [paths for paths in named.values() if len(paths) > 1]
        if clashes:
            first, second = clashes[0][:2]
            more = f", and so do {len(clashes) - 1} more" if len(clashes) > 1 else ""
            self.problems.append(
                f"{files.folder}: {first.name} and {second.name} share a name, by which files are "
                f"paired{more}; keep one of each"
            )
        return {name: paths[0] for name, paths in named.items() if len(paths) == 1}

    def _add(
        self,
        matches: list[Match],
        visible: dict[str, Path],
        thermal: dict[str, Path],
        mask_of: dict[str, Path],
        prefix: str,
    ) -> None:
        """Add the pairs, and the files of `visible` and `thermal` without a partner."""
        name_of = {path: name for files in (thermal, visible) for name, path in files.items()}
        names = [f"{prefix}{short}".strip("/") for short, _, _ in matches]
        if len(set(names)) < len(names) or "" in names:
            names = [prefix + name_of[left] for _, left, _ in matches]
        for name, (short, left, right) in zip(names, matches, strict=True):
            if left.suffix.lower() in VIDEO_SUFFIXES:
                self._add_video(name, left, right)
                continue
            masks = [mask_of.get(key) for key in (short, name_of[left], name_of[right])]
            mask = next((mask for mask in masks if mask), None)
            self.pairs.append(PairSource(name, left, right, mask))
        used = {path for match in matches for path in match[1:]}
        self.only_visible += [path for path in visible.values() if path not in used]
        used.update(visible.values())
        self.only_thermal += [path for path in thermal.values() if path not in used]

    def _add_video(self, name: str, visible: Path, thermal: Path) -> None:
        try:
            counts = frame_count(visible), frame_count(thermal)
            count = pair_count(visible, thermal)
        except InputError as error:
            self.problems.append(str(error))
            return
        if count < 1:
            self.problems.append(
                f"{visible} or {thermal}: its header says that it has no frames; if it plays, "
                "`ffmpeg -i OLD -c copy NEW` writes a correct header"
            )
        if counts[0] != counts[1]:
            self.layouts.append(f"{name} has {counts[0]} visible and {counts[1]} thermal frames")
        self.pairs += [
            PairSource(f"{name}#{frame}", visible, thermal, frame=frame)
            for frame in range(0, count, self.frame_step)
        ]

    def _bag_among_others(self, path: Path, prefix: str) -> None:
        try:
            self.bag(path, prefix)
        except InputError as error:
            self.problems.append(str(error))

    def bag(self, path: Path, prefix: str) -> None:
        """Add every `frame_step`-th synchronised pair of a bag."""
        with Bag(path, self.recover) as bag:
            topics = choose_topics(bag, self.topics)
            matches = match_images(bag, topics, self.slop_ns, self.offset_ns)
            images = {topic.name: topic.count for topic in bag.topics()}
            broken = bag.broken
        if broken:
            self.problems.append(broken)
        counts = " + ".join(f"{topic} ({images[topic]})" for topic in topics)
        self.layouts.append(f"bag {path.name} with {counts}, {len(matches)} synchronised")
        stream = BagStream(path, topics, self.slop_ns, self.offset_ns, self.recover, self.reading)
        self.pairs += [
            PairSource(
                f"{prefix}{path.name}#{frame}", path, path, frame=frame, bag=stream, match=match
            )
            for frame, match in list(enumerate(matches))[:: self.frame_step]
        ]

    def why_nothing(self) -> str:
        """The error's text if there are no pairs."""
        if self.only_visible or self.only_thermal:
            counts = [
                f"{len(paths)} {kind} files" + (f" ({some([p.stem for p in paths])})" * bool(paths))
                for kind, paths in (("visible", self.only_visible), ("thermal", self.only_thermal))
            ]
            text = (
                f"{self.root}: no pairs: {' and '.join(counts)}, and no name is in both; a pair "
                "is two files whose names differ only in the ending and in a word such as vis or ir"
            )
        elif self.problems:
            text = f"{self.root}: no pairs"
        else:
            entries = [path.name for path in _entries(self.root)] if self.root.is_dir() else []
            text = (
                f"{self.root}: no pair of folders for visible ({', '.join(VISIBLE_WORDS)}) and "
                f"thermal ({', '.join(THERMAL_WORDS)}), no files such as 1_vis.png and 1_ir.png, "
                f"no bag; found: {some(entries, 10) or 'nothing'}"
            )
        if self.left_out:
            left_out = some([self._short(path) for path in self.left_out])
            text += (
                f"; not read, because it may be test data: {left_out}; to read it, give that folder"
            )
        return "; ".join([text, *self.problems[:3]])

    def _short(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class _Files:
    """Files in and below a folder, each with its name relative to it, without ending."""

    folder: Path
    files: list[tuple[str, Path]]


def _entries(folder: Path) -> list[Path]:
    entries = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(entries, key=lambda path: (in_order(path.name), path.name))


def _mask_names(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Mask images by name, and by name without a word such as mask."""
    return {
        short: path
        for name, path in files
        if path.suffix.lower() in IMAGE_SUFFIXES
        for short in _shortened(name, MASK)
    }


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: a rosbag2 folder, or a file of one."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file()
    return path.suffix.lower() == ".bag" or is_storage_file(path)
