"""`ssvif evaluate`: the same scores however it is run, and a word on what it could not use."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from typer.testing import CliRunner

from ssvif_core.cli import app
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.evaluation import execution, plan
from ssvif_core.evaluation.plan import Settings, input_names, plan_input
from ssvif_core.evaluation.results import Evaluation
from ssvif_core.evaluation.run import evaluate
from ssvif_core.evaluation.tables import write_tables
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

PARTLY = 3


def ssvif(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ssvif_core.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def folder(tmp_path: Path, drive_pairs: list[Pair]) -> Path:
    """Four pairs, one of them 16 bit, and masks: a person of class 1 in each."""
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
    """Another method's images of the same pairs: the visible image, half as bright."""
    for path in (folder / "vi").iterdir():
        write_png(tmp_path / "dark" / path.name, cv2.imread(str(path)) // 2)
    return tmp_path / "dark"


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory, drive_pairs: list[Pair]) -> Path:
    """Two synchronised videos of 12 frames."""
    root = tmp_path_factory.mktemp("videos")
    for kind in ("vi", "ir"):
        (root / kind).mkdir()
        with VideoWriter(root / kind / "drive.mp4", 30) as video:
            for pair in drive_pairs:
                grey = cv2.resize((pair.thermal // 64).astype(np.uint8), (320, 240))
                video.write(pair.visible if kind == "vi" else cv2.merge([grey] * 3))
    return root


def tables(evaluation: Evaluation, folder: Path) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    return {path.name: path.read_bytes() for path in write_tables(folder, evaluation)}


def scores_of(evaluation: Evaluation) -> dict[tuple[str, str], dict[str, float]]:
    return {(row.pair, row.method): row.scores for row in evaluation.rows}


# --- the same scores however it is run


def test_the_number_of_workers_changes_nothing(
    folder: Path, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(fused={"dark": others})
    alone = tables(evaluate([folder], settings, workers=1), tmp_path / "one")
    monkeypatch.setattr(plan, "JOB_PAIRS", 1)  # so that there is work for several
    assert tables(evaluate([folder], settings, workers=2), tmp_path / "two") == alone
    assert tables(evaluate([folder], settings, workers=1), tmp_path / "again") == alone


def test_every_frame_of_a_video_is_scored_once_and_in_order(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate([videos], Settings(), workers=1, pictured=0)
    assert list(whole.pairs) == [f"drive#{number}" for number in range(12)]
    # Change is measured to the frame before, also where jobs meet.
    changes = ["flicker" in row.scores for row in whole.rows]
    assert changes == [False] + [True] * 11
    monkeypatch.setattr(plan, "JOB_PAIRS", 5)
    assert evaluate([videos], Settings(), workers=1, pictured=0).rows == whole.rows


def test_frames_that_are_apart_have_no_flicker(videos: Path) -> None:
    apart = evaluate([videos], Settings(every=4), workers=1, pictured=0)
    assert list(apart.pairs) == ["drive#0", "drive#4", "drive#8"]
    assert not any("flicker" in row.scores for row in apart.rows)
    assert "flicker" not in apart.methods[0].means


def test_a_bag_is_seen_as_the_node_sees_it(drive_pairs: list[Pair], tmp_path: Path) -> None:
    """Range, dead pixels and freezes follow from the frames before, whoever scores the frame."""
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
    views = [stream(pair.thermal, pair.thermal_stamp) for pair in pairs]
    assert views[30].thermal[40, 30] < 15000 and views[-1].state is StreamState.FROZEN
    for every in (1, 7):
        jobs = plan_input(tmp_path / "drive", "drive", "", Settings(every=every)).jobs
        items = [item for job in jobs for item in job.items]
        assert len(items) == len(pairs[::every])
        for item, pair, view in zip(items, pairs[::every], views[::every], strict=True):
            assert item.shown is not None
            seen = item.shown.view(pair.thermal)
            np.testing.assert_array_equal(seen.thermal, view.thermal)
            np.testing.assert_array_equal(seen.range, view.range)
            assert seen.state is view.state
    frozen = evaluate([tmp_path / "drive"], Settings(only="drive#4[0-4]"), workers=1, pictured=0)
    visible = drive_pairs[44 % 12].visible
    assert frozen.rows[-1].scores["SD"] == pytest.approx(luma_of_bgr(visible).std(), abs=1e-4)


def test_one_useless_image_of_a_bag_costs_its_pair_alone(
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
def test_both_kinds_of_bags_give_the_scores_of_their_images(
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


def test_several_inputs_keep_their_pairs_apart(
    folder: Path, drive_bag: Path, tmp_path: Path
) -> None:
    both = evaluate([folder, drive_bag], Settings(), workers=1, pictured=0)
    assert len(both.pairs) == len(set(both.pairs)) == 16
    assert {row.input for row in both.rows} == {"pairs", "drive"}
    assert both.pairs[0] == "pairs/0" and both.pairs[-1] == "drive/drive#11"
    assert input_names([Path("/a/x/test"), Path("/a/y/test")]) == ["x/test", "y/test"]
    with pytest.raises(InputError, match="given twice"):
        evaluate([folder, folder], Settings())


def test_one_bad_input_does_not_cost_the_others(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = evaluate([folder, tmp_path / "empty"], Settings(), workers=1, pictured=0)
    assert len(result.pairs) == 4
    assert "empty: no pair of folders" in result.problems[0]
    with pytest.raises(InputError, match="no pair of folders"):
        evaluate([tmp_path / "empty"], Settings())


def test_images_of_equal_names_are_not_taken_for_another_inputs(
    folder: Path, others: Path, tmp_path: Path
) -> None:
    """Two inputs have a pair 0: an image that may be of either is of none."""
    second = tmp_path / "second"
    shutil.copytree(folder, second)
    with pytest.raises(InputError, match="such as pairs/0.png"):
        evaluate([folder, second], Settings(fused={"dark": others}), workers=1)
    for name in ("pairs", "second"):
        shutil.copytree(others, tmp_path / "laid/dark" / name)
    settings = Settings(fused={"dark": tmp_path / "laid/dark"})
    assert len(evaluate([folder, second], settings, workers=1, pictured=0).pairs) == 8


# --- what the figures are


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
    # 95 % of half the brightness is not what a person wants: the worst cases say where.
    darkest = [case for case in result.worst if case.method == "dark" and case.metric == "VIF"]
    values = [row.scores["VIF"] for row in result.rows if row.method == "dark"]
    assert [case.value for case in darkest] == sorted(values)[:3]


def test_labels_give_person_contrast_and_segmentation(folder: Path, others: Path) -> None:
    result = evaluate([folder], Settings(fused={"dark": others}), workers=1, pictured=0)
    assert result.methods[0].persons == result.methods[1].persons
    assert result.segmentation is not None
    assert result.segmentation.names == ("background", "person", "bicycle", "car")
    assert result.segmentation.masks == 4
    assert result.segmentation.scores.pixels.tolist() == [
        4 * (220 * 320 - 60 * 30), 4 * 60 * 30, 0, 0
    ]  # fmt: skip
    assert 0.5 < result.segmentation.scores.iou[0] <= 1
    # A class that is in no mask and in no label of ours has no IoU, and does not count as 0.
    names = ("background", "person", "bicycle", "car", "train")
    more = evaluate([folder], Settings(names=names), workers=1, pictured=0)
    assert more.segmentation is not None and np.isnan(more.segmentation.scores.iou[4])
    other_order = evaluate(
        [folder], Settings(names=("background", "car", "person")), workers=1, pictured=0
    )
    assert other_order.methods[0].persons == 0  # id 1 is a car now


def test_boxes_give_person_contrast_alone(folder: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    for number in range(4):
        (boxes / f"{number}.txt").write_text("0 0.4 0.55 0.1 0.3\n2 0.8 0.5 0.1 0.1\n")
    result = evaluate([folder], Settings(labels=boxes), workers=1, pictured=0)
    assert result.segmentation is None
    assert result.methods[0].persons <= 4
    (boxes / "2.txt").write_text("0 half 0.5 0.1 0.1\n")
    broken = evaluate([folder], Settings(labels=boxes), workers=1, pictured=0)
    assert list(broken.pairs) == ["0", "1", "3"]
    assert "2.txt, line 1" in broken.problems[0]


def test_class_ids_without_a_name_are_named(folder: Path) -> None:
    mask = np.full((240, 320), 9, np.uint8)
    mask[100:] = 0
    write_png(folder / "mask/1.png", mask)
    result = evaluate([folder], Settings(), workers=1, pictured=0)
    assert "class ids [9] have no name" in result.problems[0]
    assert len(result.pairs) == 4


def test_pictures_of_some_pairs_and_of_the_worst(folder: Path) -> None:
    result = evaluate([folder], Settings(), workers=1, pictured=1)
    assert {case.pair for case in result.worst} <= set(result.pictures)
    shown = result.pictures["0"]
    assert set(shown) == {"visible", "thermal", "ours", "overlay"}
    sizes = {cv2.imdecode(np.frombuffer(p, np.uint8), -1).shape[:2] for p in shown.values()}
    assert sizes == {(240, 320)}


# --- what people give


def test_missing_extra_and_odd_images_of_a_peer(folder: Path, others: Path) -> None:
    (others / "0.png").unlink()
    write_png(others / "stray.png", np.zeros((240, 320, 3), np.uint8))
    grey = cv2.imread(str(others / "1.png"), cv2.IMREAD_GRAYSCALE)
    write_png(others / "1.png", cv2.resize(grey, (160, 120)))  # grey, and half the size
    write_png(others / "2.png", np.zeros((100, 320, 3), np.uint8))
    out = folder.parent / "out"
    result = ssvif("evaluate", folder, "--fused", f"{others}=dark", "--out", out)
    assert result.returncode == PARTLY, result.stderr
    assert "dark: no image of 1 of the 4 pairs of pairs" in result.stderr
    assert "left out for every method: 0" in result.stderr
    assert "dark: 1 images of no pair here: stray" in result.stderr
    assert "dark: images of 160x120 are stretched to 320x240" in result.stderr
    assert "dark, 2: an image of 320x100, expected 320x240" in result.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["names"] == ["1", "3"]  # the common set
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [(row["pair"], row["method"]) for row in rows] == [
        ("1", "ours"), ("1", "dark"), ("3", "ours"), ("3", "dark")
    ]  # fmt: skip


def test_a_good_run_leaves_tables_and_a_report(folder: Path, others: Path, tmp_path: Path) -> None:
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


def test_one_unreadable_image_among_others(folder: Path) -> None:
    (folder / "ir/2.png").write_bytes(b"not an image")
    result = evaluate([folder], Settings(), workers=1, pictured=0)
    assert list(result.pairs) == ["0", "1", "3"]
    assert "2.png: not a readable image" in result.problems[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}"], "no pair of folders"),
        (["{folder}", "--only", "night*"], "no name of its 4 pairs is like 'night*'"),
        (["{folder}", "--fused", "{empty}=x"], "no images in it"),
        (["{folder}", "--fused", "{folder}/vi"], "expected DIR=NAME"),
        (["{folder}", "--fused", "{folder}/vi=ours"], "this name is our model's"),
        (["{folder}", "--fused", "{folder}/vi=a", "--fused", "{folder}/ir=a"], "name a is taken"),
        (["{folder}", "--no-ours"], "nothing to score"),
        (["{folder}", "--model", "{empty}/none.onnx"], "no such model file"),
        (["{folder}", "--visible", "/a"], "belong together"),
        (["{folder}", "--fused", "{folder}/vi=overlay"], "a picture of that name"),
        (["{folder}", "--labels", "{empty}/none"], "no such folder"),
        (["{folder}", "--names", "background,,car"], "one of its own for each id"),
        (["{folder}", "--engine", "foo"], "expected auto or one of"),
        (["{folder}", "--slop", "nan"], "expected more than nothing"),
        (["{folder}", "--workers", "-1"], "expected a number of processes"),
        (["{folder}", "--through-ros"], "no bag; --through-ros plays bags"),
        (["{folder}", "--through-ros", "--rate", "0"], "rate 0.0; expected above 0"),
        (["{folder}", "--fused", "{stray}=x"], "none of its 4 pairs has an image of every"),
        (["{empty}/nothing"], "no such folder"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    arguments: list[str], message: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    write_png(tmp_path / "stray/other.png", np.zeros((240, 320, 3), np.uint8))
    filled = [
        text.format(empty=tmp_path / "empty", folder=folder, stray=tmp_path / "stray")
        for text in arguments
    ]
    result = CliRunner().invoke(app, ["evaluate", *filled, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, SsvifError)  # which `main` turns into exit code 2
    assert message in str(result.exception)


def test_a_bag_without_the_topic_lists_what_is_there(drive_bag: Path, tmp_path: Path) -> None:
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
    # What is before the break gets the scores it has in the whole bag.
    whole = evaluate([drive_bag], Settings(), workers=1, pictured=0)
    rows = list(csv.DictReader((tmp_path / "out/scores.csv").open()))
    for row, scores in zip(rows, whole.rows, strict=False):
        assert float(row["VIF"]) == pytest.approx(scores.scores["VIF"], rel=1e-5)


def test_a_worker_that_is_killed_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "JOB_PAIRS", 1)
    monkeypatch.setattr(execution, "_score", _killed)
    with pytest.raises(SsvifError, match="ended from outside"):
        evaluate([folder], Settings(), workers=2, pictured=0)


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


def test_a_cluster_gives_what_one_machine_gives(
    cluster: object, bags: list[Path], tmp_path: Path
) -> None:
    here = tables(evaluate(bags, Settings(), workers=1), tmp_path / "here")
    there = tables(evaluate(bags, Settings(), ray="local"), tmp_path / "there")
    assert there == here


def test_the_bag_of_a_lost_worker_is_done_again(
    cluster: object, bags: list[Path], tmp_path: Path
) -> None:
    killed: list[int] = []
    stop = threading.Event()

    def kill_the_first() -> None:
        while not (killed or stop.is_set()):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    title = process.read_bytes()
                except OSError:  # ended meanwhile
                    continue
                if b"ray::" in title and b"_input_or_error" in title:
                    killed.append(int(process.parent.name))
                    os.kill(killed[0], signal.SIGKILL)
                    break
            stop.wait(0.01)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    try:
        there = evaluate(bags, Settings(), ray="local")
    finally:
        stop.set()
        killer.join()
    assert killed, "no worker was seen at work"
    here = evaluate(bags, Settings(), workers=1)
    assert tables(there, tmp_path / "there") == tables(here, tmp_path / "here")


def test_a_bad_input_on_a_cluster_is_named_and_the_rest_is_done(
    cluster: object, bags: list[Path]
) -> None:
    result = evaluate([bags[0], bags[0].parent / "none"], Settings(), ray="local", pictured=0)
    assert len(result.pairs) == 4
    assert "no such folder" in result.problems[0]
