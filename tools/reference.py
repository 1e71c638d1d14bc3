"""Writes the reference pages in docs/reference from the code: `make docs` runs it first.

A test compares the pages with the code, so they cannot differ.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ssvif_core.recordings.encodings import THERMAL_ENCODINGS, VISIBLE_ENCODINGS, Encoding

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "reference"
NOTE = "<!-- Written by tools/reference.py from {source}. Do not edit. -->\n"


def main() -> None:
    """Write all pages."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (OUT / name).write_text(text)
    print(f"{OUT}: {len(pages())} pages", file=sys.stderr)


def pages() -> dict[str, str]:
    """All reference pages, by file name."""
    return {
        "topics.md": topics(),
        "parameters.md": parameters(),
        "diagnostics.md": diagnostics(),
        "launch.md": launch(),
        "commands.md": commands(),
        "inputs.md": inputs(),
        "training.md": training(),
        "networks.md": networks(),
        "contributing.md": contributing(),
        "changelog.md": changelog(),
    }


def topics() -> str:
    """Topics and services of the node."""
    from ssvif_ros.node import interface

    published = []
    for each in (*interface.PUBLISHED, *interface.WITH_VISION_MSGS):
        published.append((f"`{each.name}`", each.type, each.description))
        if isinstance(each, interface.ImageOutput):
            published[-1] = (*published[-1][:2], f"{each.encoding}; {each.description}")
            if each.has_jpeg:
                published.append((f"`{each.name}/compressed`", interface.JPEG, "the same as JPEG"))
    heads = ("Name", "Type", "Content")
    return _page(
        "Topics and services",
        "ssvif_ros/node/interface.py",
        "Relative names take the node's namespace; `~` is the node itself (`/fusion_node`). All\n"
        "can be remapped. Each image is made and published only while someone listens, with the\n"
        "stamp and the frame of the visible image.",
        "## Subscribed",
        _table(heads, [(f"`{s.name}`", s.type, s.description) for s in interface.SUBSCRIBED]),
        "## Published",
        _table(heads, published),
        "## Services",
        _table(heads, [(f"`{s.name}`", s.type, s.description) for s in interface.SERVICES]),
    )


def parameters() -> str:
    """Parameters of the node."""
    from ssvif_ros.node.parameters import FusionParameters

    rows = []
    for field in dataclasses.fields(FusionParameters):
        values = field.metadata
        allowed = ", ".join(f"`{choice}`" for choice in values["choices"])
        if values["range"]:
            allowed = "{} to {}".format(*values["range"])
        changes = "yes" if values["live"] else "no"
        default = f"`{field.default}`" if field.default != "" else "empty"
        rows.append((f"`{field.name}`", default, allowed, changes, values["description"]))
    return _page(
        "Parameters",
        "ssvif_ros/node/parameters.py",
        "`config/fusion.yaml` holds all parameters with comments. Copy it, change it, and start\n"
        "with `config_file:=my.yaml`. Write `1.0`, not `1`, for a number with a decimal point.",
        _table(("Parameter", "Default", "Allowed", "Changes at run time", "Meaning"), rows),
    )


def diagnostics() -> str:
    """Keys of the diagnostics."""
    from ssvif_ros.node.status import Key, StreamKey

    rows = [(f"`{key.value}`",) for key in Key]
    rows += [(f"`visible {key.value}`, `thermal {key.value}`",) for key in StreamKey]
    return _page(
        "Diagnostics",
        "ssvif_ros/node/status.py",
        "The node publishes its state on `/diagnostics` once a second (REP 107). The level and\n"
        "the message tell the worst problem of the last second. The values have these keys:",
        _table(("Key",), rows),
    )


def launch() -> str:
    """Arguments of the launch files."""
    parts = []
    for path in sorted((ROOT / "launch").glob("*.launch.py")):
        module = ast.parse(path.read_text())
        rows = [
            (f"`{name}`", f"`{default}`" if default else "empty", description)
            for name, default, description in _arguments(module)
        ]
        parts += [
            f"## {path.name}",
            str(ast.get_docstring(module)),
            _table(("Argument", "Default", "Meaning"), rows),
        ]
    return _page("Launch files", "launch/", *parts)


def _arguments(module: ast.Module) -> Iterator[tuple[str, str, str]]:
    (table,) = (
        node.value
        for node in module.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ARGUMENTS"
    )
    assert isinstance(table, ast.List)
    for row in table.elts:
        assert isinstance(row, ast.Tuple)
        name, default, description = row.elts
        if isinstance(default, ast.Constant):
            text = "must be given" if default.value is None else str(default.value)
        else:  # a file of the package, put together when the launch file runs
            parts = [node.value for node in ast.walk(default) if isinstance(node, ast.Constant)]
            text = "/".join(["<share>", *map(str, parts)])
        yield str(ast.literal_eval(name)), text, str(ast.literal_eval(description))


