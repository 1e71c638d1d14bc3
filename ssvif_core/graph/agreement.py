"""How closely an engine, or a graph of lower precision, follows the float32 graph."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ssvif_core.types import UInt8Array

# Fused image, labels and confidence of one pair, as in `Fusion`.
Outputs = tuple[UInt8Array, UInt8Array, UInt8Array]


@dataclass(frozen=True)
class Agreement:
    """Agreement with a reference, over all pixels of all pairs.

    Attributes:
        psnr: of the fused images, dB, peak 255; infinite if they are equal.
        labels: share of pixels with the same class, in [0, 1].
        confidence: PSNR of the confidence, dB, peak 255.

    >>> print(Agreement(psnr=50.0, labels=0.999, confidence=44.0))
    fused 50.0 dB, labels 99.90 % equal, confidence 44.0 dB
    """

    psnr: float
    labels: float
    confidence: float

    def __str__(self) -> str:
        return (
            f"fused {self.psnr:.1f} dB, labels {100 * self.labels:.2f} % equal, confidence "
            f"{self.confidence:.1f} dB"
        )


# The lowest accepted agreement by precision. A difference of one grey level in every pixel is
# 48 dB, of three grey levels 38 dB.
FLOORS = {
    "fp32": Agreement(52.0, 0.999, 46.0),
    "fp16": Agreement(46.0, 0.99, 40.0),
    "int8": Agreement(38.0, 0.95, 26.0),
}


def is_accepted(result: Agreement, precision: str) -> bool:
    """Whether an agreement reaches the floor of its precision.

    >>> is_accepted(Agreement(45.0, 0.98, 35.0), "fp16")
    False
    >>> is_accepted(Agreement(45.0, 0.98, 35.0), "int8")
    True
    """
    floor = FLOORS[precision]
    return (
        result.psnr >= floor.psnr
        and result.labels >= floor.labels
        and result.confidence >= floor.confidence
    )


def agreement(outputs: Iterable[tuple[Outputs, Outputs]]) -> Agreement:
    """Agreement over all pairs.

    Args:
        outputs: for each pair, the outputs of the reference and the outputs to judge. They are
            read before the next pair is taken, so they may be buffers of an engine.

    Raises:
        ValueError: there are no pairs.
    """
    fused_error = confidence_error = equal_labels = pixels = 0.0
    for (fused, labels, confidence), judged in outputs:
        fused_error += _mean_square(fused, judged[0]) * labels.size
        equal_labels += float((labels == judged[1]).sum())
        confidence_error += _mean_square(confidence, judged[2]) * labels.size
        pixels += labels.size
    if not pixels:
        raise ValueError("no pairs to compare; expected at least one")
    return Agreement(
        _psnr(fused_error / pixels), equal_labels / pixels, _psnr(confidence_error / pixels)
    )


def _mean_square(reference: UInt8Array, judged: UInt8Array) -> float:
    return float(np.square(reference.astype(np.float32) - judged).mean())


def _psnr(error: float) -> float:
    return 10 * math.log10(255**2 / error) if error else math.inf
