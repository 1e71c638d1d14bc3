"""`ssvif export`: a trained model -> the ONNX file the engines run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssvif_core.data.images import pair_folders, read_thermal, read_visible
from ssvif_core.data.scenes import SceneConfig, SceneGenerator
from ssvif_core.errors import SsvifError
from ssvif_core.types import Pair

CHECKED = 3


def export(
    weights: Annotated[Path, typer.Argument(help="safetensors file of `ssvif train`.")],
    out: Annotated[Path, typer.Argument(help="ONNX file to write.")],
    visible: Annotated[Path | None, typer.Option(help="Visible images to verify on.")] = None,
    thermal: Annotated[Path | None, typer.Option(help="Their thermal partners.")] = None,
) -> None:
    """Export a model, verified against PyTorch on pairs before it is written."""
    try:
        from ssvif_core.graph.export import export_model
        from ssvif_core.models import load_model
    except ImportError as error:
        raise SsvifError(
            f"`ssvif export` needs the training extra ({error}); run `make setup-train`"
        ) from error
    if visible is not None and thermal is not None:
        pairs = [
            Pair(read_visible(pair.visible), read_thermal(pair.thermal))
            for pair in pair_folders(visible, thermal).pairs[:CHECKED]
        ]
    else:
        scenes = SceneGenerator(SceneConfig())
        pairs = [Pair(s.visible, s.thermal) for s in map(scenes.frame, range(CHECKED))]
    model = load_model(weights)
    export_model(model, out, pairs)
    typer.echo(f"{out}: equal to the PyTorch module on {len(pairs)} pairs")
