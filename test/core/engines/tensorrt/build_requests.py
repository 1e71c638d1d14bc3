"""Build requests for the real builder of tensorrt_rtx, and harm to what it has built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ssvif_core.engines.tensorrt.build import BuildRequest
from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of
from ssvif_core.types import Shapes

SHAPES = Shapes(240, 320, 128, 160, 2)
RANGE = Shapes(120, 160, 64, 80, 2), SHAPES, Shapes(480, 640, 256, 320, 2)


def request_of(precision: str = "fp16", **values: object) -> BuildRequest:
    """A request for another GPU than this machine's. Its build needs no GPU."""
    model = file_of(DEFAULT_MODEL, precision)
    return replace(BuildRequest(model, precision, SHAPES, compute_capability="8.6"), **values)


def damage_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
