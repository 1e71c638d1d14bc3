"""Video files: two synchronised ones in, one out."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.types import Pair


def video_pairs(visible: Path, thermal: Path, start_stamp: int = 1_000_000_000) -> Iterator[Pair]:
    """Pairs of two synchronised videos, frame n with frame n, stamped by the visible frame rate.

    Ends with the shorter video. Thermal frames become (h, w) uint8.

    Raises:
        InputError: a file cannot be read as a video.
    """
    visible_video, thermal_video = _open(visible), _open(thermal)
    period = round(1e9 / (visible_video.get(cv2.CAP_PROP_FPS) or 30.0))
    stamp = start_stamp
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
    """Writes H.264 video that browsers and players show; use as a context manager.

    OpenCV's wheels have no H.264 encoder, PyAV's do.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps

    def __enter__(self) -> VideoWriter:
        self._container = av.open(str(self.path), "w")
        self._stream = None
        return self

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, (H, W, 3) uint8 BGR; all of one size."""
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2  # yuv420p needs even
        if self._stream is None:
            rate = Fraction(self.fps).limit_denominator(1000)
            self._stream = self._container.add_stream("libx264", rate=rate)
            self._stream.width, self._stream.height = width, height
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": "20", "preset": "veryfast"}
        picture = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(frame[:height, :width]), format="bgr24"
        )
        self._container.mux(self._stream.encode(picture))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()
