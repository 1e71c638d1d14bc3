"""The words that mark visible, thermal, label and test data in the names of files and folders."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The most likely first: some data sets hold a coloured label in `color` next to `visible`.
VISIBLE_WORDS = (
    "visible", "vis", "vi", "visual", "rgb", "eo", "crop_lr_visible", "colour", "color",
)  # fmt: skip
THERMAL_WORDS = ("thermal", "infrared", "ir", "inf", "tir", "lwir", "cropinfrared")
MASK_WORDS = ("masks", "mask", "segmentation_labels", "labels", "label")
HELD_OUT = ("test", "testing", "val", "validation")


def pattern(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern for one of the words, with no letter next to it, in any case of letters.

    >>> bool(pattern(["vis"]).search("1_vis")), bool(pattern(["vis"]).search("television"))
    (True, False)
    """
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![a-z])(?:{'|'.join(longest_first)})(?![a-z])", re.IGNORECASE)


VISIBLE, THERMAL, MASK, HELD_OUT_NAME = map(
    pattern, (VISIBLE_WORDS, THERMAL_WORDS, MASK_WORDS, HELD_OUT)
)


def in_order(name: str) -> list[str | int]:
    """A key that sorts names as people count: clip_9 before clip_10.

    >>> sorted(["clip_10", "clip_9", "clip"], key=in_order)
    ['clip', 'clip_9', 'clip_10']
    """
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]
