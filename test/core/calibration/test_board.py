"""Calibration from a board: rendered boards give the camera pair they were rendered with."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from boards import (
    BOARD,
    CIRCLES,
    NEAR,
    POSES,
    SHIFT,
    THERMAL,
    TRUE,
    TURN,
    VISIBLE,
    Pose,
    board_pairs,
    mapping_difference,
    rendered,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ssvif_core.calibration.board import Board, calibrate_from_board, find_board
from ssvif_core.cameras.model import Camera, CameraPair, PlaneMapping
from ssvif_core.errors import InputError
from ssvif_core.types import Pair


def truth(board: Board, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """The board's points in the visible and in the thermal image, (n, 2) pixels each."""
    turn, middle = cv2.Rodrigues(np.array(pose[0]))[0], np.array(pose[1])
    points = (board.points - board.points.max(0) / 2) @ turn.T + middle
    visible, thermal = (
        cv2.projectPoints(
            in_camera, np.zeros(3), np.zeros(3), camera.matrix, np.array(camera.distortion)
        )[0][:, 0]
        for camera, in_camera in ((VISIBLE, points), (THERMAL, (points - SHIFT) @ TURN))
    )
    return visible, thermal


def largest_error(points: np.ndarray, expected: np.ndarray) -> float:
    """In pixels, for the order that fits better."""
    errors = [np.linalg.norm(order - expected, axis=1).max() for order in (points, points[::-1])]
    return float(min(errors))


# --- finding the board


@pytest.mark.parametrize("board", [BOARD, CIRCLES])
@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_board_is_found_in_both_images_to_a_fraction_of_a_pixel(
    board: Board, hot: bool, bits: int
) -> None:
    pose = POSES[1]
    pair = rendered(board, pose, hot, bits)
    visible, thermal = find_board(pair.visible, board), find_board(pair.thermal, board)
    assert visible is not None and thermal is not None
    assert visible.shape == thermal.shape == (board.columns * board.rows, 2)
    assert visible.dtype == thermal.dtype == np.float64
    true_visible, true_thermal = truth(board, pose)
    assert largest_error(visible, true_visible) < 0.7  # includes the perspective of circles
    assert largest_error(thermal, true_thermal) < 0.25


@pytest.mark.slow
def test_a_board_with_other_counts_is_not_found() -> None:
    pair = board_pairs()[0]
    for columns, rows in ((7, 5), (9, 6)):
        assert find_board(pair.visible, Board("checkerboard", columns, rows, 0.06)) is None


@pytest.mark.slow
@settings(max_examples=5)
@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(8, 48), st.integers(8, 64)),
        elements=st.integers(0, 255),
        fill=st.integers(0, 255),
    ),
    st.sampled_from([BOARD, CIRCLES]),
)
def test_any_image_gives_finite_points_or_none(image: np.ndarray, board: Board) -> None:
    points = find_board(image, board)
    assert points is None or np.isfinite(points).all()


# --- calibration


@pytest.mark.slow
def test_known_lenses_give_the_extrinsics() -> None:
    result = calibrate_from_board(board_pairs()[:6], BOARD, VISIBLE, THERMAL)
    assert result.good, result.problems
    mapping = result.pair.mapping
    assert isinstance(mapping, PlaneMapping) and mapping.distance == 10
    assert np.abs(mapping.translation - SHIFT).max() < 0.002
    assert np.degrees(np.linalg.norm(cv2.Rodrigues(mapping.rotation @ TURN.T)[0])) < 0.1
    assert mapping_difference(result.pair, TRUE) < 0.5  # an eighth of a thermal pixel
    assert result.visible_error < 0.4 and result.thermal_error < 0.15
    assert result.mapping_error < 0.5
    assert result.used == tuple(range(6)) and not result.rejected
    assert 0.4 <= result.thermal_coverage <= 1 and 0.4 <= result.visible_coverage <= 1
    assert "checkerboard of 8x6" in result.pair.made["method"]


@pytest.mark.slow
def test_unknown_lenses_are_estimated() -> None:
    result = calibrate_from_board(board_pairs(), BOARD)
    assert result.good, result.problems
    assert result.pair.visible.matrix is not None and result.pair.thermal.matrix is not None
    assert result.pair.visible.focal == pytest.approx(VISIBLE.focal, rel=0.01)
    assert result.pair.thermal.focal == pytest.approx(THERMAL.focal, rel=0.01)
    assert mapping_difference(result.pair, TRUE) < 1.5


def test_circles_give_the_extrinsics() -> None:
    poses = POSES[:3] + POSES[6:]  # the others do not show the whole board
    pairs = [rendered(CIRCLES, pose, index % 2 == 0) for index, pose in enumerate(poses)]
    result = calibrate_from_board(pairs, CIRCLES, VISIBLE, THERMAL)
    assert not [problem for problem in result.problems if "error" in problem]
    assert mapping_difference(result.pair, TRUE) < 0.5


@pytest.mark.slow
def test_the_distance_sets_the_plane_of_the_mapping() -> None:
    result = calibrate_from_board(board_pairs()[:4], BOARD, VISIBLE, THERMAL, distance=2.5)
    assert isinstance(result.pair.mapping, PlaneMapping) and result.pair.mapping.distance == 2.5
    expected = CameraPair(VISIBLE, THERMAL, PlaneMapping(TURN, SHIFT, 2.5))
    assert mapping_difference(result.pair, expected) < 0.5 < mapping_difference(expected, TRUE)


