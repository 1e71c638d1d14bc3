"""Export of a model to the raw-in raw-out ONNX file that the engines run (needs torch)."""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from ssvif_core.errors import ModelError
from ssvif_core.graph.model_file import FORMAT, METADATA_KEY
from ssvif_core.graph.raw_graph import RawFusion
from ssvif_core.models import Model
from ssvif_core.models.blocks import fold
from ssvif_core.registration.camera_pair import aligned
from ssvif_core.registration.sampling import SamplingMap, sampling_map
from ssvif_core.types import Pair

# From 20 on GridSample has another name for its mode, which OpenVINO does not know.
OPSET = 18
INPUTS = ("visible", "thermal", "thermal_range", "grid", "coverage")
OUTPUTS = ("fused", "labels", "confidence")


def raw_module(model: Model) -> RawFusion:
    """The raw-in raw-out module of a model, blocks folded, in evaluation mode."""
    folded = fold(copy.deepcopy(model))
    return RawFusion(folded.fusion, folded.labeller).eval()  # type: ignore[attr-defined, arg-type]


def run_module(
    module: RawFusion, pair: Pair, thermal_range: np.ndarray, sampling: SamplingMap | None = None
) -> list[np.ndarray]:
    """Fused, labels, confidence of one pair by PyTorch: the reference of every engine.

    sampling: registration; None takes cameras that see the same field of view.
    """
    feed = _feed(pair, thermal_range, sampling)
    with torch.no_grad():
        outputs = module(*(torch.from_numpy(x) for x in feed.values()))
    return [output[0].numpy() for output in outputs]


def export_model(model: Model, path: Path, check: Iterable[Pair]) -> None:
    """Write the ONNX file of a model, after it was found equal to the module on real pairs.

    One file serves every image size and 8 and 16 bit thermal images.

    Raises:
        ModelError: ONNX Runtime's result differs from the module's by more than one grey level
            on more than 0.1 % of the pixels. Nothing is written.
    """
    module = raw_module(model)
    example = (
        torch.zeros(1, 480, 640, 3, dtype=torch.uint8),
        torch.zeros(1, 256, 320, 2, dtype=torch.uint8),
        torch.tensor([0.0, 255.0]),
        torch.zeros(1, 480, 640, 2),
        torch.ones(1, 480, 640),
    )
    size = {name: torch.export.Dim(name, min=8, max=8192) for name in ("H", "W", "h", "w")}
    byte_count = torch.export.Dim("bytes", min=1, max=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=(
                {1: size["H"], 2: size["W"]},
                {1: size["h"], 2: size["w"], 3: byte_count},
                None,
                {1: size["H"], 2: size["W"]},
                {1: size["H"], 2: size["W"]},
            ),
        )
    proto = program.model_proto  # type: ignore[union-attr]
    note = {"format": FORMAT, "size": model.config.size, "names": list(model.names)}
    onnx.helper.set_model_props(proto, {METADATA_KEY: json.dumps(note)})
    data = proto.SerializeToString()
    _verify(module, data, check)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _verify(module: RawFusion, data: bytes, pairs: Iterable[Pair]) -> None:
    session = onnxruntime.InferenceSession(data)
    for pair in pairs:
        thermal_range = np.array((0, np.iinfo(pair.thermal.dtype).max), np.float32)
        expected = run_module(module, pair, thermal_range)
        actual = session.run(list(OUTPUTS), _feed(pair, thermal_range))
        difference = np.abs(actual[0][0].astype(int) - expected[0])
        share = float((difference > 1).mean())
        if share > 0.001:
            raise ModelError(
                f"the exported graph differs from the module on {100 * share:.2f} % of the fused "
                "pixels (at most 0.1 % expected); nothing was written. Please report this with "
                "the versions from `ssvif doctor`"
            )


def _feed(
    pair: Pair, thermal_range: np.ndarray, sampling: SamplingMap | None = None
) -> dict[str, np.ndarray]:
    if sampling is None:
        height, width = pair.visible.shape[:2]
        sizes = (width, height), pair.thermal.shape[::-1]
        sampling = sampling_map(aligned(*sizes), *sizes)
    thermal = np.ascontiguousarray(pair.thermal).view(np.uint8)
    return {
        "visible": np.ascontiguousarray(pair.visible)[None],
        "thermal": thermal.reshape(1, *pair.thermal.shape, -1),
        "thermal_range": thermal_range,
        "grid": sampling.grid[None],
        "coverage": sampling.coverage[None],
    }
