"""The note in our ONNX files: what the engines and the node need to know of a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ssvif_core.errors import ModelError

METADATA_KEY = "ssvif"
FORMAT = 2  # 2: with registration
DEFAULT_MODEL = Path(__file__).parents[1] / "weights" / "ssvif_s.onnx"


@dataclass(frozen=True)
class ModelNote:
    """size: architecture size; names: class names by label id."""

    size: str
    names: tuple[str, ...]


def check_exists(path: Path) -> None:
    """Raises ModelError if there is no such model file or it is empty."""
    if not path.is_file():
        raise ModelError(
            f"{path}: no such model file; leave the model path empty for the shipped model, or "
            "make one with `ssvif export`"
        )
    if path.stat().st_size == 0:
        raise ModelError(f"{path}: the model file is empty; export or copy it again")


def parse_note(path: Path, metadata: dict[str, str]) -> ModelNote:
    """The note of an ONNX file from its metadata.

    Raises:
        ModelError: the file is not ours, or was written for another version.
    """
    if METADATA_KEY not in metadata:
        raise ModelError(
            f"{path}: an ONNX file, but not an ssvif model (it has no '{METADATA_KEY}' note); "
            "make one with `ssvif export`"
        )
    try:
        note = json.loads(metadata[METADATA_KEY])
        made = ModelNote(note["size"], tuple(note["names"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: its '{METADATA_KEY}' note is damaged ({error!r}); export the model again"
        ) from error
    if note.get("format") != FORMAT:
        raise ModelError(
            f"{path}: model format {note.get('format')}, this version reads {FORMAT}; "
            "export the model again with this version"
        )
    return made
