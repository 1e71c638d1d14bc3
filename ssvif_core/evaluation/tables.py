"""Writes an evaluation as scores.csv, summary.json and summary.md."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ssvif_core.evaluation.results import Evaluation, MethodSummary, RobotRun, Segmentation
from ssvif_core.evaluation.summary import CHANGE, METRICS
from ssvif_core.metrics import Interval
from ssvif_core.metrics.ranking import LOWER_IS_BETTER

DIGITS = 6
ODD_NAMES = "backslashreplace"  # file names may not be valid text


def write_tables(folder: Path, evaluation: Evaluation) -> list[Path]:
    """Write the three files and return their paths. Equal scores give equal files.

    Raises:
        OSError: a file cannot be written.
    """
    summary = to_json(evaluation)
    paths = [folder / name for name in ("scores.csv", "summary.json", "summary.md")]
    _write_csv(paths[0], evaluation)
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    paths[1].write_text(text, encoding="utf-8", errors=ODD_NAMES)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    page = environment.get_template("summary.md.jinja").render(
        evaluation=evaluation,
        lower=LOWER_IS_BETTER,
        number=four_digits,
        figure=_figure,
        robot=[run_json(run) for run in evaluation.robot],
    )
    paths[2].write_text(page, encoding="utf-8", errors=ODD_NAMES)
    return paths


def _write_csv(path: Path, evaluation: Evaluation) -> None:
    """One row for each pair and method; `persons_kept` lists the contrast kept of each person."""
    with path.open("w", newline="", encoding="utf-8", errors=ODD_NAMES) as file:
        writer = csv.writer(file)
        writer.writerow(["input", "pair", "method", *METRICS, *CHANGE, "persons_kept"])
        for row in evaluation.rows:
            scores = [row.scores.get(metric) for metric in (*METRICS, *CHANGE)]
            persons_kept = " ".join(f"{value:.4f}" for value in row.persons_kept)
            writer.writerow(
                [row.input, row.pair, row.method]
                + ["" if score is None else f"{score:.{DIGITS}g}" for score in scores]
                + [persons_kept]
            )


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The summary as plain values; missing figures are null."""
    result: dict[str, Any] = {
        "facts": evaluation.facts,
        "pairs": len(evaluation.pairs),
        "methods": {},
    }
    for method in evaluation.methods:
        figures: dict[str, Any] = {name: _interval(mean) for name, mean in method.means.items()}
        if method.average_rank is not None:
            figures["ranks"] = method.ranks
            figures["average rank"] = _interval(method.average_rank)
        if method.persons:
            figures["persons"] = method.persons
        result["methods"][method.name] = figures
    if evaluation.segmentation:
        result["segmentation"] = {
            model: _segmentation_json(each) for model, each in evaluation.segmentation.items()
        }
    result["worst"] = [
        {"pair": w.pair, "method": w.method, "metric": w.metric, "value": _rounded(w.value)}
        for w in evaluation.worst
    ]
    result["warnings"] = list(evaluation.warnings)
    result["problems"] = list(evaluation.problems)
    if evaluation.robot:
        result["through ROS"] = [run_json(run) for run in evaluation.robot]
    result["names"] = list(evaluation.pairs)
    return result


def _segmentation_json(segmentation: Segmentation) -> dict[str, Any]:
    scores = segmentation.scores
    return {
        "masks": segmentation.masks,
        "IoU": {
            name: _rounded(iou) for name, iou in zip(segmentation.names, scores.iou, strict=True)
        },
        "mIoU": _rounded(scores.mean_iou),
        "pixel accuracy": _rounded(scores.pixel_accuracy),
    }


def run_json(run: RobotRun) -> dict[str, Any]:
    """The figures of a run through the node as plain values."""
    return {
        "bag": run.bag,
        "rate": run.rate,
        "engine": run.engine,
        "pairs": run.pairs,
        "fused": run.fused,
        "dropped": run.dropped,
        "stamp difference, ms": run.spread(run.stamp_differences),
        "latency, ms": run.spread(run.latencies),
        "frames per second": run.frames_per_second,
        "CPU, cores": run.cpu,
        "memory, MB": list(run.memory_mb),
    }


def _interval(value: Interval) -> dict[str, float | None]:
    return {name: _rounded(getattr(value, name)) for name in ("value", "low", "high")}


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def four_digits(value: float) -> str:
    """A figure with four significant digits; a dash if it is not finite."""
    return f"{value:.4g}" if math.isfinite(value) else "–"


def _figure(method: MethodSummary, metric: str, best: dict[str, float]) -> str:
    """The mean (bold if it is the best), its interval and the rank."""
    mean = method.means.get(metric)
    if mean is None:
        return "–"
    text = four_digits(mean.value)
    if mean.value == best.get(metric):
        text = f"**{text}**"
    if math.isfinite(mean.low):
        text += f" ({four_digits(mean.low)} to {four_digits(mean.high)})"
    return text + (f", {method.ranks[metric]:g}" if metric in method.ranks else "")
