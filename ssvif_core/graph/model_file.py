"""The note in our ONNX files: what the engines and the node need to know of a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ssvif_core.errors import ModelError

METADATA_KEY = "ssvif"
METADATA_FIELD = 14  # `metadata_props` of onnx.proto's ModelProto
FORMAT = 2  # 2: with registration
ENGINE_SUFFIX = ".engine"  # of engine files, which only TensorRT runs
DEFAULT_MODEL = Path(__file__).parents[1] / "weights" / "ssvif_s.onnx"


# Precisions that are in the file; others, as bf16, are an engine's way to run the fp32 file.
FILE_PRECISIONS = ("fp16", "int8")


@dataclass(frozen=True)
class ModelNote:
    """size: architecture size; names: class names by label id; precision: of the graph."""

    size: str
    names: tuple[str, ...]
    precision: str = "fp32"

    def as_json(self) -> str:
        """What `read_note` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)})


def file_of(model: Path, precision: str) -> Path:
    """Where the graph of a precision lies: `model.fp16.onnx` beside `model.onnx`."""
    suffix = f".{precision}"
    if precision not in FILE_PRECISIONS or model.stem.endswith(suffix):
        return model
    return model.with_name(f"{model.stem}{suffix}{model.suffix}")


def float_file_of(model: Path) -> Path:
    """Where the float32 graph lies beside a file of another precision: `file_of` undone."""
    name = model.stem
    for precision in FILE_PRECISIONS:
        name = name.removesuffix(f".{precision}")
    return model.with_name(name + model.suffix)


def read_note(path: Path) -> ModelNote:
    """The note of an ONNX file, without any library of ONNX.

    Raises:
        ModelError: the file is missing, damaged, not ours, or was written for another version.
    """
    if not path.is_file():
        raise ModelError(
            f"{path}: no such model file; leave the model path empty for the shipped model, or "
            "make one with `ssvif export` (--precision for fp16 and int8)"
        )
    return parse_note(path, path.read_bytes())


def parse_note(path: Path, data: bytes) -> ModelNote:
    """`read_note` of bytes that came from `path`."""
    if not data:
        raise ModelError(f"{path}: the model file is empty; export or copy it again")
    try:
        metadata = {
            entry[1].decode(): entry[2].decode()
            for number, value in _fields(data)
            if number == METADATA_FIELD
            for entry in [dict(_fields(value))]
        }
    except (ValueError, KeyError) as error:
        raise ModelError(
            f"{path}: this model file cannot be read; is it truncated, or not ONNX? ({error})"
        ) from error
    return _checked_note(path, metadata)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field of a protobuf message; numbers have no content.

    After the encoding at protobuf.dev/programming-guides/encoding.
    """
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            if position >= len(data) or shift > 63:
                raise ValueError("it ends within a number")
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        tag = varint()
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            varint()
            length = 0
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        elif kind == 2:
            length = varint()
        else:
            raise ValueError(f"field of kind {kind}")
        if number == 0 or position + length > len(data):
            raise ValueError(f"field {number} has {length} bytes, {len(data) - position} are left")
        yield number, data[position : position + length]
        position += length


def _checked_note(path: Path, metadata: dict[str, str]) -> ModelNote:
    if METADATA_KEY not in metadata:
        raise ModelError(
            f"{path}: an ONNX file, but not an ssvif model (it has no '{METADATA_KEY}' note); "
            "make one with `ssvif export`"
        )
    try:
        note = json.loads(metadata[METADATA_KEY])
        made = ModelNote(note["size"], tuple(note["names"]), note.get("precision", "fp32"))
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
