"""Scores of pairs -> what they say together: means with intervals, ranks, worst cases."""

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

METRICS = (*FUSION_METRICS, "Qcb", "Nabf")
CHANGE = ("flicker", "wobble")
# What a person would complain of: a person who is gone, and a scene that is.
COMPLAINTS = ("person_contrast", "VIF", "Qabf", "SSIM", "flicker")
WORST = 3  # of each method and complaint


def summarise_methods(
    rows: Sequence[PairScores], methods: Sequence[str]
) -> tuple[MethodSummary, ...]:
    """One summary a method, in the order of `methods`; intervals by bootstrap over blocks."""
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
        blocks = [row.block for row in by_method[methods[0]]]
        averages |= bootstrap_average_rank(tables, blocks=blocks)
    summaries = []
    for method in methods:
        own = by_method[method]
        intervals = {}
        for metric in (*METRICS, *CHANGE):
            having = [row for row in own if metric in row.scores]
            if having:
                intervals[metric] = bootstrap_interval(
                    [row.scores[metric] for row in having], [row.block for row in having]
                )
        kept = [value for row in own for value in row.persons_kept]
        if kept:
            blocks = [row.block for row in own for _ in row.persons_kept]
            intervals["person_contrast"] = bootstrap_interval(kept, blocks)
            intervals["person_contrast_p10"] = bootstrap_interval(kept, blocks, percentile=10)
        summaries.append(
            MethodSummary(method, intervals, ranks[method], averages[method], len(kept))
        )
    return tuple(summaries)


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
    occurs = ~np.isnan(iou)
    mean = float(iou[occurs].mean()) if occurs.any() else float("nan")
    return Segmentation(
        names,
        replace(scores, iou=iou, mean_iou=mean, pixels=scores.pixels[known]),
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
    """The value of a metric on a pair; `person_contrast` is that of the person who kept least."""
    if metric == "person_contrast":
        return min(row.persons_kept) if row.persons_kept else None
    return row.scores.get(metric)
