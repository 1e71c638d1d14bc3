"""Ranks, average ranks and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvif_core.metrics import (
    FUSION_METRICS,
    average_rank,
    bootstrap_average_rank,
    bootstrap_interval,
    ranking,
)
from ssvif_core.metrics.ranking import ranks

# MSRS test, 60 pairs: the project's table of peers and its first network.
TABLE = """
SeAFusion 6.638 42.22 11.16 4.195 3.974 1.673 .966 .664 .714
LUT-Fuse  6.560 42.53 12.43 4.435 3.565 1.656 .876 .598 .708
SAGE      5.999 36.86 10.47 3.656 3.220 1.386 .711 .528 .692
DATFuse   6.487 36.78 10.93 4.291 3.764 1.411 .893 .616 .636
TarDAL    6.471 37.85 10.32 4.056 2.598 1.507 .702 .411 .521
GIFNet    5.964 33.82 12.82 3.819 1.972 1.423 .590 .414 .719
IFCNN     5.985 31.52 12.53 4.799 1.868 1.378 .637 .522 .705
LRRNet    6.222 32.89  8.68 3.226 2.854  .777 .539 .445 .622
DenseFuse 5.943 23.94  6.08 2.473 2.567 1.254 .680 .344 .738
YDTR      5.619 24.74  7.21 2.581 2.589 1.132 .562 .316 .609
probe     6.630 43.13 11.01 4.054 4.069 1.690 .988 .649 .728
"""


def peers() -> dict[str, dict[str, float]]:
    rows = (line.split() for line in TABLE.strip().splitlines())
    return {
        name: dict(zip(FUSION_METRICS, map(float, scores), strict=True)) for name, *scores in rows
    }


def test_the_best_rank_is_one_and_ties_share_the_mean():
    assert ranks([3, 9, 3, 1]).tolist() == [2.5, 1, 2.5, 4]
    assert ranks([3, 9, 3, 1], higher_is_better=False).tolist() == [2.5, 4, 2.5, 1]
    assert ranks([5, 5, 5]).tolist() == [2, 2, 2]


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12))
def test_ranks_sum_to_the_triangle_number(values):
    n = len(values)
    assert ranks(values).sum() == n * (n + 1) / 2
    assert np.array_equal(ranks(values), n + 1 - ranks(values, higher_is_better=False))


def test_average_rank_of_the_peers():
    ranking = average_rank(peers())
    assert ranking.ranks.shape == (11, 9)
    assert [(name, round(rank, 1)) for name, rank in ranking.order[:2]] == [
        ("probe", 2.3),
        ("SeAFusion", 2.6),
    ]


def test_lower_is_better_for_some_metrics():
    table = {"clean": {"Nabf": 0.01, "SD": 1.0}, "noisy": {"Nabf": 0.3, "SD": 2.0}}
    ranking = average_rank(table, metrics=("Nabf", "SD"))
    assert ranking.ranks.tolist() == [[1, 2], [2, 1]]
    assert ranking.average.tolist() == [1.5, 1.5]


class TestBootstrap:
    def test_contains_the_value_and_is_reproducible(self):
        values = np.random.default_rng(3).normal(10, 2, 60)
        interval = bootstrap_interval(values)
        assert interval.value == pytest.approx(values.mean())
        assert interval.low < interval.value < interval.high
        assert interval == bootstrap_interval(values)
        assert interval != bootstrap_interval(values, seed=1)

    def test_width_equals_the_normal_approximation(self):
        values = np.random.default_rng(3).normal(10, 2, 400)
        interval = bootstrap_interval(values)
        assert interval.high - interval.low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)

    def test_percentiles_and_levels(self):
        values = np.arange(101.0)
        narrow, wide = (
            bootstrap_interval(values, percentile=50, level=level) for level in (0.5, 0.99)
        )
        assert narrow.value == 50
        assert wide.low < narrow.low <= narrow.high < wide.high

    def test_repeated_frames_do_not_narrow_the_interval(self):
        values = np.random.default_rng(3).normal(10, 2, 60)
        single = bootstrap_interval(values)
        blocks = np.repeat(np.arange(60), 30).tolist()
        repeated = bootstrap_interval(np.repeat(values, 30), blocks)
        assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high))
        without_blocks = bootstrap_interval(np.repeat(values, 30))
        assert without_blocks.high - without_blocks.low < (single.high - single.low) / 3

    def test_one_block_has_no_bounds(self):
        interval = bootstrap_interval([1.0, 2.0], ["a", "a"])
        assert interval.value == 1.5 and np.isnan([interval.low, interval.high]).all()

    def test_drawing_in_parts_gives_the_same_interval(self, monkeypatch):
        values = np.random.default_rng(3).normal(10, 2, 400)
        whole = bootstrap_interval(values)
        monkeypatch.setattr(ranking, "DRAWN_AT_ONCE", 7_000)
        assert bootstrap_interval(values) == whole

    def test_equal_values_give_zero_width(self):
        interval = bootstrap_interval([4.0] * 5)
        assert (interval.low, interval.value, interval.high) == (4, 4, 4)


class TestBootstrapAverageRank:
    def test_a_clear_order_is_certain_and_a_mixed_order_is_not(self):
        rng = np.random.default_rng(0)
        noise = rng.normal(size=40)
        per_image = {
            "best": [{"SD": 20 + x} for x in noise],
            "second": [{"SD": 10 + x} for x in noise],
            "like second": [{"SD": 10 + x} for x in rng.normal(size=40)],
        }
        intervals = bootstrap_average_rank(per_image, metrics=("SD",))
        assert (intervals["best"].low, intervals["best"].high) == (1, 1)
        assert (intervals["second"].low, intervals["second"].high) == (2, 3)
        assert intervals == bootstrap_average_rank(per_image, metrics=("SD",))

    def test_agrees_with_the_ranking_of_the_means(self):
        per_image = {name: [scores, scores] for name, scores in peers().items()}
        intervals = bootstrap_average_rank(per_image, resamples=20)
        whole = average_rank(peers())
        for name, rank in zip(whole.methods, whole.average, strict=True):
            assert intervals[name].value == pytest.approx(rank)


def test_rejected_input():
    scores = {"SD": 1.0}
    with pytest.raises(ValueError, match="a has None for EN, expected a finite score"):
        average_rank({"a": scores})
    with pytest.raises(ValueError, match="a has nan for SD"):
        average_rank({"a": {"SD": np.nan}}, metrics=("SD",))
    with pytest.raises(ValueError, match="0 methods"):
        average_rank({})
    with pytest.raises(ValueError, match=r"values\[\(1,\)\] is nan"):
        ranks([1, np.nan])
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap_interval([1.0], level=95)
    with pytest.raises(ValueError, match="images per method are {'a': 1, 'b': 2}"):
        bootstrap_average_rank({"a": [scores], "b": [scores, scores]}, metrics=("SD",))
    with pytest.raises(ValueError, match="b has no finite SD for image 0"):
        bootstrap_average_rank({"a": [scores], "b": [{}]}, metrics=("SD",))
