"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Slop = Annotated[
    float, typer.Option(min=1e-6, max=10, help="Largest stamp difference in a bag's pair, s.")
]
ThermalTimeOffset = Annotated[
    float, typer.Option(min=-1e6, max=1e6, help="Seconds to add to a bag's thermal stamps.")
]
VisibleBits = Annotated[
    int, typer.Option(help="Bits of a bag's visible camera with 16-bit images; 0 finds them.")
]
ThermalCrop = Annotated[
    str, typer.Option(help="Part of a bag's thermal messages: x,y,width,height.")
]
