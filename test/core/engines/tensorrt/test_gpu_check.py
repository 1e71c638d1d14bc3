"""tools/gpu_check.py on the stand-ins of test/standins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[4] / "tools"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_check_of_a_gpu_runs_and_reports_problems(gpu: dict[str, str], tmp_path: Path) -> None:
    pack = [sys.executable, TOOLS / "gpu_pack.py", tmp_path, "--count", "1", "--models", "s"]
    subprocess.run(pack, check=True, capture_output=True, timeout=300)
    check = [sys.executable, TOOLS / "gpu_check.py", tmp_path, "--runs", "2",
             "--only", "s-640x480x16", "--json", tmp_path / "check.json"]  # fmt: skip
    good = subprocess.run(check, env=gpu, text=True, capture_output=True, timeout=300)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "s-640x480x16 fp16: fused" in good.stdout and "all is well" in good.stdout
    cases = json.loads((tmp_path / "check.json").read_text())["cases"]
    assert [(case["precision"], case["cuda_graph"], case["accepted"]) for case in cases] == [
        ("fp16", True, True), ("int8", True, True), ("fp32", True, True),
    ]  # fmt: skip
    assert all(case["engine_ms"]["median"] > 0 and case["floor_ms"]["memory"] for case in cases)
    assert cases[0]["slowest_layers"] == [{"layer": "everything", "ms": 1.0, "share": 1.0}]
    report = json.loads((tmp_path / "check.json").read_text())
    cache, hand_over = report["cache"], report["hand_over"]
    assert cache["the same is found"] and cache["damage is noticed"] and cache["repaired"]
    assert [name.split()[0] for name in hand_over["pairs"]] == ["openvino", "tensorrt"]
    assert not hand_over["not_used"]
    check[check.index("s-640x480x16")] = "s-640x480x16-fp32"
    bad = subprocess.run(check, env={**gpu, "STANDIN_ERROR": "30"}, text=True, capture_output=True,
                         timeout=300)  # fmt: skip
    assert bad.returncode == 1 and "NOT ALL IS WELL; to report it, send" in bad.stdout
    absent = subprocess.run(check, env={**gpu, "LD_PRELOAD": ""}, text=True, capture_output=True,
                            timeout=300)  # fmt: skip
    assert absent.returncode == 1 and "stopped: no CUDA device" in absent.stdout
    assert "EngineError" in json.loads((tmp_path / "check.json").read_text())["problem"]
