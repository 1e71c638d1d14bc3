"""Runs an evaluation from the inputs to the `Evaluation`: plan, score, compare."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ssvif_core.calibration.drift import LOOKED_AT, misalignment
from ssvif_core.errors import InputError
from ssvif_core.evaluation.execution import InputTask, run_jobs, run_on_ray
from ssvif_core.evaluation.plan import Job, Plan, Settings, fused_images, input_names
from ssvif_core.evaluation.results import OURS, Evaluation, RobotRun
from ssvif_core.evaluation.scoring import PairResult
from ssvif_core.evaluation.summary import (
    METRICS,
    find_worst,
    summarise_methods,
    summarise_segmentation,
)
from ssvif_core.graph.model_file import DEFAULT_MODEL, read_note
from ssvif_core.labels import read_labels
from ssvif_core.recordings.reading import spread_pairs
from ssvif_core.recordings.sources import some

T = TypeVar("T")

PICTURED = 200  # pairs with pictures in a report, besides the worst cases


def evaluate(
    inputs: Sequence[Path],
    settings: Settings,
    workers: int = 0,
    ray: str = "",
    pictured: int = PICTURED,
    robot: Sequence[RobotRun] = (),
    console: Console | None = None,
) -> Evaluation:
    """Score our model and others' images on all pairs of the inputs.

    Args:
        inputs: folders of pairs or of two videos, and bags.
        workers: number of processes; 0 means one a core.
        ray: address of a Ray cluster that scores one input a task; empty means this machine.
        pictured: number of pairs to make pictures of, besides the worst cases.
        robot: results of playing bags to the node, to include in the evaluation.
        console: shows the progress.

    Raises:
        InputError: no input is usable, or no pair could be scored.
        SsvifError: the model, an engine, a worker process or the cluster failed.
    """
    for model in settings.models.values():
        read_note(model or DEFAULT_MODEL)
    if settings.labels is not None:
        read_labels(settings.labels)
    others = {method: fused_images(folder) for method, folder in settings.fused.items()}
    labels_of_inputs = input_names(inputs)
    tasks = [
        InputTask(path, name, f"{name}/" if len(inputs) > 1 else "", -(-pictured // len(inputs)))
        for path, name in zip(inputs, labels_of_inputs, strict=True)
    ]
    if workers < 0:
        raise InputError(f"workers {workers}; expected a number of processes, or 0 for one a core")
    console = console or Console(quiet=True)
    unusable: list[str] = []
    if ray:
        plans, results = _on_ray(tasks, settings, ray, console, unusable)
    else:
        with console.status("looking for pairs"):
            plans = _usable([_plan_or_error(task, settings) for task in tasks], unusable)
        with _progress_bar(console, "scoring", sum(len(plan.names) for plan in plans)) as advance:
            jobs = [job for plan in plans for job in plan.jobs]
            results = run_jobs(jobs, settings, workers, advance)
    names = [name for plan in plans for name in plan.names]
    ordered = [results[name] for name in names if name in results]
    is_stopped = len(ordered) < len(names)
    if is_stopped:
        unusable.append(f"stopped by Ctrl-C: {len(ordered)} of {len(names)} pairs are scored")
    rows = [row for result in ordered for row in result.rows]
    if not rows:
        raise InputError(f"no pair could be scored: {'; '.join(_problems(plans, ordered)[:3])}")
    worst = find_worst(rows, settings.methods)
    pictures = {result.name: result.pictures for result in ordered if result.pictures}
    if pictured and not is_stopped:
        pictures |= _pictures_of({case.pair for case in worst} - set(pictures), plans, settings)
    problems = unusable + _problems(plans, ordered)
    whole = settings.only == "*" and settings.every == settings.last == 1 and not is_stopped
    for method, images in others.items() if whole else ():
        extra = set(images).difference(*(plan.used.get(method, ()) for plan in plans))
        if extra:
            problems.append(f"{method}: {len(extra)} images match no pair: {some(sorted(extra))}")
    return Evaluation(
        methods=summarise_methods(rows, settings.methods),
        metrics=METRICS,
        pairs=tuple(result.name for result in ordered if result.rows),
        rows=tuple(rows),
        worst=worst,
        segmentation=summarise_segmentation(ordered, settings.names, tuple(settings.models)),
        facts=_facts(plans, settings),
        problems=tuple(problems),
        warnings=() if ray or is_stopped else tuple(_warnings(plans, settings)),
        is_stopped=is_stopped,
        robot=tuple(robot),
        pictures=pictures,
    )


def _on_ray(
    tasks: list[InputTask],
    settings: Settings,
    address: str,
    console: Console,
    unusable: list[str],
) -> tuple[list[Plan], dict[str, PairResult]]:
    # Other machines have other working directories.
    settings = replace(
        settings,
        fused={method: folder.resolve() for method, folder in settings.fused.items()},
        models={name: model and model.resolve() for name, model in settings.models.items()},
        labels=settings.labels and settings.labels.resolve(),
    )
    tasks = [replace(task, path=task.path.resolve()) for task in tasks]
    with _progress_bar(console, "scoring inputs", len(tasks)) as advance:
        input_results = run_on_ray(tasks, settings, address, lambda: advance(1))
    usable = _usable(input_results, unusable)
    pair_results = {name: result for _, pairs in usable for name, result in pairs.items()}
    return [plan for plan, _ in usable], pair_results


def _plan_or_error(task: InputTask, settings: Settings) -> Plan | InputError:
    try:
        return task.plan(settings)
    except InputError as error:
        return error


def _usable(results: Sequence[T | InputError], problems: list[str]) -> list[T]:
    """The results of usable inputs. Adds the errors of the other inputs to `problems`.

    Raises:
        InputError: no input is usable.
    """
    usable: list[T] = []
    for result in results:
        if isinstance(result, InputError):
            problems.append(str(result))
        else:
            usable.append(result)
    if not usable:
        raise InputError("; ".join(problems))
    return usable


def _pictures_of(
    names: set[str], plans: Sequence[Plan], settings: Settings
) -> dict[str, dict[str, bytes]]:
    jobs: list[Job] = []
    for plan in plans:
        for job in plan.jobs:
            items = tuple(item for item in job.items if item.name in names)
            if items:
                jobs.append(replace(job, items=items, before=None, measured=False,
                                    pictured=frozenset(names)))  # fmt: skip
    results = run_jobs(jobs, settings, 1, lambda _: None)
    return {name: result.pictures for name, result in results.items() if result.pictures}


def _problems(plans: Sequence[Plan], results: Sequence[PairResult]) -> list[str]:
    """Problems of the inputs and pairs; equal problems appear once, with the number of pairs."""
    counts = Counter(problem for result in results for problem in result.problems)
    shared = [text if n == 1 else f"{text} ({n} pairs)" for text, n in counts.items()]
    return [problem for plan in plans for problem in plan.problems] + shared


def _warnings(plans: Sequence[Plan], settings: Settings) -> Iterator[str]:
    """Inputs whose cameras do not show the same: fused images of them are no good."""
    for plan in plans:
        sources = [item.source for job in plan.jobs for item in job.items]
        pairs = spread_pairs(sources, LOOKED_AT)
        text = misalignment(pairs, settings.calibration) if pairs else ""
        if text:
            yield f"{plan.input}: {text}"


def _facts(plans: Sequence[Plan], settings: Settings) -> dict[str, str]:
    facts = {plan.input: f"{plan.layout}; {len(plan.names)} pairs" for plan in plans}
    for name, file in settings.models.items():
        model = file or DEFAULT_MODEL
        digest = hashlib.sha256(model.read_bytes()).hexdigest()[:12]
        size = "" if settings.working_size == "full" else f", {settings.working_size} size"
        what = "our model" if name == OURS else f"our model {name}"
        facts[what] = f"{model.name} (sha256 {digest}), {settings.precision}{size}"
    facts |= {method: f"images of {folder.name}" for method, folder in settings.fused.items()}
    return facts


@contextmanager
def _progress_bar(console: Console, text: str, total: int) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(text, total=total)
        yield lambda count: bar.advance(task, count)
