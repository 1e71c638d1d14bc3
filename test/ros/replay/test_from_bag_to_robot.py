"""The whole way of a user: a bag of two cameras that look elsewhere -> a node with its own model.

calibrate, extract, adapt, pick, label, name, deploy (which exports), launch, evaluate.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from harness import PERIOD, START, Robot, image
from typer.testing import CliRunner

from ssvif_core.bundle import load_bundle
from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.cli import app
from ssvif_core.labels.prelabels import labelme_text, outlines
from ssvif_core.recordings.bags import write_pairs
from ssvif_core.recordings.images import read_thermal
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair, UInt8Array
from ssvif_ros.node.messages import thermal_array

SIZES = (320, 240), (160, 128)
# The thermal camera sees a part of the visible image, turned by two degrees.
TRUE = CameraPair(
    Camera(*SIZES[0]), Camera(*SIZES[1]),
    np.array([[1.7, -0.06, 32.0], [0.06, 1.7, 12.0], [0, 0, 1]]),
)  # fmt: skip
NAMES = ("background", "sky")
SKY = 7100  # thermal counts; the sky is colder


def run(*arguments: object, code: int | tuple[int, ...] = 0) -> str:
    """Run `ssvif` with these arguments, and return what it prints."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    codes = (code,) if isinstance(code, int) else code
    assert result.exit_code in codes, (arguments, result.output, result.exception)
    return result.output


def sky(thermal: np.ndarray) -> UInt8Array:
    """What a person would draw: the sky of a thermal image, as class ids."""
    return (cv2.GaussianBlur(thermal, (0, 0), 1) < SKY).astype(np.uint8)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """40 pairs of a generated drive, seen by the camera pair `TRUE`."""
    drive = DriveGenerator(
        DriveConfig(seed=3, visible_size=SIZES[0], thermal_size=SIZES[1], condition="day",
                    frames=300, homography=TRUE.homography)
    )  # fmt: skip
    scenes = map(drive.frame, range(0, 280, 7))
    stamps = (START + number * 3 * PERIOD for number in range(40))
    return [Pair(s.visible, s.thermal, t, t) for s, t in zip(scenes, stamps, strict=True)]


@pytest.mark.slow
def test_a_bag_becomes_the_model_of_a_robot(
    pairs: list[Pair], robot: Callable[..., Robot], tmp_path: Path
) -> None:
    bag, calibration = tmp_path / "drive", tmp_path / "camera_pair.yaml"
    write_pairs(bag, pairs)

    run("calibrate", bag, "--out", calibration)
    corners = np.array([[20.0, 20], [140, 20], [140, 108], [20, 108]])
    errors = load_camera_pair(calibration).to_visible(corners) - TRUE.to_visible(corners)
    assert np.linalg.norm(errors, axis=1).mean() < 2.5

    extracted = tmp_path / "extracted"
    run("extract", bag, "--calibration", calibration, "--every", 1, "--out", extracted)
    found = find_pairs(extracted).pairs
    assert len(found) >= 20

    adapted = tmp_path / "adapted"
    run("adapt", extracted, "--steps", 10, "--out", adapted, code=(0, 4))  # 4: the old one stays

    picked = tmp_path / "picked"
    weights = adapted / "model.safetensors"
    run("pick", extracted, "--weights", weights, "--images", 6, "--out", picked)
    chosen = find_pairs(picked).pairs
    assert {pair.name for pair in chosen} < {pair.name for pair in found}
    for pair in chosen:  # a person corrects the labels
        file = picked / "fused" / f"{pair.name}.json"
        ids = sky(read_thermal(pair.thermal))
        before = json.loads(file.read_text())
        assert ids.shape == (before["imageHeight"], before["imageWidth"])
        file.write_text(labelme_text(outlines(ids, NAMES), f"{pair.name}.png", *ids.shape))

    named = tmp_path / "named.safetensors"
    said = run("name", weights, extracted, "--labels", picked / "fused", "--names",
               ",".join(NAMES), "--out", named)  # fmt: skip
    assert "from 5 labelled images" in said and "that were left out: background" in said

    bundle = tmp_path / "robot1"
    run("deploy", named, "--calibration", calibration, "--pairs", extracted,
        "--figures", adapted / "adapt.json", "--out", bundle)  # fmt: skip
    assert "background, sky" in run("bundle", "show", bundle)
    assert {"model.onnx", "model.fp16.onnx", "model.int8.onnx"} <= set(load_bundle(bundle).hashes)

    r = robot({"bundle": bundle}, outputs=("fused/image", "segmentation/labels"))
    assert [each["name"] for each in r.classes] == list(NAMES)
    pair = pairs[20]
    stamp = START + 9000 * PERIOD
    r.send(image(pair.visible, "bgr8", stamp), image(pair.thermal, "mono16", stamp))
    (message,) = r.fused(1, "segmentation/labels")
    labels = thermal_array(message)
    truth = cv2.warpPerspective(
        sky(pair.thermal), TRUE.homography, SIZES[0], flags=cv2.INTER_NEAREST
    )
    agreed = ((labels == 1) & (truth == 1)).sum() / ((labels == 1) | (truth == 1)).sum()
    assert agreed > 0.4, agreed

    models = ("--model", "shipped", "--model", f"{bundle / 'model.onnx'}=mine")
    out = tmp_path / "evaluation"
    run("evaluate", bag, "--calibration", calibration, *models, "--every", 4, "--workers", 1,
        "--out", out)  # fmt: skip
    assert set(json.loads((out / "summary.json").read_text())["methods"]) == {"shipped", "mine"}
    assert (out / "report.html").is_file()
