"""Writing of whole files, and a fingerprint that shows whether a file has changed."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from ssvif_core.errors import InputError

LARGEST_YAML = 16_000_000  # bytes


def write_atomically(path: Path, data: bytes | str, mode: int = 0o644) -> None:
    """Write a file so that a reader never sees half of it, even after a loss of power.

    The data goes to a new file in the same folder, which is then renamed. A symbolic link at `path`
    is replaced and not followed.

    Args:
        data: the content; text is written as UTF-8.
        mode: permissions of the file, without those that the user's umask removes.

    Raises:
        OSError: the file cannot be written. An older file is unchanged.
    """
    content = data.encode() if isinstance(data, str) else data
    unfinished = path.with_name(f".{secrets.token_hex(8)}.unfinished")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        os.unlink(unfinished)
        error.filename = error.filename or str(path)  # a full disk is told without the file
        raise
    except BaseException:
        os.unlink(unfinished)
        raise


def require_empty(folder: Path) -> None:
    """Check that a folder for results holds nothing yet. It need not exist.

    Raises:
        InputError: it holds something, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose a new folder")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty; choose a new folder")


@contextmanager
def results_folder(folder: Path) -> Iterator[None]:
    """Create a folder, and remove it again if the work inside fails before it holds anything.

    Raises:
        InputError: it cannot be written. That is known before hours of work.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); choose another folder"
        ) from error
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):  # it holds something
                folder.rmdir()
        raise


def read_yaml(path: Path, loader: type[yaml.BaseLoader] | type[yaml.SafeLoader]) -> Any:
    """The values of a YAML file.

    Args:
        loader: `yaml.SafeLoader`, or `yaml.BaseLoader`, to which everything is text.

    Raises:
        InputError: it is no file, cannot be read, is very large, or is no YAML.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for ever
            raise InputError(f"{path}: not a file; expected a YAML file")
        if path.stat().st_size > LARGEST_YAML:
            raise InputError(f"{path}: {path.stat().st_size} bytes; expected a small YAML file")
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{path}: cannot be read ({reason})") from error
    return parse_yaml(text, str(path), loader)


def parse_yaml(
    text: str,
    origin: str,
    loader: type[yaml.BaseLoader] | type[yaml.SafeLoader] = yaml.SafeLoader,
) -> Any:
    """The values of a YAML text.

    Args:
        origin: of the text, for the error.

    Raises:
        InputError: it is no YAML.
    """
    try:
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise InputError(f"{origin}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{origin}: not valid YAML: brackets are nested too deeply") from error


def fingerprint(path: Path) -> tuple[tuple[str, int, int], ...]:
    """A value that differs if a file was changed. The file is not read.

    Returns:
        Full path, time of modification (ns) and size (bytes) of the file, or of each file of a
        folder.

    Raises:
        InputError: the file or folder is missing or cannot be accessed.
    """
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(str(file.resolve()), file.stat()) for file in files]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
