"""Pairs of recordings -> files to train on, without those that teach nothing."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from ssvif_core.cameras.overlap import Overlaps
from ssvif_core.errors import InputError
from ssvif_core.files import write_atomically
from ssvif_core.recordings.reading import read_sources
from ssvif_core.recordings.sources import PairSource
from ssvif_core.thermal import ThermalGain, to_grey
from ssvif_core.types import AnyArray, Float32Array, Pair, UInt8Array

THUMBNAIL = (40, 30)  # width, height of what is compared
LOCAL = 5.0  # how many times more a small part must change than the whole
REMEMBERED = 30  # pairs whose sharpness and contrast are usual
NIGHT = 50.0  # mean grey level of the visible image below which it is night
PART = 1000  # pairs in a folder
SHEET_COLUMNS, SHEET_PAIRS, SHEET_WIDTH = 6, 24, 240


class Fate(str, Enum):
    """What happens to a pair, in words."""

    KEPT = "kept"
    LIKE_THE_LAST = "like the last kept pair"
    BLURRED = "visible image blurred"
    REPEATED = "thermal image repeated"
    SHUTTER = "thermal image without contrast"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class SelectionConfig:
    """When a pair is left out; 0 switches a rule off.

    Attributes:
        difference: mean change from the last kept pair, grey levels of 255. A pair that changes
            less is left out, unless a hundredth of it changes by more than `LOCAL` times that: a
            person far away is a small part of the image.
        sharpness: share of the usual sharpness of the visible image.
        contrast: share of the usual contrast of the thermal image.
    """

    difference: float = 2.0
    sharpness: float = 0.3
    contrast: float = 0.1

    def __post_init__(self) -> None:
        for name in ("difference", "sharpness", "contrast"):
            if not 0 <= getattr(self, name) < 255:
                raise InputError(f"{name}={getattr(self, name)}; expected 0 or more")


class Selection:
    """Decides which pairs of one recording are kept; they come in order."""

    def __init__(self, config: SelectionConfig) -> None:
        self._config = config
        self._kept: Float32Array | None = None
        self._thermal: AnyArray | None = None
        self._sharpness: deque[float] = deque(maxlen=REMEMBERED)
        self._contrast: deque[float] = deque(maxlen=REMEMBERED)

    def decide(self, pair: Pair) -> Fate:
        """Whether the next pair is kept, or why not."""
        config, repeated = self._config, self._is_repeated(pair.thermal)
        grey = cv2.cvtColor(pair.visible, cv2.COLOR_BGR2GRAY)
        # Relative to the contrast, which smoke and darkness take away as well.
        sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var() / (grey.var() + 1))
        contrast = float(pair.thermal.std())
        is_blurred = _is_below(sharpness, self._sharpness, config.sharpness)
        is_flat = _is_below(contrast, self._contrast, config.contrast)
        self._sharpness.append(sharpness)
        if not is_flat:  # the shutter must not become usual
            self._contrast.append(contrast)
        if repeated:
            return Fate.REPEATED
        if is_flat:
            return Fate.SHUTTER
        if is_blurred:
            return Fate.BLURRED
        seen = thumbnail(pair)
        if self._kept is not None and self._kept.shape == seen.shape:
            change = np.abs(seen - self._kept)
            in_places = float(np.percentile(change, 99)) / LOCAL
            if max(float(change.mean()), in_places) < config.difference:
                return Fate.LIKE_THE_LAST
        self._kept = seen
        return Fate.KEPT

    def _is_repeated(self, thermal: AnyArray) -> bool:
        last, self._thermal = self._thermal, thermal.copy()
        return last is not None and np.array_equal(last, thermal)


def _is_below(value: float, usual: Sequence[float], share: float) -> bool:
    return len(usual) >= 5 and value < share * median(usual)


def thumbnail(pair: Pair) -> Float32Array:
    """Both images, small and grey: (2, 30, 40)."""
    shown = to_grey(
        pair.thermal, ThermalGain(smoothing=0).update(pair.thermal), *pair.thermal.shape
    )
    grey = cv2.cvtColor(pair.visible, cv2.COLOR_BGR2GRAY)
    small = [cv2.resize(each, THUMBNAIL, interpolation=cv2.INTER_AREA) for each in (grey, shown)]
    return np.stack(small).astype(np.float32)


@dataclass
class Extraction:
    """What an extraction did.

    Attributes:
        fates: number of pairs by fate.
        night: number of kept pairs taken in the dark.
        files: visible and thermal file of each kept pair.
        problems: about pairs that cannot be read.
    """

    fates: Counter[str] = field(default_factory=Counter)
    night: int = 0
    files: list[tuple[Path, Path]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """A few lines of text for people."""
        kept = self.fates[Fate.KEPT.value]
        lines = [f"{kept} of {self.fates.total()} pairs kept"]
        lines += [
            f"  {count} left out: {fate}"
            for fate, count in self.fates.most_common()
            if fate != Fate.KEPT.value
        ]
        if kept:
            lines.append(f"  {kept - self.night} by day, {self.night} in the dark")
        return "\n".join(lines)


def extract_pairs(
    sources: Sequence[PairSource],
    out: Path,
    config: SelectionConfig | None = SelectionConfig(),
    overlaps: Overlaps | None = None,
    on_pair: Callable[[], None] = lambda: None,
) -> Extraction:
    """Write pairs as `out`/vi/NAME.png and `out`/ir/NAME.png, which all commands read.

    Files that exist stay as they are, so an interrupted extraction goes on. Several recordings have
    folders of their own, `1`, `2` and so on, so that the end of each can be told. With more than
    `PART` pairs there are folders `part000`, `part001` and so on.

    Args:
        config: which pairs are left out; None keeps all.
        overlaps: of calibrated cameras: both images are cut to what both see. The thermal image
            keeps its bits. None writes the images as they are.
        on_pair: called after each pair.

    Raises:
        OSError: the folder cannot be written.
    """
    result = Extraction()
    selections: dict[object, Selection] = {}
    recordings = list(dict.fromkeys(source.recording for source in sources))
    for index, pair in read_sources(sources):
        source = sources[index]
        on_pair()
        try:
            if isinstance(pair, InputError):
                raise pair
            is_stream = source.stream is not None
            if config is not None and is_stream:
                selection = selections.setdefault(source.stream, Selection(config))
                fate = selection.decide(pair)
                if fate is not Fate.KEPT:
                    result.fates[fate.value] += 1
                    continue
            if overlaps is not None:
                pair = overlaps.of(pair).pair(pair)
        except InputError as error:
            result.fates[Fate.UNREADABLE.value] += 1
            result.problems.append(f"{source.name}: {error}")
            continue
        kept = result.fates[Fate.KEPT.value]
        folder = out / f"part{kept // PART:03d}" if len(sources) > PART else out
        if len(recordings) > 1:
            folder /= str(recordings.index(source.recording) + 1)
        name = source.name.replace("/", "_").replace("#", "_")
        files = folder / "vi" / f"{name}.png", folder / "ir" / f"{name}.png"
        for file, image in zip(files, (pair.visible, pair.thermal), strict=True):
            if not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(file, cv2.imencode(".png", image)[1].tobytes())
        result.fates[Fate.KEPT.value] += 1
        result.night += float(pair.visible.mean()) < NIGHT
        result.files.append(files)
    return result


def write_contact_sheet(files: Sequence[tuple[Path, Path]], path: Path) -> None:
    """A picture of some of the pairs: each visible image above its thermal one.

    Raises:
        OSError: the picture cannot be written.
    """
    step = max(len(files) / SHEET_PAIRS, 1)
    chosen = [files[int(number * step)] for number in range(int(len(files) / step))]
    write_sheet([_tile(*pair) for pair in chosen], path)


def _tile(visible_file: Path, thermal_file: Path) -> UInt8Array:
    visible = cv2.imread(str(visible_file))
    counts = cv2.imread(str(thermal_file), cv2.IMREAD_UNCHANGED)
    assert visible is not None and counts is not None  # just written
    shown = ThermalGain(smoothing=0).update(counts)
    thermal = to_grey(counts, shown, *visible.shape[:2])
    tile: UInt8Array = cv2.vconcat([visible, cv2.cvtColor(thermal, cv2.COLOR_GRAY2BGR)])
    return tile


def write_sheet(pictures: Sequence[UInt8Array], path: Path) -> None:
    """Write pictures, (h, w, 3) BGR each, as one: small, in rows; nothing for no pictures.

    Raises:
        OSError: the file cannot be written.
    """
    if not pictures:
        return
    tiles = []
    for picture in pictures:
        size = SHEET_WIDTH, max(round(picture.shape[0] * SHEET_WIDTH / picture.shape[1]), 1)
        tiles.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    height = max(len(tile) for tile in tiles)
    tiles = [
        cv2.copyMakeBorder(tile, 0, height - len(tile), 0, 4, cv2.BORDER_CONSTANT) for tile in tiles
    ]
    columns = min(SHEET_COLUMNS, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [cv2.hconcat(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    write_atomically(path, cv2.imencode(path.suffix, cv2.vconcat(rows))[1].tobytes())


def require_same_settings(out: Path, settings: dict[str, object]) -> None:
    """Note how a folder was made, or refuse to mix pairs of other settings into it.

    Args:
        settings: what JSON can hold.

    Raises:
        InputError: the folder holds pairs of other settings; names them.
        OSError: the folder cannot be written.
    """
    path = out / "extract.json"
    given = json.loads(json.dumps(settings))
    if path.is_file():
        try:
            before = json.loads(path.read_text())["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error!r}); choose another folder") from error
        changed = [
            f"{key} is another one"
            if key == "calibration"
            else f"{key} was {before.get(key)} and is {value}"
            for key, value in given.items()
            if before.get(key) != value
        ]
        if changed:
            raise InputError(
                f"{out} holds pairs of other settings: {'; '.join(changed)}; choose another "
                "folder, or remove this one"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: holds other files; choose an empty or a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"settings": given}, indent=2) + "\n")
