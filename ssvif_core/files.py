"""Files: written whole or not at all, and recognised when they change."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ssvif_core.errors import InputError


def write_atomically(path: Path, data: bytes | str, mode: int = 0o644) -> None:
    """Write a file so that a reader never sees half of it, even after a loss of power.

    The data goes to a new file in the same folder, which then takes the name. A symbolic link at
    `path` is replaced and not followed.

    Args:
        mode: permissions of the file, less the user's umask.

    Raises:
        OSError: the file cannot be written. What was there before is still there.
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
    except BaseException:
        os.unlink(unfinished)
        raise


def fingerprint(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells whether a file has changed, without reading it.

    Returns:
        Full name, time of change (ns) and size (bytes) of the file, or of all files of a folder.

    Raises:
        InputError: there is no such file.
    """
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(str(file.resolve()), file.stat()) for file in files]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
