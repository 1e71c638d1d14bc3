"""Options that several commands have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from ssvif_core.errors import InputError

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
WorkingSize = Annotated[str, typer.Option(help="full; or half, for slow machines.")]


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
