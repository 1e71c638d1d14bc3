"""The report of an evaluation, as a file and in a real browser."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssvif_core.evaluation import report
from ssvif_core.evaluation.report import shown_pairs, write_report
from ssvif_core.evaluation.results import (
    Evaluation,
    MethodSummary,
    PairScores,
    RobotRun,
    Segmentation,
    WorstCase,
)
from ssvif_core.metrics import Interval, SegmentationScores

METRICS = ("EN", "VIF", "Nabf")
OTHER = "<img src=x onerror=alert(1)>"
METHODS = ("ours", OTHER, "__proto__")
PAIRS = (
    "</script><script>alert(1)</script>",
    "a \"quoted\" & 'single' <b>name</b>",
    "ночь/№ 7#?%20&amp;",
    "{{ 7 * 7 }} <!-- \\u003c ]]>",
    "plain",
)
RED, GREY, GREEN, BLUE = (0, 0, 200), (120, 120, 120), (0, 200, 0), (200, 0, 0)


def webp(colour: tuple[int, int, int], marked: bool = False) -> bytes:
    """A picture of one colour, 160x120; the mark is a blue square around (0.75, 0.5)."""
    image = np.full((120, 160, 3), colour, np.uint8)
    if marked:
        image[55:65, 115:125] = BLUE
    return cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()


def interval(value: float) -> Interval:
    return Interval(value, value - 0.1, value + 0.1, 0.95)


def method(number: int, name: str) -> MethodSummary:
    means = {metric: interval(0.5 + number / 10) for metric in METRICS}
    means |= {
        "person_contrast": interval(0.7),
        "person_contrast_p10": interval(0.2),
        "flicker": interval(1.5),
    }
    ranks = {metric: float(number + 1) for metric in METRICS}
    return MethodSummary(name, means, ranks, interval(number + 1.0), persons=12)


def row(pair: int, number: int) -> PairScores:
    """Scores in no order, one of them NaN."""
    scores = {metric: (pair * 7 + number * 3 + 2) % 11 / 10 for metric in METRICS}
    if (pair, number) == (1, 1):
        scores["VIF"] = math.nan
    if pair:
        scores["flicker"] = 1.0 + pair
    return PairScores(PAIRS[pair], "folder", METHODS[number], scores, (0.5, 0.25) * (pair % 2))


def pictures(pair: int) -> dict[str, bytes]:
    """Visible is red and darker from pair to pair, thermal is grey, ours is green with a mark."""
    red = (0, 0, 200 - 30 * pair)
    return {
        "visible": webp(red), "thermal": webp(GREY), "ours": webp(GREEN, marked=True),
        OTHER: webp((0, 200, 200)), "__proto__": webp((200, 0, 200)),
        "overlay": webp((200, 200, 0)),
    }  # fmt: skip


RUN = RobotRun(
    bag="night & <i>drive</i>", rate=1.0, engine="openvino", pairs=90, fused=80,
    dropped={"late": 8, "no <partner>": 2, "never": 0}, stamp_differences=(1.0, 3.0, 9.0),
    latencies=(*(40.0 + n % 10 for n in range(79)), 900.0),
    frames_per_second=29.25, cpu=1.5, memory_mb=(400.0, 420.0),
    timeline=tuple((n / 30, None if n % 9 == 0 else 40.0 + n % 10) for n in range(90)),
    causes=((0.0, {}), (1.0, {"late": 4}), (2.0, {"late": 8, "no <partner>": 2})),
)  # fmt: skip


def evaluation() -> Evaluation:
    scores = SegmentationScores(np.array([0.9, math.nan]), 0.9, 0.95, np.array([10, 0]))
    return Evaluation(
        methods=tuple(method(number, name) for number, name in enumerate(METHODS)),
        metrics=METRICS,
        pairs=PAIRS,
        rows=tuple(row(pair, number) for pair in range(5) for number in range(3)),
        worst=(
            WorstCase(PAIRS[2], OTHER, "VIF", 0.1),
            WorstCase(PAIRS[4], "ours", "person_contrast", 0.2),
        ),
        segmentation={"ours": Segmentation(("background", "tram <1>"), scores, 7)},
        facts={"inputs": "five <pairs>", "machine": "two & a half cores"},
        problems=("broken.png: <cannot> be read",),
        robot=(RUN,),
        pictures={PAIRS[pair]: pictures(pair) for pair in range(4)},
    )


EMPTY = Evaluation((), METRICS, (), (), (), {}, {})


class Page(HTMLParser):
    """Text of a page, its addresses, and its blocks of data by id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.addresses: list[str] = []
        self.blocks: dict[str, str] = {}
        self._block: str | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        keys = ("src", "href", "xlink:href", "srcset")
        self.addresses += [values[key] or "" for key in keys if key in values]
        self._block = values.get("id") if values.get("type") == "application/json" else None

    def handle_endtag(self, tag: str) -> None:
        self._block = None

    def handle_data(self, data: str) -> None:
        if self._block:
            self.blocks[self._block] = self.blocks.get(self._block, "") + data
        else:
            self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "mine & <yours>" / "report.html"
    path.parent.mkdir()
    write_report(path, evaluation())
    return path


