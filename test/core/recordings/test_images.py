"""Image files are paired by name and read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssvif_core.errors import InputError
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.layouts import pair_folders
from ssvif_core.types import AnyArray


def write(path: Path, image: AnyArray) -> Path:
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


GREY = np.full((20, 30), 7, np.uint8)
COLOUR = np.full((20, 30, 3), 9, np.uint8)


def test_files_with_the_same_stem_are_pairs_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.bmp"):
        write(tmp_path / "vi" / name, COLOUR)
    for name in ("a.tiff", "b.png", "d.png"):
        write(tmp_path / "ir" / name, GREY)
    (tmp_path / "vi" / "notes.txt").write_text("not an image")
    listing = pair_folders(tmp_path / "vi", tmp_path / "ir")
    assert [pair.name for pair in listing.pairs] == ["a", "b"]
    assert [path.name for path in listing.unpaired] == ["c.bmp", "d.png"]


def test_folders_without_a_common_name_are_refused_with_examples(tmp_path: Path) -> None:
    write(tmp_path / "vi" / "a.png", COLOUR)
    write(tmp_path / "ir" / "a_ir.png", GREY)
    with pytest.raises(InputError, match=r"no pairs: .*1 images \(a\).*\(a_ir\)"):
        pair_folders(tmp_path / "vi", tmp_path / "ir")


def test_two_files_with_the_same_stem_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "vi" / "a.png", COLOUR)
    write(tmp_path / "vi" / "a.jpg", COLOUR)
    with pytest.raises(InputError, match="a.jpg and a.png share the name 'a'"):
        pair_folders(tmp_path / "vi", tmp_path / "vi")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        pair_folders(tmp_path / "nowhere", tmp_path)


def test_thermal_images_of_16_bits_keep_their_counts(tmp_path: Path) -> None:
    counts = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    assert np.array_equal(read_thermal(write(tmp_path / "t" / "a.png", counts)), counts)


def test_a_grey_visible_file_becomes_bgr(tmp_path: Path) -> None:
    assert read_visible(write(tmp_path / "v" / "a.png", GREY)).shape == (20, 30, 3)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n broken", b"hello"])
def test_an_unreadable_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match="a.png: not a readable image"):
        read_visible(path)
    with pytest.raises(InputError, match="a.png: not a readable image"):
        read_thermal(path)


def test_a_float_thermal_image_is_refused_with_advice(tmp_path: Path) -> None:
    path = write(tmp_path / "t" / "a.tiff", np.full((20, 30), np.nan, np.float32))
    with pytest.raises(InputError, match="float32; expected counts of 8 or 16 bits; save"):
        read_thermal(path)


def claimed_png(side: int) -> bytes:
    """A PNG whose header claims side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"")
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_a_header_that_claims_a_huge_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(claimed_png(60000))
    for read in (read_visible, read_thermal):
        with pytest.raises(InputError, match="huge.png"):
            read(path)
