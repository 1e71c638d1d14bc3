"""What tells whether a file has changed, without reading it."""

from __future__ import annotations

from pathlib import Path

from ssvif_core.errors import InputError


def facts_of(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Full name, time of change (ns) and size (bytes) of a file, or of all files of a folder.

    Raises:
        InputError: there is no such file.
    """
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(str(file.resolve()), file.stat()) for file in files]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
