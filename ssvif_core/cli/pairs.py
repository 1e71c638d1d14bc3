"""`ssvif pairs`: list the pairs in folders and bags, and split them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ssvif_core.calibration.drift import LOOKED_AT, misalignment
from ssvif_core.errors import InputError
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.reading import spread_pairs
from ssvif_core.training.data.splits import PARTS, read_split, select, write_split


def pairs(
    roots: Annotated[list[Path], typer.Argument(help="Folders of pairs, or bags.")],
    frame_step: Annotated[
        int, typer.Option(min=1, help="Every n-th pair of videos and bags.")
    ] = 10,
    visible: Annotated[str | None, typer.Option(help="Visible topic of bags.")] = None,
    thermal: Annotated[str | None, typer.Option(help="Thermal topic of bags.")] = None,
    split: Annotated[Path | None, typer.Option(help="Split file to check.")] = None,
    write: Annotated[
        Path | None, typer.Option("--write-split", help="Split file to write.")
    ] = None,
) -> None:
    """List the pairs in folders and bags, as training finds them.

    Exit code 2 if a file has no partner or cannot be read.
    """
    if (visible is None) != (thermal is None):
        raise InputError("--visible and --thermal belong together; give both")
    topics = (visible, thermal) if visible and thermal else None
    listings = []
    for root in roots:
        listings.append(find_pairs(root, frame_step, topics))
        typer.echo(listings[-1].describe())
        looked_at = spread_pairs(listings[-1].pairs, LOOKED_AT)
        if looked_at and (text := misalignment(looked_at)):
            typer.echo(f"{root}: {text}", err=True)
    if write is not None:
        new_split = write_split(write, [name for listing in listings for name in listing.names])
        counts = {part: len(new_split.part(part)) for part in PARTS}
        typer.echo(f"{write}: {_in_words(counts)}")
    if split is not None:
        given_split = read_split(split)
        counts = {
            part: sum(len(listing.pairs) for listing in select(listings, given_split, part))
            for part in PARTS
            if given_split.part(part)
        }
        typer.echo(f"{split}: {_in_words(counts)}")
    if any(listing.unpaired or listing.problems for listing in listings):
        sys.exit(2)


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {part}" for part, count in counts.items())
