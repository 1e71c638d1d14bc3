"""Registration inside the graph: the same in every engine, and nothing where nothing is seen."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.errors import InputError
from ssvif_core.graph.export import raw_module, run_module
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.models import load_model
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.thermal import StreamState, ThermalConfig, ThermalGain
from ssvif_core.types import Pair

SIZES = (320, 240), (160, 128)
# The thermal image lies, a little turned, in the middle of the visible one.
SMALL = CameraPair(
    Camera(*SIZES[0]), Camera(*SIZES[1]), np.array([[1.0, 0.05, 70], [-0.05, 1.0, 60], [0, 0, 1]])
)


def test_the_engine_warps_as_the_module_does(engine: str, drive_pairs: list[Pair]) -> None:
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


def test_a_calibration_that_overlaps_nowhere_is_refused() -> None:
    away = CameraPair(
        Camera(*SIZES[0]), Camera(*SIZES[1]), np.array([[1.0, 0, 5000], [0, 1, 0], [0, 0, 1]])
    )
    with pytest.raises(InputError, match=r"160x128\) nowhere into the visible one \(320x240\)"):
        sampling_map(away, *SIZES)


def test_beyond_the_thermal_image_the_fused_one_is_the_visible_one(
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


def test_a_new_calibration_counts_from_the_next_pair_on(drive_pairs: list[Pair]) -> None:
    pipeline = FusionPipeline()
    pair = drive_pairs[0]
    before = pipeline(pair).fused.copy()
    pipeline.calibration = SMALL
    assert (pipeline(pair).fused != before).any()
    pipeline.calibration = None
    assert (pipeline(pair).fused == before).mean() > 0.99
    pipeline.calibration = CameraPair(Camera(400, 240), Camera(160, 128), np.eye(3))
    with pytest.raises(InputError, match="visible images of 320x240 pixels; the calibration is"):
        pipeline(pair)


def test_while_the_thermal_stream_stands_still_the_visible_image_stands_alone(
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
