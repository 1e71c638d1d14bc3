"""Lenses, regions of interest, resized images, and plane mappings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lenses import (
    DISTORTIONS,
    HOMOGRAPHY,
    LENSES,
    MATRIX,
    camera_with,
    opencv_distorted,
    plane_pair,
    point_grid,
)

from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.errors import InputError


@pytest.mark.parametrize(("model", "distortion"), LENSES)
def test_a_lens_bends_as_in_opencv_and_back(model: str, distortion: tuple[float, ...]) -> None:
    rays = point_grid(9, 7) / (9, 7) - 0.45
    camera = Camera(640, 480, MATRIX, model, distortion)
    ideal = np.concatenate([rays, np.ones((len(rays), 1))], 1) @ MATRIX.T
    shown = opencv_distorted(model, distortion, rays)
    assert np.abs(camera.distorted(ideal[:, :2]) - shown).max() < 1e-6
    assert np.abs(camera.undistorted(shown) - ideal[:, :2]).max() < 0.01


def test_a_fisheye_lens_without_coefficients_is_no_pinhole() -> None:
    """It shows a ray of 45 degrees at the radius pi / 4, and a pinhole at 1."""
    camera = Camera(640, 480, MATRIX, "equidistant", (0, 0, 0, 0))
    shown = np.array([[320 + 500 * np.pi / 4, 240.0]])
    assert camera.undistorted(shown) == pytest.approx(np.array([[820.0, 240.0]]))


def test_points_outside_the_field_of_view_are_nan() -> None:
    """A k1 of -0.25 would map these points back into the image."""
    outside = np.array([[3000.0, 240], [320, 4000]])
    assert np.isnan(camera_with().distorted(outside)).all()


@given(st.integers(0, 100), st.integers(0, 80), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_region_of_interest_and_binning_move_pixels_as_in_rep_104(
    x: int, y: int, across: int, down: int
) -> None:
    camera = Camera(640, 480, roi=(x, y, 400, 320), binning=(across, down))
    assert camera.image_size == (400 // across, 320 // down)
    # The outer corner of the region stays the outer corner of the image.
    assert camera.to_full(np.array([[-0.5, -0.5]])) == pytest.approx(np.array([[x - 0.5, y - 0.5]]))
    points = point_grid(*camera.image_size)
    assert camera.to_sent(camera.to_full(points)) == pytest.approx(points)


def test_a_region_of_interest_does_not_change_the_mapping_of_a_point() -> None:
    full = CameraPair(camera_with(), Camera(320, 256), HOMOGRAPHY)
    lens = (MATRIX, "plumb_bob", DISTORTIONS["plumb_bob"])
    part = CameraPair(
        Camera(640, 480, *lens, (100, 60, 400, 320), (2, 2)), Camera(320, 256), HOMOGRAPHY
    )
    pixel = np.array([[50.0, 70.0]])
    assert part.to_thermal(pixel) == pytest.approx(full.to_thermal(pixel * 2 + 0.5 + (100, 60)))


def test_resized_images_are_accepted_and_another_aspect_ratio_is_refused() -> None:
    camera = camera_with()
    half = camera.with_image_size((320, 240))
    assert half.to_full(np.array([[0.0, 0.0]])) == pytest.approx(np.array([[0.5, 0.5]]))
    with pytest.raises(InputError, match="thermal images of 320x256 pixels; expected 640x480 or"):
        camera.with_image_size((320, 256), "thermal")


@pytest.mark.parametrize("distance", [2.0, 10.0, 300.0])
def test_a_plane_mapping_is_exact_for_points_on_the_plane(distance: float) -> None:
    pair = plane_pair(distance)
    mapping = pair.mapping
    points = np.array([[0.2, -0.1, distance], [-0.3, 0.2, distance], [0.0, 0.0, distance]])
    visible = pair.visible.distorted((points @ MATRIX.T)[:, :2] / distance)
    thermal = (points - mapping.translation) @ mapping.rotation @ pair.thermal.matrix.T
    assert pair.to_visible(thermal[:, :2] / thermal[:, 2:]) == pytest.approx(visible, abs=0.01)
