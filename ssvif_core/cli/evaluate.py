"""`ssvif evaluate`: how good a fusion is, in figures and in pictures."""

from __future__ import annotations

import json
import logging
import math
import platform
import shlex
import sys
import time
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.evaluation.plan import NAMES, Settings
from ssvif_core.evaluation.results import Evaluation, RobotRun
from ssvif_core.evaluation.run import evaluate as run
from ssvif_core.evaluation.tables import write_tables
from ssvif_core.metrics.ranking import LOWER_IS_BETTER
from ssvif_core.recordings.layouts import is_bag

FILES = ("scores.csv", "summary.json", "summary.md", "run.json", "report.html")
PARTLY = 3  # exit code: done, but not with everything that was given


def evaluate(
    inputs: Annotated[list[Path], typer.Argument(help="Folders of pairs or videos, bags.")],
    fused: Annotated[
        list[str] | None,
        typer.Option(help="DIR=NAME: images of another method, named as the pairs; repeatable."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of masks (PNG ids) or YOLO boxes; default: found.")
    ] = None,
    names: Annotated[
        str, typer.Option(help="Names of the masks' ids 0, 1, 2, ..., comma-separated.")
    ] = ",".join(NAMES),
    out: Annotated[Path, typer.Option(help="Folder for tables and report.")] = Path("evaluation"),
    only: Annotated[str, typer.Option(help="Pattern of pairs' names, as 0117_1605*.")] = "*",
    every: Annotated[
        int, typer.Option(help="Every n-th pair of videos and bags; flicker needs each.")
    ] = 1,
    visible: Annotated[str | None, typer.Option(help="Visible topic; default: by name.")] = None,
    thermal: Annotated[str | None, typer.Option(help="Thermal topic; default: by name.")] = None,
    slop: Annotated[float, typer.Option(help="Largest stamp difference in a pair, s.")] = 0.02,
    model: Annotated[Path | None, typer.Option(help="ONNX file; default: ours.")] = None,
    engine: Annotated[str, typer.Option(help="auto, tensorrt, openvino or onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16, bf16 or int8.")] = "auto",
    ours: Annotated[bool, typer.Option(help="Score our model, too.")] = True,
    workers: Annotated[int, typer.Option(help="Processes; 0: one a core.")] = 0,
    ray: Annotated[
        str, typer.Option(help="Score the inputs on this Ray cluster: its address, or local.")
    ] = "",
    calibration: Annotated[
        Path | None, typer.Option(help="camera_pair.yaml; default: aligned cameras.")
    ] = None,
    through_ros: Annotated[
        bool, typer.Option(help="Also play the bags to the real node, and time it.")
    ] = False,
    rate: Annotated[float, typer.Option(help="Speed of that; 1.0 is as recorded.")] = 1.0,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
) -> None:
    """Score our fusion, and others' images of the same pairs; leave tables and an HTML report.

    Exit code 3 if something that was given could not be scored as it is; the rest is done all the
    same.
    """
    console = Console(stderr=True)
    logging.getLogger("ssvif_core").setLevel(logging.WARNING)
    if (visible is None) != (thermal is None):
        raise InputError("--visible and --thermal belong together; one is missing")
    settings = Settings(
        fused=_methods(fused or []),
        ours=ours,
        model=model,
        engine=engine,
        precision=precision,
        labels=labels,
        names=tuple(name.strip() for name in names.split(",")),
        every=every,
        topics=(visible, thermal) if visible and thermal else None,
        slop=round(slop * 1e9) if math.isfinite(slop) else 0,
        only=only,
        calibration=load_camera_pair(calibration) if calibration else None,
    )
    _make_room(out)
    robot = _through_ros(inputs, settings, rate, console) if through_ros else []
    started = time.monotonic()
    result = run(inputs, settings, workers, ray, robot=robot, console=console)
    seconds = time.monotonic() - started
    try:
        written = write_tables(out, result)
        (out / "run.json").write_text(json.dumps(_run_facts(seconds, len(result.pairs)), indent=2))
        if report:
            from ssvif_core.evaluation.report import write_report  # plots take a second to load

            written.append(out / "report.html")
            write_report(written[-1], result)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    Console().print(_table(result))
    console.print(f"{len(result.pairs)} pairs in {seconds:.1f} s; see {written[-1]}")
    for problem in result.problems:
        print(f"ssvif: {problem}", file=sys.stderr)  # not rich: names may look like its markup
    if result.problems:
        sys.exit(PARTLY)


def _make_room(out: Path) -> None:
    """Make the folder, and see that it can be written before hours of work go by.

    What an earlier run left is removed, or it would be taken for part of this one.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (out / name).unlink(missing_ok=True)
        (out / FILES[0]).touch()
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error


def _methods(options: list[str]) -> dict[str, Path]:
    methods: dict[str, Path] = {}
    for option in options:
        folder, separator, name = option.rpartition("=")
        if not (separator and folder and name):
            raise InputError(f"--fused {option}; expected DIR=NAME, as out/seafusion=SeAFusion")
        if name in methods:
            raise InputError(f"--fused {option}: the name {name} is taken; give another")
        methods[name] = Path(folder)
    return methods


def _through_ros(
    inputs: list[Path], settings: Settings, rate: float, console: Console
) -> list[RobotRun]:
    points = entry_points(group="ssvif.through_ros")
    try:
        (play,) = (point.load() for point in points)
    except (ImportError, ValueError) as error:
        raise SsvifError(
            f"--through-ros needs ROS 2, which cannot be imported here ({error}); source your ROS "
            "install, or run `make setup` in the checkout"
        ) from error
    if not rate > 0:
        raise InputError(f"rate {rate}; expected above 0, where 1 is as recorded")
    for path in inputs:
        if not is_bag(path):
            raise InputError(f"{path}: no bag; --through-ros plays bags, so leave it out")
    return [play(path, settings, rate, console) for path in inputs]


def _table(result: Evaluation) -> Table:
    """Methods beside each other, a row a metric: narrow enough for any terminal."""
    table = Table(title=f"{len(result.pairs)} pairs")
    table.add_column("")
    for method in result.methods:
        table.add_column(Text(method.name), justify="right")
    best = result.best()
    for metric in result.figures():
        cells = []
        for method in result.methods:
            mean = method.means.get(metric)
            text = "–" if mean is None else f"{mean.value:.4g}"
            is_best = mean is not None and mean.value == best.get(metric)
            cells.append(Text(text, "bold" if is_best else ""))
        table.add_row(f"{metric}{', lower is better' * (metric in LOWER_IS_BETTER)}", *cells)
    if len(result.methods) > 1:
        ranks = [method.average_rank for method in result.methods]
        table.add_row("average rank", *("–" if r is None else f"{r.value:.2f}" for r in ranks))
    if result.segmentation is not None:
        table.caption = f"mIoU of our labels: {result.segmentation.scores.mean_iou:.3f}"
    return table


def _run_facts(seconds: float, pairs: int) -> dict[str, Any]:
    """What may differ from run to run, kept apart from the scores."""
    return {
        "command": shlex.join(["ssvif", *sys.argv[1:]]),
        "seconds": round(seconds, 2),
        "pairs per second": round(pairs / seconds, 2),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "version": version("ssvif_ros"),
    }
