"""The commands in the documentation: each is run, or at least its options are real.

A comment above a shell block says what happens to it:

    <!-- run -->             it is run here, in a folder with drive.mcap and pairs/
    <!-- run: long -->       the same, in the slow tests; blocks of a page run in order
    <!-- run: long, with x --> the same, with more words at the end of a training
    <!-- parse -->           its `ssvif` commands are parsed
    <!-- needs: ... -->      the same; running it needs what is not here
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
import typer

from ssvif_core import cli
from ssvif_core.recordings.bags import write_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.types import Pair

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
WRITTEN_BY_HAND = [page for page in PAGES if "reference" not in page.parts]


@dataclass(frozen=True)
class Block:
    """A shell block of a page."""

    page: Path
    line: int
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_long(self) -> bool:
        return self.mark.startswith("run: long")

    @property
    def script(self) -> str:
        """What is run."""
        more = self.mark.partition("with ")[2]
        return re.sub(r"^(ssvif train .*)$", rf"\1 {more}", self.text, flags=re.MULTILINE)

    @property
    def commands(self) -> list[list[str]]:
        """Its `ssvif` commands, as words."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [line for line in words if line and line[0] == "ssvif"]


def blocks() -> list[Block]:
    found = []
    for page in WRITTEN_BY_HAND:
        text = page.read_text()
        for match in re.finditer(r"(?:<!-- (.*?) -->\n)?```sh\n(.*?)```", text, re.DOTALL):
            line = text[: match.start()].count("\n") + 1
            found.append(Block(page, line, match[1] or "", match[2]))
    return found


BLOCKS = blocks()


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_says_what_happens_to_it(block: Block) -> None:
    assert re.fullmatch(r"run(: long(, with .+)?)?|parse|needs: .+", block.mark), (
        f"{block}: <!-- ... --> above"
    )


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.commands], ids=str)
def test_its_options_are_real(block: Block) -> None:
    if not any(command.name == "play" for command in cli.app.registered_commands):
        cli._add_ros_commands()
    root = typer.main.get_command(cli.app)
    for words in block.commands:
        context, command, rest = None, root, words[1:]
        while hasattr(command, "commands"):
            assert rest and rest[0] in command.commands, f"{block}: no command {words}"
            command, rest = command.commands[rest[0]], rest[1:]
        context = command.make_context(words[1], list(rest), resilient_parsing=True)
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, f"{block}: {words}"
        assert not context.args, f"{block}: {words}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a reader's: a drive of ten seconds as a bag, and as pairs with labels."""
    folder = tmp_path_factory.mktemp("desk")
    drive = DriveGenerator(
        DriveConfig(
            frames=120, fps=12, condition="day", visible_size=(320, 240), thermal_size=(160, 128)
        )
    )
    for name in ("vi", "ir", "labels"):
        (folder / "pairs" / name).mkdir(parents=True)
    pairs = []
    for index in range(120):
        frame = drive.frame(index)
        stamp = 1_000_000_000 + round(frame.stamp * 1e9)
        pairs.append(Pair(frame.visible, frame.thermal, stamp, stamp + 2_000_000))
        if index % 5:
            continue
        for name, image in (("vi", frame.visible), ("ir", frame.thermal), ("labels", frame.labels)):
            cv2.imwrite(str(folder / "pairs" / name / f"{index:03d}.png"), image)
    write_pairs(folder / "drive", pairs)
    (folder / "drive" / "drive.mcap").rename(folder / "drive.mcap")
    shutil.rmtree(folder / "drive")
    (folder / "config").symlink_to(ROOT / "config")
    (folder / "weights").symlink_to(ROOT / "ssvif_core/weights")
    return folder


RUNS = [
    pytest.param(page, long, marks=[pytest.mark.slow] if long else [], id=f"{page.stem}-{long}")
    for page in WRITTEN_BY_HAND
    for long in (False, True)
    if any(b.page == page and b.mark.startswith("run") and b.is_long == long for b in BLOCKS)
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("page", "long"), RUNS)
def test_the_commands_of_a_page_run(page: Path, long: bool, desk: Path) -> None:
    for block in BLOCKS:
        if block.page != page or not block.mark.startswith("run") or block.is_long != long:
            continue
        result = subprocess.run(
            ["bash", "-ec", block.script], cwd=desk, capture_output=True, text=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )  # fmt: skip
        assert result.returncode == 0, f"{block}:\n{result.stdout}\n{result.stderr}"