def commands() -> str:
    """All commands of `ssvif` with their options."""
    from ssvif_core import cli

    if not any(command.name == "play" for command in cli.app.registered_commands):
        cli._add_ros_commands()
    root = typer.main.get_command(cli.app)
    parts: list[str] = []
    for name, command in sorted(_leaves(root, "ssvif")):
        parts += [f"## {name}", (command.help or "").replace("\b", "").strip()]
        rows = [row for parameter in command.params if (row := _option(parameter))]
        if rows:
            parts.append(_table(("Option", "Default", "Meaning"), rows))
    return _page(
        "Commands",
        "ssvif_core/cli and ssvif_ros/replay/cli.py",
        "On a robot the commands are called `ros2 run ssvif_ros ssvif ...`.",
        *parts,
    )


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for key, child in command.commands.items():
            yield from _leaves(child, f"{name} {key}")
    else:
        yield name, command


def _option(parameter: Any) -> tuple[str, str, str] | None:
    if "--help" in parameter.opts:
        return None
    name = parameter.name.upper() if parameter.param_type_name == "argument" else None
    names = name or " ".join([*parameter.opts, *parameter.secondary_opts])
    default = parameter.default
    if callable(default) or default in (None, (), [], "", False):
        text = "required" if parameter.required else ""
    else:
        text = f"`{default}`"
    return f"`{names}`", text, (getattr(parameter, "help", None) or "").replace("\n", " ")


def inputs() -> str:
    """What cameras and bags may send."""
    heads = ("Encoding", "Values of a pixel", "Meaning")

    def rows(table: Mapping[str, Encoding]) -> str:
        kinds = {"u1": "8 bits", "u2": "16 bits", "i2": "16 bits, signed", "f4": "float"}
        names: dict[Encoding, list[str]] = {}
        for name, encoding in table.items():
            names.setdefault(encoding, []).append(f"`{name}`")
        return _table(heads, [
            (", ".join(group), f"{encoding.samples} x {kinds[encoding.kind]}", encoding.meaning)
            for encoding, group in names.items()
        ])  # fmt: skip

    return _page(
        "Inputs",
        "ssvif_core/recordings/encodings.py",
        "The node and all commands read the same messages in the same way: `sensor_msgs/Image`\n"
        "and `sensor_msgs/CompressedImage`, live or from a bag. Other images are refused with a\n"
        "sentence that says what came, what was expected and what to do.",
        "- Rows may have any padding. Upper and lower case of a name are the same.\n"
        "- Values of 16 bits may have either byte order, as `is_bigendian` says.\n"
        "- The height of `nv12`, `nv21` and `nv24` may be that of the picture, or count the rows\n"
        "  of the colours too.",
        "## Visible",
        "Visible cameras of 16 bits often use fewer. The node takes 12 bits, and more when larger\n"
        "values come; so the brightness does not follow the scene. A camera of 10 bits needs the\n"
        "parameter `visible_bits`, unless its encoding says the bits. A bag is judged by its\n"
        "first 200 images.",
        rows(VISIBLE_ENCODINGS),
        "## Thermal",
        "Counts stay as they are. Temperatures become hundredths of a kelvin. Floats are kelvin\n"
        "if the median of the image is above 150, and degC otherwise. With `thermal_gain:\n"
        "temperature`, set `thermal_scale: 0.01` for them. A picture in colours is accepted if it\n"
        "is grey. A painted palette is refused, because its brightness does not follow the\n"
        "temperature.",
        rows(THERMAL_ENCODINGS),
        "## Compressed",
        "JPEG and PNG as image_transport writes them, with its order of colours. A PNG of 16\n"
        "bits stays 16 bits. `16UC1; compressedDepth png` is read too. The node subscribes to the\n"
        "topic with `/compressed` behind its name if no one publishes the raw images; see the\n"
        "parameter `image_transport`. JPEG spoils thermal edges, so prefer PNG for a thermal\n"
        "camera.",
        "## Folders and videos",
        "Image files hold the same pixels as messages: 8 or 16 bits, grey or colours, floats or\n"
        "int16 as temperatures. What folders may add:",
        "- A TIFF may say that 0 is white; it is turned over.\n"
        "- The thermal image may be the fourth channel of a PNG, as in MFNet. Give the same\n"
        "  folder as `--visible` and `--thermal`.\n"
        "- Where names do not tell the pairs, a list does: a .csv file whose lines are `visible\n"
        "  file, thermal file`, relative to the list. Give it in place of the folder.\n"
        "- A turn in EXIF data is ignored, because the thermal image beside it has none.\n"
        "- Two videos begin at the same moment. With other frame rates they are paired by time. A\n"
        "  grey thermal video of 16 bits (FFV1) keeps its counts.",
        "## Bags",
        "rosbag2 in mcap or sqlite3, as a folder or as a file: whole, split, without\n"
        "`metadata.yaml`, with messages or files compressed by zstd, and beside topics of any\n"
        "type. A ROS 1 bag is converted first. `ssvif bag check` says what a bag holds and what\n"
        "to set.",
    )


