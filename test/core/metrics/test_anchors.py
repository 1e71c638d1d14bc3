"""The metrics reproduce the project's published figures of two peers on real pairs.

Needs the shared data (`SSVIF_SHARED`, else `../shared` beside the repository).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssvif_core.metrics import (
    FUSION_METRICS,
    PersonContrast,
    fusion_metrics,
    luma_of_bgr,
    person_contrast,
    summarise,
)

pytestmark = pytest.mark.slow

SHARED = Path(os.environ.get("SSVIF_SHARED", Path(__file__).parents[4] / "shared"))
PAIRS = SHARED / "data" / "msrs" / "test"
PEERS = SHARED / "data" / "peers"

pytestmark = pytest.mark.skipif(
    not (PAIRS.is_dir() and PEERS.is_dir()),
    reason=f"no shared data in {SHARED}; set SSVIF_SHARED to the folder with data/",
)

FIGURES = {
    "seafusion": (6.638, 42.22, 11.16, 4.195, 3.974, 1.673, 0.966, 0.664, 0.714),
    "sage": (5.999, 36.86, 10.47, 3.656, 3.220, 1.386, 0.711, 0.528, 0.692),
}
KEPT = {
    "seafusion": (0.72, 0.27),
    "sage": (0.48, 0.15),
    "visible": (0.27, 0.02),
    "thermal": (0.98, 1.0),
}


@dataclass
class Evaluation:
    scores: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    persons: dict[str, list[PersonContrast]] = field(default_factory=dict)


def read(path: Path, flag: int = cv2.IMREAD_COLOR) -> np.ndarray:
    image = cv2.imread(str(path), flag)
    assert image is not None, f"{path} is not readable"
    return image


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    result = Evaluation({name: [] for name in FIGURES}, {name: [] for name in KEPT})
    for path in sorted((PAIRS / "vi").glob("*.png")):
        visible = read(path)
        thermal = read(PAIRS / "ir" / path.name, cv2.IMREAD_GRAYSCALE)
        mask = read(PAIRS / "mask" / path.name, cv2.IMREAD_GRAYSCALE)
        luma = luma_of_bgr(visible)
        candidates = {"visible": luma, "thermal": thermal}
        for peer in FIGURES:
            fused = read(PEERS / peer / path.name)
            candidates[peer] = luma_of_bgr(fused)
            result.scores[peer].append(fusion_metrics(visible, thermal, fused))
        for name, fused in candidates.items():
            result.persons[name] += person_contrast(luma, thermal, fused, mask)
    return result


@pytest.mark.parametrize("peer", FIGURES)
def test_nine_scores_agree_within_one_percent(evaluation, peer):
    scores = evaluation.scores[peer]
    assert len(scores) == 60
    means = {metric: np.mean([score[metric] for score in scores]) for metric in FUSION_METRICS}
    expected = dict(zip(FUSION_METRICS, FIGURES[peer], strict=True))
    assert means == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("method", KEPT)
def test_person_contrast_agrees_to_the_digit(evaluation, method):
    summary = summarise(evaluation.persons[method])
    assert summary.regions == 83
    assert (round(summary.mean, 2), round(summary.p10, 2)) == KEPT[method]
