"""What a training run writes while it runs: a log, TensorBoard files and pictures."""

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

from ssvif_core.files import write_atomically
from ssvif_core.overlay import draw_overlay, palette
from ssvif_core.types import UInt8Array

logger = logging.getLogger(__name__)

# The few losses for which the progress bar has room.
BAR_LOSSES = (
    "total",
    "fusion",
    "regions",
    "consistency",
    "information",
    "agreement",
    "weight_semantics",
)
# The colour of a class does not depend on the number of classes, so 256 colours fit any model.
COLOURS = palette(256)
TINT = 0.6
GAP, TITLE_HEIGHT = 2, 22  # pixels
BACKGROUND, INK = (24, 24, 24), (230, 230, 230)
# Every line of the log has these keys; all other keys are names of scalars.
LINE_KEYS = {"stage", "step", "time"}
Line = dict[str, Any]
Picture = tuple[str, int, UInt8Array, float]  # stage, step, grid of images, time in seconds


class Monitor:
    """Writes `log.jsonl`, `tensorboard/` and `pictures/` into the folder of a run.

    Only one process of a run has a monitor. If a file cannot be written, for example because the
    disk is full, the monitor warns once and the run continues. Without the package tensorboard,
    the log and the pictures are still written.

    Args:
        out: folder of the run; it is created if needed.
        stages: labels in the order of training, such as `["0 fusion", "1 consistency"]`.
    """

    def __init__(self, out: Path, stages: list[str]) -> None:
        self.out, self.log = out, out / "log.jsonl"
        self._order = {stage: index for index, stage in enumerate(stages)}
        self._warned: set[str] = set()
        self._open_board = _board_writer()
        self._board: Any = None  # the first event opens it, after a possible rewind
        out.mkdir(parents=True, exist_ok=True)

    def scalars(self, stage: str, step: int, **values: float) -> None:
        """Write one line of the log, and each value as the TensorBoard scalar `stage/name`.

        Values are rounded to 7 digits, the precision of a float32. NaN and infinity are kept.
        """
        numbers = {name: float(f"{float(value):.7g}") for name, value in values.items()}
        line = {"stage": stage, "step": step, "time": round(time.time(), 1), **numbers}
        with self._warning_once(self.log), self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._to_board([line])

    def pictures(
        self,
        stage: str,
        step: int,
        visible: UInt8Array,
        thermal: UInt8Array,
        fused: UInt8Array,
        labels_feature: UInt8Array | None = None,
        labels_pixel: UInt8Array | None = None,
    ) -> None:
        """Write a grid with one row per sample: `pictures/{stage}_{step:06d}.jpg`, TensorBoard.

        Args:
            visible, fused: (N, H, W, 3), BGR.
            thermal: (N, H, W).
            labels_feature, labels_pixel: class ids of S_f and of S_p, (N, H, W). They are drawn
                over the fused image. None leaves the column out.
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
        with self._warning_once(folder):
            folder.mkdir(exist_ok=True)
            jpeg = cv2.imencode(".jpg", grid, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            (folder / f"{stage}_{step:06d}.jpg").write_bytes(jpeg.tobytes())
        self._to_board(pictures=[(stage, step, grid, time.time())])

    def rewind(self, stage: str, step: int) -> None:
        """Remove everything after the checkpoint (stage, step), because the run repeats it.

        A run from the start calls `rewind(stages[0], 0)`. Later log lines and pictures are
        removed. TensorBoard files cannot be cut, so they are written again from the rest.
        Stages that are not in this run's list are kept.
        """
        end = (self._order[stage], step)

        def is_kept(stage: str, step: int) -> bool:
            return (self._order.get(stage, -1), step) <= end

        lines = [line for line in read_log(self.log) if is_kept(line["stage"], line["step"])]
        with self._warning_once(self.log):
            write_atomically(self.log, "".join(json.dumps(line) + "\n" for line in lines))
        for path, picture_stage, picture_step in list_pictures(self.out):
            if not is_kept(picture_stage, picture_step):
                path.unlink()
        if self._open_board is None:
            return
        self.close()
        for path in (self.out / "tensorboard").glob("events.out.tfevents.*"):
            path.unlink()
        self._to_board(lines)
        for path, picture_stage, picture_step in list_pictures(self.out):
            grid = cv2.imread(str(path))
            if grid is not None:
                time_s = path.stat().st_mtime
                self._to_board(pictures=[(picture_stage, picture_step, grid, time_s)])

    def close(self) -> None:
        """Close the TensorBoard file; the next event opens a new one."""
        board, self._board = self._board, None
        with self._warning_once(self.out / "tensorboard"):
            if board is not None:
                board.close()

    def _to_board(self, lines: Iterable[Line] = (), pictures: Iterable[Picture] = ()) -> None:
        """Write TensorBoard events and flush them. After an error, a writer fails every time."""
        if self._open_board is None:
            return
        folder = self.out / "tensorboard"
        with self._warning_once(folder):
            self._board = self._board or self._open_board(str(folder))
            for line in lines:
                for name in line.keys() - LINE_KEYS:
                    tag = f"{line['stage']}/{name}"
                    self._board.add_scalar(tag, line[name], line["step"], line.get("time"))
            for stage, step, grid, time_s in pictures:
                tag = f"{stage}/pictures"
                self._board.add_image(tag, grid[..., ::-1], step, time_s, dataformats="HWC")
            self._board.flush()

    @contextmanager
    def _warning_once(self, path: Path) -> Iterator[None]:
        """Turn an OSError into a warning, one per path."""
        try:
            yield
        except OSError as error:
            if path.name not in self._warned:
                self._warned.add(path.name)
                logger.warning(
                    "%s: cannot be written (%s); training continues without it", path, error
                )


def read_log(path: Path) -> list[Line]:
    """The lines of a log in order, without a line that an interruption cut short.

    A missing log gives an empty list.
    """
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
    """The pictures of a run as (path, stage, step), sorted by stage and step."""
    pictures = []
    for path in (out / "pictures").glob("*_*.jpg"):
        stage, _, step = path.stem.rpartition("_")
        if step.isdecimal():
            pictures.append((path, stage, int(step)))
    return sorted(pictures, key=lambda picture: picture[1:])


def picture_grid(columns: dict[str, list[UInt8Array]]) -> UInt8Array:
    """Draw samples as rows under titled columns.

    Args:
        columns: images by title, (H, W, 3) uint8 BGR. All columns have equally many images.

    Returns:
        (rows * (H + gap) + title and gap, columns * (W + gap), 3) uint8 BGR.

    >>> images = [np.zeros((64, 96, 3), np.uint8)] * 2
    >>> picture_grid({"visible": images, "fused": images}).shape
    (156, 196, 3)
    """
    font = cv2.FONT_HERSHEY_SIMPLEX
    strips = []
    for title, images in columns.items():
        width = images[0].shape[1]
        scale = min(0.45, (width - 6) / cv2.getTextSize(title, font, 1, 1)[0][0])
        heading = np.full((TITLE_HEIGHT, width, 3), BACKGROUND, np.uint8)
        cv2.putText(heading, title, (3, TITLE_HEIGHT - 7), font, scale, INK, 1, cv2.LINE_AA)
        strip = [
            cv2.copyMakeBorder(image, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=BACKGROUND)
            for image in (heading, *images)
        ]
        strips.append(np.vstack(strip))
    return np.hstack(strips)


@contextmanager
def progress_bar(
    label: str, steps: int, first: int, enabled: bool
) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Show a progress bar from step `first` on; gives a function that shows a step's losses."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(20),
        TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"), disable=not enabled,
    )  # fmt: skip
    task = bar.add_task(label, total=steps, completed=first, losses="")

    def show(step: int, losses: dict[str, float]) -> None:
        text = " ".join(f"{name[:6]} {losses[name]:.3f}" for name in BAR_LOSSES if name in losses)
        bar.update(task, completed=step, losses=text)

    with bar:
        yield show


def _board_writer() -> Any:
    """The class that writes TensorBoard files; None if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        logger.warning(
            "TensorBoard files are not written (%s); run `pip install tensorboard`", error
        )
        return None
    return SummaryWriter
