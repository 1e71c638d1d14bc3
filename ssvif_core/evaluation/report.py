"""Writes an evaluation as one HTML page: a picture viewer, tables and plots.

The page needs no server, no network and no other file. :mod:`.results` defines the figures,
:mod:`ssvif_core.page` the look, and the script in `report.html.jinja` the interaction.
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
    OVERLAY,
    Evaluation,
    MethodSummary,
    PairScores,
    RobotRun,
)
from ssvif_core.evaluation.summary import CHANGE
from ssvif_core.evaluation.tables import four_digits
from ssvif_core.metrics.ranking import LOWER_IS_BETTER
from ssvif_core.page import INK, calm, colour, new_figure, render, to_svg
from ssvif_core.types import Float64Array

PICTURE_CHARACTERS = 28_000_000  # base64 characters of all pictures together
OPEN_ROWS = 1500  # a longer table of pairs is closed at first
SLICES = 400  # of a timeline; a chart of this size cannot show more
LOWER = LOWER_IS_BETTER | {"average rank"}
NAMES = {
    "person_contrast": "person contrast kept",
    "person_contrast_p10": "person contrast kept, p10",
    "label_change": "label change",
}
PAIR_NAMES = {"person_contrast": "least person contrast kept", "label_change": "label change"}


@dataclass(frozen=True)
class Column:
    """A column of figures: the key of its values and its heading.

    lower: whether lower is better. decimals: give the largest value four digits.
    """

    key: str
    name: str
    lower: bool
    decimals: int

    def text(self, value: float | None) -> str:
        """The value with the decimals of the column."""
        return number(value, self.decimals)


@dataclass(frozen=True)
class Row:
    """A table row for a method, or for a pair and method.

    figures: by column key. best: the keys whose figure is the best.
    """

    record: MethodSummary | PairScores
    figures: Mapping[str, float]
    best: Collection[str]


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the page.

    Raises:
        OSError: the page cannot be written.
    """
    pairs = {pair: index for index, pair in enumerate(evaluation.pairs)}
    methods = [method.name for method in evaluation.methods]
    sides = _sides(evaluation)
    shown = shown_pairs(evaluation)
    summary = _ranked((method, _means(method)) for method in evaluation.methods)
    rows = _pair_rows(evaluation.rows)
    # Two of our models are compared with each other, and one of ours with the visible image.
    left, right = "visible", OURS if OURS in methods else (methods or sides)[0]
    if OURS not in methods and len(methods) > 1:
        left, right = methods[:2]
    keys = (*evaluation.metrics, "person_contrast", "person_contrast_p10", *CHANGE)
    page = render(
        Path(__file__).with_name("report.html.jinja"),
        title=path.resolve().parent.name,
        facts=evaluation.facts,
        evaluation=evaluation,
        pairs=pairs,
        sides={side: index for index, side in enumerate(sides)},
        left=left,
        right=right,
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
        four_digits=four_digits,
    )  # fmt: skip
    path.write_text(page, encoding="utf-8", errors="backslashreplace")  # file names may not be text


def number(value: float | None, decimals: int) -> str:
    """A figure with a fixed number of decimals; a dash if it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{decimals}f}"


# --- pictures


def _sides(evaluation: Evaluation) -> list[str]:
    """The names of the pictures for the viewer's two lists, in order."""
    sides = ["visible", "thermal", *(method.name for method in evaluation.methods)]
    pictured = dict.fromkeys(name for each in evaluation.pictures.values() for name in each)
    return sides + [name for name in pictured if name.startswith(OVERLAY)]


def shown_pairs(evaluation: Evaluation) -> list[str]:
    """The pairs whose pictures the page holds: all, or as many as PICTURE_CHARACTERS allow.

    Worst cases have priority. The others are an even spread over the rest.
    """
    sizes = {
        pair: sum(4 * math.ceil(len(picture) / 3) for picture in pictures.values())
        for pair in evaluation.pairs
        if (pictures := evaluation.pictures.get(pair))
    }
    room = PICTURE_CHARACTERS
    chosen = set()
    for pair in dict.fromkeys(case.pair for case in evaluation.worst):
        if pair in sizes and sizes[pair] <= room:
            room -= sizes.pop(pair)
            chosen.add(pair)
    others = np.array(list(sizes), object)
    characters = np.array(list(sizes.values()), np.int64)
    for count in range(len(others), 0, -1):
        spread = np.linspace(0, len(others) - 1, count).round().astype(int)
        if characters[spread].sum() <= room:
            chosen.update(others[spread].tolist())
            break
    return [pair for pair in evaluation.pairs if pair in chosen]


