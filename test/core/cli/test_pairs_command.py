"""`ssvif pairs` lists pairs, writes splits and checks them."""

from __future__ import annotations

from pathlib import Path

import typer
import yaml
from planted import plant, plant_pairs
from typer.testing import CliRunner, Result

from ssvif_core.cli.pairs import pairs as pairs_command
from ssvif_core.errors import InputError
from ssvif_core.recordings.bags import write_pairs
from ssvif_core.training.data.splits import PARTS
from ssvif_core.types import Pair


def ssvif_pairs(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(pairs_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_pairs_are_listed_and_a_split_is_written_and_checked(tmp_path: Path) -> None:
    plant_pairs(tmp_path / "data", 30)
    split = tmp_path / "split.yaml"
    result = ssvif_pairs(tmp_path / "data", "--write-split", split)
    assert result.exit_code == 0 and "vi + ir\n  30 pairs" in result.output
    counts = {part: len(names) for part, names in yaml.safe_load(split.read_text()).items()}
    summary = ", ".join(f"{counts[part]} {part}" for part in PARTS)
    assert f"split.yaml: {summary}" in result.output
    assert f"split.yaml: {summary}" in ssvif_pairs(tmp_path / "data", "--split", split).output


def test_exit_code_2_if_an_image_has_no_partner(tmp_path: Path) -> None:
    plant_pairs(tmp_path, 3)
    plant(tmp_path, "vi/lonely.png")
    result = ssvif_pairs(tmp_path)
    assert result.exit_code == 2
    assert "1 visible without partner: vi/lonely.png" in result.output


def test_the_topics_of_a_bag_can_be_given_only_together(
    tmp_path: Path, drive_pairs: list[Pair]
) -> None:
    write_pairs(tmp_path / "bag", drive_pairs[:4], "/cam0/image", "/cam1/image")
    bag = tmp_path / "bag"
    result = ssvif_pairs(bag, "--visible", "/cam0/image", "--thermal", "/cam1/image")
    assert "/cam0/image (4) + /cam1/image (4), 4 synchronised" in result.output
    only_visible = ssvif_pairs(bag, "--visible", "/cam0/image")
    assert isinstance(only_visible.exception, InputError)
