"""Results of an evaluation: scores for each pair and method, and their summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ssvif_core.metrics import Interval, SegmentationScores
from ssvif_core.metrics.ranking import LOWER_IS_BETTER

OURS = "ours"  # the name of our model, if there is one
OVERLAY = "overlay"  # pictures: `overlay` of the first model, `overlay of NAME` of others


def overlay_of(model: str, first: str) -> str:
    """The name of the picture of a model's labels; `first` is the first model."""
    return OVERLAY if model == first else f"{OVERLAY} of {model}"


@dataclass(frozen=True)
class PairScores:
    """One method's scores on one pair.

    pair: name, unique in the evaluation. input: the folder, video or bag of the pair.
    scores: by metric: the nine, Qcb and Nabf; also `flicker`, `wobble` and, with labels,
        `label_change` if the frame has a predecessor.
    persons_kept: share of contrast kept for each person of the mask or boxes.
    block: name shared by neighbouring frames of a stream (about a second, 30 frames). They are
        similar, so the bootstrap draws whole blocks. For a pair of files: the name of the pair.
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
        `person_contrast_p10` (mean and 10th percentile over persons), and the changes between
        frames, if they exist.
    ranks: by metric of the nine, among all methods; 1 is best. Empty for a single method.
    average_rank: mean of the ranks with its bootstrap interval; None for a single method.
    persons: number of persons behind `person_contrast`.
    """

    name: str
    means: dict[str, Interval]
    ranks: dict[str, float]
    average_rank: Interval | None
    persons: int = 0


@dataclass(frozen=True)
class Segmentation:
    """A model's labels compared with masks: class names, their scores, number of masks."""

    names: tuple[str, ...]
    scores: SegmentationScores
    masks: int


@dataclass(frozen=True)
class WorstCase:
    """A pair on which a method has a bad value of a metric, or of 'person_contrast'."""

    pair: str
    method: str
    metric: str
    value: float


@dataclass(frozen=True)
class RobotRun:
    """A bag that was played to the real node.

    rate: replay speed, 1 is as recorded.
    dropped: cause -> number of pairs.
    stamp_differences: ms, of each pair of the bag.
    latencies: ms, of each fused pair, from sending its later image to receiving the fused one.
    cpu: of the node, in cores. memory_mb: of the node, at the start and at the end.
    timeline: for each pair of the bag, in order: seconds from the start, and the latency in ms
        (None if the pair was lost).
    causes: about once a second: seconds from the start, and cause -> pairs lost until then.
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
        """Median, 95th and 99th percentile and maximum, 2 decimals; None without values."""
        percentiles = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
        if not values:
            return dict.fromkeys(percentiles)
        return {name: round(float(np.percentile(values, p)), 2) for name, p in percentiles.items()}


@dataclass(frozen=True)
class Evaluation:
    """All content of a report.

    methods: in the order of the tables: ours first, then as given. pairs: names, in order.
    rows: one for each pair and method. facts: name -> text on what was scored and how.
    problems: sentences on what was left out and why.
    warnings: sentences on why the scores may mean little.
    is_stopped: whether Ctrl-C came before all pairs were scored.
    segmentation: by model; empty without masks.
    pictures: pair -> name of the picture (`visible`, `thermal`, a method's name, or an overlay,
        see `overlay_of`) -> WebP bytes; some pairs have no pictures.
    """

    methods: tuple[MethodSummary, ...]
    metrics: tuple[str, ...]
    pairs: tuple[str, ...]
    rows: tuple[PairScores, ...]
    worst: tuple[WorstCase, ...]
    segmentation: dict[str, Segmentation]
    facts: dict[str, str]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_stopped: bool = False
    robot: tuple[RobotRun, ...] = ()
    pictures: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def figures(self) -> list[str]:
        """The metrics for which a method has a mean, in the order of the tables."""
        return list(dict.fromkeys(metric for method in self.methods for metric in method.means))

    def best(self) -> dict[str, float]:
        """The best mean of each metric; empty for a single method."""
        best: dict[str, float] = {}
        if len(self.methods) > 1:
            for metric in self.figures():
                values = [m.means[metric].value for m in self.methods if metric in m.means]
                best[metric] = (min if metric in LOWER_IS_BETTER else max)(values)
        return best