# --- the file


@pytest.mark.slow
def test_a_report_needs_neither_torch_nor_ros() -> None:
    code = (
        "import sys, ssvif_core.page, ssvif_core.evaluation.report\n"
        "print(sorted({'torch', 'rclpy', 'openvino'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_the_report_is_self_contained(written: Path) -> None:
    assert all(address.startswith(("data:", "#")) for address in Page(written).addresses)
    style = written.read_text()
    assert "@import" not in style and "url(" not in style.replace("url(#", "")
    assert "default-src 'none'" in style, "the browser must block network access"


def test_the_report_shows_the_content_of_the_evaluation(written: Path) -> None:
    text = Page(written).text
    for expected in (
        "Evaluation mine & <yours>", "five <pairs>", "two & a half cores",
        "broken.png: <cannot> be read", "tram <1>", "7 masks", *PAIRS, *METHODS,
        "night & <i>drive</i>", "80 (88.9%)", "8 late, 2 no <partner>", "29.2 frames/s",
        "1.50 cores", "median 3.0 ms, largest 9.0 ms", "p50 44.5 ms", "400 MB at the start",
        "1 not shown, up to 900 ms", "it has no pictures of 1 of 5 pairs",
    ):  # fmt: skip
        assert expected in text, expected
    assert "0 never" not in text, "a cause without lost pairs"


def test_sections_are_in_order(written: Path) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", written.read_text())
    assert headings == [
        "Left out", "Viewer", "Summary", "Segmentation", "Plots",
        "Runs through the node", "Worst cases", "Pairs",
    ]  # fmt: skip


def test_pictures_are_blocks_of_valid_json(written: Path) -> None:
    blocks = {name: json.loads(text) for name, text in Page(written).blocks.items()}
    assert list(blocks) == [f"pictures-{index}" for index in range(4)], (
        "the last pair has no pictures"
    )
    assert all(len(block) == 6 and all(block) for block in blocks.values())


def test_missing_figures_are_dashes(written: Path) -> None:
    html = written.read_text()
    assert "nan" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL).lower()
    assert re.search(r"tram &lt;1&gt;</th><td[^>]*>–</td>", html)


def test_drawings_use_the_colour_of_the_page(written: Path) -> None:
    drawings = re.findall(r"<svg xmlns.*?</svg>", written.read_text(), re.DOTALL)
    assert len(drawings) == len(METRICS) + 2 + 2, (
        "metrics, person contrast and flicker; latency, timeline"
    )
    assert all("currentColor" in drawing for drawing in drawings)
    ids = re.findall(r'<(?:clipPath|path) id="([^"]*)"', "".join(drawings))
    assert len(ids) == len(set(ids)), "ids must be unique in the page"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "content",
    [
        EMPTY,
        replace(EMPTY, robot=(replace(RUN, fused=0, latencies=(), timeline=((0.0, None),)),)),
        replace(EMPTY, robot=(replace(RUN, pairs=0, timeline=(), causes=()),)),
        replace(
            evaluation(), methods=(MethodSummary("ours", {"EN": interval(7)}, {}, None),),
            rows=tuple(row(pair, 0) for pair in range(5)), worst=(), pictures={},
        ),
    ],
    ids=["nothing", "no pair fused", "no pair at all", "one method, no pictures"],
)  # fmt: skip
def test_an_almost_empty_evaluation_gives_a_report(content: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, content)
    assert 'class="figure best"' not in path.read_text(), "a single method has no best figure"


