"""`ssvif adapt`: from the shipped weights to weights for one's own cameras, without labels."""

from __future__ import annotations

import json
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.cli.options import (
    Calibration,
    Slop,
    ThermalCrop,
    ThermalTimeOffset,
    ThermalTopic,
    VisibleBits,
    VisibleTopic,
    find_listings,
)
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.files import require_empty, results_folder, write_atomically
from ssvif_core.graph.model_file import DEFAULT_WEIGHTS
from ssvif_core.recordings.decode import Crop, Reading
from ssvif_core.recordings.sources import PairSource
from ssvif_core.types import UInt8Array

MOST_LEARNED = 1000  # pairs in memory, 3 MB each at 640x480; spread over all
MOST_JUDGED, PICTURED = 60, 6
WORSE = 4  # exit code: the old weights stay


def adapt(
    recordings: Annotated[list[Path], typer.Argument(help="Bags, or folders of videos or pairs.")],
    out: Annotated[Path, typer.Option(help="New folder for weights, figures and pictures.")],
    weights: Annotated[
        Path | None, typer.Option(help="Weights to start from; default: the shipped ones.")
    ] = None,
    calibration: Calibration = None,
    every: Annotated[int, typer.Option(min=1, help="Every n-th pair of videos and bags.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="1000 take two minutes on two cores.")] = 1000,
    visible: VisibleTopic = None,
    thermal: ThermalTopic = None,
    slop: Slop = 0.02,
    thermal_time_offset: ThermalTimeOffset = 0.0,
    visible_bits: VisibleBits = 0,
    thermal_crop: ThermalCrop = "",
) -> None:
    """Adapt the fused image to your cameras with a recording, and no labels. The classes stay.

    The last tenth of each recording is held out, and judges the result. If it is worse there, the
    old weights stay, and the exit code is 4.
    """
    try:
        from ssvif_core.models import load_model, save_model
        from ssvif_core.training.adaptation import AdaptConfig, judge
        from ssvif_core.training.adaptation import adapt as adapt_model
        from ssvif_core.training.data.pairs import PairDataset
        from ssvif_core.training.data.sets import warn_if_misaligned
        from ssvif_core.training.prediction import fuse_and_label
    except ImportError as error:
        raise SsvifError(
            f"`ssvif adapt` needs the training extra ({error}); run `make setup-train`"
        ) from error
    require_empty(out)
    model = load_model(weights or DEFAULT_WEIGHTS)
    cameras = load_camera_pair(calibration) if calibration else None
    listings = find_listings(
        recordings, every, (visible, thermal), slop, thermal_time_offset,
        Reading(visible_bits, Crop.parse(thermal_crop)), cameras,
    )  # fmt: skip
    warn_if_misaligned(listings, cameras)
    sources = [source for listing in listings for source in listing.pairs]
    learned, held = _split(sources)
    if not learned:
        raise InputError(f"{len(sources)} pairs; expected at least 11; take more with --every")
    learned = learned[:: -(-len(learned) // MOST_LEARNED)]
    dataset = PairDataset(learned, calibration=cameras)
    size = dataset[0][1].shape
    pairs = [dataset[index] for index in range(len(dataset))]
    others = [pair for pair in pairs if pair[1].shape != size]
    if others:
        raise InputError(
            f"{len(others)} of {len(pairs)} pairs have another size than {size[1]}x{size[0]}; "
            "adapt to recordings of one camera pair"
        )
    held_dataset = PairDataset(held[:: max(len(held) // MOST_JUDGED, 1)], calibration=cameras)
    judges = [held_dataset[index] for index in range(len(held_dataset))]
    started = time.monotonic()
    with results_folder(out), Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("adapting", total=steps)
        new = adapt_model(
            model, pairs, AdaptConfig(steps), lambda step: bar.update(task, completed=step)
        )
    verdict = judge(model, new, judges)
    is_better = not verdict.reasons
    figures = {
        name: {"old": round(old, 4), "new": round(value, 4)}
        for name, (old, value) in verdict.figures.items()
    }
    facts = {
        "recordings": [str(path) for path in recordings],
        "learned from": len(pairs),
        "held out": len(judges),
        "steps": steps,
        "seconds": round(time.monotonic() - started),
        "kept": "new" if is_better else "old",
        "reasons": list(verdict.reasons),
        "figures": figures,
    }
    try:
        save_model(new if is_better else model, out / "model.safetensors")
        write_atomically(out / "adapt.json", json.dumps(facts, indent=2) + "\n")
        rows = [
            cv2.hconcat([image, cv2.cvtColor(heat, cv2.COLOR_GRAY2BGR),
                         *(fuse_and_label(each, image, heat)[0] for each in (model, new))])
            for image, heat in _hardest(judges)
        ]  # fmt: skip
        picture = cv2.imencode(".png", cv2.vconcat(rows))[1].tobytes()
        write_atomically(out / "before_after.png", picture)
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror}); make room, remove it, and run the "
            "command again"
        ) from error
    for name, (old, value) in verdict.figures.items():
        typer.echo(f"{name:15} {old:8.3f} -> {value:8.3f}")
    file = out / "model.safetensors"
    if is_better:
        typer.echo(
            f"{file}: adapted to {len(pairs)} pairs; write the ONNX file with `ssvif export`"
        )
        return
    typer.echo(
        f"{file}: the old weights, since the new ones are worse: {'; '.join(verdict.reasons)}"
    )
    sys.exit(WORSE)


def _split(sources: list[PairSource]) -> tuple[list[PairSource], list[PairSource]]:
    """The first nine tenths of each video, bag or folder, and the last tenth."""
    learned: list[PairSource] = []
    held: list[PairSource] = []
    for _, group in groupby(sources, lambda source: source.stream or source.visible.parent):
        members = list(group)
        count = len(members) - max(len(members) // 10, 1)
        learned += members[:count]
        held += members[count:]
    return learned, held


def _hardest(pairs: list[tuple[UInt8Array, UInt8Array]]) -> list[tuple[UInt8Array, UInt8Array]]:
    """Some pairs, those with the least contrast of the visible image first: smoke, night, glare."""
    order = np.argsort([float(visible.std()) for visible, _ in pairs])
    chosen = order[:: max(len(order) // PICTURED, 1)][:PICTURED]
    return [pairs[index] for index in chosen]
