"""Runs jobs on this machine's cores, or whole inputs on the machines of a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssvif_core.errors import InputError, SsvifError
from ssvif_core.evaluation.plan import Job, Plan, Settings, plan_input
from ssvif_core.evaluation.scoring import PairResult, Scorer

Progress = Callable[[int], None]  # takes the number of pairs finished since the last call
InputResult = tuple[Plan, dict[str, PairResult]]  # the results by pair name

_scorer: Scorer | None = None  # in a worker process


def run_jobs(
    jobs: Sequence[Job], settings: Settings, workers: int, progress: Progress
) -> dict[str, PairResult]:
    """Score jobs and return the results by pair name.

    Ctrl-C stops it within a second or two. Then the results of the finished jobs are returned.

    Args:
        workers: number of processes; 0 means one a core, 1 means this process.

    Raises:
        SsvifError: a worker was killed, for example because memory ran out.
    """
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    results: dict[str, PairResult] = {}
    if workers <= 1:
        with suppress(KeyboardInterrupt):
            _collect(map(Scorer(settings), jobs), results, progress)
        return results
    # Spawn, since engines and their threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (settings,)) as pool:
        with _deaf_to_ctrl_c():  # a terminal sends it to the workers, too
            futures = [pool.submit(_score, job) for job in jobs]
        try:
            _collect((future.result() for future in as_completed(futures)), results, progress)
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():
                worker.kill()
        except BrokenProcessPool as error:
            raise SsvifError(
                "a worker process was killed, perhaps because memory ran out; use fewer --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
    return results


def _collect(
    finished: Iterable[list[PairResult]], results: dict[str, PairResult], progress: Progress
) -> None:
    """Add the results of finished jobs to `results`."""
    for of_job in finished:
        results |= {result.name: result for result in of_job}
        progress(len(of_job))


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started inside ignore Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start(settings: Settings) -> None:
    global _scorer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("ssvif_core").setLevel(logging.WARNING)
    _scorer = Scorer(settings)


def _end_with_parent() -> None:
    """End this worker if its parent was killed; otherwise it would wait forever."""
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
    """One input to plan and score, on any machine that has its files under the same path."""

    path: Path
    name: str
    prefix: str
    pictured: int

    def plan(self, settings: Settings) -> Plan:
        return plan_input(self.path, self.name, self.prefix, settings, self.pictured)


def run_input(task: InputTask, settings: Settings) -> InputResult:
    """Plan and score one input in this process."""
    plan = task.plan(settings)
    scorer = Scorer(settings)
    return plan, {result.name: result for job in plan.jobs for result in scorer(job)}


def run_on_ray(
    tasks: Sequence[InputTask], settings: Settings, address: str, on_done: Callable[[], None]
) -> list[InputResult | InputError]:
    """Score inputs on a Ray cluster, one task each; results are in the order of `tasks`.

    A task is repeated elsewhere if its worker or machine is lost.

    Args:
        address: of the cluster's head, or `local` to start a cluster here.
        on_done: called after each task.

    Raises:
        SsvifError: Ray is not installed, the cluster cannot be reached, or all retries of a task
            failed.
    """
    try:
        import ray
    except ImportError as error:
        raise SsvifError(
            f"--ray needs Ray ({error}); install it with `pip install 'ssvif_ros[ray]'` or "
            "`pip install ray`, with the version of the cluster"
        ) from error
    try:
        if not ray.is_initialized():
            ray.init(address, logging_level=logging.WARNING, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SsvifError(
            f"--ray {address}: the cluster cannot be reached ({error}); start one with "
            "`ray start --head` and give the address it prints, or give `local`"
        ) from error
    # Retry only lost workers: an error of the input would occur again.
    remote = ray.remote(num_cpus=1, max_retries=3, retry_exceptions=False)(_input_or_error)
    waiting = {remote.remote(task, settings): index for index, task in enumerate(tasks)}
    results: list[Any] = [None] * len(tasks)
    try:
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            index = waiting.pop(ready)
            results[index] = ray.get(ready)
            on_done()
    except ray.exceptions.RayError as error:
        raise SsvifError(
            f"{tasks[index].path}: all retries on the cluster failed "
            f"({type(error).__name__}: {error}); see the logs of Ray"
        ) from error
    return results


def _input_or_error(task: InputTask, settings: Settings) -> InputResult | InputError:
    try:
        return run_input(task, settings)
    except InputError as error:
        return error
