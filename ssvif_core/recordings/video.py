"""Video files: two synchronised ones in, one out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.types import Pair


def video_pairs(
    visible: Path, thermal: Path, start_stamp: int = 1_000_000_000, start: int = 0
) -> Iterator[Pair]:
    """Pairs of two synchronised videos, frame n with frame n, stamped by the visible frame rate.

    Begins with frame `start`, ends with the shorter video. Thermal frames become (h, w) uint8.

    Raises:
        InputError: a file cannot be read as a video.
    """
    visible_video, thermal_video = _open(visible), _open(thermal)
    period = round(1e9 / (visible_video.get(cv2.CAP_PROP_FPS) or 30.0))
    stamp = start_stamp + start * period
    for _ in range(start):  # seeking by number is not exact in every format
        if not (visible_video.grab() and thermal_video.grab()):
            return
    while True:
        seen_visible, visible_frame = visible_video.read()
        seen_thermal, thermal_frame = thermal_video.read()
        if not (seen_visible and seen_thermal):
            break
        yield Pair(visible_frame, cv2.cvtColor(thermal_frame, cv2.COLOR_BGR2GRAY), stamp, stamp)
        stamp += period


def frame_count(path: Path) -> int:
    """Number of frames a video says it has."""
    return int(_open(path).get(cv2.CAP_PROP_FRAME_COUNT))


def _open(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise InputError(f"{path}: no such video file")
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise InputError(f"{path}: cannot be read as a video; expected for example H.264 in .mp4")
    return video


class VideoWriter:
    """Writes MPEG-4 video, which players show; use as a context manager.

    Browsers want H.264 or VP9; but OpenCV's wheels hold no H.264 encoder, theirs for VP9 takes
    minutes for a short drive, and PyAV would add 110 MB to what a laptop must fetch.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, (H, W, 3) uint8 BGR; all of one size.

        Raises:
            InputError: the file cannot be written.
        """
        if self._writer is None:
            self._writer = cv2.VideoWriter(
                str(self.path),
                cv2.CAP_FFMPEG,
                cv2.VideoWriter.fourcc(*"mp4v"),
                self.fps,
                frame.shape[1::-1],
            )
            if not self._writer.isOpened():
                raise InputError(f"{self.path}: the video cannot be written")
        self._writer.write(frame)

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.release()
