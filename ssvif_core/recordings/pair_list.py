"""A list of pairs: a .csv file that names the two images of each pair."""

from __future__ import annotations

import csv
from pathlib import Path

from ssvif_core.errors import InputError
from ssvif_core.recordings.images import SUFFIXES
from ssvif_core.recordings.sources import Listing, PairSource


def read_pair_list(path: Path) -> Listing:
    """The pairs of a list.

    Each line has the visible and the thermal file, relative to the folder of the list. Empty lines
    and lines that begin with # are left out, and so is a first line without image files.

    Raises:
        InputError: the list cannot be read, a line has not two files, or a file is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [(number, row) for number, row in enumerate(csv.reader(stream), 1)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list of pairs ({error})") from error
    pairs: list[PairSource] = []
    names: set[str] = set()
    seen: set[Path] = set()
    for number, row in rows:
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if not pairs and not any(_is_image(cell) for cell in cells):
            continue  # a heading
        if len(cells) < 2 or not cells[0] or not cells[1]:
            raise InputError(
                f"{path}: line {number} is '{','.join(row)[:80]}'; expected `visible file, thermal "
                "file`"
            )
        files = [path.parent / cell for cell in cells[:2]]
        for file in files:
            if not file.is_file():
                raise InputError(f"{path}: line {number}: no file {file}")
        if files[0].resolve() in seen:
            raise InputError(f"{path}: line {number}: {cells[0]} is in the list twice")
        seen.add(files[0].resolve())
        name = _name_of(Path(cells[0]))
        if name in names:  # files of one name in several folders outside
            name = f"{name}_{number}"
        names.add(name)
        pairs.append(PairSource(name, files[0], files[1]))
    if not pairs:
        raise InputError(f"{path}: no pairs; expected lines of `visible file, thermal file`")
    return Listing(path, f"list {path.name}", tuple(pairs))


def _name_of(visible: Path) -> str:
    """The name of a pair: the visible file without its ending, and never outside a folder."""
    inside = not visible.is_absolute() and ".." not in visible.parts
    return visible.with_suffix("").as_posix() if inside else visible.stem


def _is_image(cell: str) -> bool:
    return cell.lower().endswith(SUFFIXES)
