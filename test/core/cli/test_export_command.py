"""`ssvif export`: its options. The export itself is tested in test/core/graph/test_export.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ssvif_core.cli import app
from ssvif_core.errors import InputError
from ssvif_core.graph.model_file import DEFAULT_MODEL

WEIGHTS = str(DEFAULT_MODEL.with_suffix(".safetensors"))


@pytest.mark.parametrize("option", ["--int8-pairs", "--calibrate"])
def test_both_names_of_the_option_for_int8_pairs_work(option: str, tmp_path: Path) -> None:
    arguments = ["export", WEIGHTS, str(tmp_path / "m.onnx"), option, str(tmp_path / "nowhere")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, InputError) and "nowhere" in str(result.exception)


def test_a_missing_folder_for_the_result_is_reported_first(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", WEIGHTS, str(tmp_path / "nowhere" / "m.onnx")])
    assert isinstance(result.exception, InputError)
    assert "nowhere: no such folder; create it" in str(result.exception)
