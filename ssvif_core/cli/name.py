"""`ssvif name`: names for the classes of a trained model, from a few labelled images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from ssvif_core.errors import InputError, SsvifError


def name(
    weights: Annotated[Path, typer.Argument(help="safetensors file of `ssvif train`.")],
    data: Annotated[Path, typer.Argument(help="Folder of pairs, as `ssvif pairs` lists them.")],
    out: Annotated[Path, typer.Option(help="Named weights to write.")],
    names: Annotated[
        str, typer.Option(help="Names of ids 0, 1, 2, ..., comma-separated; 0 is background.")
    ] = "background,person,bicycle,car",
    labels: Annotated[
        Path | None, typer.Option(help="Folder of masks (PNG ids) or YOLO boxes; default: found.")
    ] = None,
    images: Annotated[int, typer.Option(help="Use at most so many labelled images.")] = 50,
) -> None:
    """Name the classes: fits a linear layer on frozen features; under a minute for 50 images."""
    try:
        from ssvif_core.data.layouts import find_pairs
        from ssvif_core.data.pairs import PairDataset
        from ssvif_core.models import load_model, save_model
        from ssvif_core.training.naming import check_ids, fit_naming, mask_of_boxes
    except ImportError as error:
        raise SsvifError(
            f"`ssvif name` needs the training extra ({error}); run `make setup-train`"
        ) from error
    class_names = tuple(part.strip() for part in names.split(",") if part.strip())
    if len(class_names) < 2:
        raise InputError(f"names '{names}'; expected at least two, comma-separated")
    model = load_model(weights)
    listing = find_pairs(data)
    chosen = []
    for source in listing.pairs:
        path = source.mask if labels is None else _label_file(labels, source.name)
        if path is not None:
            chosen.append((source, path))
    if not chosen:
        raise InputError(
            f"{labels or data}: no labels for the {len(listing.pairs)} pairs of {data}; expected "
            "files of the pairs' names, .png with class ids or .txt with YOLO boxes"
        )
    chosen = chosen[:: max(len(chosen) // images, 1)][:images]
    dataset = PairDataset([source for source, _ in chosen], cache="none")
    paths = {source: path for source, path in chosen}

    def labelled() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for index, source in enumerate(dataset.sources):
            visible, thermal = dataset[index]
            path = paths[source]
            if path.suffix == ".txt":
                mask = mask_of_boxes(path, *thermal.shape)
            else:
                read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                if read is None or read.ndim != 2:
                    raise InputError(f"{path}: not a PNG of class ids, one channel")
                mask = cv2.resize(read, thermal.shape[::-1], interpolation=cv2.INTER_NEAREST)
            yield visible, thermal, check_ids(mask, class_names, path)

    model.name(class_names, *fit_naming(model, labelled(), class_names))
    save_model(model, out)
    typer.echo(f"{out}: {', '.join(class_names)}, from {len(dataset)} labelled images")


def _label_file(folder: Path, pair: str) -> Path | None:
    stem = Path(pair).name
    for suffix in (".png", ".txt"):
        if (folder / f"{stem}{suffix}").is_file():
            return folder / f"{stem}{suffix}"
    return None
