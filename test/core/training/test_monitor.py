"""What a person sees of a training run: its log, TensorBoard, pictures and summary page."""

from __future__ import annotations

import builtins
import json
import math
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssvif_core.overlay import palette
from ssvif_core.page import COLOURS as STAGE_COLOURS
from ssvif_core.training.monitor import GAP, TITLE_HEIGHT, Monitor, list_pictures, read_log
from ssvif_core.training.summary import POINTS, write_summary

STAGES = ["0 fusion", "1 consistency"]
CROP, SAMPLES = 128, 2


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    made = Monitor(tmp_path, STAGES)
    yield made
    made.close()


def batch() -> dict[str, np.ndarray]:
    """A batch as `Monitor.pictures` takes it; the two branches say class 1 and 2 everywhere."""
    random = np.random.default_rng(0)
    shape = (SAMPLES, CROP, CROP)
    return {
        "visible": random.integers(0, 256, (*shape, 3), dtype=np.uint8),
        "thermal": random.integers(0, 256, shape, dtype=np.uint8),
        "fused": np.full((*shape, 3), 128, np.uint8),
        "labels_feature": np.full(shape, 1, np.uint8),
        "labels_pixel": np.full(shape, 2, np.uint8),
    }


def without_labels() -> dict[str, np.ndarray]:
    return {name: images for name, images in batch().items() if "labels" not in name}


def board(out: Path) -> EventAccumulator:
    return EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0}).Reload()


def board_steps(out: Path, tag: str) -> list[int]:
    return [event.step for event in board(out).Scalars(tag)]


def log_places(out: Path) -> list[tuple[str, int]]:
    return [(line["stage"], line["step"]) for line in read_log(out / "log.jsonl")]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Within, no file can grow beyond `size` bytes: the system answers with an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Log and TensorBoard


def test_scalars_are_a_line_of_the_log_at_once(monitor: Monitor, tmp_path: Path) -> None:
    monitor.scalars(STAGES[0], 50, total=0.25, learning_rate=np.float32(1e-5))
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    line = json.loads(lines[0])
    assert len(lines) == 1 and abs(line.pop("time") - time.time()) < 60
    assert line == {"stage": "0 fusion", "step": 50, "total": 0.25, "learning_rate": 1e-5}


def test_scalars_are_in_tensorboard_at_once(monitor: Monitor, tmp_path: Path) -> None:
    monitor.scalars(STAGES[0], 50, total=0.5)
    monitor.scalars(STAGES[0], 100, total=0.25)
    events = board(tmp_path).Scalars("0 fusion/total")
    assert [(event.step, event.value) for event in events] == [(50, 0.5), (100, 0.25)]


def test_values_that_are_not_finite_are_kept(monitor: Monitor, tmp_path: Path) -> None:
    monitor.scalars(STAGES[0], 1, total=math.nan, ssim=math.inf)
    line = read_log(tmp_path / "log.jsonl")[0]
    assert math.isnan(line["total"]) and line["ssim"] == math.inf
    assert math.isnan(board(tmp_path).Scalars("0 fusion/total")[0].value)


def test_without_tensorboard_the_rest_is_written(tmp_path: Path, monkeypatch, caplog) -> None:
    original = builtins.__import__

    def without(name: str, *args, **kwargs):
        if name.startswith(("tensorboard", "torch.utils.tensorboard")):
            raise ImportError(f"No module named '{name}'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monitor = Monitor(tmp_path, STAGES)
    monitor.rewind(STAGES[0], 0)
    monitor.scalars(STAGES[0], 1, total=1.0)
    monitor.pictures(STAGES[0], 1, **batch())
    monitor.close()
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "pictures"}
    assert [record.message for record in caplog.records] == [
        "no TensorBoard files (No module named 'torch.utils.tensorboard'); "
        "`pip install tensorboard` brings them"
    ]


# Pictures


def test_a_picture_has_a_row_a_sample_and_titled_columns(monitor: Monitor, tmp_path: Path) -> None:
    monitor.pictures(STAGES[1], 500, **batch())
    picture = cv2.imread(str(tmp_path / "pictures/1 consistency_000500.jpg"))
    height, width = TITLE_HEIGHT + GAP + SAMPLES * (CROP + GAP), 5 * (CROP + GAP)
    assert picture.shape == (height, width, 3)
    for column in range(5):
        left = column * (CROP + GAP)
        assert picture[:TITLE_HEIGHT, left : left + CROP].max() > 150, "no title"
        assert picture[TITLE_HEIGHT + GAP :, left : left + CROP].mean() > 60, "blank"


