"""What the header of a PNG, JPEG or TIFF picture says. Nothing is decoded."""

from __future__ import annotations

import struct

PNG_START, JPEG_START = b"\x89PNG", b"\xff\xd8"
TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
# Tags; the last is 0 if 0 is white.
TIFF_WIDTH, TIFF_HEIGHT, TIFF_BITS, TIFF_ZERO, TIFF_FORMAT = 256, 257, 258, 262, 339
SIGNED = 2  # a value of TIFF_FORMAT


def size_of_picture(data: bytes) -> tuple[int, int] | None:
    """Width and height that a picture claims; None if it is no PNG, JPEG or TIFF."""
    if data.startswith(PNG_START):
        if len(data) < 24:
            return None
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    if data.startswith(JPEG_START):
        return _size_of_jpeg(data)
    sides = tiff_tag(data, TIFF_WIDTH), tiff_tag(data, TIFF_HEIGHT)
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def bits_of_picture(data: bytes) -> int | None:
    """Bits of a value in a picture; None if it is no PNG, JPEG or TIFF.

    >>> bits_of_picture(PNG_START + bytes(20) + bytes([16]))
    16
    """
    if data.startswith(PNG_START):
        return data[24] if len(data) > 24 else None
    if data.startswith(JPEG_START):
        return 8
    return tiff_tag(data, TIFF_BITS)


def _size_of_jpeg(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        (length,) = struct.unpack_from(">H", data, position + 2)
        position += 2 + length
    return None


def tiff_tag(data: bytes, tag: int) -> int | None:
    """The first number behind a tag of the first picture of a TIFF; None if there is none."""
    order = TIFF_ORDERS.get(data[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for entry in range(count):
            place = start + 2 + 12 * entry
            found, kind, length = struct.unpack_from(f"{order}HHI", data, place)
            if found != tag:
                continue
            value_type = "H" if kind == 3 else "I"
            place += 8
            if length * struct.calcsize(value_type) > 4:  # the values lie elsewhere
                (place,) = struct.unpack_from(f"{order}I", data, place)
            (value,) = struct.unpack_from(f"{order}{value_type}", data, place)
            return int(value)
    except struct.error:
        return None
    return None
