"""An evaluation as one HTML page: a viewer of its pictures, its tables, and plots of them.

The page needs no server, no network and no other file. What the figures are is settled in
:mod:`.results`; the look of the page lies in :mod:`ssvif_core.page`, what it does when it is
touched in the script of `report.html.jinja`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from ssvif_core.evaluation.results import (
    OURS,
    Evaluation,
    MethodSummary,
    PairScores,
    RobotRun,
    WorstCase,
)
from ssvif_core.metrics.ranking import LOWER_IS_BETTER
from ssvif_core.page import INK, calm, colour, new_figure, render, to_svg

PICTURE_CHARACTERS = 28_000_000  # of base64, of all pictures together
OPEN_ROWS = 1500  # a longer table of pairs is closed until it is asked for
SLICES = 400  # of a timeline; more are not seen on a chart of this size
LOWER = LOWER_IS_BETTER | {"average rank"}
NAMES = {
    "person_contrast": "person contrast kept",
    "person_contrast_p10": "person contrast kept, p10",
}
PAIR_NAMES = {"person_contrast": "least person contrast kept"}


@dataclass(frozen=True)
class Column:
    """A column of figures: the key of its values, its heading, and what is better in it.

    decimals: so many that the largest value has four digits. lower: whether less is better.
    """

    key: str
    name: str
    lower: bool
    decimals: int

    def text(self, value: float | None) -> str:
        """The value as the column shows it."""
        return number(value, self.decimals)


@dataclass(frozen=True)
class Row:
    """A method in the summary, or a pair and method: figures by column, and which are best."""

    of: MethodSummary | PairScores
    figures: Mapping[str, float]
    best: Collection[str]


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the page.

    Raises:
        OSError: it cannot be written.
    """
    pairs = {pair: index for index, pair in enumerate(evaluation.pairs)}
    methods = [method.name for method in evaluation.methods]
    sides = _sides(evaluation)
    shown = shown_pairs(evaluation)
    summary = _ranked((method, _means(method)) for method in evaluation.methods)
    rows = _pair_rows(evaluation.rows)
    keys = (*evaluation.metrics, "person_contrast", "person_contrast_p10", "flicker", "wobble")
    page = render(
        Path(__file__).with_name("report.html.jinja"),
        title=path.resolve().parent.name,
        facts=evaluation.facts,
        evaluation=evaluation,
        pairs=pairs,
        sides={side: index for index, side in enumerate(sides)},
        right=OURS if OURS in methods else (methods or sides)[0],
        blocks={pairs[pair]: _block(evaluation.pictures[pair], sides) for pair in shown},
        summary=summary,
        summary_columns=_columns(("average rank", *keys), summary, NAMES),
        rows=rows,
        columns=_columns(keys, rows, PAIR_NAMES),
        is_open=len(rows) <= OPEN_ROWS,
        colours=[(f"{n + 1} {method}", colour(n)) for n, method in enumerate(methods)],
        plots=[
            {"name": column.name, "arrow": "↓" if column.lower else "↑",
             "svg": _plot(column.key, evaluation)}
            for column in _columns(
                [key for key in keys if key != "person_contrast_p10"], summary, NAMES
            )
        ],
        robot=[_robot(index, run) for index, run in enumerate(evaluation.robot)],
        pair_names=PAIR_NAMES,
        lower=LOWER,
        number=number,
        case_text=_case_text,
    )  # fmt: skip
    path.write_text(page, encoding="utf-8", errors="backslashreplace")  # odd file names


def number(value: float | None, decimals: int) -> str:
    """A figure as the page shows it: an en dash for one that does not exist."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{decimals}f}"


def _case_text(case: WorstCase) -> str:
    return f"{case.value:.4g}" if math.isfinite(case.value) else "–"


# --- pictures


def _sides(evaluation: Evaluation) -> list[str]:
    """What either side of the viewer's divider may show, in the order of its lists."""
    known = ["visible", "thermal", *(method.name for method in evaluation.methods), "overlay"]
    there = {name for pictures in evaluation.pictures.values() for name in pictures}
    return [name for name in known if name != "overlay" or name in there]


