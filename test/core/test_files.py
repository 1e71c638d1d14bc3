"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
import yaml

from ssvif_core import files
from ssvif_core.errors import InputError
from ssvif_core.files import (
    LARGEST_YAML,
    fingerprint,
    read_yaml,
    results_folder,
    write_atomically,
)


def test_bytes_and_text_are_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"\0\xff")
    assert path.read_bytes() == b"\0\xff"
    write_atomically(path, "wärme")
    assert path.read_bytes() == "wärme".encode()
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([letter]) * 1_000_000 for letter in b"ab"]
    write_atomically(path, contents[0])
    finished = threading.Event()

    def write() -> None:
        for index in range(50):
            write_atomically(path, contents[index % 2])
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not finished.is_set():
        assert path.read_bytes() in contents
        reads += 1
    writer.join()
    assert reads > 0


def test_an_open_file_keeps_its_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with path.open() as reader:
        write_atomically(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_symlink_at_the_target_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_text("untouched")
    link.symlink_to(other)
    write_atomically(link, "new")
    assert not link.is_symlink() and link.read_text() == "new"
    assert other.read_text() == "untouched"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_keeps_the_old_content_and_leaves_no_file_behind(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(files.os, step, fail)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(files.os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / "file", "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("umask", "mode", "expected"),
    [(0o022, 0o644, 0o644), (0o077, 0o644, 0o600), (0o002, 0o664, 0o664), (0o022, 0o600, 0o600)],
)
def test_permissions_follow_the_umask(umask: int, mode: int, expected: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o777)
    before = os.umask(umask)
    try:
        write_atomically(path, "new", mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == expected


def test_the_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    first = fingerprint(path)
    assert fingerprint(path) == first == fingerprint(tmp_path)
    path.write_text("longer")
    assert fingerprint(path) != first
    with pytest.raises(InputError, match="none: cannot be read"):
        fingerprint(tmp_path / "none")


def test_odd_yaml_files_are_refused(tmp_path: Path) -> None:
    odd = {"deep": "[" * 5000, "bytes": "\udcff", "unclosed": "a: ["}
    for name, text in odd.items():
        path = tmp_path / f"{name}.yaml"
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(InputError, match=f"{name}.yaml: (not valid YAML|cannot be read)"):
            read_yaml(path, yaml.SafeLoader)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="pipe.yaml: not a file"):
        read_yaml(tmp_path / "pipe.yaml", yaml.SafeLoader)
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(LARGEST_YAML + 1)
    with pytest.raises(InputError, match="large.yaml: 16000001 bytes; expected a small YAML file"):
        read_yaml(tmp_path / "large.yaml", yaml.SafeLoader)


def test_a_folder_for_results_is_removed_if_the_work_fails_before_it_holds_anything(
    tmp_path: Path,
) -> None:
    for name, is_left in (("empty", False), ("begun", True)):
        with pytest.raises(ValueError), results_folder(tmp_path / name):
            if is_left:
                (tmp_path / name / "file").touch()
            raise ValueError
        assert (tmp_path / name).exists() == is_left
    with pytest.raises(ValueError), results_folder(tmp_path):  # it was there before
        raise ValueError
    assert tmp_path.exists()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be written .*choose another folder"):
        with results_folder(tmp_path / "file"):
            pass
