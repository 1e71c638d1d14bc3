"""Where jobs run: on this machine's cores, or input by input on the machines of a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssvif_core.errors import InputError, SsvifError
from ssvif_core.evaluation.plan import Job, Plan, Settings, plan_input
from ssvif_core.evaluation.scoring import PairResult, Scorer

Progress = Callable[[int], None]  # number of pairs that were done since the last call

_scorer: Scorer | None = None  # of a worker process


def run_jobs(
    jobs: Sequence[Job], settings: Settings, workers: int, progress: Progress
) -> dict[str, PairResult]:
    """Score jobs in `workers` processes (0: one a core; 1: in this one); results by pair name.

    Raises:
        SsvifError: a worker was ended from outside, for example for want of memory.
    """
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    if workers <= 1:
        return _gather(map(Scorer(settings), jobs), progress)
    # Fresh processes, not forks: engines and their threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (settings,)) as pool:
        futures = [pool.submit(_score, job) for job in jobs]
        try:
            return _gather((future.result() for future in as_completed(futures)), progress)
        except BrokenProcessPool as error:
            raise SsvifError(
                "a worker process was ended from outside, perhaps for want of memory; try fewer "
                "with --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _gather(parts: Iterable[list[PairResult]], progress: Progress) -> dict[str, PairResult]:
    results: dict[str, PairResult] = {}
    for part in parts:
        results |= {result.name: result for result in part}
        progress(len(part))
    return results


def _start(settings: Settings) -> None:
    global _scorer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("ssvif_core").setLevel(logging.WARNING)
    _scorer = Scorer(settings)


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, and they would wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _score(job: Job) -> list[PairResult]:
    assert _scorer is not None
    return _scorer(job)


# --- many machines


@dataclass(frozen=True)
class InputTask:
    """One input to plan and to score, wherever its files can be read under the same path."""

    path: Path
    name: str
    prefix: str
    pictured: int

    def plan(self, settings: Settings) -> Plan:
        return plan_input(self.path, self.name, self.prefix, settings, self.pictured)


def run_input(task: InputTask, settings: Settings) -> tuple[Plan, dict[str, PairResult]]:
    """Plan and score one input in this process."""
    plan = task.plan(settings)
    scorer = Scorer(settings)
    return plan, {result.name: result for job in plan.jobs for result in scorer(job)}


def run_on_ray(
    tasks: Sequence[InputTask], settings: Settings, address: str, done: Callable[[], None]
) -> list[tuple[Plan, dict[str, PairResult]] | InputError]:
    """Score inputs on a Ray cluster, a task each; in the order of `tasks`.

    A task whose worker or machine is lost is done again elsewhere.

    Args:
        address: of the cluster's head, or `local` for one that is started here.
        done: called when a task is.

    Raises:
        SsvifError: Ray is not installed, the cluster cannot be reached, or a task fails each time.
    """
    try:
        import ray
    except ImportError as error:
        raise SsvifError(
            f"--ray needs Ray ({error}); install it with `pip install 'ssvif_ros[ray]'` or "
            "`pip install ray`, in the same version as the cluster's"
        ) from error
    try:
        if not ray.is_initialized():
            ray.init(address, logging_level=logging.WARNING, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SsvifError(
            f"--ray {address}: the cluster cannot be reached ({error}); start one with "
            "`ray start --head`, and give the address it prints, or `local`"
        ) from error
    # Only a lost worker is a reason to try again: what the input is at fault for, is again.
    remote = ray.remote(num_cpus=1, max_retries=3, retry_exceptions=False)(_input_or_error)
    waiting = {remote.remote(task, settings): number for number, task in enumerate(tasks)}
    results: list[Any] = [None] * len(tasks)
    try:
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            number = waiting.pop(ready)
            results[number] = ray.get(ready)
            done()
    except ray.exceptions.RayError as error:
        raise SsvifError(
            f"{tasks[number].path}: given up on the cluster ({type(error).__name__}: {error})"
        ) from error
    return results


def _input_or_error(
    task: InputTask, settings: Settings
) -> tuple[Plan, dict[str, PairResult]] | InputError:
    try:
        return run_input(task, settings)
    except InputError as error:
        return error
