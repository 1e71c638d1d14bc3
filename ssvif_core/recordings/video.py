"""Video files: reads two synchronised ones, writes one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.recordings.pixels import thermal_pixels, visible_pixels
from ssvif_core.types import AnyArray, Pair, UInt8Array

SAME = 1e-4  # rates that differ by less are the same; 29.97 and 30 are not


def video_pairs(
    visible: Path, thermal: Path, start_stamp: int = 1_000_000_000, start: int = 0
) -> Iterator[Pair]:
    """Pairs of two synchronised videos, which begin at the same moment.

    Videos of one frame rate, or of one number of frames, are paired frame by frame. Otherwise each
    frame of the slower video is paired with the frame of the other that is nearest in time. The
    shorter video ends the pairs. Thermal frames become (h, w): uint8, or uint16 of a grey video of
    more than 8 bits.

    Args:
        start_stamp: stamp of frame 0, ns; the frame rates give the others.
        start: number of the first pair to give.

    Raises:
        InputError: a file cannot be read as a video.
    """
    videos = _Video(visible), _Video(thermal, thermal=True)
    steps = _steps(*videos)
    step_ns = steps[0] * 1e9 / (videos[0].rate or 30.0)
    for number in itertools.count(start):
        frames = [round(number * step) for step in steps]
        visible_image, thermal_image = (
            video.frame(frame) for video, frame in zip(videos, frames, strict=True)
        )
        if visible_image is None or thermal_image is None:
            return
        stamps = [
            start_stamp + round(frame / step * step_ns)
            for frame, step in zip(frames, steps, strict=True)
        ]
        yield Pair(visible_image, thermal_image, *stamps)


def pair_count(visible: Path, thermal: Path) -> int:
    """The number of pairs that `video_pairs` gives, by the headers of the videos.

    Raises:
        InputError: a file cannot be read as a video.
    """
    videos = _Video(visible), _Video(thermal, thermal=True)
    steps = _steps(*videos)
    return min(_count(video.count, step) for video, step in zip(videos, steps, strict=True))


def _count(frames: int, step: float) -> int:
    """How many pairs a video of so many frames serves."""
    count = math.ceil(frames / step) + 1
    while count and round((count - 1) * step) > frames - 1:
        count -= 1
    return count


def frame_count(path: Path) -> int:
    """The number of frames in the header of a video.

    Raises:
        InputError: the file cannot be read as a video.
    """
    return _Video(path).count


def _steps(visible: _Video, thermal: _Video) -> tuple[float, float]:
    """Frames of each video from one pair to the next; 1 for the slower one."""
    if visible.count == thermal.count or not (visible.rate and thermal.rate):
        return 1.0, 1.0
    slower = min(visible.rate, thermal.rate)
    steps = visible.rate / slower, thermal.rate / slower
    return steps if max(steps) > 1 + SAME else (1.0, 1.0)


class _Video:
    """An open video, read forwards.

    Attributes:
        rate: frames per second; 0 if the header does not say it. count: of frames, by the header.
    """

    def __init__(self, path: Path, thermal: bool = False) -> None:
        self._path, self._thermal = path, thermal
        self._capture = _open(path)
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        # `Y1`, 0, bits: grey. OpenCV reduces it to 8 bits unless it is asked for raw values.
        layout = int(self._capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)).to_bytes(8, "little")
        self._is_deep = thermal and layout[:3] == b"Y1\0" and layout[3] > 8
        if self._is_deep:
            self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        self._next = 0

    def frame(self, number: int) -> AnyArray | None:
        """Frame `number`, which is not before the last one that was asked for; None at the end.

        Raises:
            InputError: the values of the frame cannot be used.
        """
        while self._next < number:  # seeking is not exact in every format
            if not self._capture.grab():
                return None
            self._next += 1
        is_read, pixels = self._capture.read()
        self._next += 1
        if not is_read:
            return None
        if not self._thermal:
            return visible_pixels(pixels)
        if self._is_deep and pixels.dtype != np.uint16:
            raise InputError(
                f"{self._path}: a grey video of more than 8 bits, of which OpenCV "
                f"{cv2.__version__} gives only 8; update opencv-python, or write its frames as "
                "16-bit PNG files"
            )
        try:
            return thermal_pixels(pixels)
        except InputError as error:
            raise InputError(f"{self._path}: {error}") from error


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
