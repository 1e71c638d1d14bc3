"""Ranks of methods over several metrics, and how certain they are.

The scales of metrics are hard to compare (an SD of 42 against 43, a Qabf of .66 against .65), but
their orders are comparable. So methods are ranked in each metric (1 = best, ties share the mean of
their ranks), and the average rank over the nine metrics is the score. Intervals are percentile
bootstraps (Efron and Tibshirani 1993, ch. 13) with a fixed seed, so that a report can be
reproduced. Whole blocks of similar samples are drawn, such as the frames of one second or the
persons of one image (Davison and Hinkley 1997, sec. 3.8).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ssvif_core.metrics.fusion import FUSION_METRICS
from ssvif_core.types import Float64Array, Int64Array

LOWER_IS_BETTER = frozenset({"Nabf", "flicker", "wobble", "label_change"})

DRAWN_AT_ONCE = 4_000_000  # numbers in memory while drawing; long recordings have many samples

Scores = Mapping[str, float]
"""Scores of one method by metric, as returned by fusion_metrics."""


@dataclass(frozen=True)
class Ranking:
    """Ranks of M methods in K metrics; 1 is best.

    Attributes:
        methods, metrics: names, in the order of the arrays.
        ranks: (M, K).
        average: (M,) mean over the metrics; lower is better.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    ranks: Float64Array
    average: Float64Array

    @property
    def order(self) -> list[tuple[str, float]]:
        """(method, average rank), best first."""
        best_first = np.argsort(self.average, kind="stable")
        return [(self.methods[i], float(self.average[i])) for i in best_first]


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its interval at confidence `level`."""

    value: float
    low: float
    high: float
    level: float


def ranks(values: ArrayLike, higher_is_better: bool = True) -> Float64Array:
    """Ranks along the first axis; 1 is best, ties share the mean of their ranks.

    Args:
        values: (M, ...) finite.

    Returns:
        (M, ...) ranks from 1 to M.

    Raises:
        ValueError: a value is not finite.

    >>> ranks([3, 9, 3, 1]).tolist()
    [2.5, 1.0, 2.5, 4.0]
    """
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"values[{index}] is {x[index]}, expected finite; leave the method out")
    x = x if higher_is_better else -x
    better = (x[None] > x[:, None]).sum(1)
    equal = (x[None] == x[:, None]).sum(1)
    places: Float64Array = better + (equal + 1) / 2
    return places


def average_rank(
    table: Mapping[str, Scores],
    metrics: Sequence[str] = FUSION_METRICS,
    lower_is_better: Collection[str] = LOWER_IS_BETTER,
) -> Ranking:
    """Rank the methods of a table.

    Args:
        table: scores by method.
        metrics: names of the metrics that count, with equal weights.
        lower_is_better: names of the metrics in which lower is better.

    Raises:
        ValueError: no method or metric, or a score that is missing or not finite.

    >>> table = {"sharp": {"SD": 40.0, "Nabf": 0.2}, "clean": {"SD": 30.0, "Nabf": 0.1}}
    >>> average_rank(table, metrics=("SD", "Nabf")).order
    [('sharp', 1.5), ('clean', 1.5)]
    """
    _check_names(table, metrics)
    for method, scores in table.items():
        for metric in metrics:
            if not np.isfinite(scores.get(metric, np.nan)):
                raise ValueError(
                    f"{method} has {scores.get(metric)} for {metric}, expected a finite score; "
                    "compute it or leave the method out"
                )
    values = np.array([[scores[metric] for metric in metrics] for scores in table.values()])
    by_metric = ranks(values * _signs(metrics, lower_is_better))
    return Ranking(tuple(table), tuple(metrics), by_metric, by_metric.mean(1))


def bootstrap_interval(
    values: ArrayLike,
    blocks: Sequence[Hashable] | None = None,
    percentile: float | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the mean, or of a percentile, over blocks of samples.

    Args:
        values: (N,) finite samples.
        blocks: block of each sample, drawn as a whole; None draws single samples.
        percentile: 0 to 100; None means the mean.
        level: confidence, between 0 and 1.
        resamples: number of draws.

    Returns:
        The value with its bounds. The bounds are NaN if there is only one block.

    Raises:
        ValueError: values that are not one-dimensional, empty or not finite, another number of
            blocks than of values, or a level outside 0..1.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not x.size or not np.isfinite(x).all():
        raise ValueError(f"values have shape {x.shape}, expected (N,) finite with N >= 1")
    _check_level(level)
    statistics = []
    for weights in _draw(x.size, blocks, resamples, seed):
        if percentile is None:
            statistics.append(weights @ x / weights.sum(1))
        else:
            draws = (np.repeat(x, row) for row in weights)
            statistics.append(np.array([np.percentile(draw, percentile) for draw in draws]))
    value = np.mean(x) if percentile is None else np.percentile(x, percentile)
    return _interval(float(value), np.concatenate(statistics) if statistics else None, level)


def _draw(
    samples: int, blocks: Sequence[Hashable] | None, resamples: int, seed: int
) -> Iterator[Int64Array]:
    """Counts of each sample in parts of the resamples, (part, samples); none for one block."""
    indices: dict[Hashable, int] = {}
    names = range(samples) if blocks is None else blocks
    block_of = np.array([indices.setdefault(name, len(indices)) for name in names])
    if len(block_of) != samples:
        raise ValueError(f"{len(block_of)} blocks for {samples} samples, expected one a sample")
    count = len(indices)
    random = np.random.default_rng(seed)
    step = max(DRAWN_AT_ONCE // samples, 1)
    for start in range(0, resamples if count > 1 else 0, step):
        size = min(step, resamples - start)
        yield random.multinomial(count, np.full(count, 1 / count), size)[:, block_of]


def bootstrap_average_rank(
    per_image: Mapping[str, Sequence[Scores]],
    metrics: Sequence[str] = FUSION_METRICS,
    lower_is_better: Collection[str] = LOWER_IS_BETTER,
    blocks: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Average rank of each method with its interval over other draws of the images.

    Args:
        per_image: scores by image for each method. All methods have the same images in the same
            order; they are drawn together.
        metrics, lower_is_better: see `average_rank`.
        blocks, level, resamples: see `bootstrap_interval`; `blocks` has one block an image.

    Raises:
        ValueError: no method, metric or image, numbers of images that differ, or a score that is
            missing or not finite.
    """
    _check_names(per_image, metrics)
    _check_level(level)
    counts = {method: len(images) for method, images in per_image.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise ValueError(f"images per method are {counts}, expected equal numbers, at least 1")
    values = np.array(
        [[[image.get(m, np.nan) for m in metrics] for image in images]
         for images in per_image.values()]
    )  # fmt: skip
    if not np.isfinite(values).all():
        i, j, k = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{list(per_image)[i]} has no finite {metrics[k]} for image {j}; "
            "compute it or leave the method out"
        )
    values = values * _signs(metrics, lower_is_better)
    parts = [
        ranks(np.einsum("mnk,bn->mbk", values, weights / weights.sum(1)[:, None], optimize=True))
        for weights in _draw(values.shape[1], blocks, resamples, seed)
    ]
    resampled = np.concatenate(parts, 1).mean(2) if parts else [None] * len(values)
    whole = ranks(values.mean(1)).mean(1)
    return {
        method: _interval(float(whole[i]), resampled[i], level)
        for i, method in enumerate(per_image)
    }


def _interval(value: float, resampled: Float64Array | None, level: float) -> Interval:
    if resampled is None:
        return Interval(value, float("nan"), float("nan"), level)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)


def _signs(metrics: Sequence[str], lower_is_better: Collection[str]) -> Float64Array:
    return np.array([-1.0 if metric in lower_is_better else 1.0 for metric in metrics])


def _check_names(table: Collection[str], metrics: Sequence[str]) -> None:
    if not table or not metrics:
        raise ValueError(
            f"{len(table)} methods and {len(metrics)} metrics, expected at least one of each"
        )


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a number between 0 and 1, such as 0.95")