def test_classes_tint_the_fused_image(monitor: Monitor, tmp_path: Path) -> None:
    monitor.pictures(STAGES[1], 500, **batch())
    picture = cv2.imread(str(tmp_path / "pictures/1 consistency_000500.jpg")).astype(float)
    row = TITLE_HEIGHT + GAP + CROP // 2
    for column, label in (3, 1), (4, 2):
        tinted = picture[row, column * (CROP + GAP) + CROP // 2]
        assert np.abs(tinted - (0.4 * 128 + 0.6 * palette(16)[label])).max() < 12


def test_a_stage_without_classes_has_three_columns(monitor: Monitor, tmp_path: Path) -> None:
    monitor.pictures(STAGES[0], 500, **without_labels())
    picture = cv2.imread(str(tmp_path / "pictures/0 fusion_000500.jpg"))
    assert picture.shape[1] == 3 * (CROP + GAP)


def test_tensorboard_shows_the_same_picture(monitor: Monitor, tmp_path: Path) -> None:
    monitor.pictures(STAGES[1], 500, **batch())
    (event,) = board(tmp_path).Images("1 consistency/pictures")
    seen = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    filed = cv2.imread(str(tmp_path / "pictures/1 consistency_000500.jpg"))
    assert event.step == 500 and seen.shape == filed.shape
    assert np.abs(seen.mean((0, 1)) - filed.mean((0, 1))).max() < 2


# Resuming


def run(out: Path, places: list[tuple[int, int]]) -> None:
    monitor = Monitor(out, STAGES)
    for stage, step in places:
        monitor.scalars(STAGES[stage], step, total=float(step))
        monitor.pictures(STAGES[stage], step, **without_labels())
    monitor.close()


@pytest.mark.parametrize("checkpoint", [(0, 0), (0, 1), (0, 2), (1, 1)])
def test_a_resumed_run_leaves_what_a_straight_one_does(
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


def test_rewinding_removes_pictures_of_steps_to_come(tmp_path: Path) -> None:
    run(tmp_path, [(0, 1), (0, 2), (1, 1)])
    Monitor(tmp_path, STAGES).rewind(STAGES[0], 1)
    assert [path.name for path, *_ in list_pictures(tmp_path)] == ["0 fusion_000001.jpg"]


def test_rewinding_keeps_the_time_of_earlier_events(tmp_path: Path) -> None:
    line = {"stage": STAGES[0], "step": 1, "time": 1_600_000_000.5, "total": 1.0}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n")
    monitor = Monitor(tmp_path, STAGES)
    monitor.pictures(STAGES[0], 1, **without_labels())
    os.utime(tmp_path / "pictures/0 fusion_000001.jpg", (line["time"], line["time"]))
    monitor.rewind(STAGES[0], 1)
    events = board(tmp_path)
    assert events.Scalars("0 fusion/total")[0].wall_time == line["time"]
    assert events.Images("0 fusion/pictures")[0].wall_time == line["time"]


def test_rewinding_mends_a_line_cut_short(monitor: Monitor, tmp_path: Path) -> None:
    monitor.scalars(STAGES[0], 1, total=1.0)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": "0 fusion", "st')
    monitor.rewind(STAGES[0], 1)
    monitor.scalars(STAGES[0], 2, total=1.0)
    assert log_places(tmp_path) == [(STAGES[0], 1), (STAGES[0], 2)]


def test_rewinding_leaves_other_stages_and_files_alone(tmp_path: Path) -> None:
    run(tmp_path, [(0, 1)])
    (tmp_path / "tensorboard/notes.txt").touch()
    other = Monitor(tmp_path, ["joint"])
    other.rewind("joint", 0)
    assert log_places(tmp_path) == [(STAGES[0], 1)]
    assert (tmp_path / "tensorboard/notes.txt").exists()


# A full disk


# The traceback of TensorBoard's own thread.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_is_warned_of_once_and_spares_the_run(
    monitor: Monitor, tmp_path: Path, caplog
) -> None:
    monitor.scalars(STAGES[0], 1, total=1.0)
    with full_disk(600):
        for step in range(2, 12):
            monitor.scalars(STAGES[0], step, total=1.0)
            monitor.pictures(STAGES[0], step, **batch())
    warned = [record.args[0].name for record in caplog.records if record.levelname == "WARNING"]  # type: ignore[union-attr,index]
    assert sorted(warned) == ["log.jsonl", "pictures", "tensorboard"]
    monitor.scalars(STAGES[0], 12, total=1.0)
    monitor.scalars(STAGES[0], 13, total=1.0)
    places = log_places(tmp_path)
    assert places[:2] == [(STAGES[0], 1), (STAGES[0], 2)] and places[-1] == (STAGES[0], 13)


def test_what_cannot_be_opened_spares_the_run(tmp_path: Path, caplog) -> None:
    for name in ("tensorboard", "pictures"):
        (tmp_path / name).touch()  # a file where a folder should be
    run(tmp_path, [(0, 1), (0, 2)])
    assert log_places(tmp_path) == [(STAGES[0], 1), (STAGES[0], 2)]
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 2


# The summary


class Page(HTMLParser):
    """Tags, addresses and the visible text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs
                           if key in ("src", "href", "xlink:href", "srcset", "data")]  # fmt: skip

    def handle_data(self, data: str) -> None:
        self.text += data


FACTS = {
    "config": {"seed": 3, "init": "<script>alert(1)</script>", "stages": [{"name": "fusion"}]},
    "machine": "two & a half cores",
    "steps/s": 4.1234567,
    "health": ["14 of 16 classes are live", "entropy < 0.5"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of two stages, with a value that is no number."""
    out = tmp_path_factory.mktemp("runs") / "mine & yours"
    monitor = Monitor(out, STAGES)
    for step in range(1, 21):
        monitor.scalars(STAGES[0], step, total=1 / step, learning_rate=1e-3)
    for step in range(1, 21):
        entropy = math.nan if step == 7 else 0.8
        monitor.scalars(STAGES[1], step, total=-1 / step, entropy=entropy)
    monitor.pictures(STAGES[0], 9, **without_labels())
    monitor.pictures(STAGES[0], 20, **without_labels())
    monitor.pictures(STAGES[1], 20, **batch())
    monitor.close()
    (out / "model.safetensors").touch()
    return write_summary(out, FACTS)


def test_the_summary_is_self_contained(finished: Path) -> None:
    page = Page(finished)
    assert finished.name == "summary.html"
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    style = finished.read_text()
    assert "@import" not in style and "url(http" not in style


def test_the_summary_tells_the_facts_escaped(finished: Path) -> None:
    text = Page(finished).text
    for expected in ("seed: 3", "<script>alert(1)</script>", "two & a half cores", "4.12346"):
        assert expected in text
    assert "Training run mine & yours" in text


def test_the_summary_gives_the_verdicts(finished: Path, tmp_path: Path) -> None:
    assert "14 of 16 classes are live" in Page(finished).text
    assert "entropy < 0.5" in Page(finished).text
    assert "Nothing conspicuous" in Page(write_summary(tmp_path, {"health": []})).text
    assert "Health" not in Page(write_summary(tmp_path, {})).text


def charts_of(page: Path) -> dict[str, str]:
    """The figures of a page that are drawn, by caption."""
    figure = re.compile(r"<figure>\n<figcaption>(.*?)</figcaption>(.*?)</figure>", re.DOTALL)
    figures = figure.findall(page.read_text())
    return {caption: figure for caption, figure in figures if "<svg" in figure}


def span(chart: str, colour: str) -> tuple[float, float]:
    """From where to where the curve of a colour goes, in units of the drawing."""
    (path,) = re.findall(rf'<path d="([^"]*)"[^>]*stroke: {colour}', chart)
    x = [float(point) for point in re.findall(r"[ML] ([\d.]+) ", path)]
    return x[0], x[-1]


def test_the_summary_has_a_chart_a_scalar_and_a_colour_a_stage(finished: Path) -> None:
    charts = charts_of(finished)
    assert list(charts) == ["total", "learning_rate", "entropy"]
    assert all(colour in charts["total"] for colour in STAGE_COLOURS[:2])
    assert STAGE_COLOURS[0] not in charts["entropy"]
    assert "1 not finite, first in 1 consistency, step 7" in charts["entropy"]
    assert "currentColor" in charts["total"], "labels in the colour of the page's text"


def test_a_stage_begins_where_the_one_before_it_ended(finished: Path) -> None:
    charts = charts_of(finished)
    (start, middle), (joint, end) = (span(charts["total"], c) for c in STAGE_COLOURS[:2])
    assert start < middle < joint < end
    assert joint - middle == pytest.approx((middle - start) / 19, rel=0.05), "a step apart"
    assert span(charts["entropy"], STAGE_COLOURS[1])[0] > (start + end) / 2.2, "one x axis"


def test_the_summary_shows_the_last_picture_of_each_stage(finished: Path) -> None:
    page = Page(finished)
    assert page.tags.count("img") == 2
    assert "0 fusion, step 20" in page.text and "1 consistency, step 20" in page.text


def test_the_summary_says_how_to_go_on(finished: Path, tmp_path: Path) -> None:
    text = Page(finished).text
    model = finished.parent / "model.safetensors"
    assert f"ssvif name '{model}' PAIRS --labels LABELS" in text, "quoted for a shell"
    named = model.with_name("named.safetensors")
    assert f"ssvif export '{named}' '{model.with_suffix('.onnx')}' --check PAIRS" in text
    assert "not finished" in Page(write_summary(tmp_path, {})).text


def test_colours_of_curves_are_readable_on_both_backgrounds(finished: Path) -> None:
    def luminance(colour: str) -> float:
        srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for background in ("#ffffff", "#14171a"):
        assert f"--back: {background}" in finished.read_text()
        for colour in STAGE_COLOURS:
            low, high = sorted((luminance(background), luminance(colour)))
            assert (high + 0.05) / (low + 0.05) >= 3, f"{colour} on {background}"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "log",
    [
        None,
        "",
        '{"stage": "0 fusion", "step": 0, "total": 1.0}\n',
        '{"stage": "0 fusion", "step": 1, "total": NaN, "ssim": -Infinity}\n',
        '{"stage": "0 fusion", "step": 1, "total": 1.0}\n{"stage": "0 fusion", "step": 2, "to',
        '{"stage": "0 fusion", "step": 1, "total": "much", "other": null}\nnull\n3\n',
    ],
    ids=["no log", "empty", "one line", "not finite", "cut short", "no numbers"],
)
def test_a_summary_is_made_of_any_log(tmp_path: Path, log: str | None) -> None:
    if log is not None:
        (tmp_path / "log.jsonl").write_text(log)
    page = Page(write_summary(tmp_path, {}))
    assert ("Nothing logged yet" in page.text) == (not log or "much" in log)
    assert "img" not in page.tags


