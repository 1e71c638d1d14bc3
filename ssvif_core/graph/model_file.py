"""Model files: their names by precision, and the note inside that describes the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ssvif_core.errors import ModelError

METADATA_KEY = "ssvif"
METADATA_FIELD = 14  # number of `metadata_props` in onnx.proto's ModelProto
FORMAT = 2  # since 2, the graph does the registration
ENGINE_SUFFIX = ".engine"  # of engine files, which only TensorRT runs
DEFAULT_MODEL = Path(__file__).parents[1] / "weights" / "ssvif_s.onnx"
DEFAULT_WEIGHTS = DEFAULT_MODEL.with_suffix(".safetensors")
# Precisions with a file of their own beside the fp32 file.
FILE_PRECISIONS = ("fp16", "int8")


@dataclass(frozen=True)
class ModelNote:
    """What engines and node must know about a model.

    Attributes:
        size: architecture size, as in `ModelConfig`.
        names: class names by label id.
        precision: of the graph.
    """

    size: str
    names: tuple[str, ...]
    precision: str = "fp32"

    def as_json(self) -> str:
        """The text that `read_note` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)})


def file_of(model: Path, precision: str) -> Path:
    """The file of a precision beside a model.

    >>> file_of(Path("model.onnx"), "fp16").name
    'model.fp16.onnx'
    >>> file_of(Path("model.onnx"), "fp32").name
    'model.onnx'
    """
    suffix = f".{precision}"
    if precision not in FILE_PRECISIONS or model.stem.endswith(suffix):
        return model
    return model.with_name(f"{model.stem}{suffix}{model.suffix}")


def float_file_of(model: Path) -> Path:
    """The float32 file beside a file of any precision.

    >>> float_file_of(Path("model.int8.onnx")).name
    'model.onnx'
    """
    name = model.stem
    for precision in FILE_PRECISIONS:
        name = name.removesuffix(f".{precision}")
    return model.with_name(name + model.suffix)


def read_note(path: Path) -> ModelNote:
    """Read the note of an ONNX file, without an ONNX library.

    Raises:
        ModelError: the file is missing, damaged, not ours, or of another format version.
    """
    advice = weights_advice(path)
    if advice:
        raise ModelError(advice)
    if not path.is_file():
        raise ModelError(
            f"{path}: no such model file; leave the model path empty for the shipped model, or "
            "write one with `ssvif export` (--precision for fp16 and int8)"
        )
    return parse_note(path, path.read_bytes())


def weights_advice(path: Path) -> str:
    """What to type if weights or a run's folder were given where an ONNX file is wanted."""
    if (path / "manifest.json").is_file():
        return f"{path}: a bundle; expected an ONNX file: give {path / 'model.onnx'}"
    weights = path / "model.safetensors" if path.is_dir() else path
    if path.is_dir() and not weights.is_file():
        return f"{path}: a folder; expected an ONNX file of `ssvif export`"
    if weights.suffix != ".safetensors" or not weights.is_file():
        return ""
    what = "a folder with weights" if path.is_dir() else "weights"
    return (
        f"{path}: {what}; expected an ONNX file: run `ssvif export {weights} model.onnx`, and give "
        "model.onnx"
    )


def parse_note(path: Path, data: bytes) -> ModelNote:
    """As `read_note`, from the content `data` of the file `path`."""
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
            f"{path}: this model file cannot be read ({error}); is it truncated, or not ONNX?"
        ) from error
    return _checked_note(path, metadata)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field of a protobuf message. Numeric fields have no content.

    The encoding is described at protobuf.dev/programming-guides/encoding.
    """
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            if position >= len(data) or shift > 63:
                raise ValueError("the file ends inside a number")
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        tag = varint()
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            varint()
            length = 0
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        elif wire_type == 2:
            length = varint()
        else:
            raise ValueError(f"field of unknown type {wire_type}")
        if number == 0 or position + length > len(data):
            raise ValueError(
                f"field {number} needs {length} bytes, {len(data) - position} are left"
            )
        yield number, data[position : position + length]
        position += length


def _checked_note(path: Path, metadata: dict[str, str]) -> ModelNote:
    if METADATA_KEY not in metadata:
        raise ModelError(
            f"{path}: an ONNX file, but not an ssvif model (it has no '{METADATA_KEY}' note); "
            "write one with `ssvif export`"
        )
    try:
        values = json.loads(metadata[METADATA_KEY])
        note = ModelNote(values["size"], tuple(values["names"]), values.get("precision", "fp32"))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: its '{METADATA_KEY}' note is damaged ({error!r}); export the model again"
        ) from error
    if values.get("format") != FORMAT:
        raise ModelError(
            f"{path}: model format {values.get('format')}, this version reads {FORMAT}; "
            "export the model again with this version"
        )
    return note
