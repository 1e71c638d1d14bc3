"""What is written while a run trains: a log, TensorBoard's files, and pictures to look at."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ssvif_core.overlay import draw_overlay, palette

logger = logging.getLogger(__name__)

# The few losses that fit beside the progress bar.
SHOWN = ("total", "fusion", "consistency", "information", "agreement", "weight_semantics")
# A class's colour does not depend on how many there are, so all 256 serve any model.
COLOURS = palette(256)
TINT = 0.6
GAP, TITLE_HEIGHT = 2, 22  # px
BACKGROUND, INK = (24, 24, 24), (230, 230, 230)
# What every line of the log has; the rest are scalars by name.
LINE_KEYS = {"stage", "step", "time"}
Line = dict[str, Any]
Picture = tuple[str, int, np.ndarray, float]  # stage, step, grid, time in s


class Monitor:
    """Writes `log.jsonl`, `tensorboard/` and `pictures/` into a run's folder.

    One process of a run has one. A file that cannot be written, as on a full disk, is warned of
    once and never ends the run. Without the package tensorboard the other two are written.
    """

    def __init__(self, out: Path, stages: list[str]) -> None:
        """`stages`: labels in the order they are trained, as in `["0 fusion", "1 consistency"]`."""
        self.out, self.log = out, out / "log.jsonl"
        self._order = {stage: index for index, stage in enumerate(stages)}
        self._warned: set[str] = set()
        self._open_board = _board_writer()
        self._board: Any = None  # opened by the first event, after a possible rewind
        out.mkdir(parents=True, exist_ok=True)

    def scalars(self, stage: str, step: int, **values: float) -> None:
        """One line of the log and as many TensorBoard scalars, tagged `stage/name`.

        Numbers are kept to 7 digits, what a float32 holds; NaN and infinity are kept, too.
        """
        numbers = {name: float(f"{float(value):.7g}") for name, value in values.items()}
        line = {"stage": stage, "step": step, "time": round(time.time(), 1), **numbers}
        with self._sparing_the_run(self.log), self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._to_board([line])

    def pictures(
        self,
        stage: str,
        step: int,
        visible: np.ndarray,
        thermal: np.ndarray,
        fused: np.ndarray,
        labels_feature: np.ndarray | None = None,
        labels_pixel: np.ndarray | None = None,
    ) -> None:
        """A grid, a row a sample, to `pictures/{stage}_{step:06d}.jpg` and TensorBoard.

        visible, fused (N, H, W, 3) uint8 BGR; thermal (N, H, W) uint8; the classes of S_f and of
        S_p (N, H, W) uint8, shown over the fused image, or None for no such column.
        """
        columns = {
            "visible": list(visible),
            "thermal": [cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) for image in thermal],
            "fused": list(fused),
        }
        for title, labels in ("classes of S_f", labels_feature), ("classes of S_p", labels_pixel):
            if labels is not None:
                columns[title] = [
                    draw_overlay(image, classes, COLOURS, TINT)
                    for image, classes in zip(fused, labels, strict=True)
                ]
        grid = picture_grid(columns)
        folder = self.out / "pictures"
        with self._sparing_the_run(folder):
            folder.mkdir(exist_ok=True)
            jpeg = cv2.imencode(".jpg", grid, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            (folder / f"{stage}_{step:06d}.jpg").write_bytes(jpeg.tobytes())
        self._to_board(pictures=[(stage, step, grid, time.time())])

    def rewind(self, stage: str, step: int) -> None:
        """Forget what came after the checkpoint (stage, step), since it will come again.

        `rewind(stages[0], 0)` is for a run from the start. Log and pictures are cut there;
        TensorBoard's files cannot be cut, so they are written anew from what is left. Stages
        that are none of this run's are left as they are.
        """
        end = (self._order[stage], step)

        def stays(stage: str, step: int) -> bool:
            return (self._order.get(stage, -1), step) <= end

        lines = [line for line in read_log(self.log) if stays(line["stage"], line["step"])]
        with self._sparing_the_run(self.log):
            fresh = self.log.with_suffix(".new")
            fresh.write_text("".join(json.dumps(line) + "\n" for line in lines))
            fresh.replace(self.log)
        for path, its_stage, its_step in list_pictures(self.out):
            if not stays(its_stage, its_step):
                path.unlink()
        if self._open_board is None:
            return
        self.close()
        for path in (self.out / "tensorboard").glob("events.out.tfevents.*"):
            path.unlink()
        self._to_board(lines)
        for path, its_stage, its_step in list_pictures(self.out):
            grid = cv2.imread(str(path))
            if grid is not None:
                self._to_board(pictures=[(its_stage, its_step, grid, path.stat().st_mtime)])

    def close(self) -> None:
        """Close TensorBoard's file; the next event opens another."""
        board, self._board = self._board, None
        with self._sparing_the_run(self.out / "tensorboard"):
            if board is not None:
                board.close()

    def _to_board(self, lines: Iterable[Line] = (), pictures: Iterable[Picture] = ()) -> None:
        """Write events, and flush them. A writer that once failed raises the error again."""
        if self._open_board is None:
            return
        folder = self.out / "tensorboard"
        with self._sparing_the_run(folder):
            self._board = self._board or self._open_board(str(folder))
            for line in lines:
                for name in line.keys() - LINE_KEYS:
                    tag = f"{line['stage']}/{name}"
                    self._board.add_scalar(tag, line[name], line["step"], line.get("time"))
            for stage, step, grid, when in pictures:
                tag = f"{stage}/pictures"
                self._board.add_image(tag, grid[..., ::-1], step, when, dataformats="HWC")
            self._board.flush()

    @contextmanager
    def _sparing_the_run(self, path: Path) -> Iterator[None]:
        """Warn, once a path, where it cannot be written."""
        try:
            yield
        except OSError as error:
            if path.name not in self._warned:
                self._warned.add(path.name)
                logger.warning("%s: cannot be written (%s); training goes on", path, error)


