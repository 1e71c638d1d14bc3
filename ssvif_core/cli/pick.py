"""`ssvif pick`: the pairs worth labelling, with labels to correct."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console
from rich.progress import Progress

from ssvif_core.cameras.overlap import Overlaps
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
from ssvif_core.files import require_empty, write_atomically
from ssvif_core.graph.model_file import DEFAULT_WEIGHTS
from ssvif_core.labels.prelabels import Outline, coco_text, labelme_text, outlines
from ssvif_core.overlay import colours_of, draw_overlay
from ssvif_core.recordings.decode import Crop, Reading
from ssvif_core.recordings.extraction import extract_pairs, write_sheet

MOST = 1000  # pairs that are looked at, spread over all


def pick(
    recordings: Annotated[list[Path], typer.Argument(help="Bags, or folders of videos or pairs.")],
    out: Annotated[Path, typer.Option(help="New folder for pairs and labels.")],
    images: Annotated[int, typer.Option(min=1, help="Number of pairs to pick.")] = 20,
    weights: Annotated[
        Path | None, typer.Option(help="Weights that label; default: the shipped ones.")
    ] = None,
    calibration: Calibration = None,
    every: Annotated[int, typer.Option(min=1, help="Every n-th pair of videos and bags.")] = 10,
    visible: VisibleTopic = None,
    thermal: ThermalTopic = None,
    slop: Slop = 0.02,
    thermal_time_offset: ThermalTimeOffset = 0.0,
    visible_bits: VisibleBits = 0,
    thermal_crop: ThermalCrop = "",
) -> None:
    """Pick pairs that show much that is different, rare things first, and label them in advance.

    The pairs go to OUT/vi and OUT/ir. OUT/fused holds their fused images, on which people draw,
    with the labels of the model beside: a labelme file for each image, and OUT/coco.json for all.
    Give the corrected ones to `ssvif name --labels`.
    """
    try:
        from ssvif_core.models import load_model
        from ssvif_core.training.data.pairs import PairDataset
        from ssvif_core.training.picking import describe
        from ssvif_core.training.picking import pick as pick_pairs
        from ssvif_core.training.prediction import fuse_and_label
    except ImportError as error:
        raise SsvifError(
            f"`ssvif pick` needs the training extra ({error}); run `make setup-train`"
        ) from error
    require_empty(out)
    model = load_model(weights or DEFAULT_WEIGHTS)
    cameras = load_camera_pair(calibration) if calibration else None
    listings = find_listings(
        recordings, every, (visible, thermal), slop, thermal_time_offset,
        Reading(visible_bits, Crop.parse(thermal_crop)), cameras,
    )  # fmt: skip
    sources = [source for listing in listings for source in listing.pairs]
    dataset = PairDataset(sources[:: -(-len(sources) // MOST)], cache="none", calibration=cameras)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("looking", total=len(dataset))
        shares = describe(model, dataset, lambda: bar.advance(task))
    chosen = pick_pairs(shares, images)
    in_order = sorted(chosen)  # as videos and bags are read
    overlaps = Overlaps(cameras) if cameras else None
    labelled: dict[int, tuple[str, int, int, list[Outline]]] = {}
    pictures = {}
    try:
        result = extract_pairs([dataset.sources[index] for index in in_order], out, None, overlaps)
        if result.problems:
            raise InputError(result.problems[0])
        folder = out / "fused"
        folder.mkdir()
        for index, (file, _) in zip(in_order, result.files, strict=True):
            fused, ids = fuse_and_label(model, *dataset[index])
            (height, width), drawn = ids.shape, outlines(ids, model.names)
            labelled[index] = file.name, height, width, drawn
            pictures[index] = draw_overlay(fused, ids, colours_of(model.names), 0.4)
            write_atomically(folder / file.name, cv2.imencode(".png", fused)[1].tobytes())
            text = labelme_text(drawn, file.name, height, width)
            write_atomically(folder / f"{file.stem}.json", text)
        write_atomically(out / "coco.json", coco_text(list(labelled.values()), model.names))
        write_sheet([pictures[index] for index in chosen], out / "contact_sheet.png")
        facts = {
            "recordings": [str(path) for path in recordings],
            "looked at": len(dataset),
            "picked, the most useful first": [labelled[index][0] for index in chosen],
        }
        write_atomically(out / "pick.json", json.dumps(facts, indent=2) + "\n")
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror}); make room, remove it, and run the "
            "command again"
        ) from error
    typer.echo(
        f"{out}: {len(chosen)} of {len(dataset)} pairs; correct the labels in {out / 'fused'} "
        f"with labelme, or import {out / 'coco.json'} elsewhere; then run `ssvif name`"
    )
