"""The log, the TensorBoard files and the pictures of a training run."""

from __future__ import annotations

import builtins
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from full_disk import full_disk
from scenes import CROP, SAMPLES, picture_batch, picture_batch_without_labels
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssvif_core.overlay import palette
from ssvif_core.training.monitor import GAP, TITLE_HEIGHT, Monitor, list_pictures, read_log

STAGES = ["0 fusion", "1 consistency"]


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    opened = Monitor(tmp_path, STAGES)
    yield opened
    opened.close()


def board(out: Path) -> EventAccumulator:
    return EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0}).Reload()


def board_steps(out: Path, tag: str) -> list[int]:
    return [event.step for event in board(out).Scalars(tag)]


def log_places(out: Path) -> list[tuple[str, int]]:
    return [(line["stage"], line["step"]) for line in read_log(out / "log.jsonl")]


# Log and TensorBoard


def test_scalars_are_written_to_the_log_at_once(monitor: Monitor, tmp_path: Path) -> None:
    monitor.scalars(STAGES[0], 50, total=0.25, learning_rate=np.float32(1e-5))
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    line = json.loads(lines[0])
    assert len(lines) == 1 and abs(line.pop("time") - time.time()) < 60
    assert line == {"stage": "0 fusion", "step": 50, "total": 0.25, "learning_rate": 1e-5}


def test_scalars_are_written_to_tensorboard_at_once(monitor: Monitor, tmp_path: Path) -> None:
    monitor.scalars(STAGES[0], 50, total=0.5)
    monitor.scalars(STAGES[0], 100, total=0.25)
    events = board(tmp_path).Scalars("0 fusion/total")
    assert [(event.step, event.value) for event in events] == [(50, 0.5), (100, 0.25)]


def test_values_that_are_not_finite_are_kept(monitor: Monitor, tmp_path: Path) -> None:
    monitor.scalars(STAGES[0], 1, total=math.nan, ssim=math.inf)
    line = read_log(tmp_path / "log.jsonl")[0]
    assert math.isnan(line["total"]) and line["ssim"] == math.inf
    assert math.isnan(board(tmp_path).Scalars("0 fusion/total")[0].value)


def test_log_and_pictures_are_written_without_tensorboard(
    tmp_path: Path, monkeypatch, caplog
) -> None:
    original = builtins.__import__

    def without(name: str, *args, **kwargs):
        if name.startswith(("tensorboard", "torch.utils.tensorboard")):
            raise ImportError(f"No module named '{name}'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monitor = Monitor(tmp_path, STAGES)
    monitor.rewind(STAGES[0], 0)
    monitor.scalars(STAGES[0], 1, total=1.0)
    monitor.pictures(STAGES[0], 1, **picture_batch())
    monitor.close()
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "pictures"}
    assert [record.message for record in caplog.records] == [
        "TensorBoard files are not written (No module named 'torch.utils.tensorboard'); "
        "run `pip install tensorboard`"
    ]


# Pictures


def test_a_picture_has_one_row_per_sample_and_titled_columns(
    monitor: Monitor, tmp_path: Path
) -> None:
    monitor.pictures(STAGES[1], 500, **picture_batch())
    picture = cv2.imread(str(tmp_path / "pictures/1 consistency_000500.jpg"))
    height, width = TITLE_HEIGHT + GAP + SAMPLES * (CROP + GAP), 5 * (CROP + GAP)
    assert picture.shape == (height, width, 3)
    for column in range(5):
        left = column * (CROP + GAP)
        assert picture[:TITLE_HEIGHT, left : left + CROP].max() > 150, "no title"
        assert picture[TITLE_HEIGHT + GAP :, left : left + CROP].mean() > 60, "blank"


