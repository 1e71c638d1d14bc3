"""What a sensor_msgs/CameraInfo says of a camera (REP 104); recorded and live messages alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.registration.camera_pair import Camera


def camera_of(info: Any, name: str = "camera") -> Camera:
    """The camera of a CameraInfo message: size and lens of the full image, what of it is sent.

    A driver without calibration leaves the matrix at zero: then no lens is known.

    Raises:
        InputError: a value cannot be; `name` stands in the message.
    """
    matrix = np.array(info.k, np.float64).reshape(3, 3)
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
