"""`ssvif pairs`: what training would find in folders and bags, and fixed splits of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ssvif_core.errors import InputError
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.training.data.splits import PARTS, read_split, select, write_split


def pairs(
    roots: Annotated[list[Path], typer.Argument(help="Folders of pairs, or bags.")],
    frame_step: Annotated[int, typer.Option(min=1, help="Of videos and bags, every n-th.")] = 10,
    visible: Annotated[str | None, typer.Option(help="Visible topic of bags.")] = None,
    thermal: Annotated[str | None, typer.Option(help="Thermal topic of bags.")] = None,
    split: Annotated[Path | None, typer.Option(help="Split file to check against this.")] = None,
    write: Annotated[
        Path | None, typer.Option("--write-split", help="Split file to make of this.")
    ] = None,
) -> None:
    """List the pairs in folders and bags, as training finds them.

    Exit code 2 if something could not be paired.
    """
    if (visible is None) != (thermal is None):
        raise InputError("--visible and --thermal belong together; one is missing")
    topics = (visible, thermal) if visible and thermal else None
    listings = []
    for root in roots:
        listings.append(find_pairs(root, frame_step, topics))
        typer.echo(listings[-1].describe())
    if write is not None:
        made = write_split(write, [name for listing in listings for name in listing.names])
        typer.echo(f"{write}: {_counts({part: len(made.part(part)) for part in PARTS})}")
    if split is not None:
        found = read_split(split)
        parts = {part: select(listings, found, part) for part in PARTS if found.part(part)}
        counts = {part: sum(len(one.pairs) for one in chosen) for part, chosen in parts.items()}
        typer.echo(f"{split}: {_counts(counts)}")
    if any(listing.unpaired or listing.problems for listing in listings):
        sys.exit(2)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {part}" for part, count in counts.items())