@pytest.mark.slow
def test_a_fisheye_lens_and_a_resized_stream_give_the_extrinsics() -> None:
    wide = Camera(160, 120, THERMAL.matrix, "equidistant", (-0.03, 0.01, 0, 0))
    pairs = [rendered(BOARD, pose, thermal=wide) for pose in POSES[:4]]
    larger = Camera(
        1280, 960, np.diag([2.0, 2, 1]) @ VISIBLE.matrix + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]],
        "plumb_bob", VISIBLE.distortion,
    )  # fmt: skip
    result = calibrate_from_board(pairs, BOARD, larger, wide)
    assert result.pair.visible.size == (1280, 960)
    assert mapping_difference(result.pair, CameraPair(VISIBLE, wide, TRUE.mapping)) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("lenses", [(VISIBLE, THERMAL), (None, None)])
def test_a_board_at_the_working_distance_gives_a_homography(
    lenses: Sequence[Camera | None],
) -> None:
    pairs = [rendered(BOARD, pose, seed=index) for index, pose in enumerate(NEAR)]
    result = calibrate_from_board(pairs, BOARD, *lenses, plane=True)
    assert isinstance(result.pair.mapping, np.ndarray)
    expected = CameraPair(VISIBLE, THERMAL, PlaneMapping(TURN, SHIFT, 1.0))
    points = np.concatenate([truth(BOARD, pose)[1] for pose in NEAR])
    error = np.linalg.norm(result.pair.to_visible(points) - expected.to_visible(points), axis=1)
    assert np.sqrt((error**2).mean()) < (1.5 if lenses[0] else 3.5)  # unknown lenses cost accuracy
    if lenses[0]:
        assert result.good, result.problems
    assert result.mapping_error == pytest.approx(result.visible_error)


@pytest.mark.slow
def test_a_homography_from_different_distances_is_a_problem() -> None:
    result = calibrate_from_board(board_pairs()[:4], BOARD, VISIBLE, THERMAL, plane=True)
    assert any("working distance" in problem for problem in result.problems)


@pytest.mark.slow
def test_poor_coverage_is_a_problem() -> None:
    far = [((0.3 * a, 0.3 * b, 0.0), (0.0, 0.0, 1.3)) for a, b in ((0, 1), (1, 0), (-1, 1))]
    pairs = [rendered(BOARD, pose) for pose in far]  # type: ignore[arg-type]
    result = calibrate_from_board(pairs, BOARD, VISIBLE, THERMAL)
    assert any("cover" in problem and "corners" in problem for problem in result.problems)


@pytest.mark.slow
def test_a_view_that_moved_is_left_out() -> None:
    pairs = list(board_pairs()[:6])
    moved = np.roll(pairs[4].thermal, 2, 1)
    pairs[4] = Pair(pairs[4].visible, moved)
    result = calibrate_from_board(pairs, BOARD, VISIBLE, THERMAL)
    assert list(result.rejected) == [4] and "median" in result.rejected[4]
    assert 4 not in result.used
    assert mapping_difference(result.pair, TRUE) < 0.5


# --- invalid input


@pytest.mark.slow
def test_too_few_views_and_views_of_one_camera_are_refused() -> None:
    pairs = list(board_pairs()[:4])
    blank = np.full_like(pairs[0].thermal, 7300)
    pairs[1:3] = [Pair(pair.visible, blank) for pair in pairs[1:3]]
    with pytest.raises(
        InputError, match=r"2 of 4 pairs \(2 with no board found in the thermal image\).*3 or more"
    ):
        calibrate_from_board(pairs, BOARD, VISIBLE, THERMAL)
    with pytest.raises(InputError, match="0 of 0 pairs"):
        calibrate_from_board([], BOARD)


@pytest.mark.slow
def test_wrong_counts_give_advice() -> None:
    with pytest.raises(InputError, match=r"7x5 inner corners.*visible and the thermal.*counts"):
        calibrate_from_board(board_pairs()[:1], Board("checkerboard", 7, 5, 0.06))


@pytest.mark.slow
def test_too_few_or_similar_views_for_a_lens_are_refused() -> None:
    with pytest.raises(InputError, match=r"5 views for the lens of the thermal.*camera_info"):
        calibrate_from_board(board_pairs()[:5], BOARD, VISIBLE)
    flat = [rendered(BOARD, NEAR[index % 5], seed=index) for index in range(6)]
    with pytest.raises(
        InputError, match=r"views of the visible camera differ in tilt by .*degrees.*camera_info"
    ):
        calibrate_from_board(flat, BOARD)


@pytest.mark.slow
def test_image_sizes_must_be_equal_and_fit_the_camera() -> None:
    pairs = list(board_pairs()[:3])
    with pytest.raises(InputError, match=r"pair 1 of 640x480 and 80x60 .*each resolution"):
        calibrate_from_board([pairs[0], Pair(pairs[1].visible, pairs[1].thermal[::2, ::2])], BOARD)
    with pytest.raises(InputError, match="thermal images of 160x120"):
        calibrate_from_board(pairs, BOARD, VISIBLE, Camera(160, 100))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (("chess", 8, 6, 0.03), "chess"),
        (("checkerboard", 2, 6, 0.03), "columns 2"),
        (("circles", 4, 500, 0.03), "rows 500"),
        (("checkerboard", 8, 6, 30), "metres"),
        (("checkerboard", 8, 6, float("nan")), "metres"),
        (("checkerboard", 7, 7, 0.03), "different numbers"),
    ],
)
def test_an_invalid_board_is_refused(values: tuple, text: str) -> None:
    with pytest.raises(InputError, match=text):
        Board(*values)
