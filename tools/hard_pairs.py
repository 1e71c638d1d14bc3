"""The hardest pairs side by side: `python tools/hard_pairs.py MSRS_TEST CLIP OUT --peer NAME=DIR`.

From MSRS (vi, ir, mask): people beside saturated pixels (headlights), the darkest visible images,
and people whom the thermal camera sees worst (crossover); from the clip, three frames of smoke.
Columns: visible, thermal, each peer, ours, overlay. For looking at; the data is not ours to ship.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.metrics.validate import luma_of_bgr
from ssvif_core.overlay import colours_of, draw_overlay
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.images import read_visible
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.video import video_pairs
from ssvif_core.training.data.pairs import PairDataset
from ssvif_core.types import Pair

EACH = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("msrs", type=Path)
    parser.add_argument("clip", type=Path, help="the visible video; the thermal one in ../ir")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FOLDER")
    arguments = parser.parse_args()
    peers = {name: Path(folder) for name, _, folder in (p.partition("=") for p in arguments.peer)}
    pipeline = FusionPipeline(arguments.model)
    rows = []
    for title, name, visible, thermal in [*hard(arguments.msrs), *smoke(arguments.clip)]:
        pair = Pair(visible, thermal)
        fusion = pipeline(pair)
        colours = colours_of(pipeline.class_names)
        images = {"visible": visible, "thermal": cv2.cvtColor(thermal, cv2.COLOR_GRAY2BGR)}
        for peer, folder in peers.items():
            found = list(folder.glob(f"{name}.*"))
            images[peer] = read_visible(found[0]) if found else np.zeros_like(visible)
        images["ours"] = fusion.fused.copy()
        images["overlay"] = draw_overlay(fusion.fused, fusion.labels, colours, 0.4)
        tiles = [cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA)
                 for image in images.values()]  # fmt: skip
        for tile, text in zip(tiles, images, strict=True):
            text = f"{title} {name}" if text == "visible" else text
            cv2.putText(tile, text, (4, 12), 0, 0.4, (0, 0, 0), 3)
            cv2.putText(tile, text, (4, 12), 0, 0.4, (255, 255, 255), 1)
        rows.append(np.hstack(tiles))
    cv2.imwrite(str(arguments.out), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 85])


def hard(root: Path):  # type: ignore[no-untyped-def]
    dataset = PairDataset([find_pairs(root)])
    glare, dark, crossover = [], [], []
    for index, name in enumerate(dataset.names):
        visible, thermal = dataset[index]
        mask = dataset.mask(index)
        luma = luma_of_bgr(visible)
        dark.append((luma.mean(), index, name))
        if mask is None or (mask == 1).sum() < 60:
            continue
        inside = mask == 1
        ring = (cv2.dilate(inside.astype(np.uint8), np.ones((41, 41))) > 0) & ~inside
        glare.append((-(luma[ring] > 240).mean(), index, name))
        contrast = abs(thermal[inside].mean() - thermal[ring].mean())
        crossover.append((contrast, index, name))
    for title, ranked in (("headlights", glare), ("dark", dark), ("crossover", crossover)):
        for _, index, name in sorted(ranked)[:EACH]:
            yield title, Path(name).stem, *dataset[index]


def smoke(visible: Path):  # type: ignore[no-untyped-def]
    for index, pair in enumerate(video_pairs(visible, visible.parent.parent / "ir" / visible.name)):
        if index in (80, 200, 320):
            yield "smoke", f"frame {index}", pair.visible, pair.thermal


if __name__ == "__main__":
    main()
