"""How well an engine, or a graph of less precision, agrees with the float32 graph."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# Fused, labels and confidence of one pair, as `Fusion` describes them.
Outputs = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """Of all pixels of all pairs.

    psnr: of the fused images to the reference's, dB, peak 255; infinite for equal ones.
    labels: share of pixels with the same class, in [0, 1].
    confidence: as psnr, of the confidence.
    """

    psnr: float
    labels: float
    confidence: float

    def __str__(self) -> str:
        return (
            f"fused {self.psnr:.1f} dB, labels {100 * self.labels:.2f} % alike, confidence "
            f"{self.confidence:.1f} dB"
        )


# What is accepted, by precision. 48 dB is one grey level everywhere; 38 dB, three.
FLOORS = {
    "fp32": Agreement(52.0, 0.999, 46.0),
    "fp16": Agreement(46.0, 0.99, 40.0),
    "bf16": Agreement(40.0, 0.97, 30.0),
    "int8": Agreement(38.0, 0.95, 26.0),
}


def is_accepted(found: Agreement, precision: str) -> bool:
    """Whether an agreement is above the floor of its precision."""
    floor = FLOORS[precision]
    return (
        found.psnr >= floor.psnr
        and found.labels >= floor.labels
        and found.confidence >= floor.confidence
    )


def agreement(outputs: Iterable[tuple[Outputs, Outputs]]) -> Agreement:
    """Agreement over (reference, other) of each pair; the outputs are read before the next ones.

    Raises:
        ValueError: there are no pairs.
    """
    fused = confidence = alike = pixels = 0.0
    for ours, theirs in outputs:
        size = ours[1].size
        fused += _squares(ours[0], theirs[0]) * size
        alike += float((ours[1] == theirs[1]).sum())
        confidence += _squares(ours[2], theirs[2]) * size
        pixels += size
    if not pixels:
        raise ValueError("no pairs to compare; expected one at least")
    return Agreement(_psnr(fused / pixels), alike / pixels, _psnr(confidence / pixels))


def _squares(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.square(one.astype(np.float32) - other).mean())


def _psnr(error: float) -> float:
    return 10 * math.log10(255**2 / error) if error else math.inf
