"""Image files are paired by name and read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from ssvif_core.errors import InputError
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.layouts import find_pairs, pair_folders
from ssvif_core.types import AnyArray


def write(path: Path, image: AnyArray) -> Path:
    path.parent.mkdir(exist_ok=True)
    if image.dtype == np.int16:  # OpenCV 4.5 cannot write it
        tifffile.imwrite(path, image, photometric="minisblack" if image.ndim == 2 else "rgb")
    else:
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


# --- what folders hold


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((20, 30), 21.5, np.float32), 29465),
        (np.full((20, 30), -5.5, np.float32), 26765),
        (np.full((20, 30), 300.0, np.float32), 30000),
        (np.full((20, 30), -500, np.int16), 26815),
    ],
)
def test_files_of_temperatures_become_hundredths_of_a_kelvin(
    tmp_path: Path, pixels: AnyArray, expected: int
) -> None:
    """Floats in degC or kelvin, and int16 in hundredths of a degC."""
    counts = read_thermal(write(tmp_path / "t" / "a.tiff", pixels))
    assert counts.dtype == np.uint16 and set(counts.ravel()) == {expected}


def test_a_file_of_unknown_temperatures_is_refused_with_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "t" / "a.tiff", np.full((20, 30), np.nan, np.float32))
    with pytest.raises(InputError, match="a.tiff: thermal image of floats without a single finite"):
        read_thermal(path)


@pytest.mark.parametrize("level", [4095, 65535])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_visible_files_of_16_bits_are_not_dark(tmp_path: Path, channels: int, level: int) -> None:
    shape = (20, 30) if channels == 1 else (20, 30, channels)
    pixels = np.full(shape, level, np.uint16)
    visible = read_visible(write(tmp_path / "v" / "a.png", pixels))
    assert visible.shape == (20, 30, 3) and set(visible.ravel()) == {255}


def test_the_thermal_image_may_be_the_fourth_channel(tmp_path: Path) -> None:
    """As in the dataset MFNet: one PNG holds both images."""
    both = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    path = write(tmp_path / "images" / "a.png", both)
    assert np.array_equal(read_visible(path), both[..., :3])
    assert np.array_equal(read_thermal(path), both[..., 3])


def test_a_picture_with_an_opaque_fourth_channel_is_grey(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(30, dtype=np.uint8) * 8, (20, 1))
    opaque = cv2.merge([ramp, ramp, ramp, np.full_like(ramp, 255)])
    assert np.array_equal(read_thermal(write(tmp_path / "t" / "a.png", opaque)), ramp)


@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_temperatures_in_three_channels_are_refused(tmp_path: Path, kind: type) -> None:
    path = write(tmp_path / "t" / "a.tiff", np.zeros((20, 30, 3), kind))
    with pytest.raises(InputError, match="a.tiff: thermal image of 3 channels of type"):
        read_thermal(path)


def test_thermal_files_of_8_and_of_16_bits_in_one_folder_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        name = f"{number}.{'tif' if number == 1 else 'png'}"
        write(tmp_path / "vi" / f"{number}.png", COLOUR)
        write(tmp_path / "ir" / name, GREY if number < 2 else GREY.astype(np.uint16) * 100)
    find_pairs(tmp_path)
    assert "2 of 5 thermal images have 8 bits and 3 have more" in caplog.text
    caplog.clear()
    for name in ("0.png", "1.tif"):
        (tmp_path / "ir" / name).unlink()
    pair_folders(tmp_path / "vi", tmp_path / "ir")
    assert not caplog.text


def test_a_painted_thermal_file_is_told(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(30, dtype=np.uint8) * 8, (20, 1))
    path = write(tmp_path / "t" / "a.png", cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO))
    with pytest.raises(InputError, match="a.png: the thermal image is in colour"):
        read_thermal(path)


def tiff(pixels: AnyArray, photometric: int, order: str) -> bytes:
    """A TIFF with one strip; `photometric` 0 means that 0 is white, 1 that it is black."""
    height, width = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    bits = 8 * pixels.dtype.itemsize
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
            (273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(data))]  # fmt: skip
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8 + len(data))
    entries = b"".join(
        struct.pack(
            f"{order}HHI{'HH' if kind == 3 else 'I'}", tag, kind, 1, value, *[0] * (kind == 3)
        )
        for tag, kind, value in tags
    )
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_whose_zero_is_white_is_turned_over(tmp_path: Path, kind: type, order: str) -> None:
    counts = np.arange(200, dtype=kind).reshape(10, 20)
    for photometric, expected in ((1, counts), (0, np.iinfo(kind).max - counts)):
        path = tmp_path / "a.tif"
        path.write_bytes(tiff(counts, photometric, order))
        assert np.array_equal(read_thermal(path), expected)


def test_a_turn_in_exif_data_is_ignored(tmp_path: Path) -> None:
    """A camera was mounted on its side; the thermal image beside it says nothing of that."""
    jpeg = cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    turned = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    path = tmp_path / "a.jpg"
    path.write_bytes(
        jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(turned) + 2) + turned + jpeg[2:]
    )
    assert cv2.imread(str(path)).shape == (30, 20, 3)
    assert read_visible(path).shape == (20, 30, 3)


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
