"""`ssvif engine`, in processes that find the stand-ins of test/standins."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu_runs import SIZES, Run, runner

from ssvif_core.engines import why_not


@pytest.fixture
def ssvif(gpu: dict[str, str]) -> Run:
    """Runs `ssvif` with the stand-in of a GPU."""
    return runner(gpu)


@pytest.mark.slow
def test_build_list_verify_time_and_clean(ssvif: Run, gpu: dict[str, str]) -> None:
    output = ssvif("engine", "build", *SIZES)
    assert "tensorrt 10.3.0, Stand-in GPU, fp16, visible 160x120" in output and "dB" in output
    assert list((Path(gpu["XDG_CACHE_HOME"]) / "ssvif/engines").glob("*.timing"))
    output = ssvif("engine", "verify", *SIZES)
    assert "tensorrt 10.3.0 (fp16, Stand-in GPU) on 4 pairs" in output
    assert "building" not in output
    assert "dB" in ssvif("engine", "list")
    assert "p99" in ssvif("engine", "bench", "--runs", 3, *SIZES)
    assert "0 engines removed" in ssvif("engine", "clean")
    assert "1 engines removed" in ssvif("engine", "clean", STANDIN_GPU="another GPU")
    (Path(gpu["XDG_CACHE_HOME"]) / "ssvif/engines/lost.engine").write_bytes(b"half an engine")
    output = ssvif("engine", "clean", LD_PRELOAD="")
    assert "only damaged engines are removed: no CUDA device" in output
    assert "1 engines removed" in output
    assert "0 engines in" in ssvif("engine", "list")


@pytest.mark.slow
@pytest.mark.skipif(why_not("tensorrt") is None, reason="this machine has a GPU")
def test_special_engines_need_their_own_file(ssvif: Run, tmp_path: Path) -> None:
    output = ssvif("engine", "build", "--compute-capability", "8.6", code=2)
    assert "give --out FILE.engine" in output
    assert "expected one size each, or SMALLEST:USUAL:LARGEST" in ssvif(
        "engine", "build", "--visible", "1x1:2x2", code=2
    )
    assert "size '640'; expected WIDTHxHEIGHT" in ssvif("engine", "bench", "--visible", 640, code=2)
    output = ssvif("engine", "build", "--out", tmp_path / "mine.plan", code=2)
    assert "expected a name that ends in .engine" in output
