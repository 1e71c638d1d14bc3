"""`ssvif evaluate`: scores do not depend on how it runs, and it reports what it cannot use."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from typer.testing import CliRunner

from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.overlap import Overlap
from ssvif_core.cli import app
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.evaluation import execution, plan
from ssvif_core.evaluation.plan import Settings, input_names, plan_input
from ssvif_core.evaluation.report import write_report
from ssvif_core.evaluation.results import Evaluation
from ssvif_core.evaluation.run import evaluate
from ssvif_core.evaluation.tables import write_tables
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.metrics import FUSION_METRICS, luma_of_bgr
from ssvif_core.recordings.bags import (
    IMAGE_TYPE,
    THERMAL_TOPIC,
    TYPES,
    VISIBLE_TOPIC,
    Bag,
    write_pairs,
)
from ssvif_core.recordings.video import VideoWriter
from ssvif_core.thermal import StreamState, ThermalStream
from ssvif_core.types import Pair

pytestmark = pytest.mark.slow

PARTLY = 3  # exit code if something was left out


def ssvif(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ssvif_core.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def folder(tmp_path: Path, drive_pairs: list[Pair]) -> Path:
    """Four pairs, one with 16 bits, and masks with a person of class 1 in each."""
    root = tmp_path / "pairs"
    for number, pair in enumerate(drive_pairs[:4]):
        thermal = pair.thermal if number == 3 else (pair.thermal // 64).astype(np.uint8)
        write_png(root / f"vi/{number}.png", pair.visible)
        write_png(root / f"ir/{number}.png", thermal)
        mask = np.zeros(pair.visible.shape[:2], np.uint8)
        mask[100:160, 100 + 10 * number : 130 + 10 * number] = 1
        mask[:20] = 255
        write_png(root / f"mask/{number}.png", mask)
    return root


@pytest.fixture
def others(tmp_path: Path, folder: Path) -> Path:
    """Another method's images of the same pairs: the visible image at half brightness."""
    for path in (folder / "vi").iterdir():
        write_png(tmp_path / "dark" / path.name, cv2.imread(str(path)) // 2)
    return tmp_path / "dark"


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory, drive_pairs: list[Pair]) -> Path:
    """Two synchronised videos of 12 frames."""
    root = tmp_path_factory.mktemp("videos")
    for modality in ("vi", "ir"):
        (root / modality).mkdir()
        with VideoWriter(root / modality / "drive.mp4", 30) as video:
            for pair in drive_pairs:
                grey = cv2.resize((pair.thermal // 64).astype(np.uint8), (320, 240))
                video.write(pair.visible if modality == "vi" else cv2.merge([grey] * 3))
    return root


def tables(evaluation: Evaluation, folder: Path) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    return {path.name: path.read_bytes() for path in write_tables(folder, evaluation)}


def scores_of(evaluation: Evaluation) -> dict[tuple[str, str], dict[str, float]]:
    return {(row.pair, row.method): row.scores for row in evaluation.rows}


# --- cameras that do not see the same


def test_scores_of_calibrated_cameras_are_those_of_what_both_see(
    tmp_path: Path, drive_pairs: list[Pair]
) -> None:
    """The thermal camera sees a part of the visible image. The truth is an aligned pair of it."""
    pairs = drive_pairs[:3]
    height, width = pairs[0].visible.shape[:2]
    scale, angle = 1.4, np.deg2rad(5.0)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mapping = np.eye(3)
    mapping[:2, :2] = turn
    mapping[:2, 2] = np.array([width / 2 + 6, height / 2 - 4]) - turn @ np.array([79.5, 63.5])
    camera_pair = CameraPair(Camera(width, height), Camera(160, 128), mapping)
    overlap = Overlap.of(camera_pair, (width, height), (160, 128))
    x, y = np.meshgrid(np.arange(160.0), np.arange(128.0))
    points = camera_pair.to_visible(np.stack([x, y], -1).reshape(-1, 2)).reshape(128, 160, 2)
    for number, pair in enumerate(pairs):
        thermal = cv2.resize(pair.thermal, (width, height), interpolation=cv2.INTER_LINEAR)
        seen = cv2.remap(thermal, *np.float32(points).transpose(2, 0, 1), cv2.INTER_LINEAR)
        mask = np.zeros((height, width), np.uint8)
        mask[100:160, 120:150] = 1
        for root, images in {
            "apart": (pair.visible, seen, mask),
            "aligned": [overlap.cut(each) for each in (pair.visible, thermal, mask)],
        }.items():
            for name, image in zip(("vi", "ir", "mask"), images, strict=True):
                write_png(tmp_path / root / name / f"{number}.png", image)
    truth, calibrated, ignored = (
        evaluate([tmp_path / root], Settings(calibration=calibration), workers=1, pictured=0)
        for root, calibration in (("aligned", None), ("apart", camera_pair), ("apart", None))
    )
    assert not calibrated.problems and not calibrated.warnings and not truth.warnings
    for metric in FUSION_METRICS:
        right, found, wrong = (
            each.methods[0].means[metric].value for each in (truth, calibrated, ignored)
        )
        assert found == pytest.approx(right, rel=0.04), metric
        assert metric not in ("MI", "SCD") or abs(wrong - right) > 3 * abs(found - right)
    assert calibrated.methods[0].persons == truth.methods[0].persons
    pixels = [each.segmentation["ours"].scores.pixels.sum() for each in (calibrated, truth)]
    assert pixels[0] == pixels[1]


# --- scores do not depend on how it runs


def test_scores_do_not_depend_on_the_number_of_workers(
    folder: Path, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(fused={"dark": others})
    expected = tables(evaluate([folder], settings, workers=1), tmp_path / "one")
    monkeypatch.setattr(plan, "JOB_PAIRS", 1)  # so that several workers have jobs
    assert tables(evaluate([folder], settings, workers=2), tmp_path / "two") == expected
    assert tables(evaluate([folder], settings, workers=1), tmp_path / "again") == expected


def test_every_frame_of_a_video_is_scored_once_and_in_order(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate([videos], Settings(), workers=1, pictured=0)
    assert list(whole.pairs) == [f"drive#{number}" for number in range(12)]
    # Changes are measured to the frame before, also across jobs.
    changes = ["flicker" in row.scores for row in whole.rows]
    assert changes == [False] + [True] * 11
    monkeypatch.setattr(plan, "JOB_PAIRS", 5)
    assert evaluate([videos], Settings(), workers=1, pictured=0).rows == whole.rows


def test_frames_that_are_not_neighbours_have_no_flicker(videos: Path) -> None:
    sparse = evaluate([videos], Settings(every=4), workers=1, pictured=0)
    assert list(sparse.pairs) == ["drive#0", "drive#4", "drive#8"]
    assert not any("flicker" in row.scores for row in sparse.rows)
    assert "flicker" not in sparse.methods[0].means


def test_the_end_of_a_recording_can_be_scored_alone(videos: Path) -> None:
    """As the end of the whole: the thermal range depends on the frames before, too."""
    whole = evaluate([videos], Settings(), workers=1, pictured=0)
    end = evaluate([videos], Settings(last=0.25), workers=1, pictured=0)
    assert list(end.pairs) == ["drive#9", "drive#10", "drive#11"]
    for row, same in zip(end.rows, whole.rows[9:], strict=True):
        assert row.scores == {name: same.scores[name] for name in row.scores}
    assert ["flicker" in row.scores for row in end.rows] == [False, True, True]
    for share in (0, 1.5, float("nan")):
        with pytest.raises(InputError, match="expected a share above 0, at most 1"):
            Settings(last=share)


def test_thermal_frames_of_a_bag_equal_those_of_the_node(
    drive_pairs: list[Pair], tmp_path: Path
) -> None:
    """Range, dead pixels and freezes depend on earlier frames, also if jobs run separately."""
    random = np.random.default_rng(0)
    pairs = []
    for number in range(45):  # 4.5 s; the camera freezes at 3.5 s
        pair = drive_pairs[number % 12]
        thermal = pair.thermal + random.integers(0, 3, pair.thermal.shape, np.uint16)
        thermal[40, 30] = 15000
        thermal = pairs[-1].thermal if number > 35 else thermal
        stamp = 1_000_000_000 + 100_000_000 * number
        pairs.append(Pair(pair.visible, thermal, stamp, stamp))
    write_pairs(tmp_path / "drive", pairs)
    stream = ThermalStream()
    frames = [stream(pair.thermal, pair.thermal_stamp) for pair in pairs]
    assert frames[30].thermal[40, 30] < 15000 and frames[-1].state is StreamState.FROZEN
    for every in (1, 7):
        jobs = plan_input(tmp_path / "drive", "drive", "", Settings(every=every)).jobs
        items = [item for job in jobs for item in job.items]
        assert len(items) == len(pairs[::every])
        for item, pair, frame in zip(items, pairs[::every], frames[::every], strict=True):
            assert item.display is not None
            planned = item.display.frame(pair.thermal)
            np.testing.assert_array_equal(planned.thermal, frame.thermal)
            np.testing.assert_array_equal(planned.range, frame.range)
            assert planned.state is frame.state
    frozen = evaluate([tmp_path / "drive"], Settings(only="drive#4[0-4]"), workers=1, pictured=0)
    visible = drive_pairs[44 % 12].visible
    assert frozen.rows[-1].scores["SD"] == pytest.approx(luma_of_bgr(visible).std(), abs=1e-4)


def test_a_bad_image_in_a_bag_removes_only_its_pair(
    drive_pairs: list[Pair], tmp_path: Path
) -> None:
    write_pairs(tmp_path / "good", drive_pairs[:5])
    topics = (VISIBLE_TOPIC, THERMAL_TOPIC)
    with (
        Bag(tmp_path / "good") as source,
        Writer(tmp_path / "bad", version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        out = {topic: writer.add_connection(topic, IMAGE_TYPE, typestore=TYPES) for topic in topics}
        for number, message in enumerate(source.messages()):
            data = message.data
            if number == 4:  # visible image of pair 2
                data = data.replace(b"bgr8", b"odd8")
            writer.write(out[message.topic], message.time, data)
    whole = evaluate([tmp_path / "good"], Settings(), workers=1, pictured=0)
    result = evaluate([tmp_path / "bad"], Settings(), workers=1, pictured=0)
    assert list(result.pairs) == ["bad#0", "bad#1", "bad#3", "bad#4"]
    assert len(result.problems) == 1 and result.problems[0].startswith("bad#2: /visible")
    first = [(row.scores["VIF"], row.scores["SD"]) for row in result.rows[:2]]
    assert first == [(row.scores["VIF"], row.scores["SD"]) for row in whole.rows[:2]]


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_both_bag_formats_score_like_image_files(
    storage: str, folder: Path, tmp_path: Path, drive_pairs: list[Pair]
) -> None:
    pairs = [
        Pair(pair.visible, (pair.thermal // 64).astype(np.uint8), pair.visible_stamp,
             pair.thermal_stamp) for pair in drive_pairs[:3]
    ]  # fmt: skip
    write_pairs(tmp_path / "mcap", pairs)
    bag = tmp_path / "bag"
    with (
        Bag(tmp_path / "mcap") as source,
        Writer(bag, version=9, storage_plugin=StoragePlugin[storage]) as writer,
    ):
        out = {topic: writer.add_connection(topic, IMAGE_TYPE, typestore=TYPES)
               for topic in (VISIBLE_TOPIC, THERMAL_TOPIC)}  # fmt: skip
        for message in source.messages():
            writer.write(out[message.topic], message.time, message.data)
    of_bag = evaluate([bag], Settings(), workers=1, pictured=0)
    of_files = evaluate([folder], Settings(only="[012]"), workers=1, pictured=0)
    names = (*FUSION_METRICS, "Qcb", "Nabf")
    assert [[row.scores[name] for name in names] for row in of_bag.rows] == [
        [row.scores[name] for name in names] for row in of_files.rows
    ]


def test_pairs_of_several_inputs_have_different_names(
    folder: Path, drive_bag: Path, tmp_path: Path
) -> None:
    both = evaluate([folder, drive_bag], Settings(), workers=1, pictured=0)
    assert len(both.pairs) == len(set(both.pairs)) == 16
    assert {row.input for row in both.rows} == {"pairs", "drive"}
    assert both.pairs[0] == "pairs/0" and both.pairs[-1] == "drive/drive#11"
    assert input_names([Path("/a/x/test"), Path("/a/y/test")]) == ["x/test", "y/test"]
    with pytest.raises(InputError, match="given twice"):
        evaluate([folder, folder], Settings())


def test_one_bad_input_does_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = evaluate([folder, tmp_path / "empty"], Settings(), workers=1, pictured=0)
    assert len(result.pairs) == 4
    assert "empty: no pair of folders" in result.problems[0]
    with pytest.raises(InputError, match="no pair of folders"):
        evaluate([tmp_path / "empty"], Settings())


def test_images_for_several_inputs_must_name_the_input(
    folder: Path, others: Path, tmp_path: Path
) -> None:
    """Two inputs have a pair 0, so an image 0 without the input's name matches no pair."""
    second = tmp_path / "second"
    shutil.copytree(folder, second)
    with pytest.raises(InputError, match="such as pairs/0.png"):
        evaluate([folder, second], Settings(fused={"dark": others}), workers=1)
    for name in ("pairs", "second"):
        shutil.copytree(others, tmp_path / "by_input/dark" / name)
    settings = Settings(fused={"dark": tmp_path / "by_input/dark"})
    assert len(evaluate([folder, second], settings, workers=1, pictured=0).pairs) == 8


# --- figures


def test_methods_are_compared_on_the_same_pairs(folder: Path, others: Path) -> None:
    result = evaluate([folder], Settings(fused={"dark": others}), workers=1, pictured=0)
    ours, dark = result.methods
    assert (ours.name, dark.name) == ("ours", "dark")
    rows = {name: [r.scores["SD"] for r in result.rows if r.method == name] for name in
            ("ours", "dark")}  # fmt: skip
    assert ours.means["SD"].value == pytest.approx(np.mean(rows["ours"]))
    assert ours.means["SD"].low <= ours.means["SD"].value <= ours.means["SD"].high
    assert ours.ranks["SD"] == 1 and dark.ranks["SD"] == 2
    assert ours.average_rank is not None
    assert ours.average_rank.value == pytest.approx(np.mean(list(ours.ranks.values())))
    # The worst cases are the pairs with the lowest VIF.
    darkest = [case for case in result.worst if case.method == "dark" and case.metric == "VIF"]
    values = [row.scores["VIF"] for row in result.rows if row.method == "dark"]
    assert [case.value for case in darkest] == sorted(values)[:3]


def test_labels_give_person_contrast_and_segmentation(folder: Path, others: Path) -> None:
    result = evaluate([folder], Settings(fused={"dark": others}), workers=1, pictured=0)
    assert result.methods[0].persons == result.methods[1].persons
    assert result.segmentation["ours"].names == ("background", "person", "bicycle", "car")
    assert result.segmentation["ours"].masks == 4
    assert result.segmentation["ours"].scores.pixels.tolist() == [
        4 * (220 * 320 - 60 * 30), 4 * 60 * 30, 0, 0
    ]  # fmt: skip
    assert 0.5 < result.segmentation["ours"].scores.iou[0] <= 1
    # A class that is in no mask and no label map has no IoU. It does not count as 0.
    names = ("background", "person", "bicycle", "car", "train")
    more = evaluate([folder], Settings(names=names), workers=1, pictured=0)
    assert np.isnan(more.segmentation["ours"].scores.iou[4])
    other_order = evaluate(
        [folder], Settings(names=("background", "car", "person")), workers=1, pictured=0
    )
    assert other_order.methods[0].persons == 0  # id 1 is a car now


def test_two_models_are_compared_in_one_run(folder: Path, tmp_path: Path) -> None:
    """The second is the first with other weights in its last layers."""
    model = onnx.load(DEFAULT_MODEL)
    for weights in model.graph.initializer:
        if "mix_gain" in weights.name:
            values = onnx.numpy_helper.to_array(weights) * np.float32(0.5)
            weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, tmp_path / "new.onnx")
    models = {"old": None, "new": tmp_path / "new.onnx"}
    both = evaluate([folder], Settings(models=models), workers=1, pictured=1)
    alone = evaluate([folder], Settings(), workers=1, pictured=0)
    assert [method.name for method in both.methods] == ["old", "new"]
    for metric, mean in alone.methods[0].means.items():
        assert both.methods[0].means[metric].value == mean.value
    assert both.methods[1].means["MI"] != both.methods[0].means["MI"]
    assert set(both.segmentation) == {"old", "new"}
    assert both.segmentation["old"].scores.mean_iou == alone.segmentation["ours"].scores.mean_iou
    assert set(both.pictures["0"]) == {
        "visible", "thermal", "old", "new", "overlay", "overlay of new"
    }  # fmt: skip
    write_report(tmp_path / "report.html", both)
    page = (tmp_path / "report.html").read_text()
    assert "IoU, old" in page and "IoU, new" in page and "overlay of new" in page


def test_options_of_models(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "a=b.onnx"
    file.write_bytes(DEFAULT_MODEL.read_bytes())
    command = ["evaluate", str(folder), "--out", str(tmp_path / "out"), "--no-report"]
    result = CliRunner().invoke(
        app, [*command, "--model", str(file), "--model", "shipped=second", "--workers", "1"]
    )
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert list(summary["methods"]) == ["a=b", "second"]
    for options, message in (
        (["--model", str(file), "--model", str(file)], "the name a=b is taken; give each a name"),
        (["--model", "none.onnx"], "--model none.onnx: no such file; expected FILE, or FILE=NAME"),
        (["--model", f"{file}=thermal"], "each report has a picture of that name"),
    ):
        error = CliRunner().invoke(app, [*command, *options]).exception
        assert isinstance(error, InputError) and message in str(error)


def test_boxes_give_only_person_contrast(folder: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    for number in range(4):
        (boxes / f"{number}.txt").write_text("0 0.4 0.55 0.1 0.3\n2 0.8 0.5 0.1 0.1\n")
    result = evaluate([folder], Settings(labels=boxes), workers=1, pictured=0)
    assert not result.segmentation
    assert result.methods[0].persons <= 4
    (boxes / "2.txt").write_text("0 half 0.5 0.1 0.1\n")
    broken = evaluate([folder], Settings(labels=boxes), workers=1, pictured=0)
    assert list(broken.pairs) == ["0", "1", "3"]
    assert "2.txt, line 1" in broken.problems[0]


def test_class_ids_without_a_name_are_reported(folder: Path) -> None:
    mask = np.full((240, 320), 9, np.uint8)
    mask[100:] = 0
    write_png(folder / "mask/1.png", mask)
    result = evaluate([folder], Settings(), workers=1, pictured=0)
    assert "class ids [9] have no name" in result.problems[0]
    assert len(result.pairs) == 4


def test_pictures_show_some_pairs_and_the_worst_cases(folder: Path) -> None:
    result = evaluate([folder], Settings(), workers=1, pictured=1)
    assert {case.pair for case in result.worst} <= set(result.pictures)
    shown = result.pictures["0"]
    assert set(shown) == {"visible", "thermal", "ours", "overlay"}
    sizes = {cv2.imdecode(np.frombuffer(p, np.uint8), -1).shape[:2] for p in shown.values()}
    assert sizes == {(240, 320)}


# --- imperfect inputs


def test_missing_extra_and_odd_images_of_a_method_are_reported(folder: Path, others: Path) -> None:
    (others / "0.png").unlink()
    write_png(others / "stray.png", np.zeros((240, 320, 3), np.uint8))
    grey = cv2.imread(str(others / "1.png"), cv2.IMREAD_GRAYSCALE)
    write_png(others / "1.png", cv2.resize(grey, (160, 120)))  # grey, and half the size
    write_png(others / "2.png", np.zeros((100, 320, 3), np.uint8))
    out = folder.parent / "out"
    result = ssvif("evaluate", folder, "--fused", f"{others}=dark", "--out", out)
    assert result.returncode == PARTLY, result.stderr
    assert "dark: no image for 1 of the 4 pairs of pairs" in result.stderr
    assert "left out for all methods: 0" in result.stderr
    assert "dark: 1 images match no pair: stray" in result.stderr
    assert "dark: images of 160x120 are resized to 320x240" in result.stderr
    assert "dark, 2: the fused image is 320x100, expected 320x240" in result.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["names"] == ["1", "3"]  # the common set
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [(row["pair"], row["method"]) for row in rows] == [
        ("1", "ours"), ("1", "dark"), ("3", "ours"), ("3", "dark")
    ]  # fmt: skip


def test_a_good_run_writes_tables_and_a_report(folder: Path, others: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = ssvif("evaluate", folder, "--fused", f"{others}=dark", "--out", out)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "report.html", "run.json", "scores.csv", "summary.json", "summary.md",
    ]  # fmt: skip
    lines = (out / "summary.md").read_text().splitlines()
    assert "| | ours | dark |" in lines
    (row,) = (line for line in lines if line.startswith("| SD "))
    summary = json.loads((out / "summary.json").read_text())["methods"]
    own = summary["ours"]["SD"]
    text = f"**{own['value']:.4g}** ({own['low']:.4g} to {own['high']:.4g}), 1"
    assert row.split(" | ")[1] == text
    assert any(line.startswith("| average rank | 1.") for line in lines)
    assert "ours" in result.stdout and "average rank" in result.stdout


def test_an_earlier_report_stays_if_the_new_one_fails_and_is_replaced_with_a_word(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["evaluate", str(folder), "--no-report", "--workers", "1", "--out", str(out)]
    assert "replaced" not in CliRunner().invoke(app, command).output
    (out / "report.html").write_text("of an earlier run")
    before = (out / "scores.csv").read_text()
    failed = CliRunner().invoke(app, [*command, "--only", "night*"])
    assert isinstance(failed.exception, InputError)
    assert (out / "scores.csv").read_text() == before and (out / "report.html").is_file()
    result = CliRunner().invoke(app, [*command, "--only", "1"])
    assert "replaced the results of an earlier evaluation" in result.output
    assert (out / "scores.csv").read_text() != before and not (out / "report.html").exists()
    failed = CliRunner().invoke(app, [*command[:-1], str(tmp_path / "new"), "--only", "night*"])
    assert isinstance(failed.exception, InputError) and not (tmp_path / "new").exists()


def test_an_unreadable_image_removes_only_its_pair(folder: Path) -> None:
    (folder / "ir/2.png").write_bytes(b"not an image")
    result = evaluate([folder], Settings(), workers=1, pictured=0)
    assert list(result.pairs) == ["0", "1", "3"]
    assert "2.png: not a readable image" in result.problems[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}"], "no pair of folders"),
        (["{folder}", "--only", "night*"], "none of its 4 pairs matches --only 'night*'"),
        (["{folder}", "--fused", "{empty}=x"], "no images in it"),
        (["{folder}", "--fused", "{folder}/vi"], "expected DIR=NAME"),
        (["{folder}", "--fused", "{folder}/vi=ours"], "this name is our model's"),
        (["{folder}", "--fused", "{folder}/vi=a", "--fused", "{folder}/ir=a"], "name a is taken"),
        (["{folder}", "--no-ours"], "nothing to score"),
        (["{folder}", "--model", "{empty}/none.onnx"], "no such file; expected FILE, or FILE=NAME"),
        (["{folder}", "--visible", "/a"], "belong together"),
        (["{folder}", "--fused", "{folder}/vi=overlay"], "a picture of that name"),
        (["{folder}", "--labels", "{empty}/none"], "no such file or folder of labels"),
        (["{folder}", "--names", "background,,car"], "a different name for each class id"),
        (["{folder}", "--engine", "foo"], "expected auto or one of"),
        (["{folder}", "--slop", "nan"], "expected at least 1 ns"),
        (["{folder}", "--workers", "-1"], "expected a number of processes"),
        (["{folder}", "--through-ros"], "no bag; --through-ros plays bags"),
        (["{folder}", "--through-ros", "--rate", "0"], "rate 0.0; expected above 0"),
        (["{folder}", "--fused", "{stray}=x"], "none of its 4 pairs has an image of every"),
        (["{empty}/nothing"], "no such folder"),
    ],
)
def test_bad_arguments_are_explained(
    arguments: list[str], message: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    write_png(tmp_path / "stray/other.png", np.zeros((240, 320, 3), np.uint8))
    filled = [
        text.format(empty=tmp_path / "empty", folder=folder, stray=tmp_path / "stray")
        for text in arguments
    ]
    result = CliRunner().invoke(app, ["evaluate", *filled, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, SsvifError)  # `main` turns it into exit code 2
    assert message in str(result.exception)


def test_a_missing_topic_lists_the_topics_of_the_bag(drive_bag: Path, tmp_path: Path) -> None:
    result = ssvif(
        "evaluate", drive_bag, "--visible", VISIBLE_TOPIC, "--thermal", "/ir", "--out", tmp_path
    )
    assert result.returncode == 2
    assert "no topic /ir" in result.stderr
    assert VISIBLE_TOPIC in result.stderr and THERMAL_TOPIC in result.stderr


def test_compressed_images_are_decoded(compressed_bag: Path) -> None:
    result = evaluate([compressed_bag], Settings(), workers=1, pictured=0)
    assert len(result.pairs) == 12 and not result.problems


def test_a_recording_that_was_cut_off_is_scored_up_to_the_break(
    drive_bag: Path, cut_bag: Path, tmp_path: Path
) -> None:
    result = ssvif("evaluate", cut_bag, "--out", tmp_path / "out")
    assert result.returncode == PARTLY, result.stderr
    assert "cut.mcap" in result.stderr and "breaks off" in result.stderr
    names = json.loads((tmp_path / "out/summary.json").read_text())["names"]
    assert 0 < len(names) < 12
    assert names == [f"cut.mcap#{number}" for number in range(len(names))]
    # Pairs before the break have the same scores as in the whole bag.
    whole = evaluate([drive_bag], Settings(), workers=1, pictured=0)
    rows = list(csv.DictReader((tmp_path / "out/scores.csv").open()))
    for row, scores in zip(rows, whole.rows, strict=False):
        assert float(row["VIF"]) == pytest.approx(scores.scores["VIF"], rel=1e-5)


def test_a_killed_worker_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "JOB_PAIRS", 1)
    monkeypatch.setattr(execution, "_score", _killed)
    with pytest.raises(SsvifError, match="worker process was killed"):
        evaluate([folder], Settings(), workers=2, pictured=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_what_is_scored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """The signal comes when the first job is finished; the terminal sends it to all processes."""
    monkeypatch.setattr(plan, "JOB_PAIRS", 1)
    collect = execution._collect

    def interrupted(finished, results, progress) -> None:
        def advance(count: int) -> None:
            progress(count)
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGINT)  # the workers ignore it
            raise KeyboardInterrupt

        collect(finished, results, advance)

    monkeypatch.setattr(execution, "_collect", interrupted)
    result = evaluate([folder], Settings(), workers=workers, pictured=0)
    assert result.is_stopped and len(result.pairs) == 1
    assert result.problems == ("stopped by Ctrl-C: 1 of 4 pairs are scored",)
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    write_tables(tmp_path, result)
    monkeypatch.setattr("ssvif_core.cli.evaluate.run_evaluation", lambda *_, **__: result)
    command = ["evaluate", str(folder), "--out", str(tmp_path / "out"), "--no-report"]
    assert CliRunner().invoke(app, command).exit_code == 130


def _killed(_job: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- many machines


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster on this machine with two workers."""
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.fixture
def bags(tmp_path: Path, drive_pairs: list[Pair]) -> list[Path]:
    paths = []
    for number in range(3):
        write_pairs(tmp_path / f"bag{number}", drive_pairs[4 * number : 4 * number + 4])
        paths.append(tmp_path / f"bag{number}")
    return paths


def test_a_cluster_gives_the_results_of_one_machine(
    cluster: object, bags: list[Path], tmp_path: Path
) -> None:
    on_machine = tables(evaluate(bags, Settings(), workers=1), tmp_path / "machine")
    on_cluster = tables(evaluate(bags, Settings(), ray="local"), tmp_path / "cluster")
    assert on_cluster == on_machine


def test_the_bag_of_a_lost_worker_is_scored_again(
    cluster: object, bags: list[Path], tmp_path: Path
) -> None:
    killed: list[int] = []
    stop = threading.Event()

    def kill_the_first() -> None:
        while not (killed or stop.is_set()):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    title = process.read_bytes()
                except OSError:  # the process has ended
                    continue
                if b"ray::" in title and b"_input_or_error" in title:
                    killed.append(int(process.parent.name))
                    os.kill(killed[0], signal.SIGKILL)
                    break
            stop.wait(0.01)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    try:
        on_cluster = evaluate(bags, Settings(), ray="local")
    finally:
        stop.set()
        killer.join()
    assert killed, "no running worker was found"
    on_machine = evaluate(bags, Settings(), workers=1)
    assert tables(on_cluster, tmp_path / "cluster") == tables(on_machine, tmp_path / "machine")


def test_a_bad_input_on_a_cluster_is_reported_and_the_rest_is_scored(
    cluster: object, bags: list[Path]
) -> None:
    result = evaluate([bags[0], bags[0].parent / "none"], Settings(), ray="local", pictured=0)
    assert len(result.pairs) == 4
    assert "no such folder" in result.problems[0]
