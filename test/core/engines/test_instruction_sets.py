"""Engines give the same on CPUs with fewer instructions.

oneDNN, which OpenVINO's convolutions come from, can be held down to an older instruction set by
ONEDNN_MAX_CPU_ISA. ONNX Runtime has no such switch. Its int8 saturates without VNNI if weights have
8 bits, so test_export.py checks that ours have 7.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssvif_core import machine
from ssvif_core.engines.verify import check_accepted
from ssvif_core.graph.agreement import agreement
from ssvif_core.graph.export import raw_module, run_module
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.models import load_model
from ssvif_core.thermal import ThermalGain
from ssvif_core.types import Pair

# Fuses one pair in a process of its own, since oneDNN reads the variable once. Prints what kinds of
# convolution ran.
PROGRAM = """
import sys
import numpy as np
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.thermal import ThermalConfig
from ssvif_core.types import Pair, Shapes
arrays = np.load(sys.argv[1])
pair = Pair(arrays["visible"], arrays["thermal"])
pipeline = FusionPipeline(engine="openvino", precision=sys.argv[2],
                          thermal=ThermalConfig(smoothing=0))
fusion = pipeline(pair)
np.savez(sys.argv[3], fused=fusion.fused, labels=fusion.labels, confidence=fusion.confidence)
graph = pipeline.prepare(Shapes.of(pair))._request.get_compiled_model().get_runtime_model()
kinds = {str(op.rt_info["primitiveType"].astype(str)) for op in graph.get_ops()
         if op.rt_info["layerType"].astype(str) == "Convolution"}
print(" ".join(sorted(kinds)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("held", ["AVX2", "AVX"])
def test_openvino_agrees_with_float32_on_an_older_cpu(
    held: str, precision: str, drive_pairs: list[Pair], tmp_path: Path
) -> None:
    pair = drive_pairs[0]
    inputs, outputs = tmp_path / "inputs.npz", tmp_path / "outputs.npz"
    np.savez(inputs, visible=pair.visible, thermal=pair.thermal)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, inputs, precision, outputs],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": held}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    kinds = run.stdout.split()
    assert kinds and not any("avx512" in kind or "amx" in kind for kind in kinds)
    assert held == "AVX2" or not any("avx2" in kind for kind in kinds)
    module = raw_module(load_model(DEFAULT_MODEL.with_suffix(".safetensors")))
    expected = run_module(module, pair, ThermalGain(smoothing=0).update(pair.thermal))
    judged = np.load(outputs)
    result = agreement([(expected, (judged["fused"], judged["labels"], judged["confidence"]))])
    check_accepted(result, precision, f"OpenVINO held down to {held}")


def test_the_description_of_a_machine_names_its_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name : An old laptop\nflags : sse4_1 avx2 fma\n")
    monkeypatch.setattr(machine, "CPUINFO", cpuinfo)
    assert machine.describe_machine().startswith("An old laptop, 1 cores (avx2), Linux")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    assert "no vector flags known" in machine.describe_machine()
