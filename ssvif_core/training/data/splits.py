"""A fixed split of pairs into train, validation and test: a small YAML file of names.

train: ['00004N', '00016N']
validation: ['00020N']
test: []
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from ssvif_core.errors import InputError
from ssvif_core.files import read_yaml, write_atomically
from ssvif_core.recordings.sources import Listing, some

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """The names of the pairs in each part.

    >>> split = Split(train=("00004N", "00016N"), validation=("00020N",))
    >>> split.part("validation"), len(split.names)
    (('00020N',), 3)
    """

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def part(self, name: str) -> tuple[str, ...]:
        """The names of the pairs in one part.

        Raises:
            InputError: the part is not one of `PARTS`.
        """
        if name not in PARTS:
            raise InputError(f"part '{name}' of a split; expected one of {', '.join(PARTS)}")
        names: tuple[str, ...] = getattr(self, name)
        return names

    @property
    def names(self) -> frozenset[str]:
        """The names of all pairs."""
        return frozenset(self.train + self.validation + self.test)


PARTS = tuple(field.name for field in fields(Split))


def read_split(path: Path) -> Split:
    """Read a split file.

    Raises:
        InputError: the file cannot be read, has another form, or has a name in two parts.
    """
    # BaseLoader reads everything as text, so that the name 00123 needs no quotes.
    values = read_yaml(path, yaml.BaseLoader)
    if not isinstance(values, dict) or not values.keys() <= set(PARTS):
        keys = f"the keys {', '.join(values)}" if isinstance(values, dict) else "no keys"
        raise InputError(f"{path}: a split with {keys}; expected lists {', '.join(PARTS)}")
    parts = {part: names or [] for part, names in values.items()}  # "" is a key without a value
    part_of: dict[str, str] = {}
    for part, names in parts.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path}: {part} holds {str(names)[:40]}; expected a list of names")
        for name in names:
            if part_of.setdefault(name, part) != part:
                raise InputError(
                    f"{path}: '{name}' is in {part_of[name]} and in {part}; keep it in only one"
                )
    return Split(**{part: tuple(names) for part, names in parts.items()})


def write_split(
    path: Path, names: Iterable[str], validation: float = 0.1, test: float = 0.2, seed: int = 0
) -> Split:
    """Split pairs by a hash of their names, and write the file.

    The part of a pair depends only on its name, the shares and the seed, so new pairs never move
    old ones. The frames of a video or bag stay in one part, because they look alike. But if that
    leaves a part empty, as with a single bag, each recording is divided by time: its begin is for
    training, then comes validation, and its end is for test.

    Args:
        validation, test: approximate shares of the pairs, in [0, 1). The rest is for training.

    Raises:
        InputError: the shares leave nothing for training, the file exists already, or it cannot
            be written.
    """
    if min(validation, test) < 0 or validation + test >= 1:
        raise InputError(
            f"shares of {validation} for validation and {test} for test; expected numbers from 0 "
            "whose sum is less than 1"
        )
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    names = sorted(set(names))
    for name in names:
        number = _number(name.partition("#")[0], seed)
        part = "test" if number < test else "validation" if number < test + validation else "train"
        parts[part].append(name)
    shares = {"validation": validation, "test": test}
    is_short = any(share and not parts[part] for part, share in shares.items())
    if (is_short or not parts["train"]) and all("#" in name for name in names):
        parts = _by_time(names, validation, test)
    if path.exists():
        raise InputError(f"{path}: exists already, and a split must not change; use another name")
    try:
        write_atomically(path, yaml.safe_dump(parts, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    return Split(**{part: tuple(members) for part, members in parts.items()})


def _by_time(names: Iterable[str], validation: float, test: float) -> dict[str, list[str]]:
    """The frames of each recording in parts that follow each other."""
    recordings: dict[str, list[str]] = {}
    for name in names:
        recordings.setdefault(name.rpartition("#")[0], []).append(name)
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for frames in recordings.values():
        frames.sort(key=lambda name: name.rpartition("#")[2].zfill(12))
        ends = (
            round(len(frames) * (1 - validation - test)), round(len(frames) * (1 - test)),
            len(frames),
        )  # fmt: skip
        for part, start, end in zip(PARTS, (0, *ends), ends, strict=False):
            parts[part] += frames[start:end]
    return parts


def _number(name: str, seed: int) -> float:
    """A number in [0, 1) from a hash of the name and the seed."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def select(listings: Sequence[Listing], split: Split, part: str) -> list[Listing]:
    """The listings, reduced to the pairs of one part of the split.

    For `train`, pairs that are in no part are logged, because nothing uses them.

    Raises:
        InputError: the part is empty, or names pairs that no listing has.
    """
    wanted = split.part(part)
    available = {name for listing in listings for name in listing.names}
    missing = [name for name in wanted if name not in available]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(wanted)} pairs of the split's {part} are not in the data: "
            f"{some(missing)}; the data has {some(sorted(available)) or 'none'}"
        )
    if not wanted:
        raise InputError(f"the split names no pairs for {part}; add some, or write a new split")
    unused = sorted(available - split.names)
    if unused and part == "train":
        logger.warning("%d pairs are in no part of the split: %s", len(unused), some(unused))
    return [listing.only(frozenset(wanted)) for listing in listings]
