"""The pipeline: who owns its results, and what it remembers of an engine that could not be made."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssvif_core.cameras.model import aligned
from ssvif_core.engines import Engine, create_engine
from ssvif_core.errors import InputError, ModelError
from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of
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


class Workshop:
    """Stands in for `create_engine`, so that a test decides when an engine is ready."""

    def __init__(self) -> None:
        self.begun: list[Shapes] = []
        self.may_end = threading.Event()
        self.error: Exception | None = None

    def __call__(self, name: str, model: Path, shapes: Shapes, *rest: Any) -> Engine:
        self.begun.append(shapes)
        assert self.may_end.wait(20)
        if self.error:
            raise self.error
        return create_engine(name, model, shapes, *rest)


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Workshop:
    made = Workshop()
    monkeypatch.setattr("ssvif_core.pipeline.create_engine", made)
    return made


SIZES = [Shapes(64, 16 * n, 32, 40, 2) for n in range(4, 14)]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_engine_at_a_time_is_prepared_beside(workshop: Workshop) -> None:
    """Whatever sizes come, memory and threads stay bounded."""
    pipeline = FusionPipeline()
    for shapes in SIZES * 3:
        pipeline.prepare_beside(shapes)
    until(lambda: bool(workshop.begun))
    assert workshop.begun == SIZES[:1]
    assert pipeline.is_preparing and not pipeline.is_prepared(SIZES[0])
    workshop.may_end.set()
    until(lambda: pipeline.is_prepared(SIZES[0]))
    assert pipeline.prepare(SIZES[0]).shapes == SIZES[0]
    assert not pipeline.is_preparing
    assert workshop.begun == SIZES[:1]


def test_what_failed_beside_is_refused_until_the_model_changes(
    workshop: Workshop, tmp_path: Path
) -> None:
    model = Path(shutil.copy(DEFAULT_MODEL, tmp_path / "model.onnx"))
    pipeline = FusionPipeline(model)
    workshop.error = ModelError("damaged")
    workshop.may_end.set()
    pipeline.prepare_beside(SIZES[0])
    until(lambda: pipeline.is_prepared(SIZES[0]))
    for step in (pipeline.prepare, pipeline.prepare_beside, pipeline.prepare):
        with pytest.raises(ModelError, match="damaged"):
            step(SIZES[0])
    assert len(workshop.begun) == 1
    workshop.error = None
    os.utime(model, (1, 1))
    pipeline.prepare_beside(SIZES[0])
    assert pipeline.prepare(SIZES[0]).shapes == SIZES[0]


def test_an_engine_of_a_model_that_changed_meanwhile_is_not_used(
    workshop: Workshop, tmp_path: Path
) -> None:
    model = Path(shutil.copy(DEFAULT_MODEL, tmp_path / "model.onnx"))
    pipeline = FusionPipeline(model)
    pipeline.prepare_beside(SIZES[0])
    os.utime(model, (1, 1))
    workshop.may_end.set()
    pipeline.prepare(SIZES[0])
    assert workshop.begun == SIZES[:1] * 2


def test_a_repaired_file_of_another_precision_is_noticed(pair: Pair, tmp_path: Path) -> None:
    """The model is named by its float32 file, but the engine reads the file of its precision."""
    model = Path(shutil.copy(DEFAULT_MODEL, tmp_path / "model.onnx"))
    whole = file_of(DEFAULT_MODEL, "int8").read_bytes()
    quantised = file_of(model, "int8")
    quantised.write_bytes(whole[:1000])
    pipeline = FusionPipeline(model, "onnxruntime", "int8")
    with pytest.raises(ModelError):
        pipeline(pair)
    quantised.write_bytes(whole)
    assert pipeline(pair).fused.shape == pair.visible.shape


def test_a_calibration_that_does_not_fit_is_told_before_an_engine_is_made(
    workshop: Workshop,
) -> None:
    pipeline = FusionPipeline(calibration=aligned((640, 480), (320, 256)))
    with pytest.raises(InputError, match="640x480"):
        pipeline.prepare_beside(SIZES[0])
    assert not workshop.begun


def test_names_come_from_the_model() -> None:
    assert FusionPipeline().class_names[:2] == ("background", "person")
