"""What a sensor_msgs/CameraInfo says of a camera (REP 104); recorded and live messages alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ssvif_core.cameras.model import Camera
from ssvif_core.errors import InputError

# What image_transport adds to the name of an image topic.
TRANSPORTS = ("compressed", "compressedDepth", "theora", "ffmpeg", "zstd")


def info_topic(image_topic: str) -> str:
    """Where the camera_info of an image topic is: beside it, whatever its transport."""
    return f"{_without_transport(image_topic).rpartition('/')[0]}/camera_info"


def is_rectified(image_topic: str) -> bool:
    """Whether a topic's name says that its images are without distortion, as image_proc's do."""
    return "rect" in _without_transport(image_topic).rpartition("/")[2].split("_")


def _without_transport(topic: str) -> str:
    base, _, last = topic.rpartition("/")
    return base if last in TRANSPORTS else topic


def camera_of(info: Any, name: str = "camera", rectified: bool = False) -> Camera | None:
    """The camera of a CameraInfo message: size and lens of the full image, what of it is sent.

    A driver without calibration leaves the matrix at zero: then no lens is known. One that knows
    nothing at all leaves the size at zero, too: then there is no camera.

    Args:
        info: the message.
        name: stands in the errors.
        rectified: the images were undistorted; then P is their matrix, and not K.

    Raises:
        InputError: a value cannot be.
    """
    if not (info.width or info.height):
        return None
    matrix: np.ndarray = np.array(info.k, np.float64).reshape(3, 3)
    if rectified:
        matrix = np.array(info.p, np.float64).reshape(3, 4)[:, :3]
    roi = info.roi
    try:
        camera = Camera(
            int(info.width),
            int(info.height),
            roi=(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height))
            if roi.width and roi.height
            else None,
            binning=(int(info.binning_x) or 1, int(info.binning_y) or 1),
        )
        if not matrix[0, 0]:
            return camera
        if rectified:
            return replace(camera, matrix=matrix)
        return replace(
            camera, matrix=matrix, distortion_model=info.distortion_model or "plumb_bob",
            distortion=tuple(float(k) for k in info.d),
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{name} camera_info: {error}; calibrate that camera again") from error


def with_window_of(camera: Camera, info: Camera, name: str = "camera") -> Camera:
    """A calibrated camera that sends what `info` says: its region of interest and binning.

    Raises:
        InputError: they are of different full sizes.
    """
    if camera.size != info.size:
        raise InputError(
            f"{name} camera_info is of {info.width}x{info.height} pixels, the calibration of "
            f"{camera.width}x{camera.height}; calibrate again, or correct the driver's camera_info"
        )
    return replace(camera, roi=info.roi, binning=info.binning)
