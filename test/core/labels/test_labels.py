"""Labels of labelling programs: every form gives the same mask, and damaged ones a sentence."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssvif_core.errors import InputError
from ssvif_core.labels import IGNORE, read_labels, unknown_classes
from ssvif_core.labels.prelabels import coco_text, labelme_text, outlines
from ssvif_core.recordings.sources import PairSource
from ssvif_core.types import UInt8Array

NAMES = ("background", "person", "car")
HEIGHT, WIDTH = 48, 64
# A car, and a person who stands before it; edges of pixels.
CAR = [(10, 20), (50, 20), (50, 40), (10, 40)]
PERSON = [(20, 10), (28, 10), (28, 44), (20, 44)]


def truth() -> UInt8Array:
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[20:40, 10:50] = 2
    ids[10:44, 20:28] = 1
    return ids


def source(name: str) -> PairSource:
    return PairSource(name, Path(f"vi/{name}.png"), Path(f"ir/{name}.png"))


def drawn(path: Path, name: str = "a", names: tuple[str, ...] = NAMES) -> UInt8Array:
    label = read_labels(path).find(source(name))
    assert label is not None
    return label.draw(names, HEIGHT, WIDTH)


def labelme(shapes: list[dict[str, Any]], height: int = HEIGHT, width: int = WIDTH) -> str:
    return json.dumps({"shapes": shapes, "imageHeight": height, "imageWidth": width})


def coco(annotations: list[dict[str, Any]], file_name: str = "a.png", **changes: Any) -> str:
    return json.dumps(
        {
            "images": [{"id": 7, "file_name": file_name, "height": HEIGHT, "width": WIDTH}],
            "categories": [{"id": 3, "name": "car"}, {"id": 5, "name": "person"}],
            "annotations": [{"image_id": 7, **each} for each in annotations],
            **changes,
        }
    )


def run_lengths(mask: UInt8Array) -> list[int]:
    """COCO's run lengths, written in the simplest way."""
    lengths, before = [0], 0
    for pixel in mask.T.ravel():
        if pixel != before:
            lengths.append(0)
            before = pixel
        lengths[-1] += 1
    return lengths


def as_text(lengths: list[int]) -> str:
    """COCO's text of run lengths, as cocoapi's maskApi.c describes it."""
    text = ""
    for index, value in enumerate(lengths):
        value -= lengths[index - 2] if index > 2 else 0
        while True:
            low, value = value & 0x1F, value >> 5
            is_last = (value == -1 and low & 0x10) or (value == 0 and not low & 0x10)
            text += chr(low + (0 if is_last else 0x20) + 48)
            if is_last:
                break
    return text


# --- each form


def write_ids(folder: Path) -> None:
    cv2.imwrite(str(folder / "a.png"), truth())


def write_palette(folder: Path) -> None:
    picture = Image.fromarray(truth(), "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.save(folder / "a.png")


def write_cvat_masks(folder: Path) -> None:
    (folder / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nperson:250,50,80::\ncar:1,2,3::\n"
    )
    colours = np.array([(0, 0, 0), (80, 50, 250), (3, 2, 1)], np.uint8)
    for name in ("SegmentationClass", "SegmentationObject"):
        (folder / name).mkdir()
        cv2.imwrite(str(folder / name / "a.png"), colours[truth()])


def write_labelme(folder: Path) -> None:
    shapes = [
        {"label": "Person", "shape_type": "polygon", "points": PERSON},
        {"label": "car", "shape_type": "polygon", "points": CAR},
    ]
    (folder / "a.json").write_text(labelme(shapes))
    cv2.imwrite(str(folder / "a.png"), np.full((HEIGHT, WIDTH, 3), 9, np.uint8))


def write_labelme_masks(folder: Path) -> None:
    shapes = []
    for label, ((left, top), _, (right, bottom), _) in (("person", PERSON), ("car", CAR)):
        png = cv2.imencode(".png", np.full((bottom - top, right - left), 255, np.uint8))[1]
        text = base64.b64encode(png.tobytes()).decode()
        points = [(left, top), (right, bottom)]
        shapes.append({"label": label, "shape_type": "mask", "points": points, "mask": text})
    (folder / "a.json").write_text(labelme(shapes))


def write_coco_polygons(folder: Path) -> None:
    flat = {3: [[value for point in CAR for value in point]],
            5: [[value for point in PERSON for value in point]]}  # fmt: skip
    annotations = [{"category_id": key, "segmentation": rings} for key, rings in flat.items()]
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_default.json").write_text(coco(annotations))


def write_coco_masks(folder: Path) -> None:
    """As Label Studio names the images that it was given."""
    annotations = []
    for key, class_id in ((5, 1), (3, 2)):
        lengths = run_lengths(truth() == class_id)
        counts = lengths if key == 5 else as_text(lengths)
        segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
        annotations.append({"category_id": key, "segmentation": segmentation})
    (folder / "result.json").write_text(coco(annotations, "images\\1f2e3d4c-a.png"))


def write_yolo_polygons(folder: Path) -> None:
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "images" / "train").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "train" / "b.jpg"), truth())
    (folder / "data.yaml").write_text("names:\n  0: car\n  1: person\n")
    lines = [
        " ".join([number, *(f"{x / WIDTH} {y / HEIGHT}" for x, y in points)])
        for number, points in (("0", CAR), ("1", PERSON))
    ]
    (folder / "labels" / "train" / "a.txt").write_text("\n".join(lines) + "\n")


