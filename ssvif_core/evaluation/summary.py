"""Scores of pairs -> what they say together: means with intervals, ranks, worst cases."""

from __future__ import annotations

from collections.abc import Sequence

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

METRICS = (*FUSION_METRICS, "Qcb", "Nabf")
CHANGE = ("flicker", "wobble")
LOWER_IS_BETTER = frozenset({"Nabf", *CHANGE})
# What a person would complain of: a target that is gone, and a scene that is.
COMPLAINTS = ("target", "VIF", "Qabf", "SSIM", "flicker")
WORST = 3  # of each method and complaint


def summarise_methods(
    rows: Sequence[PairScores], methods: Sequence[str]
) -> tuple[MethodSummary, ...]:
    """One summary a method, in the order of `methods`; intervals by bootstrap over pairs."""
    by_method = {method: [row for row in rows if row.method == method] for method in methods}
    tables = {method: [row.scores for row in own] for method, own in by_method.items()}
    ranks: dict[str, dict[str, float]] = {method: {} for method in methods}
    averages: dict[str, Interval | None] = dict.fromkeys(methods)
    if len(methods) > 1:
        means = {
            method: {m: float(np.mean([row[m] for row in table])) for m in FUSION_METRICS}
            for method, table in tables.items()
        }
        ranking = average_rank(means)
        for method, own in zip(ranking.methods, ranking.ranks, strict=True):
            ranks[method] = {m: float(r) for m, r in zip(ranking.metrics, own, strict=True)}
        averages |= bootstrap_average_rank(tables)
    summaries = []
    for method in methods:
        own = by_method[method]
        intervals = {m: bootstrap_interval([row.scores[m] for row in own]) for m in METRICS}
        for metric in CHANGE:
            changes = [row.scores[metric] for row in own if metric in row.scores]
            if changes:
                intervals[metric] = bootstrap_interval(changes)
        kept = [value for row in own for value in row.targets]
        if kept:
            intervals["target"] = bootstrap_interval(kept)
            intervals["target_p10"] = bootstrap_interval(kept, _p10)
        summaries.append(
            MethodSummary(method, intervals, ranks[method], averages[method], len(kept))
        )
    return tuple(summaries)


def _p10(values: np.ndarray, axis: int) -> np.ndarray:
    return np.percentile(values, 10, axis=axis)


def summarise_segmentation(
    results: Sequence[PairResult], names: tuple[str, ...]
) -> Segmentation | None:
    """Our labels over all masks; None without masks. What has no name in `names` is wrong."""
    matrices = [result.confusion for result in results if result.confusion is not None]
    if not matrices:
        return None
    scores = segmentation_scores(np.sum(matrices, axis=0))
    known = slice(len(names))
    iou = scores.iou[known]
    return Segmentation(
        names,
        type(scores)(iou, float(np.nanmean(iou)), scores.pixel_accuracy, scores.pixels[known]),
        len(matrices),
    )


def find_worst(rows: Sequence[PairScores], methods: Sequence[str]) -> tuple[WorstCase, ...]:
    """Of each method the pairs it does worst on, by each complaint; no pair twice for one."""
    worst = []
    for method in methods:
        for metric in COMPLAINTS:
            cases = [
                WorstCase(row.pair, method, metric, value)
                for row in rows
                if row.method == method and (value := complaint(row, metric)) is not None
            ]
            cases.sort(key=lambda case: case.value, reverse=metric in LOWER_IS_BETTER)
            worst += cases[:WORST]
    return tuple(worst)


def complaint(row: PairScores, metric: str) -> float | None:
    """The value of a metric on a pair; of `target`, that of the person who is kept least."""
    if metric == "target":
        return min(row.targets) if row.targets else None
    return row.scores.get(metric)
