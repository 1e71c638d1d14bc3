"""Video files: reads two synchronised ones, writes one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.types import Pair, UInt8Array


def video_pairs(
    visible: Path, thermal: Path, start_stamp: int = 1_000_000_000, start: int = 0
) -> Iterator[Pair]:
    """Pairs of two synchronised videos: frame n of one with frame n of the other.

    The shorter video ends the pairs. Thermal frames become (h, w) uint8.

    Args:
        start_stamp: stamp of frame 0, ns; the visible frame rate gives the others.
        start: number of the first frame to give.

    Raises:
        InputError: a file cannot be read as a video.
    """
    visible_video, thermal_video = _open(visible), _open(thermal)
    period = round(1e9 / (visible_video.get(cv2.CAP_PROP_FPS) or 30.0))
    stamp = start_stamp + start * period
    for _ in range(start):  # seeking is not exact in every format
        if not (visible_video.grab() and thermal_video.grab()):
            return
    while True:
        has_visible, visible_frame = visible_video.read()
        has_thermal, thermal_frame = thermal_video.read()
        if not (has_visible and has_thermal):
            break
        grey = cv2.cvtColor(thermal_frame, cv2.COLOR_BGR2GRAY)
        yield Pair(np.asarray(visible_frame, np.uint8), grey, stamp, stamp)
        stamp += period


def frame_count(path: Path) -> int:
    """The number of frames in the header of a video.

    Raises:
        InputError: the file cannot be read as a video.
    """
    return int(_open(path).get(cv2.CAP_PROP_FRAME_COUNT))


def _open(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise InputError(f"{path}: no such video file")
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise InputError(f"{path}: cannot be read as a video; expected for example H.264 in .mp4")
    return video


class VideoWriter:
    """Writes MPEG-4 video for players. Use it as a context manager.

    Browsers need H.264 or VP9. OpenCV's wheels have no H.264 encoder, their VP9 encoder takes
    minutes for a short drive, and PyAV would add 110 MB to the installation.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: UInt8Array) -> None:
        """Add a frame, (H, W, 3) BGR. All frames have one size.

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
