"""Flicker: a wobble counts, a moving camera does not."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from ssvif_core.metrics import LumaFrame, flicker, stream_flicker

Fuse = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(200, 260)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return cv2.normalize(smooth, None, 40, 200, cv2.NORM_MINMAX)


def camera(fuse: Fuse, step: tuple[float, float] = (0, 0), frames: int = 4) -> list[LumaFrame]:
    """A stream over two textures; the camera moves by `step` pixels (x, y) a frame."""
    stream = []
    for i in range(frames):
        centre = (128 + i * step[0], 96 + i * step[1])
        visible, thermal = (cv2.getRectSubPix(texture(s), (160, 120), centre) for s in (0, 1))
        stream.append(LumaFrame(visible, thermal, fuse(visible, thermal, i).astype(np.float32)))
    return stream


def blend(visible: np.ndarray, thermal: np.ndarray, i: int) -> np.ndarray:
    return (visible + thermal) / 2


def enhanced(visible: np.ndarray, thermal: np.ndarray, i: int) -> np.ndarray:
    return 255 * (np.maximum(visible, thermal) / 255) ** 0.7


def wobbling(visible: np.ndarray, thermal: np.ndarray, i: int) -> np.ndarray:
    return blend(visible, thermal, i) + 3 * (i % 2)


STEPS = [(0, 0), (3, 2), (-4.5, 1.25)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fuse", [blend, enhanced])
def test_a_moving_camera_does_not_flicker(fuse, step):
    for pair in stream_flicker(camera(fuse, step)):
        assert pair.flicker < 0.2
        assert pair.wobble < 0.1
        assert pair.valid > 0.9


@pytest.mark.parametrize("step", STEPS)
def test_a_wobble_of_three_grey_levels_is_measured(step):
    for pair in stream_flicker(camera(wobbling, step)):
        assert pair.wobble == pytest.approx(3, abs=0.3)
        assert pair.flicker > 2


def test_a_change_of_a_source_does_not_count():
    before, after = camera(blend, frames=2)
    lamp = LumaFrame(after.visible + 20, after.thermal, after.fused + 10)
    pair = flicker(before, lamp)
    assert pair.flicker == pytest.approx(0, abs=0.01)
    assert pair.wobble == 0
    assert pair.warp_error == pytest.approx(10, abs=0.5)


def test_local_flicker_is_measured_without_a_change_of_the_mean():
    before, after = camera(blend, frames=2)
    checks = np.where(np.indices((120, 160)).sum(0) // 20 % 2, 6, -6).astype(np.float32)
    pair = flicker(before, LumaFrame(after.visible, after.thermal, after.fused + checks))
    assert pair.flicker > 5
    assert pair.wobble < 0.5


def test_pixels_that_leave_the_image_do_not_count():
    before, after = camera(blend, (8, 0), frames=2)
    assert 0.8 < flicker(before, after).valid <= 1 - 6 / 160


def test_a_stream_of_n_frames_gives_n_minus_one():
    assert len(list(stream_flicker(camera(blend)))) == 3
    assert not list(stream_flicker(camera(blend, frames=1)))


def test_rejected_input():
    before, after = camera(blend, frames=2)
    with pytest.raises(ValueError, match="previous .* current"):
        flicker(before, LumaFrame(*(x[:100] for x in (after.visible, after.thermal, after.fused))))
    tiny = np.zeros((16, 64), np.uint8)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        flicker(LumaFrame(tiny, tiny, tiny), LumaFrame(tiny, tiny, tiny))


def with_labels(frame: LumaFrame, left: float) -> LumaFrame:
    """The frame with an object of 30x40 pixels whose left edge is at a column."""
    labels = np.zeros((120, 160), np.uint8)
    labels[40:80, round(left) : round(left) + 30] = 1
    return LumaFrame(frame.visible, frame.thermal, frame.fused, labels)


def test_labels_that_move_with_the_scene_do_not_change():
    before, after = camera(blend, (-6, 0), frames=2)
    assert flicker(with_labels(before, 60), with_labels(after, 66)).label_change == 0


def test_the_share_of_changed_labels_is_measured():
    before, after = camera(blend, frames=2)
    pair = flicker(with_labels(before, 60), with_labels(after, 63))
    assert pair.label_change == pytest.approx(2 * 3 * 40 / (120 * 160))


def test_frames_without_labels_have_no_label_change():
    before, after = camera(blend, frames=2)
    assert np.isnan(flicker(before, with_labels(after, 60)).label_change)
