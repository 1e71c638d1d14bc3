"""The command line `ssvif`.

Each command has one file here. It reads the options, calls functions of other packages, and prints
the result. This file puts the commands together.

fuse, view             fuse pairs, look at the result over time
evaluate               compare it with other methods
calibrate              find the camera pair
bag, pairs, extract    show and convert recordings, list their pairs, write them as files
train, adapt           train a model, or adapt one to other cameras
pick, name, export     pick pairs to label, name the classes of a model, write its ONNX files
deploy                 put a model and its cameras into a bundle, look at bundles
options                options that several commands have
engine, doctor         build and check engines, show what works on this machine

`ssvif_ros` adds the commands that need ROS through the entry point group `ssvif.commands`, so this
package does not import ROS.
"""

from __future__ import annotations

import logging
import sys
from importlib.metadata import entry_points

import typer

from ssvif_core.cli import (
    adapt,
    bag,
    calibrate,
    deploy,
    doctor,
    engine,
    evaluate,
    export,
    extract,
    fuse,
    name,
    pairs,
    pick,
    train,
    view,
)  # fmt: skip
from ssvif_core.errors import SsvifError

app = typer.Typer(
    help="Visible-thermal image fusion for robots.", no_args_is_help=True,
    pretty_exceptions_enable=False, add_completion=False,
)  # fmt: skip
app.command()(fuse.fuse)
app.command()(calibrate.calibrate)
app.command()(view.view)
app.command()(evaluate.evaluate)
app.add_typer(bag.app, name="bag")
app.command()(pairs.pairs)
app.command()(extract.extract)
app.command()(train.train)
app.command()(adapt.adapt)
app.command()(pick.pick)
app.command()(name.name)
app.command()(export.export)
app.command()(deploy.deploy)
app.add_typer(deploy.app, name="bundle")
app.add_typer(engine.app, name="engine")
app.command()(doctor.doctor)


def _add_ros_commands() -> None:
    for point in entry_points(group="ssvif.commands"):
        try:
            app.command(point.name)(point.load())
        except ImportError as error:
            # Without ROS, the other commands still work, and this one says what is missing.
            _add_missing(point.name, str(error))


def _add_missing(name: str, reason: str) -> None:
    def missing() -> None:
        raise SsvifError(
            f"`ssvif {name}` needs ROS 2, which cannot be imported here ({reason}); source your "
            "ROS installation, or run `make setup` in the checkout"
        )

    app.command(name, help=f"Needs ROS 2: {reason}.")(missing)


def main() -> None:
    """Run the command line. Errors that the user can fix give a message and exit code 2."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("ssvif_core").setLevel(logging.INFO)
    _add_ros_commands()
    try:
        app()
    except SsvifError as error:
        print(f"ssvif: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # A path of any option may be unusable: too long, on a full disk, without permission.
        name = "" if error.filename is None else f"{error.filename}: "
        print(f"ssvif: {name}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