def write_yolo_of_cvat(folder: Path) -> None:
    """With the images beside the labels, and lists of files."""
    data = folder / "obj_train_data"
    data.mkdir()
    (folder / "obj.names").write_text("person\ncar\n")
    (folder / "train.txt").write_text("data/obj_train_data/a.png\n")
    cv2.imwrite(str(data / "a.png"), np.full((HEIGHT, WIDTH, 3), 9, np.uint8))
    lines = [
        " ".join([number, *(f"{x / WIDTH} {y / HEIGHT}" for x, y in points)])
        for number, points in (("0", PERSON), ("1", CAR))
    ]
    (data / "a.txt").write_text("\n".join(lines))


FORMS = [
    write_ids, write_palette, write_cvat_masks, write_labelme, write_labelme_masks,
    write_coco_polygons, write_coco_masks, write_yolo_polygons, write_yolo_of_cvat,
]  # fmt: skip


@pytest.mark.parametrize("write", FORMS, ids=lambda write: write.__name__.removeprefix("write_"))
def test_every_form_gives_the_same_class_ids(write: Any, tmp_path: Path) -> None:
    write(tmp_path)
    ids = drawn(tmp_path)
    # A polygon's border may lie in the pixel beside it.
    border = cv2.dilate(truth(), np.ones((3, 3))) != cv2.erode(truth(), np.ones((3, 3)))
    assert (ids == truth())[~border].all()
    assert (ids != truth()).mean() < 0.04


def test_boxes_count_inside_and_are_ignored_at_their_borders(tmp_path: Path) -> None:
    """In all forms: the corners of a box show background."""
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "a.txt").write_text(f"0 {24 / WIDTH} {27 / HEIGHT} 0.125 {34 / HEIGHT}\n")
    (tmp_path / "labelme").mkdir()
    rectangle = {"label": "person", "shape_type": "rectangle", "points": [(28, 44), (20, 10)]}
    (tmp_path / "labelme" / "a.json").write_text(labelme([rectangle]))
    annotation = {"category_id": 5, "segmentation": [], "bbox": [20, 10, 8, 34]}
    (tmp_path / "coco.json").write_text(coco([annotation]))
    for path in (tmp_path / "yolo", tmp_path / "labelme", tmp_path / "coco.json"):
        ids = drawn(path)
        assert ids[27, 24] == 1 and ids[27, 21] == IGNORE and ids[12, 24] == IGNORE, path
        assert ids[27, 19] == 0 and ids[46, 24] == 0, path
        label = read_labels(path).find(source("a"))
        assert label is not None
        (box,) = label.boxes(NAMES, 2 * HEIGHT, 2 * WIDTH) or ()
        assert (box.class_id, box.left, box.top, box.right, box.bottom) == pytest.approx(
            (1, 40, 20, 56, 88)
        ), path