def shown_pairs(evaluation: Evaluation) -> list[str]:
    """The pairs whose pictures the page holds: all, or as many as PICTURE_CHARACTERS allow.

    The worst cases come first, then pairs evenly spread over the others.
    """
    sizes = {
        pair: sum(4 * math.ceil(len(picture) / 3) for picture in pictures.values())
        for pair in evaluation.pairs
        if (pictures := evaluation.pictures.get(pair))
    }
    left = PICTURE_CHARACTERS
    chosen = []
    for pair in dict.fromkeys(case.pair for case in evaluation.worst):
        if pair in sizes and sizes[pair] <= left:
            left -= sizes.pop(pair)
            chosen.append(pair)
    others = np.array(list(sizes), object)
    characters = np.array(list(sizes.values()), np.int64)
    for count in range(len(others), 0, -1):
        spread = np.linspace(0, len(others) - 1, count).round().astype(int)
        if characters[spread].sum() <= left:
            chosen += others[spread].tolist()
            break
    kept = set(chosen)
    return [pair for pair in evaluation.pairs if pair in kept]


def _block(pictures: Mapping[str, bytes], sides: Sequence[str]) -> list[str | None]:
    """A pair's pictures as the viewer reads them: base64 of each side, or null."""
    return [
        base64.b64encode(pictures[side]).decode() if side in pictures else None for side in sides
    ]


# --- tables


def _means(method: MethodSummary) -> dict[str, float]:
    figures = {key: interval.value for key, interval in method.means.items()}
    if method.average_rank is not None:
        figures["average rank"] = method.average_rank.value
    return figures


def _pair_rows(scores: Iterable[PairScores]) -> list[Row]:
    """One row for each pair and method; the rows of a pair lie together.

    `person_contrast` is that of the person who kept least.
    """
    by_pair: dict[str, list[tuple[PairScores, dict[str, float]]]] = {}
    for row in scores:
        figures = (
            {**row.scores, "person_contrast": min(row.persons_kept)}
            if row.persons_kept
            else row.scores
        )
        by_pair.setdefault(row.pair, []).append((row, figures))
    return [row for own in by_pair.values() for row in _ranked(own)]


def _ranked(table: Iterable[tuple[MethodSummary | PairScores, Mapping[str, float]]]) -> list[Row]:
    """Rows that are compared with each other; a single one is best in nothing."""
    table = list(table)
    values: dict[str, list[float]] = {}
    for _, figures in table:
        for key, value in figures.items():
            if math.isfinite(value):
                values.setdefault(key, []).append(value)
    best = {
        key: min(own) if key in LOWER else max(own) for key, own in values.items() if len(own) > 1
    }
    return [
        Row(of, figures, {key for key, value in figures.items() if value == best.get(key)})
        for of, figures in table
    ]


def _columns(keys: Iterable[str], rows: Sequence[Row], names: Mapping[str, str]) -> list[Column]:
    """The columns for which a row has a figure; names: headings other than the key."""
    columns = []
    for key in keys:
        values = [abs(row.figures[key]) for row in rows if key in row.figures]
        if values:
            largest = max((value for value in values if math.isfinite(value)), default=0)
            before = max(math.floor(math.log10(largest)), -1) if largest else 0
            columns.append(Column(key, names.get(key, key), key in LOWER, max(3 - before, 0)))
    return columns


# --- plots


def _plot(key: str, evaluation: Evaluation) -> Markup:
    """Means with their intervals, and the spread of single values; methods by number."""
    figure = new_figure(4.2, 2.1)
    bars, boxes = (calm(axes) for axes in figure.subplots(1, 2))
    for index, method in enumerate(evaluation.methods):
        place, own = index + 1, colour(index)
        interval = method.means.get(key)
        if interval is not None and math.isfinite(interval.value):
            bars.bar(place, interval.value, width=0.62, color=own, alpha=0.75)
            bars.vlines(place, interval.low, interval.high, color=INK, linewidth=1.2)
        values = [
            value
            for row in evaluation.rows
            if row.method == method.name
            for value in (
                row.persons_kept if key == "person_contrast" else [row.scores.get(key, math.nan)]
            )
            if math.isfinite(value)
        ]
        if values:
            lines = {"color": own, "linewidth": 1.2}
            boxes.boxplot(
                values, positions=[place], widths=0.55, whis=(5, 95), showfliers=False,
                boxprops=lines, whiskerprops=lines, capprops=lines, medianprops={"color": INK},
            )  # fmt: skip
    places = range(1, len(evaluation.methods) + 1)
    for axes in (bars, boxes):
        axes.set_xlim(0.4, len(evaluation.methods) + 0.6)
        axes.set_xticks(places, [str(place) for place in places])
        axes.grid(visible=False, axis="x")
    return to_svg(figure, f"metric {key}")


# --- through the robot's path