def training() -> str:
    """Settings of a training, with the comments of their dataclasses."""
    from ssvif_core.training.config import TrainConfig

    parts: list[str] = []
    waiting: list[tuple[str, Any]] = [("", TrainConfig)]
    while waiting:
        prefix, config = waiting.pop(0)
        comments = _comments(config)
        rows = []
        for field in dataclasses.fields(config):
            if (inner := _settings_in(field)) is not None:
                waiting.append((f"{prefix}{field.name}.", inner))
                continue
            default = field.default
            if default is dataclasses.MISSING and callable(field.default_factory):
                default = field.default_factory()
            shown = "empty" if default in ("", [], ()) else f"`{default}`"
            rows.append((f"`{prefix}{field.name}`", shown, comments.get(field.name, "")))
        title = prefix.rstrip(".") or "run"
        parts += [f"## {title}", _first_paragraph(config), _table(HEADS, rows)]
    return _page(
        "Training settings",
        "ssvif_core/training/config.py and the modules it uses",
        "In a YAML file, or on the command line as `ssvif train model.size=m stages.0.steps=500`.",
        *parts,
    )


HEADS = ("Setting", "Default", "Meaning")


def _settings_in(field: dataclasses.Field[Any]) -> Any:
    """The dataclass of a field that holds settings of its own, or a list of them."""
    default = field.default
    if default is dataclasses.MISSING and callable(field.default_factory):
        default = field.default_factory()
    if isinstance(default, list) and default and dataclasses.is_dataclass(default[0]):
        return type(default[0])
    return type(default) if dataclasses.is_dataclass(default) else None


def _comments(config: Any) -> dict[str, str]:
    """Per field: the comment behind or above it, or its line under `Attributes:`."""
    import inspect

    comments: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(config).splitlines():
        text = line.strip()
        match = re.match(r"(\w+): .*?(?:  # (.*))?$", text)
        if text.startswith("# "):
            above.append(text[2:])
        elif match and line.startswith("    ") and not line.startswith("     "):
            comments[match[1]] = match[2] or " ".join(above)
            above = []
        else:
            above = []
    attributes = re.search(
        r"Attributes:\n(.*?)(?:\n\n|\Z)", inspect.getdoc(config) or "", re.DOTALL
    )
    if attributes:
        for entry in re.split(r"\n(?=    \w)", attributes[1]):
            names, _, text = entry.strip().partition(": ")
            for name in names.split(", "):
                if not comments.get(name):
                    comments[name] = " ".join(text.split())
    return comments


def networks() -> str:
    """The registered fusion networks."""
    from ssvif_core.models.registry import fusion_networks

    rows = []
    for name, entry in sorted(fusion_networks().items()):
        module = sys.modules[entry.network.__module__]
        first = (module.__doc__ or "").strip().splitlines()[0]
        rows.append((f"`{name}`", ", ".join(entry.sizes), first.partition(": ")[2]))
    return _page(
        "Fusion networks",
        "ssvif_core/models/networks/",
        "`model.network` and `model.size` of a training choose one of these. A new file in\n"
        "`ssvif_core/models/networks/` adds one; its docstring fills this table.",
        _table(("Network", "Sizes", "What it is"), rows),
    )


def contributing() -> str:
    """CONTRIBUTING.md, with links that fit the site."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return NOTE.format(source="CONTRIBUTING.md") + "\n" + text.replace("](docs/", "](../")


def changelog() -> str:
    """CHANGELOG.rst as Markdown. It uses titles, lists and literals only."""
    lines = (ROOT / "CHANGELOG.rst").read_text().splitlines()
    text: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"[\^=\-~]{3,}", line):
            continue
        if re.fullmatch(r"\^{3,}", following):
            line = "# Changelog"
        elif re.fullmatch(r"-{3,}", following):
            line = f"## {line}"
        text.append(re.sub(r"``(.+?)``", r"`\1`", line))
    return NOTE.format(source="CHANGELOG.rst") + "\n" + "\n".join(text).strip() + "\n"


def _first_paragraph(config: Any) -> str:
    import inspect

    return (inspect.getdoc(config) or "").partition("\n\n")[0]


def _page(title: str, source: str, *parts: str) -> str:
    return "\n\n".join([NOTE.format(source=source) + f"\n# {title}", *parts]).rstrip() + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


if __name__ == "__main__":
    main()