def test_too_many_pictures_are_reduced_to_worst_cases_and_an_even_spread(monkeypatch) -> None:
    pairs = tuple(f"{index:03d}" for index in range(100))
    worst = tuple(WorstCase(pair, "ours", "VIF", 0.1) for pair in ("050", "051", "051", "gone"))
    content = replace(EMPTY, pairs=pairs, worst=worst,
                    pictures={pair: {"visible": b"x" * 300} for pair in pairs})  # fmt: skip
    assert shown_pairs(content) == list(pairs), "all pictures fit"
    monkeypatch.setattr(report, "PICTURE_CHARACTERS", 12 * 400 + 399)
    shown = [int(pair) for pair in shown_pairs(content)]
    assert len(shown) == 12 and shown == sorted(shown) and {50, 51} < set(shown)
    others = [index for index in shown if index not in (50, 51)]
    assert others[0] == 0 and others[-1] == 99 and np.diff(others).max() <= 13
    monkeypatch.setattr(report, "PICTURE_CHARACTERS", 400)
    assert shown_pairs(content) == ["050"]


# --- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not on PATH; `apt-get install chromium` brings it")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file. Fails the test if the page logs a message or loads another address."""
    contexts, messages, requested, allowed = [], [], [], ["data:"]

    def show(path: Path, width: int = 700, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 700}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: messages.append(dialog.message))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(path.as_uri())
        allowed.append(path.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert messages == []
    assert [address for address in requested if not address.startswith(tuple(allowed))] == []


def screenshot(page: Any) -> np.ndarray:
    """The picture of the stage, (h, w, 3) BGR, after its pictures are decoded."""
    page.evaluate(
        "Promise.all([...document.querySelectorAll('#stage img:not([hidden])')]"
        ".map((image) => image.decode()))"
    )
    (left, top), (right, bottom) = point(page, 0, 0), point(page, 1, 1)
    png = page.screenshot(clip={"x": left, "y": top, "width": right - left, "height": bottom - top})
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def is_at(picture: np.ndarray, x: float, y: float, colour: tuple[int, int, int]) -> bool:
    height, width = picture.shape[:2]
    pixel = picture[int(y * height), int(x * width)].astype(int)
    return bool(np.abs(pixel - colour).max() <= 6)


def blue(picture: np.ndarray) -> np.ndarray:
    """Mask of the square that marks our image."""
    return np.abs(picture.astype(int) - BLUE).max(2) <= 20


def point(page: Any, x: float, y: float) -> tuple[float, float]:
    """Window coordinates of a point of the stage, given in shares of its size."""
    left, top, width, height = page.evaluate(
        "() => { find('stage').scrollIntoView({ block: 'nearest' });"
        " const box = find('stage').getBoundingClientRect();"
        " return [box.left, box.top, box.width, box.height]; }"
    )
    return left + x * width, top + y * height


def column(page: Any, table: str, number: int) -> list[str]:
    return page.evaluate(
        "([table, n]) => [...document.querySelector(table).tBodies[0].rows]"
        ".map((row) => row.cells[n].firstChild.textContent)",
        [table, number],
    )


def test_the_viewer_starts_with_visible_and_ours(show, written: Path) -> None:
    page = show(written)
    assert page.locator("#pair").input_value() == PAIRS[0]
    assert page.locator("#left-tag").inner_text() == "visible"
    picture = screenshot(page)
    assert is_at(picture, 0.25, 0.25, RED) and is_at(picture, 0.6, 0.25, GREEN)
    assert abs(picture.shape[1] / picture.shape[0] - 160 / 120) < 0.02, (
        "the aspect ratio of the picture"
    )


def test_the_divider_follows_mouse_and_keys(show, written: Path) -> None:
    page = show(written)
    page.mouse.move(*point(page, 0.5, 0.3))
    page.mouse.down()
    page.mouse.move(*point(page, 0.2, 0.3), steps=4)
    page.mouse.up()
    assert is_at(screenshot(page), 0.3, 0.25, GREEN), "was red"
    slider = page.locator("#slider")
    assert float(slider.input_value()) == pytest.approx(20, abs=1)
    slider.press("End")
    assert is_at(screenshot(page), 0.75, 0.25, RED)
    slider.press("Home")
    assert is_at(screenshot(page), 0.05, 0.25, GREEN)


def test_the_divider_follows_a_finger_and_two_fingers_zoom(show, written: Path) -> None:
    page = show(written, 375, has_touch=True)
    touch = page.context.new_cdp_session(page)

    def send(event: str, *points: tuple[float, float]) -> None:
        positions = [point(page, *share) for share in points]
        fingers = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(positions)]
        touch.send("Input.dispatchTouchEvent", {"type": event, "touchPoints": fingers})

    send("touchStart", (0.5, 0.3))
    for x in (0.4, 0.3, 0.2):
        send("touchMove", (x, 0.3))
    send("touchEnd")
    assert float(page.locator("#slider").input_value()) == pytest.approx(20, abs=1)
    before = blue(screenshot(page)).sum()
    send("touchStart", (0.65, 0.5), (0.85, 0.5))
    send("touchMove", (0.55, 0.5), (0.95, 0.5))
    send("touchEnd")
    assert blue(screenshot(page)).sum() > 2.5 * before
    middle = point(page, 0.5, 0.5)
    page.touchscreen.tap(*middle)
    page.touchscreen.tap(*middle)
    assert page.locator("#out").is_disabled(), "a double tap resets the zoom"


