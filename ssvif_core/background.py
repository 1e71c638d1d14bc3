"""Work on another thread, whose result is a future."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T], name: str) -> Future[T]:
    """Start `work` on a daemon thread, so that a robot can be switched off meanwhile.

    Args:
        name: of the thread.

    Returns:
        What `work` returns or raises.

    >>> in_background(lambda: 6 * 7, "sum").result()
    42
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return future
