"""`ssvif extract`: pairs of recordings as image files."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from ssvif_core.cameras.overlap import Overlaps
from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.cli.options import (
    Calibration,
    Slop,
    ThermalCrop,
    ThermalTimeOffset,
    ThermalTopic,
    VisibleBits,
    VisibleTopic,
    find_listings,
)
from ssvif_core.errors import InputError
from ssvif_core.files import write_atomically
from ssvif_core.recordings.decode import Crop, Reading
from ssvif_core.recordings.extraction import (
    SelectionConfig,
    extract_pairs,
    require_same_settings,
    write_contact_sheet,
)
from ssvif_core.recordings.reading import spread_pairs

DEFAULT = SelectionConfig()
SHOWN = 5  # problems that are printed


def extract(
    recordings: Annotated[list[Path], typer.Argument(help="Bags, folders of videos or pairs.")],
    out: Annotated[Path, typer.Option(help="New folder, or one of an earlier, stopped command.")],
    calibration: Calibration = None,
    every: Annotated[int, typer.Option(min=1, help="Every n-th pair of videos and bags.")] = 5,
    keep_all: Annotated[bool, typer.Option(help="Leave out nothing that can be read.")] = False,
    difference: Annotated[
        float, typer.Option(help="Grey levels by which a pair must differ from the last one.")
    ] = DEFAULT.difference,
    visible: VisibleTopic = None,
    thermal: ThermalTopic = None,
    slop: Slop = 0.02,
    thermal_time_offset: ThermalTimeOffset = 0.0,
    visible_bits: VisibleBits = 0,
    thermal_crop: ThermalCrop = "",
) -> None:
    """Write pairs as PNGs, to train on or to label; thermal counts keep their 16 bits.

    Pairs that are like the last one, blurred, or of a thermal camera that stands still are left
    out. With a calibration both images are cut to what both cameras see.

    Exit code 2 if a pair cannot be read. All others are written.
    """
    cameras = load_camera_pair(calibration) if calibration else None
    listings = find_listings(
        recordings, every, (visible, thermal), slop, thermal_time_offset,
        Reading(visible_bits, Crop.parse(thermal_crop)), cameras,
    )  # fmt: skip
    overlaps = Overlaps(cameras) if cameras else None
    if overlaps is not None:
        for pair in spread_pairs([listing.pairs[0] for listing in listings], len(listings)):
            overlaps.of(pair)  # raises before there is a folder
    selection = None if keep_all else SelectionConfig(difference)
    settings: dict[str, object] = {
        "recordings": [str(path.resolve()) for path in recordings],
        "calibration": calibration and calibration.read_text(),
        "every": every,
        "topics": (visible, thermal),
        "slop": slop,
        "thermal_time_offset": thermal_time_offset,
        "visible_bits": visible_bits,
        "thermal_crop": thermal_crop,
        "selection": selection and asdict(selection),
    }
    require_same_settings(out, settings)
    sources = [source for listing in listings for source in listing.pairs]
    try:
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("extracting", total=len(sources))
            result = extract_pairs(sources, out, selection, overlaps, lambda: bar.advance(task))
        write_contact_sheet(result.files, out / "contact_sheet.png")
        facts = {"settings": settings, "pairs": dict(result.fates), "in the dark": result.night}
        write_atomically(out / "extract.json", json.dumps(facts, indent=2) + "\n")
    except KeyboardInterrupt:
        typer.echo(f"ssvif: stopped; the same command goes on in {out}", err=True)
        raise
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror}); make room, then run the same command "
            "again: it goes on"
        ) from error
    typer.echo(f"{out}: {result.describe()}")
    problems = [problem for listing in listings for problem in listing.problems] + result.problems
    for problem in problems[:SHOWN]:
        print(f"ssvif: {problem}", file=sys.stderr)
    if len(problems) > SHOWN:
        print(f"ssvif: {len(problems) - SHOWN} more pairs are like that", file=sys.stderr)
    if problems:
        sys.exit(2)
