"""The calibration file, lenses, windows, and the map that the graph gets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvif_core.cameras.camera_info import (
    camera_of,
    info_topic,
    is_rectified,
    with_window_of,
)
from ssvif_core.cameras.model import (
    Camera,
    CameraPair,
    PlaneMapping,
    aligned,
    load_camera_pair,
    save_camera_pair,
)
from ssvif_core.cameras.sampling import FADE, sampling_map
from ssvif_core.errors import InputError

MATRIX = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
LENSES = {
    "plumb_bob": (-0.25, 0.08, 0.001, -0.001, 0.0),
    "rational_polynomial": (0.2, 0.1, 0.0, 0.0, 0.01, 0.3, 0.1, 0.01),
    "equidistant": (-0.02, 0.01, 0.0, 0.0),
}
turned = np.array([[2.1, 0.1, 5], [-0.1, 2.0, 8], [1e-5, 0, 1]])


def lens(model: str = "plumb_bob") -> Camera:
    return Camera(640, 480, MATRIX, model, LENSES[model])


def grid(width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 7))
    return np.stack([x.ravel(), y.ravel()], 1)


@pytest.mark.parametrize("model", LENSES)
def test_a_lens_undone_and_done_again_is_where_it_was(model: str) -> None:
    points = grid(640, 480)
    camera = lens(model)
    assert np.abs(camera.distorted(camera.undistorted(points)) - points).max() < 0.01


def test_beyond_its_corners_a_lens_shows_nothing() -> None:
    """There the polynomial of -0.25 turns back, and would put far things inside the image."""
    far = np.array([[3000.0, 240], [320, 4000]])
    assert np.isnan(lens().distorted(far)).all()


@given(st.integers(0, 100), st.integers(0, 80), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_region_of_interest_and_binning_move_pixels_as_rep_104_says(
    x: int, y: int, across: int, down: int
) -> None:
    camera = Camera(640, 480, roi=(x, y, 400, 320), binning=(across, down))
    assert camera.image_size == (400 // across, 320 // down)
    # The outer corner of the region stays the outer corner of the image.
    assert camera.to_full(np.array([[-0.5, -0.5]])) == pytest.approx(np.array([[x - 0.5, y - 0.5]]))
    points = grid(*camera.image_size)
    assert camera.to_sent(camera.to_full(points)) == pytest.approx(points)


def test_a_window_changes_nothing_of_what_is_seen_where() -> None:
    whole = CameraPair(lens(), Camera(320, 256), turned)
    part = CameraPair(
        Camera(640, 480, MATRIX, "plumb_bob", LENSES["plumb_bob"], (100, 60, 400, 320), (2, 2)),
        Camera(320, 256), turned,
    )  # fmt: skip
    pixel = np.array([[50.0, 70.0]])
    assert part.to_thermal(pixel) == pytest.approx(whole.to_thermal(pixel * 2 + 0.5 + (100, 60)))


def info(**changes: object) -> SimpleNamespace:
    values = {
        "width": 640, "height": 480, "k": MATRIX.ravel(), "d": LENSES["plumb_bob"],
        "distortion_model": "plumb_bob", "binning_x": 0, "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    }  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def test_camera_info_gives_lens_and_window() -> None:
    camera = camera_of(info())
    assert camera.distortion == LENSES["plumb_bob"] and camera.image_size == (640, 480)
    roi = SimpleNamespace(x_offset=8, y_offset=4, width=320, height=240)
    assert camera_of(info(roi=roi, binning_x=2, binning_y=2)).image_size == (160, 120)
    assert camera_of(info(k=np.zeros(9))).matrix is None
    with pytest.raises(InputError, match="thermal camera_info: distortion_model 'magic'"):
        camera_of(info(distortion_model="magic"), "thermal")
    with pytest.raises(InputError, match="of 640x480 pixels, the calibration of 320x256"):
        with_window_of(Camera(320, 256), camera)


def test_a_driver_that_knows_nothing_leaves_its_size_at_zero() -> None:
    assert camera_of(info(width=0, height=0, k=np.zeros(9))) is None


def test_rectified_images_have_the_matrix_p_and_no_distortion() -> None:
    p = np.array([[450.0, 0, 310, 0], [0, 450, 235, 0], [0, 0, 1, 0]])
    camera = camera_of(info(p=p.ravel()), rectified=True)
    assert camera.focal == (450, 450) and not any(camera.distortion)


@pytest.mark.parametrize(
    ("topic", "beside", "rectified"),
    [
        ("/cam/image_raw", "/cam/camera_info", False),
        ("/cam/image_raw/compressed", "/cam/camera_info", False),
        ("/cam/image_rect", "/cam/camera_info", True),
        ("/cam/image_rect_color/compressed", "/cam/camera_info", True),
        ("/image_raw", "/camera_info", False),
        ("/direct_rectangle/image", "/direct_rectangle/camera_info", False),
    ],
)
def test_camera_info_lies_beside_the_images(topic: str, beside: str, rectified: bool) -> None:
    assert (info_topic(topic), is_rectified(topic)) == (beside, rectified)


def test_images_of_another_size_are_resized_ones_or_of_another_camera() -> None:
    camera = lens()
    half = camera.sending((320, 240))
    assert half.to_full(np.array([[0.0, 0.0]])) == pytest.approx(np.array([[0.5, 0.5]]))
    with pytest.raises(InputError, match="thermal images of 320x256 pixels; the calibration is"):
        camera.sending((320, 256), "thermal")


def plane(distance: float) -> CameraPair:
    rotation, _ = cv2.Rodrigues(np.array([0.01, -0.03, 0.02]))
    mapping = PlaneMapping(rotation, np.array([0.08, -0.01, 0.02]), distance)
    thermal = Camera(320, 256, np.array([[400.0, 0, 160], [0, 400, 128], [0, 0, 1]]))
    return CameraPair(lens(), thermal, mapping)


@pytest.mark.parametrize("distance", [2.0, 10.0, 300.0])
def test_a_plane_maps_the_points_that_lie_on_it(distance: float) -> None:
    pair = plane(distance)
    mapping = pair.mapping
    space = np.array([[0.2, -0.1, distance], [-0.3, 0.2, distance], [0.0, 0.0, distance]])
    seen = pair.visible.distorted((space @ MATRIX.T)[:, :2] / distance)
    from_thermal = (space - mapping.translation) @ mapping.rotation
    warm = from_thermal @ pair.thermal.matrix.T
    assert pair.to_visible(warm[:, :2] / warm[:, 2:]) == pytest.approx(seen, abs=0.01)


@pytest.mark.parametrize("pair", [plane(7.0), CameraPair(lens(), Camera(320, 256), turned, -0.05)])
def test_a_file_gives_back_what_was_written(pair: CameraPair, tmp_path: Path) -> None:
    path = tmp_path / "camera_pair.yaml"
    save_camera_pair(pair, path)
    again = load_camera_pair(path)
    points = grid(320, 256)
    assert again.to_visible(points) == pytest.approx(pair.to_visible(points), abs=1e-4)
    assert again.time_offset == pair.time_offset
    assert [file.name for file in tmp_path.iterdir()] == ["camera_pair.yaml"]


GOOD = """\
format: 1
visible: {width: 640, height: 480}
thermal: {width: 320, height: 256}
mapping: {kind: homography, matrix: [2, 0, 0, 0, 2, 0, 0, 0, 1]}
"""


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("format: 1", "format: 7", "format 7; this version reads 1"),
        ("format: 1", "format: 7\nplanes: []", "format 7; this version reads 1"),
        ("format: 1", "format: true", "format True; this version reads 1"),
        ("width: 640", "width: 640.9", "visible: width 640.9; expected a whole number"),
        ("width: 640", "width: .inf", "visible: width inf; expected a whole number"),
        ("height: 480}", "height: 480, binning: [2]}", "binning [2.0]; expected two numbers"),
        ("height: 480}", "height: 480, binning: [.inf, 1]}", "expected two numbers, 0 to 1000"),
        ("height: 480}", "height: 480, roi: [0, 0, 8]}", "expected x, y, width, height"),
        ("mapping:", "maping:", "unknown key maping; did you mean mapping?"),
        ("width: 640, ", "", "visible.width is missing"),
        ("width: 320", "with: 320", "unknown key thermal.with; did you mean width?"),
        ("homography", "affine", "mapping.kind 'affine'; expected homography or plane"),
        ("[2, 0, 0, 0, 2, 0, 0, 0, 1]", "[2, 0]", "expected nine numbers"),
        ("[2, 0, 0, 0, 2, 0, 0, 0, 1]", "[0, 0, 0, 0, 2, 0, 0, 0, 1]", "invertible"),
        ("height: 480}", "height: 480, distortion: [1, 0, 0, 0]}", "without a camera matrix"),
        ("format: 1", "format: [", "not readable as YAML"),
        (GOOD, "- 1", "expected keys with values"),
        ("format: 1", "format: 1\ntime_offset: soon", "not a calibration"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(old: str, new: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "pair.yaml"
    path.write_text(GOOD)
    assert load_camera_pair(path).visible.size == (640, 480)
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError, match="pair.yaml: ") as caught:
        load_camera_pair(path)
    assert text in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.yaml: the calibration cannot be read"):
        load_camera_pair(tmp_path / "nowhere.yaml")


def test_the_map_of_aligned_cameras_is_a_plain_resize() -> None:
    sizes = (64, 48), (32, 20)
    sampling = sampling_map(aligned(*sizes), *sizes)
    thermal = np.random.default_rng(0).integers(0, 255, (20, 32)).astype(np.float32)
    place = ((sampling.grid + 1) * sizes[1] - 1) / 2
    looked_up = cv2.remap(
        thermal, place.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    # OpenCV looks up in 32nds of a pixel.
    assert np.abs(looked_up - cv2.resize(thermal, sizes[0])).max() < 255 / 32
    assert (sampling.coverage == 1).all()


@pytest.mark.parametrize("model", LENSES)
def test_the_map_is_right_between_the_places_that_are_computed(model: str) -> None:
    thermal = Camera(320, 256, np.array([[250.0, 0, 160], [0, 250, 128], [0, 0, 1]]), "plumb_bob",
                     (-0.3, 0.1, 0, 0))  # fmt: skip
    pair = CameraPair(lens(model), thermal, turned)
    made = sampling_map(pair, (640, 480), (320, 256))
    x, y = np.meshgrid(np.arange(640.0), np.arange(480.0))
    exact = pair.to_thermal(np.stack([x, y], -1).reshape(-1, 2)).reshape(480, 640, 2)
    seen = made.coverage > 0
    assert seen.mean() > 0.5
    places = (made.grid[seen] + 1) * (320, 256) / 2 - 0.5
    assert np.abs(places - exact[seen]).max() < 0.02


def test_coverage_fades_from_the_thermal_images_border() -> None:
    shift = np.array([[1.0, 0, 40], [0, 1, 30], [0, 0, 1]])
    pair = CameraPair(Camera(200, 160), Camera(100, 80), shift)
    coverage = sampling_map(pair, (200, 160), (100, 80)).coverage
    assert coverage[30 + 40, 40 + 50] == 1 and coverage[10, 10] == 0
    row = coverage[70, 36:60]
    assert (np.diff(row) >= 0).all() and row[4 + int(FADE)] == 1 and 0 < row[6] < 1
