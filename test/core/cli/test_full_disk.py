"""Commands that write: when the disk is full, they say which file, and what to do.

`ssvif view` is not here. Rerun's writer, which is not ours, now and then waits for ever on a full
disk, in code that no timeout of a test can end.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from full_disk import full_disk
from typer.testing import CliRunner

from ssvif_core.cli import app
from ssvif_core.errors import SsvifError
from ssvif_core.graph.model_file import DEFAULT_WEIGHTS
from ssvif_core.models import load_model, save_model


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 pairs of noise, whose PNGs are large."""
    root, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for number in range(13):
        for kind, shape in (("vi", (96, 128, 3)), ("ir", (96, 128))):
            (root / kind).mkdir(exist_ok=True)
            image = random.integers(0, 255, shape, np.uint8)
            cv2.imwrite(str(root / kind / f"{number:02d}.png"), image)
    return root


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["extract", "{pairs}", "--out", "{out}"], "make room, then run the same command again"),
        (["pick", "{pairs}", "--out", "{out}"], "make room, remove it, and run the command again"),
        (["adapt", "{pairs}", "--steps", "1", "--out", "{out}"], "make room"),
        (["name", "{weights}", "{pairs}", "--labels", "{pairs}/labels", "--names",
          "background,person", "--out", "{out}"], "make room, or choose another"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_full_disk_is_told_with_the_file(
    words: list[str], advice: str, pairs: Path, tmp_path: Path
) -> None:
    (pairs / "labels").mkdir(exist_ok=True)
    for number in range(13):
        (pairs / "labels" / f"{number:02d}.txt").write_text("0 .5 .5 .4 .4\n")
    names = {"pairs": str(pairs), "out": str(tmp_path / "out"), "weights": str(DEFAULT_WEIGHTS)}
    with full_disk(20_000):
        result = CliRunner().invoke(app, [word.format(**names) for word in words])
    assert isinstance(result.exception, SsvifError), result.exception
    assert str(tmp_path / "out") in str(result.exception) and advice in str(result.exception)
    assert not list(tmp_path.rglob("*.unfinished"))


def test_weights_are_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    model, file = load_model(DEFAULT_WEIGHTS), tmp_path / "model.safetensors"
    save_model(model, file)
    before = file.read_bytes()
    with full_disk(20_000), pytest.raises(OSError, match="model.safetensors"):
        save_model(model, file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]
