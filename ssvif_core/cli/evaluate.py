"""`ssvif evaluate`: score fusions; write tables and a report."""

from __future__ import annotations

import json
import logging
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
from ssvif_core.cli.options import (
    Calibration,
    Labels,
    Slop,
    ThermalCrop,
    ThermalTimeOffset,
    VisibleBits,
    WorkingSize,
    nanoseconds,
)
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.evaluation.plan import NAMES, Settings
from ssvif_core.evaluation.results import OURS, Evaluation, RobotRun
from ssvif_core.evaluation.run import evaluate as run_evaluation
from ssvif_core.evaluation.tables import write_tables
from ssvif_core.files import results_folder
from ssvif_core.metrics.ranking import LOWER_IS_BETTER
from ssvif_core.recordings.decode import Crop, Reading
from ssvif_core.recordings.layouts import is_bag

FILES = ("scores.csv", "summary.json", "summary.md", "run.json", "report.html")
SHIPPED = "shipped"  # as a model
STOPPED = 130  # exit code: Ctrl-C came
PARTLY = 3  # exit code: a part of the input could not be scored


def evaluate(
    inputs: Annotated[list[Path], typer.Argument(help="Folders of pairs or videos, or bags.")],
    fused: Annotated[
        list[str] | None,
        typer.Option(help="DIR=NAME: another method's images, named like the pairs; repeatable."),
    ] = None,
    labels: Labels = None,
    names: Annotated[
        str, typer.Option(help="Class names of the ids 0, 1, 2, ..., comma-separated.")
    ] = ",".join(NAMES),
    out: Annotated[Path, typer.Option(help="Folder for tables and report.")] = Path("evaluation"),
    only: Annotated[str, typer.Option(help="Pattern for pair names, such as 0117_1605*.")] = "*",
    every: Annotated[
        int, typer.Option(help="Score every n-th pair of videos and bags; flicker needs 1.")
    ] = 1,
    last: Annotated[
        float, typer.Option(help="Score this share at the end of each recording, as 0.2; 1 is all.")
    ] = 1.0,
    visible: Annotated[str | None, typer.Option(help="Visible topic; default: by name.")] = None,
    thermal: Annotated[str | None, typer.Option(help="Thermal topic; default: by name.")] = None,
    slop: Slop = 0.02,
    thermal_time_offset: ThermalTimeOffset = 0.0,
    visible_bits: VisibleBits = 0,
    thermal_crop: ThermalCrop = "",
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="ONNX file, default: shipped model; or FILE=NAME, to compare several; repeatable. "
            "The word shipped stands for the shipped model."
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, tensorrt, openvino or onnxruntime.")] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            help="auto, fp32, fp16 or int8; default: fp32, equal on every machine; with "
            "--through-ros auto, as the node."
        ),
    ] = None,
    working_size: WorkingSize = "full",
    ours: Annotated[bool, typer.Option(help="Score our model as well.")] = True,
    workers: Annotated[int, typer.Option(help="Processes; 0: one per core.")] = 0,
    ray: Annotated[
        str, typer.Option(help="Address of a Ray cluster that scores the inputs, or local.")
    ] = "",
    calibration: Calibration = None,
    through_ros: Annotated[
        bool, typer.Option(help="Also play the bags to the real node and measure it.")
    ] = False,
    rate: Annotated[float, typer.Option(help="Playback speed for --through-ros.")] = 1.0,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
) -> None:
    """Score our fusion, and images of other methods; write tables and an HTML report.

    Exit code 3 if a part of the input could not be scored. Everything else is scored. Ctrl-C
    writes the tables of the pairs that are scored, and gives 130.
    """
    console = Console(stderr=True)
    logging.getLogger("ssvif_core").setLevel(logging.WARNING)
    if (visible is None) != (thermal is None):
        raise InputError("--visible and --thermal belong together; give both")
    settings = Settings(
        fused=_folders_of_methods(fused or []),
        models=_models(model or []) if ours else {},
        engine=engine,
        precision=precision or ("auto" if through_ros else "fp32"),
        working_size=working_size,
        labels=labels,
        names=tuple(name.strip() for name in names.split(",")),
        every=every,
        last=last,
        topics=(visible, thermal) if visible and thermal else None,
        slop_ns=nanoseconds(slop, "slop", least=1),
        only=only,
        calibration=load_camera_pair(calibration) if calibration else None,
        thermal_time_offset=thermal_time_offset,
        reading=Reading(visible_bits, Crop.parse(thermal_crop)),
    )
    with results_folder(out):
        robot = _play_through_ros(inputs, settings, rate, console) if through_ros else []
        started = time.monotonic()
        result = run_evaluation(inputs, settings, workers, ray, robot=robot, console=console)
        seconds = time.monotonic() - started
        replaced = [out / name for name in FILES if (out / name).is_file()]
        try:
            for file in replaced:  # they must not mix with those of this evaluation
                file.unlink()
            written = write_tables(out, result)
            facts = _run_facts(seconds, len(result.pairs))
            (out / "run.json").write_text(json.dumps(facts, indent=2))
            if report:
                from ssvif_core.evaluation.report import write_report  # plotting: 1 s to import

                written.append(out / "report.html")
                write_report(written[-1], result)
        except OSError as error:
            raise InputError(
                f"{out}: cannot be written ({error.strerror}); choose another folder"
            ) from error
    if replaced:
        console.print(f"{out}: replaced the results of an earlier evaluation", soft_wrap=True)
    Console().print(_table(result))
    console.print(f"{len(result.pairs)} pairs in {seconds:.1f} s; see {written[-1]}")
    for warning in result.warnings:
        print(f"ssvif: {warning}", file=sys.stderr)
    for problem in result.problems:
        print(f"ssvif: {problem}", file=sys.stderr)  # without rich: names may look like markup
    if result.is_stopped:
        sys.exit(STOPPED)
    if result.problems:
        sys.exit(PARTLY)


