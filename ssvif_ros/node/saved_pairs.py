"""`~/save_pair`: one pair as files, in the layout that `ssvif` reads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import cv2

from ssvif_core.background import in_background
from ssvif_core.errors import InputError
from ssvif_core.files import write_atomically
from ssvif_core.types import AnyArray, Fusion, Pair

Answer = Callable[[bool, str], None]  # success and message


class PairSaver:
    """Saves the next pair for who asks. The worker gives pairs, another thread writes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Path, Answer]] = []

    @property
    def is_waiting(self) -> bool:
        """Whether the next pair is wanted."""
        return bool(self._waiting)

    def save_next(self, folder: Path, answer: Answer) -> None:
        """Save the next pair in `folder`, then answer."""
        with self._lock:
            self._waiting.append((folder, answer))

    def give_up(self, reason: str) -> None:
        """Answer everyone who waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for _, answer in waiting:
            answer(False, reason)

    def take(self, pair: Pair, fusion: Fusion) -> None:
        """Save a pair for who waits. The arrays are copied, since they are used again."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        images = {"vi": pair.visible.copy(), "ir": pair.thermal.copy(),
                  "fused": fusion.fused.copy(), "labels": fusion.labels.copy()}  # fmt: skip
        stamps = {"visible_stamp": pair.visible_stamp, "thermal_stamp": pair.thermal_stamp}

        def work() -> None:
            for folder, answer in waiting:
                try:
                    answer(True, f"written: {save_pair(folder, images, stamps)}")
                except (OSError, InputError) as error:
                    answer(False, f"the pair was not saved: {error}")

        in_background(work, "saved pair")


def save_pair(folder: Path, images: dict[str, AnyArray], stamps: dict[str, int]) -> Path:
    """Write images as `folder`/KIND/STAMP.png, and the stamps (ns) as `folder`/STAMP.json.

    Returns:
        The path of the visible image.

    Raises:
        OSError: the folder cannot be written.
        InputError: an image cannot be encoded.
    """
    name = f"{stamps['visible_stamp']:019d}"
    for kind, image in images.items():
        is_encoded, data = cv2.imencode(".png", image)
        if not is_encoded:
            raise InputError(f"image of shape {image.shape} cannot be encoded as PNG")
        (folder / kind).mkdir(parents=True, exist_ok=True)
        write_atomically(folder / kind / f"{name}.png", data.tobytes())
    write_atomically(folder / f"{name}.json", json.dumps(stamps) + "\n")
    return folder / "vi" / f"{name}.png"
