"""Parameters -> pipeline, calibration and image sizes, for the node and for the engine builder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ssvif_core.bundle import load_bundle
from ssvif_core.cameras.model import CameraPair
from ssvif_core.cameras.sampling import sampling_map
from ssvif_core.cameras.yaml_file import load_camera_pair
from ssvif_core.errors import InputError
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.types import Shapes
from ssvif_ros.node.parameters import FusionParameters


def create_pipeline(
    parameters: FusionParameters, engine: str | None = None, hand_over: bool = True
) -> FusionPipeline:
    """The pipeline of a node.

    Args:
        engine: another engine than that of the parameters.
        hand_over: let the CPU serve while the engine is built.

    Raises:
        SsvifError: a parameter, the calibration, the model or the bundle cannot be used.
    """
    bundle = load_bundle(Path(parameters.bundle)) if parameters.bundle else None
    calibration = read_calibration(parameters.calibration_path)
    if calibration is None and bundle is not None:
        calibration = read_calibration(bundle.calibration)
    model = Path(parameters.model) if parameters.model else None
    return FusionPipeline(
        model or (bundle.model if bundle else None),
        engine or parameters.engine,
        parameters.precision,
        parameters.thermal,
        parameters.threads,
        calibration,
        hand_over,
        parameters.working_size,
    )


def with_bundle(parameters: FusionParameters) -> FusionParameters:
    """The parameters, with those of the bundle where they are at their defaults.

    Raises:
        InputError: the bundle cannot be used.
    """
    if not parameters.bundle:
        return parameters
    values = parameters.bundled(load_bundle(Path(parameters.bundle)))
    return dataclasses.replace(parameters, **values)


def read_calibration(path: Path | None) -> CameraPair | None:
    """The calibration in a file; None if there is no file.

    Raises:
        InputError: the file cannot be used, or maps the thermal image outside the visible one.
    """
    if path is None or not path.exists():
        return None
    pair = load_camera_pair(path)
    try:
        sampling_map(pair, pair.visible.image_size, pair.thermal.image_size)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return pair


def known_shapes(parameters: FusionParameters, calibration: CameraPair | None) -> Shapes | None:
    """The image sizes, from the parameters or else from the calibration; None if unknown."""
    p = parameters
    sizes = (p.visible_width, p.visible_height, p.thermal_width, p.thermal_height)
    if not all(sizes) and calibration is not None:
        sizes = (*calibration.visible.image_size, *calibration.thermal.image_size)
    if not all(sizes):
        return None
    width, height, thermal_width, thermal_height = sizes
    return Shapes(height, width, thermal_height, thermal_width, p.thermal_bits // 8)