def test_either_side_shows_any_picture(show, written: Path) -> None:
    page = show(written)
    options = ["visible", "thermal", *METHODS, "overlay"]
    assert page.locator("#left option").all_inner_texts() == options
    page.locator("#left").select_option("thermal")
    page.locator("#right").select_option("overlay")
    picture = screenshot(page)
    assert is_at(picture, 0.25, 0.25, GREY) and is_at(picture, 0.6, 0.25, (200, 200, 0))
    page.locator("#right").select_option("__proto__")
    assert is_at(screenshot(page), 0.6, 0.25, (200, 0, 200))


def test_buttons_and_keys_change_the_pair(show, written: Path) -> None:
    page = show(written)
    assert page.locator("#previous").is_disabled()
    page.locator("#next").click()
    assert page.locator("#pair").input_value() == PAIRS[1]
    assert is_at(screenshot(page), 0.25, 0.25, (0, 0, 170))
    page.keyboard.press("ArrowRight")
    assert is_at(screenshot(page), 0.25, 0.25, (0, 0, 140))
    page.keyboard.press("ArrowLeft")
    page.locator("#previous").click()
    assert page.locator("#pair").input_value() == PAIRS[0]
    page.locator("#pair").select_option(index=4)
    assert page.locator("#next").is_disabled()
    assert page.locator("#stage p:visible").all_inner_texts() == ["no picture"] * 2


def test_the_viewer_shows_the_scores_of_the_pair(show, written: Path) -> None:
    page = show(written)
    page.locator("#pairs thead button").nth(2).click()  # the viewer keeps the order of methods
    page.locator("#next").click()
    scores = page.locator("#scores")
    assert scores.locator("tbody td:first-child").all_inner_texts() == list(METHODS)
    heads = [text.split()[0] for text in scores.locator("th").all_inner_texts()]
    assert heads == ["method", "EN", "VIF", "Nabf", "least", "flicker"]
    values = scores.locator("tbody tr").nth(1).locator("td").all_inner_texts()
    assert values == [OTHER, "0.1000", "–", "0.1000", "0.2500", "2.000"]