def test_labels_are_drawn_at_the_size_of_the_pair(tmp_path: Path) -> None:
    write_labelme(tmp_path)
    label = read_labels(tmp_path).find(source("a"))
    assert label is not None
    ids = label.draw(NAMES, 2 * HEIGHT, 2 * WIDTH)
    assert ids.shape == (96, 128) and ids[60, 30] == 2 and ids[60, 50] == 1


def test_a_hole_of_a_coco_polygon_is_a_hole(tmp_path: Path) -> None:
    rings = [[5, 5, 55, 5, 55, 45, 5, 45], [20, 20, 40, 20, 40, 30, 20, 30]]
    (tmp_path / "a.json").write_text(coco([{"category_id": 3, "segmentation": rings}]))
    ids = drawn(tmp_path / "a.json")
    assert ids[10, 10] == 2 and ids[25, 30] == 0


def test_an_image_without_shapes_is_background_and_ignore_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(labelme([]))
    shape = {"label": "__ignore__", "shape_type": "polygon", "points": CAR}
    (tmp_path / "b.json").write_text(labelme([shape]))
    assert (drawn(tmp_path) == 0).all()
    assert drawn(tmp_path, "b")[30, 30] == IGNORE


def test_a_class_without_a_name_is_ignored_and_told(tmp_path: Path) -> None:
    write_labelme(tmp_path)
    names = ("background", "person")
    assert drawn(tmp_path, names=names)[30, 40] == IGNORE
    labels = read_labels(tmp_path)
    assert unknown_classes(labels.by_name.values(), names) == ["car"]


def test_what_other_systems_leave_in_files_and_folders_does_not_matter(tmp_path: Path) -> None:
    """Windows' mark at the start of a text, macOS' files beside files, lines without area."""
    annotations = [{"category_id": 5, "segmentation": [[1, 2, 3, 4]], "bbox": [20, 10, 8, 34]}]
    (tmp_path / "coco.json").write_text("\ufeff" + coco(annotations))
    (tmp_path / "._coco.json").write_bytes(b"\x00\x05\x16\x07")
    assert drawn(tmp_path)[27, 24] == 1
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "a.txt").write_text("\ufeff0 0.5 0.5 0.5 0.5\r\n")
    assert drawn(tmp_path / "yolo")[24, 32] == 1


# --- names


def test_folders_before_a_name_do_not_matter_but_folders_of_pairs_do(tmp_path: Path) -> None:
    for name in ("train/day/1", "train/night/1", "2"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), truth())
    labels = read_labels(tmp_path)
    day, night, two = (labels.find(source(name)) for name in ("day/1", "night/1", "x/2"))
    assert day is not None and day.path == tmp_path / "train/day/1.png"
    assert night is not None and night.path == tmp_path / "train/night/1.png"
    assert two is not None and labels.find(source("1")) is None  # two would fit


def test_an_image_with_two_labels_is_refused(tmp_path: Path) -> None:
    write_labelme(tmp_path)
    (tmp_path / "coco.json").write_text(coco([]))
    with pytest.raises(InputError, match="a.json and .*coco.json both label a; give one"):
        read_labels(tmp_path)


# --- what is wrong


def polygon(points: Any) -> dict[str, Any]:
    return {"label": "car", "shape_type": "polygon", "points": points}


