"""The summary page of a training run."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import picture_batch, picture_batch_without_labels

from ssvif_core.page import COLOURS as STAGE_COLOURS
from ssvif_core.training.monitor import Monitor
from ssvif_core.training.summary import POINTS, write_summary

STAGES = ["0 fusion", "1 consistency"]


class Page(HTMLParser):
    """The tags, the addresses and the visible text of a page."""

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
def finished_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with two stages and one value that is not a number."""
    out = tmp_path_factory.mktemp("runs") / "mine & yours"
    monitor = Monitor(out, STAGES)
    for step in range(1, 21):
        monitor.scalars(STAGES[0], step, total=1 / step, learning_rate=1e-3)
    for step in range(1, 21):
        entropy = math.nan if step == 7 else 0.8
        monitor.scalars(STAGES[1], step, total=-1 / step, entropy=entropy)
    monitor.pictures(STAGES[0], 9, **picture_batch_without_labels())
    monitor.pictures(STAGES[0], 20, **picture_batch_without_labels())
    monitor.pictures(STAGES[1], 20, **picture_batch())
    monitor.close()
    (out / "model.safetensors").touch()
    return write_summary(out, FACTS)


def test_the_summary_is_self_contained(finished_page: Path) -> None:
    page = Page(finished_page)
    assert finished_page.name == "summary.html"
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    style = finished_page.read_text()
    assert "@import" not in style and "url(http" not in style


def test_the_summary_shows_the_facts_with_html_escaped(finished_page: Path) -> None:
    text = Page(finished_page).text
    for expected in ("seed: 3", "<script>alert(1)</script>", "two & a half cores", "4.12346"):
        assert expected in text
    assert "Training run mine & yours" in text


def test_the_summary_shows_the_verdicts(finished_page: Path, tmp_path: Path) -> None:
    assert "14 of 16 classes are live" in Page(finished_page).text
    assert "entropy < 0.5" in Page(finished_page).text
    assert "No problems found" in Page(write_summary(tmp_path, {"health": []})).text
    assert "Health" not in Page(write_summary(tmp_path, {})).text


def charts_of(page: Path) -> dict[str, str]:
    """The charts of a page, by caption."""
    figure = re.compile(r"<figure>\n<figcaption>(.*?)</figcaption>(.*?)</figure>", re.DOTALL)
    figures = figure.findall(page.read_text())
    return {caption: figure for caption, figure in figures if "<svg" in figure}


def span(chart: str, colour: str) -> tuple[float, float]:
    """First and last x of the curve with a colour, in units of the drawing."""
    (path,) = re.findall(rf'<path d="([^"]*)"[^>]*stroke: {colour}', chart)
    x = [float(point) for point in re.findall(r"[ML] ([\d.]+) ", path)]
    return x[0], x[-1]


def test_the_summary_has_one_chart_per_scalar_and_one_colour_per_stage(finished_page: Path) -> None:
    charts = charts_of(finished_page)
    assert list(charts) == ["total", "learning_rate", "entropy"]
    assert all(colour in charts["total"] for colour in STAGE_COLOURS[:2])
    assert STAGE_COLOURS[0] not in charts["entropy"]
    assert "1 not finite, first in 1 consistency, step 7" in charts["entropy"]
    assert "currentColor" in charts["total"], "labels do not have the colour of the page's text"


def test_a_stage_starts_where_the_previous_stage_ended(finished_page: Path) -> None:
    charts = charts_of(finished_page)
    (start, middle), (second, end) = (span(charts["total"], colour) for colour in STAGE_COLOURS[:2])
    assert start < middle < second < end
    assert second - middle == pytest.approx((middle - start) / 19, rel=0.05), "one step apart"
    assert span(charts["entropy"], STAGE_COLOURS[1])[0] > (start + end) / 2.2, (
        "both charts have the same x axis"
    )


def test_the_summary_shows_the_last_picture_of_each_stage(finished_page: Path) -> None:
    page = Page(finished_page)
    assert page.tags.count("img") == 2
    assert "0 fusion, step 20" in page.text and "1 consistency, step 20" in page.text


def test_the_summary_shows_the_next_commands(finished_page: Path, tmp_path: Path) -> None:
    text = Page(finished_page).text
    model = finished_page.parent / "model.safetensors"
    assert f"ssvif name '{model}' PAIRS --labels LABELS" in text, "not quoted for a shell"
    named = model.with_name("named.safetensors")
    assert f"ssvif export '{named}' '{model.with_suffix('.onnx')}' --check PAIRS" in text
    assert "not finished" in Page(write_summary(tmp_path, {})).text


def test_colours_of_curves_have_contrast_on_both_backgrounds(finished_page: Path) -> None:
    def luminance(colour: str) -> float:
        srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for background in ("#ffffff", "#14171a"):
        assert f"--back: {background}" in finished_page.read_text()
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
def test_a_summary_can_be_written_from_any_log(tmp_path: Path, log: str | None) -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_the_summary_without_messages(
    finished_page: Path, tmp_path: Path, width: int
) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    # The page is in a frame, because a window cannot be as narrow as a phone.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe src="{finished_page.as_uri()}" style="width:{width}px;height:1500px"></iframe>'
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
