"""The pipeline: who owns its results, and what it remembers of an engine that could not be made."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ssvif_core.errors import ModelError
from ssvif_core.graph.model_file import DEFAULT_MODEL
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.types import Pair, Shapes


@pytest.fixture
def pair(drive_pairs: list[Pair]) -> Pair:
    return Pair(drive_pairs[0].visible[:96, :128], drive_pairs[0].thermal[:64, :80])


def test_the_next_pair_overwrites_the_buffers_but_not_a_copy(pair: Pair) -> None:
    pipeline = FusionPipeline()
    first = pipeline(pair)
    kept = first.copy()
    before = first.fused.copy()
    second = pipeline(Pair(255 - pair.visible, pair.thermal))
    assert second.fused is first.fused
    assert (first.fused != before).any()
    assert np.array_equal(kept.fused, before)


@pytest.mark.parametrize("broken", ["missing", "truncated"])
def test_a_model_that_is_repaired_is_used_again(pair: Pair, tmp_path: Path, broken: str) -> None:
    model = tmp_path / "model.onnx"
    if broken == "truncated":
        model.write_bytes(DEFAULT_MODEL.read_bytes()[:1000])
    pipeline = FusionPipeline(model)
    for _ in range(2):
        with pytest.raises(ModelError):
            pipeline(pair)
    shutil.copy(DEFAULT_MODEL, model)
    assert pipeline(pair).fused.shape == pair.visible.shape


def test_a_refusal_is_remembered_while_the_file_stays(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def refuse(*arguments: object) -> None:
        attempts.append(arguments)
        raise ModelError("not ours")

    monkeypatch.setattr("ssvif_core.pipeline.create_engine", refuse)
    pipeline = FusionPipeline()
    for _ in range(3):
        with pytest.raises(ModelError, match="not ours"):
            pipeline.prepare(Shapes.of(pair))
    assert len(attempts) == 1


def test_names_come_from_the_model() -> None:
    assert FusionPipeline().class_names[:2] == ("background", "person")