def with_counts(counts: Any, size: Any = (HEIGHT, WIDTH)) -> dict[str, Any]:
    return {"category_id": 3, "segmentation": {"size": list(size), "counts": counts}}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[" * 100_000, "not valid JSON"),
        ("a.json", "[1]", "a JSON list"),
        ("a.json", "{}", "no labels; expected JSON files of labelme or COCO"),
        ("a.json", labelme([{"points": CAR}]), "shape 1: no label"),
        ("a.json", labelme([polygon([(1, 2), (3, 4)])]), r"shape 1 \(car\): an outline of 2"),
        ("a.json", labelme([polygon([("x", 2)] * 3)]), "not pairs of numbers"),
        ("a.json", labelme([polygon([(1, 2), (3, 4), (5, float("nan"))])]), "far outside"),
        ("a.json", labelme([polygon([(1, 2), (3, 4), (5, 1e9)])]), "far outside"),
        ("a.json", labelme([{**polygon(CAR), "shape_type": "line"}]), "a line, which has no area"),
        ("a.json", labelme([{**polygon(CAR[:2]), "shape_type": "mask"}]), "not a readable PNG"),
        ("a.json", labelme([], 0), "64x0 pixels; expected sides of 1 to"),
        ("a.json", labelme([], 60_000, 60_000), "60000x60000 pixels; expected sides"),
        ("a.json", labelme([], 64, 48), "of 48x64 pixels; expected 64x48.*of other images"),
        ("c.json", coco([{"category_id": 9}]), "category_id 9, which no category has"),
        ("c.json", coco([], images=[{"id": 1, "file_name": "a.png"}]), "NonexNone pixels"),
        ("c.json", coco([{"category_id": 3}]), "neither a segmentation nor a bbox"),
        ("c.json", coco([{"category_id": 3, "bbox": [1, 2, 3, "4"]}]), "expected four numbers"),
        ("c.json", coco([with_counts([1, 2])]), "do not fill its 64x48"),
        ("c.json", coco([with_counts([-5, HEIGHT * WIDTH + 5])]), "do not fill its 64x48"),
        ("c.json", coco([with_counts("\x01")]), "cannot be read; is it damaged"),
        ("c.json", coco([with_counts("o")]), "cut off; is it damaged"),
        ("c.json", coco([with_counts([HEIGHT * WIDTH], (9, 9))]), r"size \[9, 9\]; expected"),
        ("a.txt", "1 0.5 0.5\n", "a.txt, line 1: '1 0.5 0.5'; expected `class x y width height`"),
        ("a.txt", "1 0.5 0.5 nan 0.1\n", "expected shares of the image"),
        ("a.txt", "1 10 20 30 40\n", "expected shares of the image"),
        ("a.png", "", "a.png: not a readable image"),
        ("readme.md", "", "no labels; expected JSON files of labelme or COCO"),
    ],
)
def test_an_error_says_what_is_wrong(file: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=message):
        drawn(tmp_path)


def test_labels_of_other_images_are_told_with_names_of_both(tmp_path: Path) -> None:
    write_labelme(tmp_path)
    labels, pairs = read_labels(tmp_path), [source("00012N"), source("00013N")]
    assert all(labels.find(pair) is None for pair in pairs)
    assert "such as 00012N, but the labels have names such as a" in labels.describe_none(pairs)


@given(data=st.binary(max_size=40))
@settings(max_examples=300)
def test_damaged_run_lengths_never_end_the_program(data: bytes, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("coco") / "coco.json"
    path.write_text(coco([with_counts(data.decode("latin-1"))]))
    try:
        assert drawn(path).shape == (HEIGHT, WIDTH)
    except InputError as error:
        assert str(path) in str(error)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30)
def test_run_lengths_of_any_mask_come_back(seed: int, tmp_path_factory: Any) -> None:
    random = np.random.default_rng(seed)
    mask = cv2.resize(random.integers(0, 2, (6, 8), np.uint8), (WIDTH, HEIGHT))
    path = tmp_path_factory.mktemp("coco") / "coco.json"
    path.write_text(coco([with_counts(as_text(run_lengths(mask)))]))
    assert np.array_equal(drawn(path), 2 * mask)


# --- labels for people to correct


def test_outlines_come_back_as_the_same_regions(tmp_path: Path) -> None:
    ids = np.zeros((120, 160), np.uint8)
    cv2.ellipse(ids, (50, 60), (20, 40), 15, 0, 360, 1, -1)
    cv2.rectangle(ids, (90, 50), (150, 90), 2, -1)
    ids[5:8, 5:8] = 1  # too small
    found = outlines(ids, NAMES)
    assert [each.name for each in found] == ["person", "car"]  # the largest first
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "a.json").write_text(labelme_text(found, "a.png", 120, 160))
    (tmp_path / "coco.json").write_text(coco_text([("a.png", 120, 160, found)], NAMES))
    for path in (tmp_path / "me", tmp_path / "coco.json"):
        label = read_labels(path).find(source("a"))
        assert label is not None
        back = label.draw(NAMES, 120, 160)
        for class_id in (1, 2):
            both = ((back == class_id) & (ids == class_id)).sum()
            either = ((back == class_id) | (ids == class_id))[9:].sum()
            assert both / either > 0.97, path
