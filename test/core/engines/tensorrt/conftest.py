from __future__ import annotations

import pytest
from gpu_runs import Run, runner

from ssvif_core.engines.tensorrt.flavour import Flavour, find_flavour


@pytest.fixture(scope="session")
def rtx() -> Flavour:
    """TensorRT for RTX, which parses and builds without a GPU."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx, the builder without a GPU, is absent")
    return find_flavour("tensorrt_rtx")


@pytest.fixture
def ssvif(gpu: dict[str, str]) -> Run:
    """Runs `ssvif` with the stand-in of a GPU."""
    return runner(gpu)
