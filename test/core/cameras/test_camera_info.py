"""Cameras from CameraInfo messages, and the names of their topics."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from lenses import DISTORTIONS, MATRIX

from ssvif_core.cameras.camera_info import (
    camera_of,
    info_topic,
    is_rectified,
    with_window_of,
)
from ssvif_core.cameras.model import Camera
from ssvif_core.errors import InputError


def message(**changes: object) -> SimpleNamespace:
    values = {
        "width": 640, "height": 480, "k": MATRIX.ravel(), "d": DISTORTIONS["plumb_bob"],
        "distortion_model": "plumb_bob", "binning_x": 0, "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    }  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def test_camera_info_gives_lens_region_of_interest_and_binning() -> None:
    camera = camera_of(message())
    assert camera.distortion == DISTORTIONS["plumb_bob"] and camera.image_size == (640, 480)
    roi = SimpleNamespace(x_offset=8, y_offset=4, width=320, height=240)
    assert camera_of(message(roi=roi, binning_x=2, binning_y=2)).image_size == (160, 120)
    assert camera_of(message(k=np.zeros(9))).matrix is None
    with pytest.raises(InputError, match="thermal camera_info: distortion_model 'magic'"):
        camera_of(message(distortion_model="magic"), "thermal")
    with pytest.raises(InputError, match="for 640x480 pixels; expected 320x256"):
        with_window_of(Camera(320, 256), camera)


@pytest.mark.parametrize(
    ("model", "d", "kept"),
    [
        ("plumb_bob", (), ("plumb_bob", 0)),
        ("plumb_bob", (0.1,) * 4, ("plumb_bob", 4)),
        ("plumb_bob", (0.1, 0.1, 0.1, 0.1, 0.1, 0, 0, 0), ("plumb_bob", 8)),
        ("rational_polynomial", (0.01,) * 5, ("rational_polynomial", 5)),
        ("rational_polynomial", (0.01,) * 12, ("rational_polynomial", 12)),
        ("rational_polynomial", (0.01,) * 14, ("rational_polynomial", 14)),
        ("equidistant", (0.1, 0.1, 0.1, 0.1, 0.0), ("equidistant", 4)),
        ("fisheye", (0.1,) * 4, ("equidistant", 4)),
        ("", (), ("plumb_bob", 0)),
        ("", (0.01,) * 8, ("plumb_bob", 8)),
        ("none", (), ("plumb_bob", 0)),
        ("none", (0.0,) * 5, ("plumb_bob", 0)),
    ],
)
def test_the_lens_models_of_drivers_are_read(
    model: str, d: tuple[float, ...], kept: tuple[str, int]
) -> None:
    camera = camera_of(message(distortion_model=model, d=np.array(d)))
    assert (camera.distortion_model, len(camera.distortion)) == kept


@pytest.mark.parametrize(
    ("model", "d", "text"),
    [
        ("equidistant", (), "0 distortion coefficients .*; expected 4"),
        ("equidistant", (0.1,) * 5, "5 distortion coefficients .*; expected 4"),
        ("plumb_bob", (0.1,) * 6, "6 distortion coefficients"),
        ("plumb_bob", (np.nan,) * 4, "expected .* finite numbers"),
        ("none", (0.1,) * 4, "'none' with coefficients"),
        ("x" * 5000, (0.1,) * 4, "distortion_model 'x{40}'; expected one of plumb_bob"),
    ],
)
def test_an_impossible_lens_is_refused_with_the_camera(
    model: str, d: tuple[float, ...], text: str
) -> None:
    expected = f"thermal camera_info on /ir/camera_info: .*{text}.*calibrate that camera"
    with pytest.raises(InputError, match=expected):
        camera_of(
            message(distortion_model=model, d=np.array(d)), "thermal", topic="/ir/camera_info"
        )


def test_a_zero_size_gives_no_camera() -> None:
    assert camera_of(message(width=0, height=0, k=np.zeros(9))) is None


def test_rectified_images_have_matrix_p_and_no_distortion() -> None:
    p = np.array([[450.0, 0, 310, 0], [0, 450, 235, 0], [0, 0, 1, 0]])
    camera = camera_of(message(p=p.ravel()), rectified=True)
    assert camera.focal == (450, 450) and not any(camera.distortion)


@pytest.mark.parametrize(
    ("topic", "info", "rectified"),
    [
        ("/cam/image_raw", "/cam/camera_info", False),
        ("/cam/image_raw/compressed", "/cam/camera_info", False),
        ("/cam/image_rect", "/cam/camera_info", True),
        ("/cam/image_rect_color/compressed", "/cam/camera_info", True),
        ("/image_raw", "/camera_info", False),
        ("/direct_rectangle/image", "/direct_rectangle/camera_info", False),
    ],
)
def test_the_camera_info_topic_lies_beside_the_image_topic(
    topic: str, info: str, rectified: bool
) -> None:
    assert (info_topic(topic), is_rectified(topic)) == (info, rectified)
