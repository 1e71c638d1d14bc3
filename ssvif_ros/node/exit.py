"""The end of a process that used rclpy."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process without finalising Python; rclpy must be shut down before.

    A thread inside a library (a calibration, an engine build) cannot be stopped, and finalising
    would abort the process. rclpy also crashes now and then when an executor is destroyed after a
    signal (`SignalHandlerGuardCondition.destroy`). Keep the executor until here.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
