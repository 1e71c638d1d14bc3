"""Shows the hardest pairs in one image.

    python tools/hard_pairs.py MSRS_TEST CLIP OUT --peer NAME=FOLDER

MSRS (vi, ir, mask) gives people next to saturated pixels (headlights), the darkest visible images,
and people with the least thermal contrast (crossover). The clip gives three frames of smoke. The
columns are visible, thermal, each peer, ours and overlay. Do not publish the image: its data
belongs to others.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
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
from ssvif_core.types import Pair, UInt8Array

PAIRS_PER_TITLE = 3

TitledPair = tuple[str, str, UInt8Array, UInt8Array]  # title, name, visible, thermal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("msrs", type=Path)
    parser.add_argument("clip", type=Path, help="visible video; the thermal one is in ../ir")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FOLDER")
    arguments = parser.parse_args()
    peers = {name: Path(folder) for name, _, folder in (p.partition("=") for p in arguments.peer)}
    pipeline = FusionPipeline(arguments.model)
    rows = []
    for title, name, visible, thermal in [*hardest(arguments.msrs), *smoke(arguments.clip)]:
        pair = Pair(visible, thermal)
        fusion = pipeline(pair)
        colours = colours_of(pipeline.class_names)
        images = {"visible": visible, "thermal": cv2.cvtColor(thermal, cv2.COLOR_GRAY2BGR)}
        for peer, folder in peers.items():
            files = list(folder.glob(f"{name}.*"))
            images[peer] = read_visible(files[0]) if files else np.zeros_like(visible)
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


def hardest(root: Path) -> Iterator[TitledPair]:
    """The hardest pairs of MSRS for each title."""
    dataset = PairDataset([find_pairs(root)])
    # (difficulty, lowest first; index; name)
    headlights, dark, crossover = [], [], []
    for index, name in enumerate(dataset.names):
        visible, thermal = dataset[index]
        mask = dataset.mask(index)
        luma = luma_of_bgr(visible)
        dark.append((luma.mean(), index, name))
        if mask is None or (mask == 1).sum() < 60:
            continue
        person = mask == 1
        ring = (cv2.dilate(person.astype(np.uint8), np.ones((41, 41))) > 0) & ~person
        headlights.append((-(luma[ring] > 240).mean(), index, name))
        contrast = abs(thermal[person].mean() - thermal[ring].mean())
        crossover.append((contrast, index, name))
    for title, pairs in (("headlights", headlights), ("dark", dark), ("crossover", crossover)):
        for _, index, name in sorted(pairs)[:PAIRS_PER_TITLE]:
            yield title, Path(name).stem, *dataset[index]


def smoke(visible: Path) -> Iterator[TitledPair]:
    """Three frames of the clip."""
    for index, pair in enumerate(video_pairs(visible, visible.parent.parent / "ir" / visible.name)):
        if index in (80, 200, 320):
            yield "smoke", f"frame {index}", pair.visible, pair.thermal


if __name__ == "__main__":
    main()
