"""Two cameras that do not see the same: with their calibration, training is as with aligned ones.

The thermal camera of a generated drive has 0.6 times the field of view, turned and shifted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_trainer import ROOT, config

from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.overlap import Overlap
from ssvif_core.cameras.yaml_file import load_camera_pair, save_camera_pair
from ssvif_core.metrics import FUSION_METRICS, fusion_metrics
from ssvif_core.models import Model, ModelConfig, load_model
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.video import VideoWriter
from ssvif_core.synthetic import DriveConfig, DriveGenerator, thermal_to_visible
from ssvif_core.training.config import TrainConfig
from ssvif_core.training.data.pairs import PairDataset
from ssvif_core.training.data.sets import read_pairs
from ssvif_core.training.trainer import Trainer

VISIBLE, THERMAL, WHOLE = (320, 240), (160, 128), (266, 212)
WEIGHTS = ROOT / "ssvif_core/weights/ssvif_s.safetensors"
FRAMES, HELD_OUT = range(0, 120, 12), (6, 66)


@dataclass(frozen=True)
class Recordings:
    """Folders of pairs, and the calibration of `apart`."""

    apart: Path
    aligned: Path  # the part that both cameras of `apart` see
    held_out: Path  # other frames of that part
    calibration: Path


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    root = tmp_path_factory.mktemp("drive")
    mapping = thermal_to_visible(THERMAL, VISIBLE, scale=0.6, angle=4.0, shift=(14.0, -9.0))
    camera_pair = CameraPair(Camera(*VISIBLE), Camera(*THERMAL), mapping)
    overlap = Overlap.of(camera_pair, VISIBLE, THERMAL)
    common = DriveConfig(visible_size=VISIBLE, frames=120, dead_pixels=0, seed=4)
    narrow = DriveGenerator(replace(common, thermal_size=THERMAL, homography=mapping))
    whole = DriveGenerator(replace(common, thermal_size=WHOLE, homography=None))
    for frame in (*FRAMES, *HELD_OUT):
        seen, full = narrow.frame(frame), whole.frame(frame)
        thermal = cv2.resize(full.thermal, VISIBLE, interpolation=cv2.INTER_LINEAR)
        cut = overlap.cut(full.visible), overlap.cut(thermal)
        if frame in HELD_OUT:
            _write(root / "held_out", frame, *cut)
        else:
            _write(root / "apart", frame, seen.visible, seen.thermal)
            _write(root / "aligned", frame, *cut)
    save_camera_pair(camera_pair, root / "camera_pair.yaml")
    return Recordings(
        root / "apart", root / "aligned", root / "held_out", root / "camera_pair.yaml"
    )


def _write(root: Path, frame: int, visible: np.ndarray, thermal: np.ndarray) -> None:
    """A fixed range of counts: a range by the scene would depend on the field of view."""
    thermal = (np.clip((thermal.astype(float) - 6800) / 1000, 0, 1) * 255).astype(np.uint8)
    for name, image in (("vi", visible), ("ir", thermal)):
        (root / name).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / name / f"{frame:03d}.png"), image)


def only_fusion(data: Path, out: Path, **changes: object) -> TrainConfig:
    """A short training of F from the shipped weights; from nothing it would depend on the seed."""
    settings = config(data, out, model=ModelConfig("trunk"), init=str(WEIGHTS), **changes)
    stage = replace(settings.stages[0], steps=100, batch=4, crop=96, learning_rate=1e-3)
    return replace(settings, stages=[stage], epoch=1000, save_every=1000, log_every=100)


def scores(model: Model, data: Path) -> dict[str, float]:
    """The mean of each metric on whole images."""
    dataset = PairDataset([find_pairs(data)])
    rows = []
    for index in range(len(dataset)):
        visible, thermal = (image[:112, :160] for image in dataset[index])
        batch = torch.from_numpy(visible).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            fused = model(batch, torch.from_numpy(thermal)[None, None] / 255).fused
        image = (255 * fused[0].permute(1, 2, 0)).clamp(0, 255).byte().numpy()
        rows.append(fusion_metrics(visible, thermal, image))
    return {metric: float(np.mean([row[metric] for row in rows])) for metric in FUSION_METRICS}


@pytest.mark.slow
def test_calibrated_cameras_train_as_well_as_aligned_ones(
    recordings: Recordings, tmp_path: Path
) -> None:
    runs = {
        "aligned": only_fusion(recordings.aligned, tmp_path / "aligned"),
        "calibrated": only_fusion(
            recordings.apart, tmp_path / "calibrated", calibration=str(recordings.calibration)
        ),
    }
    found = {
        name: scores(load_model(Trainer(run).run()), recordings.held_out)
        for name, run in runs.items()
    }
    for metric in FUSION_METRICS:
        right = found["aligned"][metric]
        assert found["calibrated"][metric] == pytest.approx(right, rel=0.02), metric


def test_the_training_pairs_are_what_both_cameras_see(
    recordings: Recordings, tmp_path: Path
) -> None:
    calibrated = only_fusion(
        recordings.apart, tmp_path, calibration=str(recordings.calibration), cache="disk"
    )
    ours, _ = read_pairs(calibrated)
    truth, _ = read_pairs(only_fusion(recordings.aligned, tmp_path))
    assert ours.names == truth.names and not ours.different_shapes
    for index in range(len(ours)):
        visible, thermal = ours[index]
        assert np.array_equal(visible, truth[index][0])
        assert np.abs(thermal.astype(float) - truth[index][1]).mean() < 8
    again, _ = read_pairs(calibrated)  # from the cache
    assert np.array_equal(again[0][1], ours[0][1])
    # The cache of other settings is not used.
    uncut, _ = read_pairs(replace(calibrated, calibration=""))
    assert uncut[0][0].shape[:2] == (240, 320)


def test_masks_are_cut_as_the_images(recordings: Recordings) -> None:
    camera_pair = load_camera_pair(recordings.calibration)
    dataset = PairDataset([find_pairs(recordings.apart)], calibration=camera_pair)
    grid = np.add.outer(np.arange(240), np.zeros(320)).astype(np.uint8)
    overlap = Overlap.of(camera_pair, VISIBLE, THERMAL)
    assert np.array_equal(dataset.fit(0, lambda height, width: grid), overlap.cut(grid))


def test_labels_of_frames_of_a_video_are_cut_as_well(
    recordings: Recordings, tmp_path: Path
) -> None:
    for kind in ("vi", "ir"):
        (tmp_path / kind).mkdir()
        with VideoWriter(tmp_path / kind / "drive.mp4", 10) as video:
            for file in sorted((recordings.apart / kind).iterdir()):
                video.write(cv2.imread(str(file)))
    camera_pair = load_camera_pair(recordings.calibration)
    dataset = PairDataset([find_pairs(tmp_path, frame_step=1)], calibration=camera_pair)
    overlap = Overlap.of(camera_pair, VISIBLE, THERMAL)
    grid = np.add.outer(np.arange(240), np.zeros(320)).astype(np.uint8)
    assert len(dataset) == len(FRAMES)
    assert np.array_equal(dataset.fit(3, lambda height, width: grid), overlap.cut(grid))