def _block(pictures: Mapping[str, bytes], sides: Sequence[str]) -> list[str | None]:
    """A pair's pictures for the viewer: base64 of each of `sides`, or null."""
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
    """One row for each pair and method, grouped by pair.

    `person_contrast` is the least contrast kept of a pair's persons.
    """
    by_pair: dict[str, list[tuple[PairScores, dict[str, float]]]] = {}
    for row in scores:
        figures = (
            {**row.scores, "person_contrast": min(row.persons_kept)}
            if row.persons_kept
            else row.scores
        )
        by_pair.setdefault(row.pair, []).append((row, figures))
    return [row for records in by_pair.values() for row in _ranked(records)]


def _ranked(table: Iterable[tuple[MethodSummary | PairScores, Mapping[str, float]]]) -> list[Row]:
    """Rows with their best figures marked; a single row has no best figure."""
    table = list(table)
    values: dict[str, list[float]] = {}
    for _, figures in table:
        for key, value in figures.items():
            if math.isfinite(value):
                values.setdefault(key, []).append(value)
    best = {
        key: (min if key in LOWER else max)(column)
        for key, column in values.items()
        if len(column) > 1
    }
    return [
        Row(record, figures, {key for key, value in figures.items() if value == best.get(key)})
        for record, figures in table
    ]


def _columns(keys: Iterable[str], rows: Sequence[Row], names: Mapping[str, str]) -> list[Column]:
    """The columns for which a row has a figure; `names` holds headings that differ from the key."""
    columns = []
    for key in keys:
        values = [abs(row.figures[key]) for row in rows if key in row.figures]
        if values:
            largest = max((value for value in values if math.isfinite(value)), default=0)
            exponent = max(math.floor(math.log10(largest)), -1) if largest else 0
            columns.append(Column(key, names.get(key, key), key in LOWER, max(3 - exponent, 0)))
    return columns


# --- plots


def _plot(key: str, evaluation: Evaluation) -> Markup:
    """Means with intervals, and box plots of single values; the x axis numbers the methods."""
    figure = new_figure(4.2, 2.1)
    bars, boxes = (calm(axes) for axes in figure.subplots(1, 2))
    for index, method in enumerate(evaluation.methods):
        position, method_colour = index + 1, colour(index)
        interval = method.means.get(key)
        if interval is not None and math.isfinite(interval.value):
            bars.bar(position, interval.value, width=0.62, color=method_colour, alpha=0.75)
            bars.vlines(position, interval.low, interval.high, color=INK, linewidth=1.2)
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
            lines = {"color": method_colour, "linewidth": 1.2}
            boxes.boxplot(
                values, positions=[position], widths=0.55, whis=(5, 95), showfliers=False,
                boxprops=lines, whiskerprops=lines, capprops=lines, medianprops={"color": INK},
            )  # fmt: skip
    positions = range(1, len(evaluation.methods) + 1)
    for axes in (bars, boxes):
        axes.set_xlim(0.4, len(evaluation.methods) + 0.6)
        axes.set_xticks(positions, [str(position) for position in positions])
        axes.grid(visible=False, axis="x")
    return to_svg(figure, f"metric {key}")


# --- runs through the node


def _robot(index: int, run: RobotRun) -> dict[str, Any]:
    """Facts and drawings of a run through the node."""
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
        "causes": [(cause, colour(n)) for n, cause in enumerate(causes, 1)] if run.causes else [],
        "histogram": _histogram(index, run.latencies) if run.latencies else None,
        "timeline": _timeline(index, run, causes) if run.timeline else None,
    }


def _histogram(index: int, latencies: Sequence[float]) -> dict[str, Any]:
    """The drawing up to 1.5 times p99, and a note on slower pairs, which would squeeze it."""
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
    """Latency over time with ticks at lost pairs, and below it the number of losses by cause."""
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
    duration_s = max(times[-1], 1e-3)
    lost = np.unique((times[~fused] / duration_s * 2 * SLICES).round()) * duration_s / (2 * SLICES)
    # Along the lower edge, independent of the latencies.
    top.plot(lost, np.full(lost.shape, 0.03), "|", color=colour(5), markersize=8,
             transform=top.get_xaxis_transform())  # fmt: skip
    _label(top, "" if run.causes else "s", "latency, ms")
    if run.causes:
        bottom = calm(panels[1])
        seconds_of_counts = [time for time, _ in run.causes]
        for n, cause in enumerate(causes, 1):
            counts = [total.get(cause, 0) for _, total in run.causes]
            bottom.step(seconds_of_counts, counts, where="post", color=colour(n), linewidth=1.4)
        bottom.set_ylim(bottom=0)
        _label(bottom, "s", "dropped so far")
    return to_svg(figure, f"robot {index} timeline")


def _slices(times: Float64Array, values: Float64Array) -> Float64Array:
    """(4, N), N <= SLICES: mean time, and smallest, median and largest value of each slice."""
    parts = np.array_split(np.stack([times, values]), min(len(times), SLICES), axis=1)
    return np.array(
        [(part[0].mean(), part[1].min(), np.median(part[1]), part[1].max()) for part in parts]
    ).T


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=INK, fontsize=8)
    axes.set_ylabel(y, color=INK, fontsize=8)
