"""`ssvif train`: train a model."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ssvif_core.errors import InputError, SsvifError


def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings to override, such as seed=3 model.size=m.")
    ] = None,
    config: Annotated[
        Path, typer.Option(help="YAML file; or default, short, sharper: those of this release.")
    ] = Path("default"),
) -> None:
    """Train on unlabelled pairs. The same command continues an interrupted training."""
    path = _found(config)
    try:
        from ssvif_core.training.config import load_config

        settings = load_config(path, overrides or [])  # a typo is told before long imports
        from ssvif_core.training.trainer import Interrupted, Trainer
    except ImportError as error:
        raise SsvifError(
            f"`ssvif train` needs the training extra ({error}); run `make setup-train`"
        ) from error
    try:
        path = Trainer(settings).run()
    except Interrupted as interruption:
        print(f"ssvif: {interruption}", file=sys.stderr)
        sys.exit(130)
    typer.echo(
        f"{path}: trained; see {path.parent / 'summary.html'}. Next, name the classes with "
        "`ssvif name`, and write the ONNX file with `ssvif export`"
    )


def _found(config: Path) -> Path:
    """The file of a configuration, which may be the name of one of ours.

    Raises:
        InputError: there is no such file.
    """
    if config.is_file():
        return config
    folders = [
        Path(__file__).parents[2] / "config/train",  # a checkout
        Path(sys.prefix) / "share/ssvif_ros/config/train",  # pip
        *(  # colcon
            Path(prefix) / "share/ssvif_ros/config/train"
            for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
            if prefix
        ),
    ]
    for folder in folders:
        file = folder / f"{config}.yaml"
        if len(config.parts) == 1 and file.is_file():
            return file
    names = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise InputError(
        f"{config}: no such configuration; expected a YAML file, or one of {', '.join(names)}"
    )