def read_log(path: Path) -> list[Line]:
    """The lines of a log, in order; one that an interruption cut short is left out."""
    lines = []
    for text in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and {"stage", "step"} <= line.keys():
            lines.append(line)
    return lines


def list_pictures(out: Path) -> list[tuple[Path, str, int]]:
    """A run's pictures as (path, stage, step), by stage and step."""
    found = []
    for path in (out / "pictures").glob("*_*.jpg"):
        stage, _, step = path.stem.rpartition("_")
        if step.isdecimal():
            found.append((path, stage, int(step)))
    return sorted(found, key=lambda entry: entry[1:])


def picture_grid(columns: dict[str, list[np.ndarray]]) -> np.ndarray:
    """Samples as rows under titled columns: (H, W, 3) uint8 BGR of images of that kind."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    strips = []
    for title, images in columns.items():
        width = images[0].shape[1]
        scale = min(0.45, (width - 6) / cv2.getTextSize(title, font, 1, 1)[0][0])
        head = np.full((TITLE_HEIGHT, width, 3), BACKGROUND, np.uint8)
        cv2.putText(head, title, (3, TITLE_HEIGHT - 7), font, scale, INK, 1, cv2.LINE_AA)
        strip = [
            cv2.copyMakeBorder(image, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=BACKGROUND)
            for image in (head, *images)
        ]
        strips.append(np.vstack(strip))
    return np.hstack(strips)


@contextmanager
def progress_bar(
    label: str, steps: int, first: int, enabled: bool
) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A progress bar; gives a function that shows a step and its losses."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(20),
        TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"), disable=not enabled,
    )  # fmt: skip
    task = bar.add_task(label, total=steps, completed=first, losses="")

    def show(step: int, losses: dict[str, float]) -> None:
        text = " ".join(f"{name[:6]} {losses[name]:.3f}" for name in SHOWN if name in losses)
        bar.update(task, completed=step, losses=text)

    with bar:
        yield show


def _board_writer() -> Any:
    """The class that writes TensorBoard's files, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        logger.warning("no TensorBoard files (%s); `pip install tensorboard` brings them", error)
        return None
    return SummaryWriter
