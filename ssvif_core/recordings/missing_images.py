"""Stamps of one camera -> the number of its images that never arrived.

DDS reports only what it lost itself. What a driver, a bridge or a network drops shows in the stamps
alone, as steps of two and more periods. But not every long step is a loss: drivers stamp late,
cameras pause, and automatic exposure changes the rate.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median, quantiles

PAUSE_NS = 1_000_000_000  # a longer step is a pause, if it is also longer than three periods
REMEMBERED = 31  # steps between stamps
STEADY_STEPS = 8  # steps that show a steady stream
STEADY_SHARE = 0.7  # of them near a whole number of periods
TOLERANCE = 0.25  # periods
CERTAIN = 0.5  # periods too many that mean a loss, if the period is known exactly
NEW_RATE_STEPS = 8  # longer steps in a row, all equal or none near a whole number, are no losses


class MissingImages:
    """Counts images that are missing in a steady stream of stamps.

    The period is found from the short steps, because losses make long ones. Counts are made at
    once and corrected by the next stamps: a late stamp makes a long step and then a short one.

    Attributes:
        count: images that never arrived so far.

    >>> images = MissingImages()
    >>> for number in [*range(20), *range(24, 40)]:
    ...     images.note(round(number * 1e9 / 30))
    >>> images.count
    4
    """

    def __init__(self) -> None:
        self.count = 0
        self._last_ns: int | None = None
        self._steps_ns: deque[int] = deque(maxlen=REMEMBERED)
        self._kinds: deque[int] = deque(maxlen=NEW_RATE_STEPS)  # periods; 0: not a whole number
        self._counted: deque[int] = deque(maxlen=NEW_RATE_STEPS)
        # From the last step that fits the period to the newest one: their sum, their number, and
        # the images counted as missing in them.
        self._open_ns = self._open_steps = self._open_missing = 0

    def note(self, stamp_ns: int) -> None:
        """Take the next stamp. It may repeat the last one; an earlier one is for `overtaken`."""
        step_ns = 0 if self._last_ns is None else stamp_ns - self._last_ns
        self._last_ns = stamp_ns
        period_ns = self._period_ns()
        if step_ns <= 0:
            return
        is_pause = period_ns is not None and step_ns > max(PAUSE_NS, 3 * period_ns)
        if not is_pause:
            self._steps_ns.append(step_ns)
        if is_pause or period_ns is None:
            self._forget_last_steps()
        else:
            self._count(step_ns, period_ns)

    def overtaken(self) -> None:
        """A later image came before this one, so one image less is missing."""
        if self._open_missing and self._counted:
            self._open_steps += 1
            self._open_missing -= 1
            self._counted[-1] -= 1
        self.count = max(0, self.count - 1)

    def restart(self) -> None:
        """Forget the stamps, because time jumped. What was counted stays."""
        self._last_ns = None
        self._steps_ns.clear()
        self._forget_last_steps()

    def _period_ns(self) -> float | None:
        """The period of a steady stream; None while there is none."""
        steps_ns = self._steps_ns
        if len(steps_ns) < STEADY_STEPS - 1:
            return None
        short_ns = quantiles(steps_ns, n=4)[0]
        guess_ns = median(
            [step for step in steps_ns if 0.5 * short_ns <= step <= 1.75 * short_ns] or [short_ns]
        )
        # Late stamps cancel out in the sum of steps.
        period_ns = sum(steps_ns) / sum(max(1, _nearest(step / guess_ns)) for step in steps_ns)
        fitting = sum(_periods(step, period_ns) > 0 for step in steps_ns)
        return period_ns if fitting >= STEADY_SHARE * len(steps_ns) else None

    def _count(self, step_ns: int, period_ns: float) -> None:
        kind = _periods(step_ns, period_ns)
        if kind:
            self._open_ns, self._open_steps, self._open_missing = step_ns, 1, kind - 1
            counted = kind - 1
        else:
            self._open_ns, self._open_steps = self._open_ns + step_ns, self._open_steps + 1
            before = self._open_missing
            periods = self._open_ns / period_ns
            # The first and the last stamp may be late by half a period, and so is the period found
            # from few steps.
            doubt = CERTAIN + 0.5 * periods / len(self._steps_ns)
            self._open_missing = max(0, math.floor(periods - self._open_steps + 1 - doubt))
            counted = self._open_missing - before
        self.count += counted
        self._kinds.append(kind)
        self._counted.append(counted)
        if len(self._kinds) == NEW_RATE_STEPS and set(self._kinds) == {kind} and kind != 1:
            self._take_back(new_rate=kind > 1)

    def _take_back(self, new_rate: bool) -> None:
        """The last steps were no losses: the camera has another rate, or stamps without a rate."""
        self.count = max(0, self.count - sum(self._counted))
        if new_rate:
            newest = list(self._steps_ns)[-NEW_RATE_STEPS:]
            self._steps_ns.clear()
            self._steps_ns.extend(newest)
        self._forget_last_steps()

    def _forget_last_steps(self) -> None:
        self._kinds.clear()
        self._counted.clear()
        self._open_ns = self._open_steps = self._open_missing = 0


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)


def _periods(step_ns: int, period_ns: float) -> int:
    """The whole number of periods that a step is near to; 0 if there is none."""
    whole = _nearest(step_ns / period_ns)
    return whole if abs(step_ns / period_ns - whole) < TOLERANCE else 0
