"""`ssvif train`: train a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ssvif_core.errors import SsvifError


def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings to override, such as seed=3 model.size=m.")
    ] = None,
    config: Annotated[Path, typer.Option(help="YAML file.")] = Path("config/train/default.yaml"),
) -> None:
    """Train on unlabelled pairs. The same command continues an interrupted training."""
    try:
        from ssvif_core.training.config import load_config
        from ssvif_core.training.trainer import Interrupted, Trainer
    except ImportError as error:
        raise SsvifError(
            f"`ssvif train` needs the training extra ({error}); run `make setup-train`"
        ) from error
    try:
        path = Trainer(load_config(config, overrides or [])).run()
    except Interrupted as interruption:
        print(f"ssvif: {interruption}", file=sys.stderr)
        sys.exit(130)
    typer.echo(
        f"{path}: trained; see {path.parent / 'summary.html'}. Next, name the classes with "
        "`ssvif name`, and write the ONNX file with `ssvif export`"
    )