def test_a_damaged_picture_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/0 fusion_000001.jpg").write_bytes(b"\xff\xd8")
    assert "img" not in Page(write_summary(tmp_path, {})).tags


def test_a_summary_of_a_long_run_stays_small(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with (tmp_path / "log.jsonl").open("w") as file:
        for step in range(10 * POINTS):
            values = {f"scalar_{index}": random.normal() for index in range(6)}
            file.write(json.dumps({"stage": "joint", "step": step, **values}) + "\n")
    (tmp_path / "pictures").mkdir()
    noise = random.integers(0, 256, (2500, 2600, 3), dtype=np.uint8)
    for stage in ("joint", "last"):
        cv2.imwrite(str(tmp_path / f"pictures/{stage}_000001.jpg"), noise)
    page = write_summary(tmp_path, {})
    assert Page(page).tags.count("img") == 2
    assert page.stat().st_size < 5_000_000


@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_the_summary_without_complaint(
    finished: Path, tmp_path: Path, width: int
) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    # A frame, since a window cannot be as narrow as a phone.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe src="{finished.as_uri()}" style="width:{width}px;height:1500px"></iframe>'
        "<script>onload = () => { const page = frames[0].document.documentElement;"
        'console.log("overflows by", page.scrollWidth - page.clientWidth, "px") }</script>'
    )
    picture = tmp_path / "page.png"
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width + 30},1550",
        f"--screenshot={picture}", "--enable-logging=stderr", frame.as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    console = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
    assert len(console) == 1 and "overflows by 0 px" in console[0], shown.stderr
    pixels = cv2.imread(str(picture))
    assert pixels.shape[1] >= width and pixels.std() > 5, "blank"
