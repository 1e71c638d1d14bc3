"""`ssvif name`: names for the classes of a trained model, from a few labelled images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from ssvif_core.errors import InputError, SsvifError


def name(
    weights: Annotated[Path, typer.Argument(help="safetensors file of `ssvif train`.")],
    data: Annotated[Path, typer.Argument(help="Folder of pairs, as `ssvif pairs` lists them.")],
    out: Annotated[Path, typer.Option(help="Named weights to write.")],
    names: Annotated[
        str,
        typer.Option(
            help="Names of ids 0, 1, 2, ..., comma-separated; 0 is background. Ids of one name "
            "become one class."
        ),
    ] = "background,person,bicycle,car",
    labels: Annotated[
        Path | None, typer.Option(help="Folder of masks (PNG ids) or YOLO boxes; default: found.")
    ] = None,
    tune: Annotated[
        int,
        typer.Option(
            min=0,
            help="Train F and S_f on by the labels for so many steps (700, say: two to five "
            "minutes on a CPU), holding the fused image; 0: the linear layer alone.",
        ),
    ] = 0,
    images: Annotated[int, typer.Option(min=1, help="Use at most so many labelled images.")] = 50,
) -> None:
    """Name the classes: fits a linear layer on frozen features; under a minute for 50 images.

    With --tune more classes are found, for cameras and places like those of the labels.
    """
    try:
        from safetensors import SafetensorError

        from ssvif_core.models import load_model, save_model
        from ssvif_core.recordings.labels import IGNORE, find_label, mask_of_boxes
        from ssvif_core.recordings.layouts import find_pairs
        from ssvif_core.training.data.pairs import PairDataset
        from ssvif_core.training.naming import check_ids, fit_naming
        from ssvif_core.training.tuning import TuningConfig
        from ssvif_core.training.tuning import tune as tune_model
    except ImportError as error:
        raise SsvifError(
            f"`ssvif name` needs the training extra ({error}); run `make setup-train`"
        ) from error
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder, and {out.name} is to go there")
    name_of_id = tuple(part.strip() for part in names.split(",") if part.strip())
    class_names = tuple(dict.fromkeys(name_of_id))
    if len(class_names) < 2:
        raise InputError(f"names '{names}'; expected at least two different, comma-separated")
    class_of_id = np.full(256, IGNORE, np.uint8)
    class_of_id[: len(name_of_id)] = [class_names.index(part) for part in name_of_id]
    model = load_model(weights)
    listing = find_pairs(data)
    if labels is not None:
        sources = [replace(pair, mask=find_label(labels, pair.name)) for pair in listing.pairs]
    else:
        sources = list(listing.pairs)
    chosen = [source for source in sources if source.mask is not None]
    if not chosen:
        raise InputError(
            f"{labels or data}: no labels for the {len(listing.pairs)} pairs of {data}; expected "
            "files of the pairs' names, .png with class ids or .txt with YOLO boxes"
        )
    dataset = PairDataset(chosen[:: max(len(chosen) // images, 1)][:images], cache="none")

    def labelled() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for index, source in enumerate(dataset.sources):
            visible, thermal = dataset[index]
            assert source.mask is not None
            boxes = source.mask.suffix == ".txt"
            mask = mask_of_boxes(source.mask, *thermal.shape) if boxes else dataset.mask(index)
            assert mask is not None
            yield visible, thermal, class_of_id[check_ids(mask, name_of_id, source.mask)]

    examples = list(labelled())
    model.name(class_names, *fit_naming(model, examples, class_names))
    if tune:
        everything = PairDataset([listing], cache="none")
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("tuning", total=tune)
            tune_model(
                model, examples, everything, TuningConfig(steps=tune),
                lambda step: bar.update(task, completed=step),
            )  # fmt: skip
    try:
        save_model(model, out)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{out}: cannot be written ({error}); make room there") from error
    typer.echo(f"{out}: {', '.join(class_names)}, from {len(dataset)} labelled images")
