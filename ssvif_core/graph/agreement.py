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
    """psnr: of the fused images to the reference's, dB, peak 255, over all pixels of all pairs;
    infinite for equal ones. labels: share of pixels with the same class, in [0, 1]."""

    psnr: float
    labels: float

    def __str__(self) -> str:
        return f"fused {self.psnr:.1f} dB, labels {100 * self.labels:.2f} % alike"


# What is accepted, by precision. 48 dB is one grey level everywhere; 38 dB, three.
FLOORS = {
    "fp32": Agreement(52.0, 0.999),
    "fp16": Agreement(46.0, 0.99),
    "bf16": Agreement(40.0, 0.97),
    "int8": Agreement(38.0, 0.95),
}


def is_accepted(found: Agreement, precision: str) -> bool:
    """Whether an agreement is above the floor of its precision."""
    floor = FLOORS[precision]
    return found.psnr >= floor.psnr and found.labels >= floor.labels


def agreement(outputs: Iterable[tuple[Outputs, Outputs]]) -> Agreement:
    """Agreement over (reference, other) of each pair; the outputs are read before the next ones.

    Raises:
        ValueError: there are no pairs.
    """
    squares = alike = pixels = 0.0
    for (fused, labels, _), (other_fused, other_labels, _) in outputs:
        squares += float(np.square(fused.astype(np.float32) - other_fused).mean()) * labels.size
        alike += float((labels == other_labels).sum())
        pixels += labels.size
    if not pixels:
        raise ValueError("no pairs to compare; expected one at least")
    error = squares / pixels
    psnr = 10 * math.log10(255**2 / error) if error else math.inf
    return Agreement(psnr, alike / pixels)
