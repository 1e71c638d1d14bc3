"""Cameras and mappings that several tests use."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.cameras.model import Camera, CameraPair, PlaneMapping

MATRIX = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
DISTORTIONS = {
    "plumb_bob": (-0.25, 0.08, 0.001, -0.001, 0.0),
    "rational_polynomial": (0.2, 0.1, 0.0, 0.0, 0.01, 0.3, 0.1, 0.01),
    "equidistant": (-0.02, 0.01, 0.0, 0.0),
}
_THIN_PRISM, _TILT = (0.001, -0.0005, 0.0008, 0.0002), (0.01, -0.02)
# Every number of coefficients that drivers send.
LENSES = [
    *DISTORTIONS.items(),
    ("plumb_bob", (-0.25, 0.08, 0.001, -0.001)),
    ("plumb_bob", (-0.25, 0.08, 0.001, -0.001, 0.0, 0.0, 0.0, 0.0)),
    ("rational_polynomial", (*DISTORTIONS["rational_polynomial"], *_THIN_PRISM)),
    ("rational_polynomial", (*DISTORTIONS["rational_polynomial"], *_THIN_PRISM, *_TILT)),
    ("equidistant", (0.0, 0.0, 0.0, 0.0)),
    ("fisheye", (-0.02, 0.01, 0.0, 0.0, 0.0)),
]
HOMOGRAPHY = np.array([[2.1, 0.1, 5], [-0.1, 2.0, 8], [1e-5, 0, 1]])


def camera_with(model: str = "plumb_bob") -> Camera:
    return Camera(640, 480, MATRIX, model, DISTORTIONS[model])


def opencv_distorted(model: str, distortion: tuple[float, ...], rays: np.ndarray) -> np.ndarray:
    """x/z, y/z of rays (n, 2) -> pixels (n, 2), by OpenCV itself."""
    if model in ("equidistant", "fisheye"):
        k = np.array(distortion[:4])
        return cv2.fisheye.distortPoints(rays[:, None], MATRIX, k).reshape(-1, 2)
    space = np.concatenate([rays, np.ones((len(rays), 1))], 1)
    shown, _ = cv2.projectPoints(space, np.zeros(3), np.zeros(3), MATRIX, np.array(distortion))
    return shown.reshape(-1, 2)


def plane_pair(distance: float) -> CameraPair:
    """A camera pair with extrinsics and a plane at `distance` metres."""
    rotation, _ = cv2.Rodrigues(np.array([0.01, -0.03, 0.02]))
    mapping = PlaneMapping(rotation, np.array([0.08, -0.01, 0.02]), distance)
    thermal = Camera(320, 256, np.array([[400.0, 0, 160], [0, 400, 128], [0, 0, 1]]))
    return CameraPair(camera_with(), thermal, mapping)


def point_grid(width: int, height: int) -> np.ndarray:
    """(63, 2) pixels, spread over an image."""
    x, y = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 7))
    return np.stack([x.ravel(), y.ravel()], 1)
