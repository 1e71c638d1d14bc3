"""Scores the shipped model on pairs with the fusion metrics: `python tools/score.py DATA`.

DATA is a folder like msrs/test (vi, ir and, for target contrast, mask). With --peer NAME=FOLDER
fused images of others are scored on the same pairs. Writes JSON to --out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from ssvif_core.data.images import pair_folders, read_thermal, read_visible
from ssvif_core.metrics import fusion_metrics, summarise, target_contrast
from ssvif_core.metrics.validate import luma_of_bgr
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.types import Pair


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    peers = {name: Path(folder) for name, _, folder in (p.partition("=") for p in arguments.peer)}
    pipeline = FusionPipeline(arguments.model)
    scores: dict[str, list[dict[str, float]]] = {"ours": [], **{name: [] for name in peers}}
    targets: dict[str, list] = {name: [] for name in scores}
    listing = pair_folders(arguments.data / "vi", arguments.data / "ir")
    for files in track(listing.pairs, "scoring"):
        visible, thermal = read_visible(files.visible), read_thermal(files.thermal)
        fused = {"ours": pipeline(Pair(visible, thermal)).fused.copy()}
        for name, folder in peers.items():
            fused[name] = read_visible(next(folder.glob(f"{files.name}.*")))
        mask_path = arguments.data / "mask" / f"{files.name}.png"
        mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE) if mask_path.is_file() else None
        grey = cv2.resize(thermal, visible.shape[1::-1])
        for name, image in fused.items():
            scores[name].append(fusion_metrics(visible, grey, image))
            if mask is not None:
                targets[name] += target_contrast(
                    luma_of_bgr(visible), grey, luma_of_bgr(image), mask
                )
    result: dict[str, object] = {"data": arguments.data.as_posix(), "pairs": len(listing.pairs)}
    for name, rows in scores.items():
        row = {key: round(float(np.mean([r[key] for r in rows])), 4) for key in rows[0]}
        if targets[name]:
            summary = summarise(targets[name])
            row |= {"target_mean": round(summary.mean, 3), "target_p10": round(summary.p10, 3)}
        result[name] = row
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
