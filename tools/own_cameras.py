"""Walks docs/guide/own_cameras.md with a real clip, and notes times and figures.

    python tools/own_cameras.py vi/0113_1714.mp4 ir/0113_1714.mp4 --test msrs/test \
        --work /tmp/walk --out docs/results/own_cameras.json

The thermal video is cropped and turned by a known mapping, as if the cameras looked elsewhere. The
first four fifths are the recording. The last fifth is held out, and scores the result. --test is a
folder of pairs of other cameras with masks: it shows what the adapted model has forgotten.

Nobody corrects the labels of `ssvif pick` here: the naming of the walk shows times only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.machine import describe_machine
from ssvif_core.recordings.video import VideoWriter, video_pairs
from ssvif_core.synthetic import thermal_to_visible

VISIBLE, THERMAL = (640, 480), (400, 300)
MAPPING = thermal_to_visible(THERMAL, VISIBLE, scale=0.72, angle=3.0, shift=(18.0, -11.0))
EVERY = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("visible", type=Path)
    parser.add_argument("thermal", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="New folder.")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    work = arguments.work
    recording, held = work / "recording", work / "held_out"
    make_recordings(arguments.visible, arguments.thermal, recording, held)
    calibration, weights = work / "camera_pair.yaml", work / "adapted/model.safetensors"
    given = ("--calibration", calibration)
    seconds: dict[str, float] = {}

    def ssvif(command: str, *options: object) -> None:
        started = time.monotonic()
        words = [sys.executable, "-m", "ssvif_core.cli", command, *map(str, options)]
        print(" ".join(words[3:]), flush=True)
        code = subprocess.run(words).returncode
        if code not in (0, 4):  # 4: adapt keeps the old weights
            raise SystemExit(f"{command}: exit code {code}")
        seconds[command] = round(time.monotonic() - started, 1)

    ssvif("calibrate", recording, "--out", calibration)
    ssvif("extract", recording, *given, "--every", EVERY, "--out", work / "extracted")
    ssvif("adapt", work / "extracted", "--out", work / "adapted")
    ssvif("pick", work / "extracted", "--weights", weights, "--out", work / "picked")
    ssvif("name", weights, work / "extracted", "--labels", work / "picked/fused",
          "--names", "background,person", "--out", work / "named.safetensors")  # fmt: skip
    ssvif("deploy", work / "adapted", *given, "--pairs", work / "extracted",
          "--out", work / "bundle")  # fmt: skip
    models = ("--model", "shipped", "--model", f"{work / 'bundle/model.onnx'}=adapted")
    ssvif("evaluate", held, *given, "--every", EVERY, *models, "--out", work / "evaluation")
    total = sum(seconds.values())
    on_held = seconds["evaluate"]
    ssvif("evaluate", arguments.test, *models, "--out", work / "others")
    facts = {
        "machine": describe_machine(),
        "clip": arguments.visible.stem,
        "seconds": {**seconds, "evaluate": on_held, "all": round(total, 1)},
        "error of the calibration, visible pixels": calibration_error(calibration),
        "extracted": json.loads((work / "extracted/extract.json").read_text())["pairs"],
        "adapt": json.loads((work / "adapted/adapt.json").read_text()),
        "held-out fifth": scores(work / "evaluation"),
        "other cameras": scores(work / "others"),
    }
    arguments.out.write_text(json.dumps(facts, indent=2) + "\n")


def make_recordings(visible: Path, thermal: Path, recording: Path, held: Path) -> None:
    """Two videos each: four fifths, and the rest."""
    pairs = list(video_pairs(visible, thermal))
    for folder, part in (
        (recording, pairs[: len(pairs) * 4 // 5]),
        (held, pairs[len(pairs) * 4 // 5 :]),
    ):
        for kind in ("vi", "ir"):
            (folder / kind).mkdir(parents=True)
        with (
            VideoWriter(folder / "vi/clip.mp4", 30) as colour,
            VideoWriter(folder / "ir/clip.mp4", 30) as heat,
        ):
            for pair in part:
                colour.write(pair.visible)
                seen = cv2.warpPerspective(
                    pair.thermal, MAPPING, THERMAL, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                )
                heat.write(cv2.merge([seen] * 3))


def calibration_error(file: Path) -> float:
    """Mean distance from the true mapping over the thermal image, visible pixels."""
    true = CameraPair(Camera(*VISIBLE), Camera(*THERMAL), MAPPING)
    grid = np.meshgrid(np.linspace(0, THERMAL[0] - 1, 9), np.linspace(0, THERMAL[1] - 1, 9))
    points = np.stack([each.ravel() for each in grid], 1)
    off = load_camera_pair(file).to_visible(points) - true.to_visible(points)
    return round(float(np.linalg.norm(off, axis=1).mean()), 2)


def scores(folder: Path) -> dict[str, object]:
    """The mean of each metric by model, and the mIoU where there are masks."""
    summary = json.loads((folder / "summary.json").read_text())
    result: dict[str, object] = {"pairs": summary["pairs"]}
    for model, metrics in summary["methods"].items():
        result[model] = {
            name: metric["value"]
            for name, metric in metrics.items()
            if isinstance(metric, dict) and "value" in metric
        }
    if "segmentation" in summary:
        result["segmentation"] = summary["segmentation"]
    return result


if __name__ == "__main__":
    main()