def _robot(index: int, run: RobotRun) -> dict[str, Any]:
    """A run through the node: what is said of it and drawn of it."""
    latency, stamps = run.spread(run.latencies), run.spread(run.stamp_differences)
    causes = list(dict.fromkeys([*run.dropped, *(name for _, lost in run.causes for name in lost)]))
    dropped = [f"{count} {cause}" for cause, count in run.dropped.items() if count]
    facts = {
        "replay speed": f"{run.rate:g}×",
        "engine": run.engine,
        "pairs in": str(run.pairs),
        "fused": f"{run.fused} ({run.fused / run.pairs:.1%})" if run.pairs else "0",
        "dropped": ", ".join(dropped) or "none",
        "stamp difference in a pair": f"median {number(stamps['p50'], 1)} ms, "
        f"largest {number(stamps['max'], 1)} ms",
        "latency": f"p50 {number(latency['p50'], 1)} ms, p95 {number(latency['p95'], 1)} ms, "
        f"p99 {number(latency['p99'], 1)} ms",
        "rate": f"{number(run.frames_per_second, 1)} frames/s",
        "CPU": f"{number(run.cpu, 2)} cores",
        "memory": f"{run.memory_mb[0]:.0f} MB at the start, {run.memory_mb[1]:.0f} MB at the end",
    }
    return {
        "bag": run.bag,
        "facts": facts,
        "causes": [(cause, colour(n + 1)) for n, cause in enumerate(causes)] if run.causes else [],
        "histogram": _histogram(index, run.latencies) if run.latencies else None,
        "timeline": _timeline(index, run, causes) if run.timeline else None,
    }


def _histogram(index: int, latencies: Sequence[float]) -> dict[str, Any]:
    """The drawing, and what lies outside: a single slow pair would squeeze all others."""
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99))
    limit = 1.5 * p99
    figure = new_figure(4.2, 2.6)
    axes = calm(figure.add_subplot())
    axes.hist([ms for ms in latencies if ms <= limit], bins=40, color=colour(0), alpha=0.75)
    for percentile in (p50, p95, p99):
        axes.axvline(percentile, color=INK, linewidth=0.9, linestyle=":")
    _label(axes, "latency, ms", "pairs")
    outside = sum(ms > limit for ms in latencies)
    note = f"{outside} not shown, up to {max(latencies):.0f} ms" if outside else ""
    return {"svg": to_svg(figure, f"robot {index} histogram"), "note": note}


def _timeline(index: int, run: RobotRun, causes: Sequence[str]) -> Markup:
    """Latency over time with ticks where pairs were lost, and below it the losses by cause."""
    figure = new_figure(8.4, 3.6 if run.causes else 2.6)
    panels = figure.subplots(2 if run.causes else 1, 1, sharex=True, squeeze=False)[:, 0]
    top = calm(panels[0])
    times = np.array([time for time, _ in run.timeline])
    latencies = np.array([math.nan if ms is None else ms for _, ms in run.timeline])
    fused = np.isfinite(latencies)
    if fused.any():
        middle, low, median, high = _slices(times[fused], latencies[fused])
        top.fill_between(middle, low, high, color=colour(0), alpha=0.3, linewidth=0)
        top.plot(
            middle, median, color=colour(0), linewidth=1.2, marker="" if len(middle) > 1 else "o"
        )
        top.set_ylim(bottom=0)
    seconds = max(times[-1], 1e-3)
    lost = np.unique((times[~fused] / seconds * 2 * SLICES).round()) * seconds / (2 * SLICES)
    # Along the lower edge, whatever the latencies are.
    top.plot(lost, np.full(lost.shape, 0.03), "|", color=colour(5), markersize=8,
             transform=top.get_xaxis_transform())  # fmt: skip
    _label(top, "" if run.causes else "s", "latency, ms")
    if run.causes:
        bottom = calm(panels[1])
        for n, cause in enumerate(causes):
            counts = [so_far.get(cause, 0) for _, so_far in run.causes]
            bottom.step([time for time, _ in run.causes], counts, where="post",
                        color=colour(n + 1), linewidth=1.4)  # fmt: skip
        bottom.set_ylim(bottom=0)
        _label(bottom, "s", "dropped so far")
    return to_svg(figure, f"robot {index} timeline")


def _slices(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(4, N) of at most SLICES slices: middle in time, and least, median and largest value."""
    parts = np.array_split(np.stack([times, values]), min(len(times), SLICES), axis=1)
    return np.array(
        [(part[0].mean(), part[1].min(), np.median(part[1]), part[1].max()) for part in parts]
    ).T


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=INK, fontsize=8)
    axes.set_ylabel(y, color=INK, fontsize=8)
