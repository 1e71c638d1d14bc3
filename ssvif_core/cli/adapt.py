"""`ssvif adapt`: from the shipped weights to weights for one's own cameras, without labels."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.cli.export import generated_pairs
from ssvif_core.cli.options import (
    Calibration,
    Slop,
    ThermalCrop,
    ThermalTimeOffset,
    ThermalTopic,
    VisibleBits,
    VisibleTopic,
    find_listings,
    nanoseconds,
)
from ssvif_core.errors import InputError, SsvifError
from ssvif_core.evaluation.plan import Settings
from ssvif_core.evaluation.results import Evaluation
from ssvif_core.evaluation.run import evaluate
from ssvif_core.files import require_empty, results_folder, write_atomically
from ssvif_core.graph.model_file import DEFAULT_WEIGHTS
from ssvif_core.recordings.decode import Crop, Reading
from ssvif_core.recordings.sources import split_by_time
from ssvif_core.types import UInt8Array

if TYPE_CHECKING:
    from ssvif_core.models import Model

HELD_OUT = 0.1  # share of a recording, its end
MOST_LEARNED = 1000  # pairs in memory, 3 MB each at 640x480; spread over all
MOST_JUDGED, PICTURED = 60, 6
MOST_REPORTED = 300  # pairs, neighbours in time; they take a minute on two cores
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

    The last tenth of each recording is held out, and judges the result: see report.html. If it is
    worse there, the old weights stay, and the exit code is 4.
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
    reading = Reading(visible_bits, Crop.parse(thermal_crop))
    listings = find_listings(
        recordings, 1, (visible, thermal), slop, thermal_time_offset, reading, cameras
    )
    warn_if_misaligned(listings, cameras)
    sources = [source for listing in listings for source in listing.pairs]
    learned, held = split_by_time(sources, HELD_OUT)
    learned = [each for each in learned if each.frame is None or each.frame % every == 0]
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
    held_dataset = PairDataset(held[:: -(-len(held) // MOST_JUDGED)], calibration=cameras)
    judges = [held_dataset[index] for index in range(len(held_dataset))]
    started = time.monotonic()
    try:
        with results_folder(out), Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("adapting", total=steps)
            new = adapt_model(
                model, pairs, AdaptConfig(steps), lambda step: bar.update(task, completed=step)
            )
    except KeyboardInterrupt:
        typer.echo(f"ssvif: stopped; nothing is written to {out}", err=True)
        raise
    verdict = judge(model, new, judges)
    is_better = not verdict.reasons
    settings = Settings(
        last=min(HELD_OUT, MOST_REPORTED / len(sources)),
        topics=(visible, thermal) if visible and thermal else None,
        slop_ns=nanoseconds(slop, "slop", least=1),
        calibration=cameras,
        thermal_time_offset=thermal_time_offset,
        reading=reading,
    )
    try:
        save_model(new if is_better else model, out / "model.safetensors")
        rows = [
            cv2.hconcat([image, cv2.cvtColor(heat, cv2.COLOR_GRAY2BGR),
                         *(fuse_and_label(each, image, heat)[0] for each in (model, new))])
            for image, heat in _hardest(judges)
        ]  # fmt: skip
        picture = cv2.imencode(".png", cv2.vconcat(rows))[1].tobytes()
        write_atomically(out / "before_after.png", picture)
        models = {"old": model if weights else None, "new": new}
        kept = "the new weights" if is_better else f"the old weights: {'; '.join(verdict.reasons)}"
        evaluation = _write_report(out / "report.html", models, recordings, settings, kept)
        figures = verdict.figures | _flicker(evaluation)
        facts = {
            "recordings": [str(path) for path in recordings],
            "learned from": len(pairs),
            "held out": len(judges),
            "steps": steps,
            "seconds": round(time.monotonic() - started),
            "kept": "new" if is_better else "old",
            "reasons": list(verdict.reasons),
            "warnings": list(evaluation.warnings),
            "figures": {
                name: {"old": round(old, 4), "new": round(value, 4)}
                for name, (old, value) in figures.items()
            },
        }
        write_atomically(out / "adapt.json", json.dumps(facts, indent=2) + "\n")
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror}); make room, remove it, and run the "
            "command again"
        ) from error
    for name, (old, value) in figures.items():
        typer.echo(f"{name:15} {old:8.3f} -> {value:8.3f}")
    for problem in (*evaluation.warnings, *evaluation.problems):
        typer.echo(f"ssvif: {problem}", err=True)
    file = out / "model.safetensors"
    if is_better:
        typer.echo(
            f"{file}: adapted to {len(pairs)} pairs; look at report.html. Next, `ssvif deploy "
            f"{out}` makes a bundle for the node"
        )
        return
    typer.echo(
        f"{file}: the old weights, since the new ones are worse: {'; '.join(verdict.reasons)}"
    )
    sys.exit(WORSE)


def _write_report(
    path: Path,
    models: dict[str, Model | None],
    recordings: Sequence[Path],
    settings: Settings,
    kept: str,
) -> Evaluation:
    """Compare models on the end of each recording.

    Args:
        models: by name; None is the shipped one.
        kept: which weights are kept, and why.
    """
    from ssvif_core.evaluation.report import write_report
    from ssvif_core.graph.export import export_model

    with tempfile.TemporaryDirectory() as scratch:
        files: dict[str, Path | None] = dict.fromkeys(models)
        for name, model in models.items():
            if model is not None:
                files[name] = file = Path(scratch) / f"{name}.onnx"
                export_model(model, file, generated_pairs())
        console = Console(stderr=True)
        evaluation = evaluate(recordings, replace(settings, models=files), console=console)
    write_report(path, replace(evaluation, facts={"kept": kept, **evaluation.facts}))
    return evaluation


def _flicker(evaluation: Evaluation) -> dict[str, tuple[float, float]]:
    """How much both models flicker; nothing if no pairs are neighbours in time."""
    means = [method.means["flicker"] for method in evaluation.methods if "flicker" in method.means]
    return {"flicker": (means[0].value, means[1].value)} if means else {}


def _hardest(pairs: list[tuple[UInt8Array, UInt8Array]]) -> list[tuple[UInt8Array, UInt8Array]]:
    """Some pairs, those with the least contrast of the visible image first: smoke, night, glare."""
    order = np.argsort([float(visible.std()) for visible, _ in pairs])
    chosen = order[:: max(len(order) // PICTURED, 1)][:PICTURED]
    return [pairs[index] for index in chosen]
