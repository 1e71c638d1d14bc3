"""What an evaluation found: scores a pair and method, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ssvif_core.metrics import Interval, SegmentationScores
from ssvif_core.metrics.ranking import LOWER_IS_BETTER

OURS = "ours"


@dataclass(frozen=True)
class PairScores:
    """One method's scores on one pair.

    pair: its name, unique in the evaluation. input: the folder, video or bag it came from.
    scores: by metric: the nine, Qcb and Nabf; `flicker` and `wobble` if it is a frame that has a
        predecessor.
    persons_kept: share of contrast kept, of each person that a mask or box shows.
    block: what neighbours in a stream share: a second, some thirty frames, says the same thing
        over and over, so intervals are drawn from blocks. Of a pair of files its own name.
    """

    pair: str
    input: str
    method: str
    scores: dict[str, float]
    persons_kept: tuple[float, ...] = ()
    block: str = ""


@dataclass(frozen=True)
class MethodSummary:
    """One method over all pairs.

    means: by metric, the mean with its bootstrap interval; also `person_contrast` and
        `person_contrast_p10` (mean and 10th percentile over persons), `flicker` and
        `wobble`, where there are any.
    ranks: by metric of the nine, among all methods; 1 is best. Empty for a single method.
    average_rank: mean of the ranks, with its bootstrap interval; None for a single method.
    persons: number of persons behind `person_contrast`.
    """

    name: str
    means: dict[str, Interval]
    ranks: dict[str, float]
    average_rank: Interval | None
    persons: int = 0


@dataclass(frozen=True)
class Segmentation:
    """Our labels against the masks: class names, their scores, and how many masks there were."""

    names: tuple[str, ...]
    scores: SegmentationScores
    masks: int


@dataclass(frozen=True)
class WorstCase:
    """A pair on which a method does badly, and by what: one metric, or 'person_contrast'."""

    pair: str
    method: str
    metric: str
    value: float


@dataclass(frozen=True)
class RobotRun:
    """A bag that was played to the real node; times in ms, but where they are said to be in s.

    dropped: cause -> pairs. latencies: of the fused pairs, from the sending of the later image to
    the arrival of the fused one. stamp_differences: inside each pair of the bag, ms.
    timeline: a row a pair of the bag, in order: seconds from its begin, and the latency, or None
    if the pair was lost. causes: a row a second or so: seconds from the begin, and how many pairs
    each cause had lost until then.
    cpu: of the node, in cores. memory_mb: of the node at the start and the end.
    """

    bag: str
    rate: float
    engine: str
    pairs: int
    fused: int
    dropped: dict[str, int]
    stamp_differences: tuple[float, ...]
    latencies: tuple[float, ...]
    frames_per_second: float
    cpu: float
    memory_mb: tuple[float, float]
    timeline: tuple[tuple[float, float | None], ...]
    causes: tuple[tuple[float, dict[str, int]], ...] = ()

    @staticmethod
    def spread(values: Sequence[float]) -> dict[str, float | None]:
        """Median, 95th and 99th percentile and maximum of times; None where there are none."""
        names = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
        if not values:
            return dict.fromkeys(names)
        return {name: round(float(np.percentile(values, p)), 2) for name, p in names.items()}


@dataclass(frozen=True)
class Evaluation:
    """Everything a report shows.

    methods: in the order of the tables: ours first, then as given. pairs: in order.
    rows: every pair with every method. facts: name -> text, what was scored and how.
    problems: what was left out and why, a sentence each.
    pictures: pair -> name of the picture (`visible`, `thermal`, a method's name, or
        `overlay`) -> WebP bytes; not every pair need be there.
    """

    methods: tuple[MethodSummary, ...]
    metrics: tuple[str, ...]
    pairs: tuple[str, ...]
    rows: tuple[PairScores, ...]
    worst: tuple[WorstCase, ...]
    segmentation: Segmentation | None
    facts: dict[str, str]
    problems: tuple[str, ...] = ()
    robot: tuple[RobotRun, ...] = ()
    pictures: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def figures(self) -> list[str]:
        """The metrics of which a method has a mean, in the order of the tables."""
        return list(dict.fromkeys(metric for method in self.methods for metric in method.means))

    def best(self) -> dict[str, float]:
        """The best mean of each metric; empty for a single method, which is best in nothing."""
        best: dict[str, float] = {}
        if len(self.methods) > 1:
            for metric in self.figures():
                values = [m.means[metric].value for m in self.methods if metric in m.means]
                best[metric] = (min if metric in LOWER_IS_BETTER else max)(values)
        return best
