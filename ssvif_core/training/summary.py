"""A run as one page: `summary.html`, which needs no network and no other file."""

from __future__ import annotations

import base64
import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from markupsafe import Markup

from ssvif_core.page import INK, calm, colour, new_figure, render, to_svg
from ssvif_core.training.monitor import LINE_KEYS, Line, list_pictures, read_log
from ssvif_core.types import Float64Array, Int64Array, UInt8Array

POINTS = 300  # largest number per curve; a chart of this size cannot show more
PICTURE_BYTES = 2_400_000  # of all pictures together
PICTURE_WIDTH = 1400  # pixels


@dataclass(frozen=True)
class Curve:
    """One scalar of one stage.

    Attributes:
        stage: index of the stage.
        steps: (N,), counted from the start of the run.
        values: (N,).
    """

    stage: int
    steps: Float64Array
    values: Float64Array


def write_summary(out: Path, facts: dict[str, Any]) -> Path:
    """Write `out/summary.html` from the log and the pictures of a run.

    Args:
        out: folder of the run.
        facts: values by name: a text, a number, or nested settings. `facts["health"]` is
            optional: a list of sentences about problems of the run.

    Returns:
        Path of the page.

    Raises:
        OSError: the page cannot be written.
    """
    log = read_log(out / "log.jsonl")
    stages = list(dict.fromkeys(str(line["stage"]) for line in log))
    lengths = [max(line["step"] for line in log if line["stage"] == stage) for stage in stages]
    starts = np.cumsum([0, *lengths])
    model = out / "model.safetensors"
    data = facts.get("configuration", {}).get("data", [])
    page = render(
        Path(__file__).with_name("summary.html.jinja"),
        title=out.resolve().name,
        facts={name: _as_text(value) for name, value in facts.items() if name != "health"},
        health=facts.get("health"),
        stages=[(stage, colour(index)) for index, stage in enumerate(stages)],
        charts=[_chart(name, log, stages, starts) for name in _scalar_names(log)],
        pictures=_pictures(out),
        model=shlex.quote(str(model)) if model.is_file() else None,
        data=shlex.quote(str(next(iter(data), "PAIRS"))),
        named=shlex.quote(str(model.with_name("named.safetensors"))),
        onnx=shlex.quote(str(model.with_suffix(".onnx"))),
    )
    path = out / "summary.html"
    path.write_text(page, encoding="utf-8")
    return path


def _as_text(value: Any) -> str:
    """A number, a text, or settings as YAML."""
    if isinstance(value, dict | list | tuple):
        plain = json.loads(json.dumps(value, default=str))
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _scalar_names(log: list[Line]) -> list[str]:
    """The names of the scalars in the order of their first appearance."""
    return list(
        dict.fromkeys(
            name
            for line in log
            for name, value in line.items()
            if name not in LINE_KEYS and isinstance(value, int | float)
        )
    )


def _chart(name: str, log: list[Line], stages: list[str], starts: Int64Array) -> dict[str, Any]:
    """One scalar over the whole run: its name, its chart, and a note on values not shown."""
    curves, hidden = [], []
    for index, stage in enumerate(stages):
        points = [
            (line["step"], line[name])
            for line in log
            if line["stage"] == stage and isinstance(line.get(name), int | float)
        ]
        finite = [point for point in points if math.isfinite(point[1])]
        hidden += [f"{stage}, step {step}" for step, value in points if not math.isfinite(value)]
        if finite:
            steps, values = _thinned(np.array(finite, np.float64))
            curves.append(Curve(index, steps + starts[index], values))
    note = f"{len(hidden)} not finite, first in {hidden[0]}" if hidden else ""
    return {"name": name, "svg": _draw(name, curves, starts), "note": note}


def _thinned(points: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Points (N, 2) as x and y of at most POINTS points, which are means of neighbours."""
    parts = np.array_split(points, min(len(points), POINTS))
    x, y = np.stack([part.mean(0) for part in parts]).T
    return x, y


def _draw(name: str, curves: list[Curve], starts: Int64Array) -> Markup:
    figure = new_figure(4.2, 2.1)
    axes = calm(figure.add_subplot())
    for start in starts[1:-1]:
        axes.axvline(start, color=INK, alpha=0.35, linewidth=0.8, linestyle=":")
    for curve in curves:
        axes.plot(
            curve.steps,
            curve.values,
            color=colour(curve.stage),
            linewidth=1.4,
            marker="o" if len(curve.steps) == 1 else "",
            markersize=3,
        )
    axes.set_xlim(0, max(starts[-1], 1))
    return to_svg(figure, name)


def _pictures(out: Path) -> list[dict[str, Any]]:
    """The last picture of each stage, in a size that suits a page."""
    last = {stage: (path, step) for path, stage, step in list_pictures(out)}
    pictures = []
    for stage, (path, step) in last.items():
        image = cv2.imread(str(path))
        if image is None:  # a full disk or an interruption cut the file short
            continue
        jpeg = _bounded_jpeg(image, PICTURE_BYTES // len(last))
        source = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
        width = min(PICTURE_WIDTH, image.shape[1])
        pictures.append({"stage": stage, "step": step, "source": source, "width": width})
    return pictures


def _bounded_jpeg(image: UInt8Array, limit_bytes: int) -> bytes:
    """An image as JPEG of at most `limit_bytes`; it is made smaller if necessary."""
    scale = min(1.0, PICTURE_WIDTH / image.shape[1])
    while True:
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        if jpeg.size <= limit_bytes or max(size) == 1:
            return jpeg.tobytes()
        scale *= 0.7
