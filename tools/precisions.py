"""Measures the agreement of fp16 and int8, and builds their engines for RTX without a GPU.

    python tools/precisions.py MSRS_TEST INT8_PAIRS

Writes docs/results/precisions.json. Agreement is measured with ONNX Runtime, which computes the
fp16 file in float32. tools/gpu_check.py measures the speed on a GPU.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import track

from ssvif_core.engines.onnxruntime import OnnxRuntimeEngine
from ssvif_core.engines.tensorrt.build import BuildRequest
from ssvif_core.engines.tensorrt.cache import store_engine
from ssvif_core.engines.tensorrt.flavour import find_flavour
from ssvif_core.engines.verify import generated_pairs, measure
from ssvif_core.graph.export import PRECISIONS, export_model
from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of
from ssvif_core.machine import describe_machine
from ssvif_core.models import Model, ModelConfig
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.recordings.reading import sample_pairs
from ssvif_core.types import Shapes

RESULT = Path(__file__).parents[1] / "docs/results/precisions.json"
SHAPES = Shapes(480, 640, 256, 320, 2)
CAPABILITIES = ("8.6", "8.9")


def main(
    pairs: Annotated[Path, typer.Argument(help="Real pairs that no model was trained on.")],
    int8_pairs: Annotated[Path, typer.Argument(help="Pairs for the int8 ranges of size m.")],
) -> None:
    """Measure the shipped files, and a model of size m with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        size_m = Path(folder) / "m.onnx"
        export_model(Model(ModelConfig(size="m")).eval(), size_m, list(generated_pairs(SHAPES, 2)),
                     PRECISIONS, sample_pairs(int8_pairs, 8))  # fmt: skip
        result = {
            "machine": describe_machine(),
            "command": "python tools/precisions.py ../shared/data/msrs/test "
            "../shared/data/msrs/train",
            "date": time.strftime("%Y-%m-%d"),
            "agreement of size s": [_agreement(pairs, precision) for precision in PRECISIONS],
            "engines built without a GPU": {
                size: [_builds(model, precision, Path(folder)) for precision in PRECISIONS]
                for size, model in (("s", DEFAULT_MODEL), ("m", size_m))
            },
            "on a GPU": "no engine has been built on one yet",
        }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    typer.echo(RESULT.read_text())


def _agreement(data: Path, precision: str) -> dict[str, object]:
    pairs = sample_pairs(data, len(find_pairs(data).pairs))
    shapes = Shapes.of(pairs[0])
    file = file_of(DEFAULT_MODEL, precision)
    engine = OnnxRuntimeEngine(file, shapes, precision)
    reference = OnnxRuntimeEngine(DEFAULT_MODEL, shapes, "fp32")
    result = measure(engine, reference, track(pairs, precision))
    return {
        "precision": precision,
        "file_bytes": file.stat().st_size,
        "pairs": len(pairs),
        "fused_psnr_db": None if precision == "fp32" else round(result.psnr, 1),
        "labels_alike": round(result.labels, 5),
        "confidence_psnr_db": None if precision == "fp32" else round(result.confidence, 1),
    }


def _builds(model: Path, precision: str, folder: Path) -> dict[str, object]:
    builds = {}
    for capability in CAPABILITIES:
        request = BuildRequest(file_of(model, precision), precision, SHAPES,
                               compute_capability=capability)  # fmt: skip
        path = folder / f"{precision}-{capability}.engine"
        stored, _ = store_engine(path, find_flavour("tensorrt_rtx"), request, None)
        builds[capability] = {"bytes": path.stat().st_size, "seconds": stored.build_seconds}
    return {"precision": precision, "file_bytes": file_of(model, precision).stat().st_size,
            "by compute capability": builds}  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
