"""Options that several commands have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ssvif_core.cameras.model import CameraPair
from ssvif_core.errors import InputError
from ssvif_core.recordings.decode import Reading
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.sources import Listing

VisibleTopic = Annotated[str | None, typer.Option(help="Visible topic of bags.")]
ThermalTopic = Annotated[str | None, typer.Option(help="Thermal topic of bags.")]
Slop = Annotated[float, typer.Option(help="Largest stamp difference in a bag's pair, s.")]
ThermalTimeOffset = Annotated[float, typer.Option(help="Seconds to add to a bag's thermal stamps.")]
VisibleBits = Annotated[
    int, typer.Option(help="Bits of a bag's visible camera with 16-bit images; 0 finds them.")
]
ThermalCrop = Annotated[
    str, typer.Option(help="Part of a bag's thermal messages: x,y,width,height.")
]

Calibration = Annotated[
    Path | None, typer.Option(help="camera_pair.yaml; default: both cameras see the same.")
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="Labels of labelme, COCO (CVAT, Label Studio), YOLO, or masks: a folder or a COCO "
        "file; default: masks next to the pairs."
    ),
]
WorkingSize = Annotated[str, typer.Option(help="full; or half, for slow machines.")]


def find_listings(
    recordings: Sequence[Path],
    every: int,
    topics: tuple[str | None, str | None],
    slop: float,
    thermal_time_offset: float,
    reading: Reading,
    cameras: CameraPair | None,
) -> list[Listing]:
    """The pairs of each recording, by the options of a command.

    Args:
        topics: visible and thermal topic of bags; both None finds them by name.
        cameras: the calibration, whose time offset counts as well.

    Raises:
        InputError: an option cannot be used, or a recording has no pairs.
    """
    visible, thermal = topics
    if (visible is None) != (thermal is None):
        raise InputError("--visible and --thermal belong together; give both")
    offset_ns = nanoseconds(thermal_time_offset, "thermal time offset")
    offset_ns += round(cameras.time_offset * 1e9) if cameras else 0
    slop_ns = nanoseconds(slop, "slop", least=1)
    both = (visible, thermal) if visible and thermal else None
    return [find_pairs(path, every, both, slop_ns, True, offset_ns, reading) for path in recordings]


def nanoseconds(seconds: float, name: str, least: int | None = None) -> int:
    """An option in seconds as nanoseconds.

    Args:
        name: of the option, for the error.
        least: smallest value, ns; None allows all.

    Raises:
        InputError: it is no finite number, or too small.

    >>> nanoseconds(0.02, "slop", least=1)
    20000000
    """
    if not math.isfinite(seconds) or (least is not None and round(seconds * 1e9) < least):
        expected = "a number of seconds" if least is None else f"at least {least} ns"
        raise InputError(f"{name} is {seconds} s; expected {expected}")
    return round(seconds * 1e9)
