"""`ssvif name`: name the classes of a trained model with a few labelled images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.cli.options import Calibration, Labels
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.recordings.sources import some

logger = logging.getLogger(__name__)


def name(
    weights: Annotated[Path, typer.Argument(help="safetensors file of `ssvif train`.")],
    data: Annotated[Path, typer.Argument(help="Folder of pairs, as `ssvif pairs` lists them.")],
    out: Annotated[Path, typer.Option(help="File for the named weights.")],
    names: Annotated[
        str,
        typer.Option(
            help="Class names of the ids 0, 1, 2, ..., comma-separated; 0 is background. Ids with "
            "the same name become one class."
        ),
    ] = "background,person,bicycle,car",
    labels: Labels = None,
    tune: Annotated[
        int,
        typer.Option(
            min=0,
            help="Steps of training of F and S_f on the labels and on all pairs; the fused image "
            "stays the same. 3000 take twenty minutes on a core. 0: the linear layer only.",
        ),
    ] = 0,
    hold_out: Annotated[
        int,
        typer.Option(
            min=0,
            help="Leave every n-th labelled image out, and print the IoU there. 0: learn from all.",
        ),
    ] = 5,
    calibration: Calibration = None,
    images: Annotated[int, typer.Option(min=1, help="Largest number of labelled images.")] = 50,
) -> None:
    """Name the classes of a model with a few labelled images.

    A linear layer on frozen features takes under a minute for 50 images. With --tune the features
    learn, too, from the labelled images and from all pairs without their labels.
    """
    try:
        import torch

        from ssvif_core.labels import IGNORE, label_of, read_labels, unknown_classes
        from ssvif_core.models import load_model, save_model
        from ssvif_core.recordings.layouts import find_pairs
        from ssvif_core.training.data.pairs import PairDataset
        from ssvif_core.training.naming import Labelled, check_ids, fit_naming
        from ssvif_core.training.overlay import scores as score_model
        from ssvif_core.training.tuning import TuningConfig
        from ssvif_core.training.tuning import tune as tune_model
    except ImportError as error:
        raise SsvifError(
            f"`ssvif name` needs the training extra ({error}); run `make setup-train`"
        ) from error
    if not out.parent.is_dir():
        raise InputError(
            f"{out.parent}: no such folder; create it, or choose another for {out.name}"
        )
    name_of_id = tuple(part.strip() for part in names.split(",") if part.strip())
    class_names = tuple(dict.fromkeys(name_of_id))
    if len(class_names) < 2:
        raise InputError(f"names '{names}'; expected at least two different names, comma-separated")
    class_of_id = np.full(256, IGNORE, np.uint8)
    class_of_id[: len(name_of_id)] = [class_names.index(part) for part in name_of_id]
    model = load_model(weights)
    listing = find_pairs(data)
    drawn = read_labels(labels) if labels is not None else None
    found = {source: label_of(source, drawn) for source in listing.pairs}
    label_by_source = {source: label for source, label in found.items() if label is not None}
    if not label_by_source:
        raise InputError(
            f"{data}: no folder of masks beside its pairs; give --labels"
            if drawn is None
            else drawn.describe_none(listing.pairs)
        )
    if drawn is not None:
        used = {id(label) for label in found.values()}
        unused = [name for name, label in drawn.by_name.items() if id(label) not in used]
        if unused:
            logger.warning(
                "%s: %d of %d labels fit no pair: %s", labels, len(unused), len(drawn.by_name),
                some(unused),
            )  # fmt: skip
    if unknown := unknown_classes(label_by_source.values(), name_of_id):
        logger.warning(
            "the classes %s of the labels have no name and are ignored; --names has %s",
            ", ".join(unknown), names,
        )  # fmt: skip
    labelled = list(label_by_source)
    cameras = load_camera_pair(calibration) if calibration else None
    chosen = labelled[:: max(len(labelled) // images, 1)][:images]
    dataset = PairDataset(chosen, cache="none", calibration=cameras)

    def read_examples() -> Iterator[Labelled]:
        for index, source in enumerate(dataset.sources):
            visible, thermal = dataset[index]
            label = label_by_source[source]
            mask = dataset.fit(index, partial(label.draw, name_of_id))
            yield visible, thermal, class_of_id[check_ids(mask, name_of_id, label.path)]

    examples = list(read_examples())
    is_held = [
        bool(hold_out) and index % hold_out == hold_out - 1 for index in range(len(examples))
    ]
    held = [each for each, is_out in zip(examples, is_held, strict=True) if is_out]
    learned = [each for each, is_out in zip(examples, is_held, strict=True) if not is_out]
    model.name(class_names, *fit_naming(model, learned, class_names))
    if tune:
        all_pairs = PairDataset([listing], cache="none", calibration=cameras)
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("tuning", total=tune)
            tune_model(
                model, learned, all_pairs, TuningConfig(steps=tune),
                lambda step: bar.update(task, completed=step),
            )  # fmt: skip
    if held:
        scores = score_model(model, held, torch.device("cpu"))
        table = ", ".join(
            f"{name} {'not there' if np.isnan(iou) else f'{iou:.2f}'}"
            for name, iou in zip(class_names, scores.iou, strict=True)
        )
        typer.echo(f"IoU on {len(held)} labelled images that were left out: {table}")
    try:
        save_model(model, out)
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror}); make room, or choose another"
        ) from error
    typer.echo(f"{out}: {', '.join(class_names)}, from {len(learned)} labelled images")