@pytest.mark.slow
def test_wheel_buttons_and_double_click_zoom_both_sides(show, written: Path) -> None:
    page = show(written)
    whole = blue(screenshot(page)).sum()
    assert whole > 100
    page.mouse.move(*point(page, 0.75, 0.5))
    page.mouse.wheel(0, -100)
    page.wait_for_selector("#stage.zoomed")
    zoomed = blue(screenshot(page))
    assert zoomed.sum() > 1.5 * whole
    x = np.nonzero(zoomed)[1].mean() / zoomed.shape[1]
    assert x == pytest.approx(0.75, abs=0.02), "the point under the pointer is fixed"
    left, right = page.locator("#stage img").evaluate_all(
        "images => images.map((image) => getComputedStyle(image).transform)"
    )
    assert left == right != "none"
    page.locator("#out").click()
    assert blue(screenshot(page)).sum() == pytest.approx(whole, rel=0.05)
    page.locator("#in").click()
    assert blue(screenshot(page)).sum() == pytest.approx(1.5**2 * whole, rel=0.1)
    page.mouse.dblclick(*point(page, 0.75, 0.5))
    assert page.locator("#out").is_disabled()
    page.mouse.dblclick(*point(page, 0.75, 0.5))
    assert blue(screenshot(page)).sum() > 6 * whole
    page.locator("#stage").press("0")
    assert blue(screenshot(page)).sum() == pytest.approx(whole, rel=0.05)


def test_dragging_pans_a_zoomed_picture(show, written: Path) -> None:
    page = show(written)
    page.mouse.dblclick(*point(page, 0.75, 0.5))
    before = np.nonzero(blue(screenshot(page)))
    page.mouse.move(*point(page, 0.75, 0.3))
    page.mouse.down()
    page.mouse.move(*point(page, 0.85, 0.4), steps=4)
    page.mouse.up()
    picture = blue(screenshot(page))
    moved = [new.mean() - old.mean() for new, old in zip(np.nonzero(picture), before, strict=True)]
    assert moved == pytest.approx([0.1 * side for side in picture.shape], abs=4)
    assert page.locator("#slider").input_value() == "50", "the divider does not move"


def test_the_wheel_scrolls_the_page_if_the_picture_is_not_zoomed(show, written: Path) -> None:
    page = show(written)
    page.mouse.move(*point(page, 0.5, 0.5))
    page.evaluate("scrollTo(0, 0)")
    page.mouse.wheel(0, 200)
    page.evaluate("scrollY || new Promise((done) => addEventListener('scroll', done))")
    assert page.locator("#out").is_disabled()


def test_headings_sort_best_first_and_then_worst_first(show, written: Path) -> None:
    page = show(written)
    for number, lower in ((2, False), (3, False), (4, True)):
        heading = page.locator("#pairs thead th").nth(number)
        for order in ("ascending", "descending") if lower else ("descending", "ascending"):
            heading.locator("button").press("Enter")
            assert heading.get_attribute("aria-sort") == order
            values = column(page, "#pairs", number)
            figures = [float(value) for value in values if value != "–"]
            assert figures == sorted(figures, reverse=order == "descending")
            assert len(set(figures)) > 3 and "–" not in values[: len(figures)]
    assert page.locator("#pairs th[aria-sort]").count() == 1
    page.locator("#pairs thead button").nth(0).click()
    names = column(page, "#pairs", 0)
    assert sorted(names, key=names.index) == names and len(set(names)) == 5
    assert all(len(set(names[i : i + 3])) == 1 for i in range(0, 15, 3)), "methods stay together"


def test_the_summary_marks_the_best_method(show, written: Path) -> None:
    page = show(written)
    table = page.locator("#summary")
    heads = table.locator("thead th").all_inner_texts()
    assert heads == [
        "method", "average rank ↓", "EN ↑", "VIF ↑", "Nabf ↓", "person contrast kept ↑",
        "person contrast kept, p10 ↑", "flicker ↓", "persons",
    ]  # fmt: skip
    best = {head: table.locator(f"tbody tr td:nth-child({n + 1}).best").count()
            for n, head in enumerate(heads)}  # fmt: skip
    assert best["EN ↑"] == best["Nabf ↓"] == 1 and best["person contrast kept ↑"] == 3, (
        "all methods are equal"
    )
    cells = table.locator("tbody tr").first.locator("td").all_inner_texts()
    assert cells[0].split("\n") == ["1.000", "0.900 to 1.100"]
    assert cells[1].split("\n") == ["0.5000", "0.4000 to 0.6000", "rank 1"]
    table.locator("thead button").nth(2).click()
    assert column(page, "#summary", 0) == list(METHODS)[::-1]


