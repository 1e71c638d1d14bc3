"""From scores of pairs to a summary: means with intervals, ranks, worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ssvif_core.evaluation.results import MethodSummary, PairScores, Segmentation, WorstCase
from ssvif_core.evaluation.scoring import PairResult
from ssvif_core.metrics import (
    FUSION_METRICS,
    Interval,
    average_rank,
    bootstrap_average_rank,
    bootstrap_interval,
    segmentation_scores,
)
from ssvif_core.metrics.ranking import LOWER_IS_BETTER
from ssvif_core.types import Int64Array

METRICS = (*FUSION_METRICS, "Qcb", "Nabf")
CHANGE = ("flicker", "wobble", "label_change")
# Bad values mean that a person or the scene was lost, or that the stream flickers.
WORST_METRICS = ("person_contrast", "VIF", "Qabf", "SSIM", "flicker")
WORST = 3  # cases of each method and metric


def summarise_methods(
    rows: Sequence[PairScores], methods: Sequence[str]
) -> tuple[MethodSummary, ...]:
    """One summary for each method, in the order of `methods`; intervals by block bootstrap."""
    by_method = {method: [row for row in rows if row.method == method] for method in methods}
    ranks: dict[str, dict[str, float]] = {method: {} for method in methods}
    average_ranks: dict[str, Interval | None] = dict.fromkeys(methods)
    if len(methods) > 1:
        scores = {method: [row.scores for row in by_method[method]] for method in methods}
        means = {
            method: {m: float(np.mean([pair[m] for pair in pairs])) for m in FUSION_METRICS}
            for method, pairs in scores.items()
        }
        ranking = average_rank(means)
        for method, method_ranks in zip(ranking.methods, ranking.ranks.tolist(), strict=True):
            ranks[method] = dict(zip(ranking.metrics, method_ranks, strict=True))
        blocks = [row.block for row in by_method[methods[0]]]
        average_ranks |= bootstrap_average_rank(scores, blocks=blocks)
    return tuple(
        _summary(method, by_method[method], ranks[method], average_ranks[method])
        for method in methods
    )


def _summary(
    method: str, rows: Sequence[PairScores], ranks: dict[str, float], rank: Interval | None
) -> MethodSummary:
    means = {}
    for metric in (*METRICS, *CHANGE):
        scored = [row for row in rows if metric in row.scores]
        if scored:
            means[metric] = bootstrap_interval(
                [row.scores[metric] for row in scored], [row.block for row in scored]
            )
    kept = [value for row in rows for value in row.persons_kept]
    if kept:
        blocks = [row.block for row in rows for _ in row.persons_kept]
        means["person_contrast"] = bootstrap_interval(kept, blocks)
        means["person_contrast_p10"] = bootstrap_interval(kept, blocks, percentile=10)
    return MethodSummary(method, means, ranks, rank, len(kept))


def summarise_segmentation(
    results: Sequence[PairResult], names: tuple[str, ...], models: tuple[str, ...]
) -> dict[str, Segmentation]:
    """The labels of each model over all masks. Labels not in `names` count as wrong.

    A model without masks, or without a class of `names`, is left out.
    """
    by_model = {
        model: [each.confusions[model] for each in results if model in each.confusions]
        for model in models
    }
    return {
        model: _segmentation(matrices, names) for model, matrices in by_model.items() if matrices
    }


def _segmentation(matrices: Sequence[Int64Array], names: tuple[str, ...]) -> Segmentation:
    scores = segmentation_scores(np.sum(matrices, axis=0))
    named = slice(len(names))
    iou = scores.iou[named]
    occurs = ~np.isnan(iou)
    mean = float(iou[occurs].mean()) if occurs.any() else float("nan")
    return Segmentation(
        names,
        replace(scores, iou=iou, mean_iou=mean, pixels=scores.pixels[named]),
        len(matrices),
    )


def find_worst(rows: Sequence[PairScores], methods: Sequence[str]) -> tuple[WorstCase, ...]:
    """The worst pairs of each method by each of WORST_METRICS."""
    worst = []
    for method in methods:
        for metric in WORST_METRICS:
            cases = [
                WorstCase(row.pair, method, metric, value)
                for row in rows
                if row.method == method and (value := _value(row, metric)) is not None
            ]
            cases.sort(key=lambda case: case.value, reverse=metric in LOWER_IS_BETTER)
            worst += cases[:WORST]
    return tuple(worst)


def _value(row: PairScores, metric: str) -> float | None:
    """The value of a metric on a pair; `person_contrast` is the least kept of its persons."""
    if metric == "person_contrast":
        return min(row.persons_kept, default=None)
    return row.scores.get(metric)
