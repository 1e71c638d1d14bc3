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
from ssvif_core.files import write_atomically
from ssvif_core.recordings.layouts import Listing, some

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Names of pairs, each in one part only."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def part(self, name: str) -> tuple[str, ...]:
        """The names of one part.

        Raises:
            InputError: there is no such part.
        """
        if name not in PARTS:
            raise InputError(f"part '{name}' of a split; expected one of {', '.join(PARTS)}")
        return getattr(self, name)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.train + self.validation + self.test)


PARTS = tuple(field.name for field in fields(Split))


def read_split(path: Path) -> Split:
    """Read a split file.

    Raises:
        InputError: it is missing or not of this form, or a name is in two parts.
    """
    try:
        # BaseLoader takes everything as text: unquoted, 00123 is a name here and no number.
        values = yaml.load(path.read_text(), yaml.BaseLoader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict) or not values.keys() <= set(PARTS):
        came = f"the keys {', '.join(values)}" if isinstance(values, dict) else "no keys"
        raise InputError(f"{path}: a split with {came}; expected lists {', '.join(PARTS)}")
    parts = {part: names or [] for part, names in values.items()}  # "" is a key without value
    part_of: dict[str, str] = {}
    for part, names in parts.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path}: {part} holds {str(names)[:40]}; expected a list of names")
        for name in names:
            if part_of.setdefault(name, part) != part:
                raise InputError(
                    f"{path}: '{name}' is in {part_of[name]} and in {part}; keep it in one of them"
                )
    return Split(**{part: tuple(names) for part, names in parts.items()})


def write_split(
    path: Path, names: Iterable[str], validation: float = 0.1, test: float = 0.2, seed: int = 0
) -> Split:
    """Split pairs by a hash of their names, and write the file.

    A name's part depends on nothing but the name, the shares and the seed, so new pairs never
    move old ones. The frames of a video or bag, which look alike, stay together.

    Args:
        validation, test: shares in [0, 1), about; the rest is for training.

    Raises:
        InputError: the shares leave nothing for training, a file is there already, or it cannot
            be written.
    """
    if min(validation, test) < 0 or validation + test >= 1:
        raise InputError(
            f"shares of {validation} for validation and {test} for test; expected numbers from 0 "
            "that are less than 1 together"
        )
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for name in sorted(set(names)):
        place = _place(name.partition("#")[0], seed)
        part = "test" if place < test else "validation" if place < test + validation else "train"
        parts[part].append(name)
    if path.exists():
        raise InputError(f"{path}: is there already, and a split is fixed; give another name")
    try:
        write_atomically(path, yaml.safe_dump(parts, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    return Split(**{part: tuple(found) for part, found in parts.items()})


def _place(name: str, seed: int) -> float:
    """A number in [0, 1) drawn by the name."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def select(listings: Sequence[Listing], split: Split, part: str) -> list[Listing]:
    """The listings with no other pairs than those of one part of the split.

    For `train`, pairs that are in no part are logged: they are used for nothing.

    Raises:
        InputError: the part is empty, or names pairs that none of the listings has.
    """
    wanted = split.part(part)
    there = {name for listing in listings for name in listing.names}
    missing = [name for name in wanted if name not in there]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(wanted)} pairs of the split's {part} are not in the data: "
            f"{some(missing)}; the data has {some(sorted(there)) or 'none'}"
        )
    if not wanted:
        raise InputError(f"the split names no pairs for {part}; add some, or make a new one")
    nowhere = sorted(there - split.names)
    if nowhere and part == "train":
        logger.warning("%d pairs are in no part of the split: %s", len(nowhere), some(nowhere))
    return [listing.only(frozenset(wanted)) for listing in listings]