def _folders_of_methods(options: list[str]) -> dict[str, Path]:
    methods: dict[str, Path] = {}
    for option in options:
        folder, separator, name = option.rpartition("=")
        if not (separator and folder and name):
            raise InputError(f"--fused {option}; expected DIR=NAME, as out/seafusion=SeAFusion")
        if name in methods:
            raise InputError(f"--fused {option}: the name {name} is taken; use another")
        methods[name] = Path(folder)
    return methods


def _models(options: list[str]) -> dict[str, Path | None]:
    if not options:
        return {OURS: None}
    models: dict[str, Path | None] = {}
    for option in options:
        # A file may have = in its name.
        file, _, name = (option, "", "") if Path(option).exists() else option.rpartition("=")
        if not file and option == SHIPPED:
            file, name = SHIPPED, SHIPPED
        if not file:
            raise InputError(f"--model {option}: no such file; expected FILE, or FILE=NAME")
        name = name or (OURS if len(options) == 1 else Path(file).stem)
        if name in models:
            raise InputError(
                f"--model {option}: the name {name} is taken; give each a name, as in {file}=old"
            )
        models[name] = None if file == SHIPPED else Path(file)
    return models


def _play_through_ros(
    inputs: list[Path], settings: Settings, rate: float, console: Console
) -> list[RobotRun]:
    try:
        (play,) = (point.load() for point in entry_points(group="ssvif.through_ros"))
    except (ImportError, ValueError) as error:
        raise SsvifError(
            f"--through-ros needs ROS 2, which cannot be imported here ({error}); source your ROS "
            "installation, or run `make setup` in the checkout"
        ) from error
    if not rate > 0:
        raise InputError(f"rate {rate}; expected above 0; 1 is the recorded speed")
    if len(settings.models) != 1:
        raise InputError("--through-ros plays to one model; give --model once")
    for path in inputs:
        if not is_bag(path):
            raise InputError(f"{path}: no bag; --through-ros plays bags only; leave out this input")
    return [play(path, settings, rate, console) for path in inputs]


def _table(result: Evaluation) -> Table:
    """One column per method and one row per metric, so that it fits into any terminal."""
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
        cells = [Text("–" if rank is None else f"{rank.value:.2f}") for rank in ranks]
        table.add_row("average rank", *cells)
    scores = {name: each.scores.mean_iou for name, each in result.segmentation.items()}
    if scores:
        table.caption = "mIoU of the labels: " + ", ".join(
            f"{value:.3f} ({name})" for name, value in scores.items()
        )
    return table


def _run_facts(seconds: float, pairs: int) -> dict[str, Any]:
    """Facts that may differ between runs; they are not part of the scores."""
    return {
        "command": shlex.join(["ssvif", *sys.argv[1:]]),
        "seconds": round(seconds, 2),
        "pairs per second": round(pairs / seconds, 2),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "version": version("ssvif_ros"),
    }
