"""The words by which visible, thermal, label and held-out data are known in names."""

from __future__ import annotations

import re
from collections.abc import Iterable

# In order of preference: some sets hold a coloured label in `color` beside `visible`.
VISIBLE_WORDS = (
    "visible", "vis", "vi", "visual", "rgb", "eo", "crop_lr_visible", "colour", "color",
)  # fmt: skip
THERMAL_WORDS = ("thermal", "infrared", "ir", "inf", "tir", "lwir", "cropinfrared")
MASK_WORDS = ("masks", "mask", "segmentation_labels", "labels", "label")
HELD_OUT = ("test", "testing", "val", "validation")


def pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Matches a word that no letter adjoins: in `1_vis` and `VIS1`, but not in `television`."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![a-z])(?:{'|'.join(longest_first)})(?![a-z])", re.IGNORECASE)


VISIBLE, THERMAL, MASK, HELD_OUT_NAME = map(
    pattern, (VISIBLE_WORDS, THERMAL_WORDS, MASK_WORDS, HELD_OUT)
)
