"""Which images of two cameras belong together in time: the rule for everything that is recorded.

Live, `message_filters` pairs images; a test holds both to the same pairs.
"""

from __future__ import annotations

import numpy as np

from ssvif_core.types import Int64Array

SLOP_NS = 20_000_000  # the node's default


def mutual_pairs(
    visible_ns: Int64Array, thermal_ns: Int64Array, slop_ns: int = SLOP_NS, offset_ns: int = 0
) -> list[tuple[int, int]]:
    """Pairs of images that are each other's nearest in time.

    Args:
        visible_ns, thermal_ns: stamps, (n,) and (m,), in any order.
        slop_ns: the two stamps of a pair are less than this apart.
        offset_ns: is added to the thermal stamps first.

    Returns:
        Indices of the visible and of the thermal image, in order of the visible ones.

    >>> mutual_pairs(np.array([0, 100, 200]), np.array([4, 90, 110]), slop_ns=20)
    [(0, 0), (1, 1)]
    """
    if not (len(visible_ns) and len(thermal_ns)):
        return []
    shifted_ns = thermal_ns + offset_ns
    to_thermal = nearest(visible_ns, shifted_ns)
    to_visible = nearest(shifted_ns, visible_ns)
    mutual = to_visible[to_thermal] == np.arange(len(visible_ns))
    close = np.abs(visible_ns - shifted_ns[to_thermal]) < slop_ns
    (numbers,) = np.nonzero(mutual & close)
    return list(zip(numbers.tolist(), to_thermal[numbers].tolist(), strict=True))


def pairs_at_visible_rate(
    visible_ns: Int64Array, thermal_ns: Int64Array, max_age_ns: int, offset_ns: int = 0
) -> list[tuple[int, int]]:
    """Every visible image with the thermal image nearest in time, if that is near enough.

    Args and result as in `mutual_pairs`; a thermal image may be in several pairs.

    >>> pairs_at_visible_rate(np.array([0, 30, 60, 90]), np.array([1, 61]), max_age_ns=30)
    [(0, 0), (1, 0), (2, 1), (3, 1)]
    """
    if not (len(visible_ns) and len(thermal_ns)):
        return []
    shifted_ns = thermal_ns + offset_ns
    to_thermal = nearest(visible_ns, shifted_ns)
    (numbers,) = np.nonzero(np.abs(visible_ns - shifted_ns[to_thermal]) <= max_age_ns)
    return list(zip(numbers.tolist(), to_thermal[numbers].tolist(), strict=True))


def nearest(times: Int64Array, among: Int64Array) -> Int64Array:
    """For each of `times`, (n,), the index of the nearest of `among`, (m,) with m > 0.

    Of two that are equally near, the earlier one.
    """
    order = np.argsort(among, kind="stable")
    ordered = among[order]
    after = np.searchsorted(ordered, times).clip(max=len(among) - 1)
    before = (after - 1).clip(min=0)
    earlier = times - ordered[before] <= ordered[after] - times
    indices: Int64Array = order[np.where(earlier, before, after)]
    return indices
