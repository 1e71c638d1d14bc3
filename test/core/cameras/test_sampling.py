"""The sampling map, and the registration inside the graph of every engine."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from lenses import HOMOGRAPHY, LENSES, MATRIX

from ssvif_core.cameras.model import Camera, CameraPair, aligned
from ssvif_core.cameras.sampling import FADE, sampling_map
from ssvif_core.errors import InputError
from ssvif_core.graph.export import raw_module, run_module
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.models import load_model
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.thermal import StreamState, ThermalConfig, ThermalGain
from ssvif_core.types import Pair

SIZES = (320, 240), (160, 128)
# The thermal image lies in the middle of the visible one and is slightly rotated.
SMALL = CameraPair(
    Camera(*SIZES[0]), Camera(*SIZES[1]), np.array([[1.0, 0.05, 70], [-0.05, 1.0, 60], [0, 0, 1]])
)


def test_the_sampling_map_of_aligned_cameras_is_a_resize() -> None:
    sizes = (64, 48), (32, 20)
    sampling = sampling_map(aligned(*sizes), *sizes)
    thermal = np.random.default_rng(0).integers(0, 255, (20, 32)).astype(np.float32)
    points = ((sampling.grid + 1) * sizes[1] - 1) / 2
    sampled = cv2.remap(
        thermal, points.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    # OpenCV rounds to 32nds of a pixel.
    assert np.abs(sampled - cv2.resize(thermal, sizes[0])).max() < 255 / 32
    assert (sampling.coverage == 1).all()


@pytest.mark.parametrize(("model", "distortion"), LENSES)
def test_the_sampling_map_is_accurate_between_the_computed_points(
    model: str, distortion: tuple[float, ...]
) -> None:
    thermal = Camera(320, 256, np.array([[250.0, 0, 160], [0, 250, 128], [0, 0, 1]]), "plumb_bob",
                     (-0.3, 0.1, 0, 0))  # fmt: skip
    pair = CameraPair(Camera(640, 480, MATRIX, model, distortion), thermal, HOMOGRAPHY)
    sampling = sampling_map(pair, (640, 480), (320, 256))
    x, y = np.meshgrid(np.arange(640.0), np.arange(480.0))
    exact = pair.to_thermal(np.stack([x, y], -1).reshape(-1, 2)).reshape(480, 640, 2)
    seen = sampling.coverage > 0
    assert seen.mean() > 0.5
    points = (sampling.grid[seen] + 1) * (320, 256) / 2 - 0.5
    assert np.abs(points - exact[seen]).max() < 0.02


def test_coverage_rises_from_the_border_of_the_thermal_image() -> None:
    shift = np.array([[1.0, 0, 40], [0, 1, 30], [0, 0, 1]])
    pair = CameraPair(Camera(200, 160), Camera(100, 80), shift)
    coverage = sampling_map(pair, (200, 160), (100, 80)).coverage
    assert coverage[30 + 40, 40 + 50] == 1 and coverage[10, 10] == 0
    row = coverage[70, 36:60]
    assert (np.diff(row) >= 0).all() and row[4 + int(FADE)] == 1 and 0 < row[6] < 1


def test_the_engine_warps_like_the_module(engine: str, drive_pairs: list[Pair]) -> None:
    module = raw_module(load_model(DEFAULT_MODEL.with_suffix(".safetensors")))
    pipeline = FusionPipeline(
        engine=engine, precision="fp32", thermal=ThermalConfig(smoothing=0), calibration=SMALL
    )
    pair = drive_pairs[4]
    fusion = pipeline(pair)
    thermal_range = ThermalGain(smoothing=0).update(pair.thermal)
    fused, labels, confidence = run_module(module, pair, thermal_range,
                                           sampling_map(SMALL, *SIZES))  # fmt: skip
    assert (np.abs(fusion.fused.astype(int) - fused) <= 1).mean() > 0.999
    assert (fusion.labels == labels).mean() > 0.999
    assert (np.abs(fusion.confidence.astype(int) - confidence) <= 1).mean() > 0.999


def test_a_camera_pair_without_overlap_is_refused() -> None:
    disjoint = CameraPair(
        Camera(*SIZES[0]), Camera(*SIZES[1]), np.array([[1.0, 0, 5000], [0, 1, 0], [0, 0, 1]])
    )
    with pytest.raises(InputError, match=r"160x128\) outside the visible image \(320x240\)"):
        sampling_map(disjoint, *SIZES)


def test_the_fused_image_is_the_visible_image_outside_the_thermal_image(
    drive_pairs: list[Pair],
) -> None:
    pair = drive_pairs[9]
    fusion = FusionPipeline(calibration=SMALL)(pair)
    coverage = sampling_map(SMALL, *SIZES).coverage
    outside = coverage == 0
    assert 0.3 < outside.mean() < 0.9
    assert np.abs(fusion.fused.astype(int) - pair.visible)[outside].max() <= 1
    assert fusion.confidence[outside].max() == 0
    inside = coverage == 1
    assert np.abs(fusion.fused.astype(int) - pair.visible)[inside].mean() > 3
    assert fusion.confidence[inside].min() > 0


def test_a_new_camera_pair_is_used_from_the_next_pair_on(drive_pairs: list[Pair]) -> None:
    pipeline = FusionPipeline()
    pair = drive_pairs[0]
    before = pipeline(pair).fused.copy()
    pipeline.calibration = SMALL
    assert (pipeline(pair).fused != before).any()
    pipeline.calibration = None
    assert (pipeline(pair).fused == before).mean() > 0.99
    pipeline.calibration = CameraPair(Camera(400, 240), Camera(160, 128), np.eye(3))
    with pytest.raises(InputError, match="visible images of 320x240 pixels; expected 400x240"):
        pipeline(pair)


def test_the_fused_image_is_the_visible_image_while_the_thermal_stream_is_frozen(
    drive_pairs: list[Pair],
) -> None:
    pipeline = FusionPipeline()
    frozen = drive_pairs[0].thermal
    for index in range(30):
        moving = drive_pairs[index % 12].visible
        stamp = 1_000_000_000 + index * 33_000_000
        fusion = pipeline(Pair(moving, frozen, stamp, stamp))
    assert pipeline.state is StreamState.FROZEN
    assert (fusion.fused == moving).all() and fusion.confidence.max() == 0
    stamp += 33_000_000
    pipeline(Pair(moving, drive_pairs[5].thermal, stamp, stamp))
    assert pipeline.state is StreamState.LIVE
