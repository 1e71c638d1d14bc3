"""The part of a calibrated pair that both cameras see."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvif_core.cameras.model import Camera, CameraPair, aligned
from ssvif_core.cameras.overlap import BLOCK, Overlap, Overlaps, largest_rectangle
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.errors import InputError
from ssvif_core.types import Pair


def narrow(share: float = 0.6, degrees: float = 6.0) -> CameraPair:
    """A thermal camera of 160x128 that sees a part of a visible image of 320x256, turned."""
    scale, angle = share * 2, np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mapping = np.eye(3)
    mapping[:2, :2] = turn
    mapping[:2, 2] = np.array([170.0, 120.0]) - turn @ np.array([79.5, 63.5])
    return CameraPair(Camera(320, 256), Camera(160, 128), mapping)


def scene(dtype: type = np.uint16) -> np.ndarray:
    """A smooth thermal scene on the grid of the visible image."""
    noise = np.random.default_rng(0).normal(size=(256, 320)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 8)
    full = 255 if dtype is np.uint8 else 20_000
    return cv2.normalize(smooth, None, 0.2 * full, full, cv2.NORM_MINMAX).astype(dtype)


def seen_by(camera_pair: CameraPair, image: np.ndarray) -> np.ndarray:
    """What the thermal camera sees of a scene on the visible grid."""
    x, y = np.meshgrid(np.arange(160.0), np.arange(128.0))
    points = camera_pair.to_visible(np.stack([x, y], -1).reshape(-1, 2)).astype(np.float32)
    maps = points.reshape(128, 160, 2)
    return cv2.remap(image, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_thermal_image_lies_where_the_scene_is(dtype: type) -> None:
    world, camera_pair = scene(dtype), narrow()
    visible = np.repeat(
        (world // (1 if dtype is np.uint8 else 80)).astype(np.uint8)[..., None], 3, 2
    )
    overlap = Overlaps(camera_pair).of(Pair(visible, seen_by(camera_pair, world)))
    cut = overlap.pair(Pair(visible, seen_by(camera_pair, world), 5, 7))
    assert cut.thermal.dtype == dtype and cut.visible.shape[:2] == cut.thermal.shape
    assert (cut.visible_stamp, cut.thermal_stamp) == (5, 7)
    assert np.array_equal(cut.visible, overlap.cut(visible))
    error = np.abs(cut.thermal.astype(float) - overlap.cut(world))
    assert error.max() < 0.01 * world.max()


@pytest.mark.parametrize("share", [0.4, 0.6, 0.9, 1.5])
@pytest.mark.parametrize("degrees", [0.0, 8.0])
def test_everything_inside_is_covered_and_no_larger_rectangle_is(
    share: float, degrees: float
) -> None:
    camera_pair = narrow(share, degrees)
    covered = sampling_map(camera_pair, (320, 256), (160, 128)).coverage >= 1
    overlap = Overlap.of(camera_pair, (320, 256), (160, 128))
    assert covered[overlap.rows, overlap.columns].all()
    for rows, columns in (
        (slice(overlap.rows.start - BLOCK, overlap.rows.stop), overlap.columns),
        (slice(overlap.rows.start, overlap.rows.stop + BLOCK), overlap.columns),
        (overlap.rows, slice(overlap.columns.start - BLOCK, overlap.columns.stop)),
        (overlap.rows, slice(overlap.columns.start, overlap.columns.stop + BLOCK)),
    ):
        is_outside = rows.start < 0 or columns.start < 0 or rows.stop > 256 or columns.stop > 320
        assert is_outside or not covered[rows, columns].all()


def test_aligned_cameras_overlap_everywhere() -> None:
    overlap = Overlap.of(aligned((320, 256), (160, 128)), (320, 256), (160, 128))
    assert (overlap.rows, overlap.columns) == (slice(0, 256), slice(0, 320))


def test_a_tiny_overlap_is_refused() -> None:
    with pytest.raises(InputError, match="expected at least 64x64; check the calibration"):
        Overlap.of(narrow(0.15), (320, 256), (160, 128))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.floats(0.2, 0.95))
def test_the_rectangle_is_the_largest(seed: int, height: int, width: int, share: float) -> None:
    """Compared with a search of all rectangles."""
    blocks = np.random.default_rng(seed).random((height, width)) < share
    rows, columns = largest_rectangle(blocks.repeat(BLOCK, 0).repeat(BLOCK, 1))
    area = (rows.stop - rows.start) * (columns.stop - columns.start) // BLOCK**2
    largest = max(
        (bottom - top) * (right - left) * bool(blocks[top:bottom, left:right].all())
        for top in range(height)
        for bottom in range(top + 1, height + 1)
        for left in range(width)
        for right in range(left + 1, width + 1)
    )
    assert area == largest
    inside = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[rows, columns]
    assert inside.all()
