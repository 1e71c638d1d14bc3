"""Versions of TensorRT, played by the stand-in of test/standins."""

from __future__ import annotations

import pytest
from gpu_runs import SIZES, Run


@pytest.mark.slow
def test_unsupported_versions_and_flavours_are_refused(ssvif: Run) -> None:
    output = ssvif("engine", "build", "--flavour", "tensorrt", code=2, STANDIN_VERSION="9.1")
    assert "tensorrt is version 9.1, expected 8.6, or 10.3 to 11" in output
    assert "expected tensorrt or tensorrt_rtx" in ssvif(
        "engine", "build", "--flavour", "trt", code=2
    )


@pytest.mark.slow
def test_each_supported_version_builds_and_is_found_again(ssvif: Run) -> None:
    for version in ("8.6.1", "10.16.0", "11.0.0"):
        output = ssvif("engine", "build", *SIZES, "--precision", "int8", STANDIN_VERSION=version)
        assert f"tensorrt {version}, Stand-in GPU, int8" in output