def test_a_worst_case_links_to_its_pair(show, written: Path) -> None:
    page = show(written)
    page.locator("#worst a").first.click()
    assert page.locator("#pair").input_value() == PAIRS[2]
    assert page.locator("#right").input_value() == OTHER
    assert page.locator("#viewer").bounding_box()["y"] == pytest.approx(0, abs=2), (
        "the viewer is in view"
    )
    assert is_at(screenshot(page), 0.25, 0.25, (0, 0, 140))
    page.keyboard.press("ArrowRight")
    assert page.locator("#pair").input_value() == f"{PAIRS[3]}", "keys continue from this pair"
    page.locator("#pairs tbody a").nth(3).click()
    assert page.locator("#pair").input_value() == PAIRS[1]


def test_names_with_markup_are_shown_as_text(show, written: Path) -> None:
    page = show(written)
    options = page.locator("#pair option").all_text_contents()
    assert options == [*PAIRS[:4], f"{PAIRS[4]} (no pictures)"]
    assert page.locator("#pairs tbody a").all_inner_texts()[::3] == list(PAIRS)
    assert page.locator("img[onerror], .wide b, .wide i").count() == 0
    assert page.locator("#stage img").count() == page.locator("img").count() == 2


def test_the_dark_page_is_dark_and_readable(show, written: Path) -> None:
    def luma(selector: str, name: str) -> float:
        text = page.locator(selector).first.evaluate(f"e => getComputedStyle(e)['{name}']")
        return float(np.mean([float(part) for part in re.findall(r"[\d.]+", text)[:3]]))

    page = show(written, color_scheme="light")
    assert luma("body", "backgroundColor") > 230 and luma("figure svg text", "fill") < 60
    page.emulate_media(color_scheme="dark")
    assert luma("body", "backgroundColor") < 40 and luma("figure svg text", "fill") > 200
    assert luma(".wide thead th", "backgroundColor") < 40


@pytest.mark.parametrize("width", [375, 1200])
def test_the_page_is_as_wide_as_the_screen(show, written: Path, tmp_path: Path, width: int) -> None:
    page = show(written, width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.querySelector('#stage').clientWidth") > 0.5 * width
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    picture = cv2.imread(str(tmp_path / "page.png"))
    assert picture.shape[1] == width and picture.std() > 5, "blank"


@pytest.mark.slow
def test_a_page_with_many_pairs_opens_fast(show, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (145, 195, 3), dtype=np.uint8)
    picture = cv2.imencode(".webp", noise, [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes()
    assert 18_000 < len(picture) < 25_000
    pairs = tuple(f"drive/{index:05d}" for index in range(200))
    sides = ("visible", "thermal", *METHODS, "overlay")
    many = replace(
        evaluation(),
        pairs=pairs,
        rows=tuple(
            replace(row(index % 5, number), pair=pair)
            for index, pair in enumerate(pairs) for number in range(3)
        ),
        worst=(WorstCase("drive/00123", "ours", "VIF", 0.1),),
        pictures={pair: dict.fromkeys(sides, picture) for pair in pairs},
    )  # fmt: skip
    path = tmp_path / "report.html"
    write_report(path, many)
    assert 20_000_000 < path.stat().st_size < 40_000_000
    times = []
    while len(times) < 4 and min(times, default=math.inf) > 3000:  # the machine may be busy
        page = show(path)
        times.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
    assert min(times) < 3000, f"ms: {times}"
    print(f"{path.stat().st_size / 1e6:.1f} MB open in {min(times):.0f} ms")
    page.locator("#worst a").click()
    assert page.locator("#pair").input_value() == "drive/00123"
    assert screenshot(page).std() > 20
