"""Precision and recall of `~/detections` against labelled boxes.

    python tools/detections.py msrs/test --boxes msrs/test/box --out docs/results/detections.json

Each detection is matched with at most one box of its class, the best one first. --areas and
--confidences score every combination, to choose the settings on other pairs than those reported.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssvif_core.detections import Detection, find_detections
from ssvif_core.labels import Box
from ssvif_core.labels.yolo import read_yolo
from ssvif_core.machine import describe_machine
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.training.data.pairs import PairDataset
from ssvif_core.types import Fusion, Pair

OVERLAPS = (0.5, 0.3)  # smallest IoU of a match


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--boxes", type=Path, required=True)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--areas", type=int, nargs="+", default=[60])
    parser.add_argument("--confidences", type=float, nargs="+", default=[0.7])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pipeline = FusionPipeline(precision=arguments.precision)
    dataset = PairDataset([find_pairs(arguments.pairs)])
    fusions, boxes = [], []
    for index, name in enumerate(dataset.names):
        visible, thermal = dataset[index]
        fusions.append(pipeline(Pair(visible, thermal)).copy())
        label = read_yolo(arguments.boxes / f"{Path(name).stem}.txt")
        boxes.append(label.boxes(pipeline.class_names, *thermal.shape) or [])
    names = pipeline.class_names
    results = {
        f"area {area}, confidence {least}, IoU {overlap}": scores(
            fusions, boxes, names, area, least, overlap
        )
        for area, least, overlap in itertools.product(
            arguments.areas, arguments.confidences, OVERLAPS
        )
    }
    for setting, table in results.items():
        print(setting, json.dumps(table))
    if arguments.out:
        text = {"pairs": len(fusions), "machine": describe_machine(), "results": results}
        arguments.out.write_text(json.dumps(text, indent=2) + "\n")


def scores(
    fusions: Sequence[Fusion],
    boxes: Sequence[Sequence[Box]],
    names: tuple[str, ...],
    area: int,
    least_confidence: float,
    overlap: float,
) -> dict[str, dict[str, float]]:
    """Boxes, detections, matches, precision and recall of each class but background."""
    counts = {name: np.zeros(3, int) for name in names[1:]}
    for fusion, labelled in zip(fusions, boxes, strict=True):
        found = find_detections(fusion.labels, fusion.confidence, names, area, least_confidence)
        for class_id, name in enumerate(names[1:], 1):
            of_class = [box for box in labelled if box.class_id == class_id]
            detections = [each for each in found if each.class_id == class_id]
            matches = count_matches(detections, of_class, overlap)
            counts[name] += (len(of_class), len(detections), matches)
    return {
        name: {
            "boxes": int(there), "detections": int(found), "matches": int(matches),
            "precision": round(float(matches / max(found, 1)), 3),
            "recall": round(float(matches / max(there, 1)), 3),
        }
        for name, (there, found, matches) in counts.items()
    }  # fmt: skip


def count_matches(detections: Sequence[Detection], boxes: Sequence[Box], overlap: float) -> int:
    """Number of pairs of a detection and a box of at least this IoU; each is in one pair."""
    ratios = np.array([[iou(d, box) for box in boxes] for d in detections])
    matches = 0
    while ratios.size and ratios.max() >= overlap:
        row, column = np.unravel_index(ratios.argmax(), ratios.shape)
        ratios[row], ratios[:, column] = 0, 0
        matches += 1
    return matches


def iou(detection: Detection, box: Box) -> float:
    """Intersection over union of two boxes."""
    right, bottom = detection.left + detection.width, detection.top + detection.height
    width = min(right, box.right) - max(detection.left, box.left)
    height = min(bottom, box.bottom) - max(detection.top, box.top)
    both = max(width, 0.0) * max(height, 0.0)
    area = (box.right - box.left) * (box.bottom - box.top)
    return both / (detection.width * detection.height + area - both)


if __name__ == "__main__":
    main()