def test_classes_tint_the_fused_image(monitor: Monitor, tmp_path: Path) -> None:
    monitor.pictures(STAGES[1], 500, **picture_batch())
    picture = cv2.imread(str(tmp_path / "pictures/1 consistency_000500.jpg")).astype(float)
    row = TITLE_HEIGHT + GAP + CROP // 2
    for column, label in (3, 1), (4, 2):
        tinted = picture[row, column * (CROP + GAP) + CROP // 2]
        assert np.abs(tinted - (0.4 * 128 + 0.6 * palette(16)[label])).max() < 12


def test_a_stage_without_classes_has_three_columns(monitor: Monitor, tmp_path: Path) -> None:
    monitor.pictures(STAGES[0], 500, **picture_batch_without_labels())
    picture = cv2.imread(str(tmp_path / "pictures/0 fusion_000500.jpg"))
    assert picture.shape[1] == 3 * (CROP + GAP)


def test_tensorboard_shows_the_same_picture(monitor: Monitor, tmp_path: Path) -> None:
    monitor.pictures(STAGES[1], 500, **picture_batch())
    (event,) = board(tmp_path).Images("1 consistency/pictures")
    shown = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    saved = cv2.imread(str(tmp_path / "pictures/1 consistency_000500.jpg"))
    assert event.step == 500 and shown.shape == saved.shape
    assert np.abs(shown.mean((0, 1)) - saved.mean((0, 1))).max() < 2


# Resuming


def run(out: Path, places: list[tuple[int, int]]) -> None:
    monitor = Monitor(out, STAGES)
    for stage, step in places:
        monitor.scalars(STAGES[stage], step, total=float(step))
        monitor.pictures(STAGES[stage], step, **picture_batch_without_labels())
    monitor.close()


@pytest.mark.parametrize("checkpoint", [(0, 0), (0, 1), (0, 2), (1, 1)])
def test_a_resumed_run_writes_the_same_as_an_uninterrupted_run(
    tmp_path: Path, checkpoint: tuple[int, int]
) -> None:
    places = [(0, 1), (0, 2), (1, 1), (1, 2)]
    run(tmp_path, places)
    monitor = Monitor(tmp_path, STAGES)
    monitor.rewind(STAGES[checkpoint[0]], checkpoint[1])
    monitor.close()
    run(tmp_path, [place for place in places if place > checkpoint])
    labelled = [(STAGES[stage], step) for stage, step in places]
    assert log_places(tmp_path) == labelled
    assert [place for _, *place in list_pictures(tmp_path)] == [list(place) for place in labelled]
    assert board_steps(tmp_path, "0 fusion/total") == [1, 2]
    assert board_steps(tmp_path, "1 consistency/total") == [1, 2]
    images = board(tmp_path).Images("1 consistency/pictures")
    assert [image.step for image in images] == [1, 2]


def test_rewinding_removes_pictures_of_later_steps(tmp_path: Path) -> None:
    run(tmp_path, [(0, 1), (0, 2), (1, 1)])
    Monitor(tmp_path, STAGES).rewind(STAGES[0], 1)
    assert [path.name for path, *_ in list_pictures(tmp_path)] == ["0 fusion_000001.jpg"]


def test_rewinding_keeps_the_time_of_earlier_events(tmp_path: Path) -> None:
    line = {"stage": STAGES[0], "step": 1, "time": 1_600_000_000.5, "total": 1.0}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n")
    monitor = Monitor(tmp_path, STAGES)
    monitor.pictures(STAGES[0], 1, **picture_batch_without_labels())
    os.utime(tmp_path / "pictures/0 fusion_000001.jpg", (line["time"], line["time"]))
    monitor.rewind(STAGES[0], 1)
    events = board(tmp_path)
    assert events.Scalars("0 fusion/total")[0].wall_time == line["time"]
    assert events.Images("0 fusion/pictures")[0].wall_time == line["time"]


def test_rewinding_removes_an_incomplete_line(monitor: Monitor, tmp_path: Path) -> None:
    monitor.scalars(STAGES[0], 1, total=1.0)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": "0 fusion", "st')
    monitor.rewind(STAGES[0], 1)
    monitor.scalars(STAGES[0], 2, total=1.0)
    assert log_places(tmp_path) == [(STAGES[0], 1), (STAGES[0], 2)]


def test_rewinding_keeps_other_stages_and_files(tmp_path: Path) -> None:
    run(tmp_path, [(0, 1)])
    (tmp_path / "tensorboard/notes.txt").touch()
    other = Monitor(tmp_path, ["joint"])
    other.rewind("joint", 0)
    assert log_places(tmp_path) == [(STAGES[0], 1)]
    assert (tmp_path / "tensorboard/notes.txt").exists()


# A full disk


# TensorBoard's own thread raises an error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_gives_one_warning_per_file_and_does_not_stop_the_run(
    monitor: Monitor, tmp_path: Path, caplog
) -> None:
    monitor.scalars(STAGES[0], 1, total=1.0)
    with full_disk(600):
        for step in range(2, 12):
            monitor.scalars(STAGES[0], step, total=1.0)
            monitor.pictures(STAGES[0], step, **picture_batch())
    warned = [record.args[0].name for record in caplog.records if record.levelname == "WARNING"]  # type: ignore[union-attr,index]
    assert sorted(warned) == ["log.jsonl", "pictures", "tensorboard"]
    monitor.scalars(STAGES[0], 12, total=1.0)
    monitor.scalars(STAGES[0], 13, total=1.0)
    places = log_places(tmp_path)
    assert places[:2] == [(STAGES[0], 1), (STAGES[0], 2)] and places[-1] == (STAGES[0], 13)


def test_paths_that_cannot_be_opened_do_not_stop_the_run(tmp_path: Path, caplog) -> None:
    for name in ("tensorboard", "pictures"):
        (tmp_path / name).touch()  # a file where a folder should be
    run(tmp_path, [(0, 1), (0, 2)])
    assert log_places(tmp_path) == [(STAGES[0], 1), (STAGES[0], 2)]
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 2
