"""Cameras from sensor_msgs/CameraInfo messages (REP 104), recorded or live."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ssvif_core.cameras.model import Camera
from ssvif_core.errors import InputError
from ssvif_core.types import Float64Array

# Suffixes that image_transport adds to the name of an image topic.
TRANSPORTS = ("compressed", "compressedDepth", "theora", "ffmpeg", "zstd")


def info_topic(image_topic: str) -> str:
    """The camera_info topic beside an image topic of any transport.

    >>> info_topic("/front/image_raw/compressed")
    '/front/camera_info'
    """
    return f"{_without_transport(image_topic).rpartition('/')[0]}/camera_info"


def is_rectified(image_topic: str) -> bool:
    """Whether the topic's name says that its images are rectified, as image_proc's names do.

    >>> is_rectified("/front/image_rect_color"), is_rectified("/front/image_raw")
    (True, False)
    """
    return "rect" in _without_transport(image_topic).rpartition("/")[2].split("_")


def _without_transport(topic: str) -> str:
    base, _, suffix = topic.rpartition("/")
    return base if suffix in TRANSPORTS else topic


def camera_of(
    info: Any, name: str = "camera", rectified: bool = False, topic: str = ""
) -> Camera | None:
    """The camera of a CameraInfo message: full size, lens, region of interest, binning.

    Without calibration, a driver sends a zero matrix; the camera then has no lens. Some drivers
    also send a zero size; the result is then None.

    Args:
        info: the message.
        name: the camera's name for error messages.
        rectified: the images are rectified, so their matrix is P, not K.
        topic: of the message, for error messages.

    Raises:
        InputError: a value is invalid.
    """
    if not (info.width or info.height):
        return None
    matrix: Float64Array = np.array(info.k, np.float64).reshape(3, 3)
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
            camera, matrix=matrix, distortion_model=info.distortion_model,
            distortion=tuple(info.d),
        )  # fmt: skip
    except InputError as error:
        place = f" on {topic}" if topic else ""
        raise InputError(
            f"{name} camera_info{place}: {error}; calibrate that camera again"
        ) from error


def with_window_of(camera: Camera, info: Camera, name: str = "camera") -> Camera:
    """`camera` with the region of interest and the binning of `info`.

    name: the camera's name for error messages.

    Raises:
        InputError: the full sizes differ.
    """
    if camera.size != info.size:
        raise InputError(
            f"{name} camera_info for {info.width}x{info.height} pixels; expected "
            f"{camera.width}x{camera.height} as in the camera pair; calibrate again, or correct "
            "the driver's camera_info"
        )
    return replace(camera, roi=info.roi, binning=info.binning)
