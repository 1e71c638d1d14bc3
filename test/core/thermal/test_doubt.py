"""Images that cannot be right are told: bytes in the wrong order, and a wrong temperature scale."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.thermal import ThermalConfig, ThermalStream
from ssvif_core.thermal.doubt import has_swapped_bytes, impossible_scale, saturation
from ssvif_core.types import Pair

ROOM = 20.0  # degC
CAMERAS = {  # scale, offset of cameras in use
    "kelvin * 100": (0.01, -273.15),
    "kelvin * 25": (0.04, -273.15),
    "kelvin * 10": (0.1, -273.15),
    "(v - 1000) / 10": (0.1, -100.0),
    "v / 64 - 273.15": (1 / 64, -273.15),
}


def room(scale: float, offset: float) -> np.ndarray:
    """Counts of a room that is 10 K warmer at one side."""
    celsius = np.linspace(ROOM - 5, ROOM + 5, 64)[None].repeat(48, 0)
    return np.rint((celsius - offset) / scale).astype(np.uint16)


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("setting", CAMERAS)
def test_a_wrong_scale_is_told_with_the_likely_one(camera: str, setting: str) -> None:
    """A setting that makes a room impossible names the camera's own. Others cannot be told."""
    (scale, offset), (set_scale, set_offset) = CAMERAS[camera], CAMERAS[setting]
    counts = room(scale, offset)
    told = impossible_scale(counts, set_scale, set_offset)
    shown = set_offset + set_scale * float(np.median(counts))
    assert bool(told) == (not -100 <= shown <= 500)
    if told:
        assert f"{scale:g} and {offset:g} (20 degC)" in told


def test_the_stream_tells_a_wrong_scale_and_forgets_it() -> None:
    stream = ThermalStream(ThermalConfig("temperature", scale=0.04))
    stream(room(0.01, -273.15))
    assert "likely is 0.01 and -273.15 (20 degC)" in stream.doubt
    for _ in range(30):
        stream(room(0.04, -273.15))
    assert stream.doubt == ""


@pytest.mark.parametrize("night", [False, True])
def test_bytes_in_the_wrong_order_are_told_and_right_ones_never(
    drive_pairs: list[Pair], night: bool
) -> None:
    for pair in drive_pairs:
        counts = pair.thermal if not night else (pair.thermal // 4 + 6000).astype(np.uint16)
        assert not has_swapped_bytes(counts)
        assert has_swapped_bytes(counts.byteswap())
    stream = ThermalStream()
    stream(drive_pairs[0].thermal.byteswap())
    assert "is_bigendian of the driver is wrong" in stream.doubt


@pytest.mark.parametrize("level", [0, 255, 256, 7000, 65535])
def test_flat_and_8_bit_images_are_not_doubted(level: int) -> None:
    assert not has_swapped_bytes(np.full((32, 40), level, np.uint16))
    assert not has_swapped_bytes(np.full((32, 40), level % 256, np.uint8))
    # 8 bits, shifted up.
    shifted = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (32, 40), np.uint8), (0, 0), 3
    )
    assert not has_swapped_bytes(shifted.astype(np.uint16) << 8)
    noise = np.random.default_rng(0).integers(0, 65536, (32, 40)).astype(np.uint16)
    assert not has_swapped_bytes(noise)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_a_saturated_image_is_told_with_its_largest_count(bits: int) -> None:
    largest = 2**bits - 1
    counts = np.linspace(0.3 * largest, 0.9 * largest, 4000).reshape(50, 80)
    counts = counts.astype(np.uint8 if bits == 8 else np.uint16)
    stream = ThermalStream()
    stream(counts)
    assert (stream.saturated, stream.doubt) == (0.0, "")
    counts[:25] = largest
    stream = ThermalStream()
    stream(counts)
    assert stream.saturated == 0.5
    assert stream.doubt.startswith("50 % of the thermal image is at the camera's largest count")
    assert f"({largest})" in stream.doubt


def test_a_small_hot_thing_is_not_doubted() -> None:
    counts = np.full((48, 64), 9000, np.uint16)
    counts[10:20, 10:30] = 2**14 - 1
    stream = ThermalStream()
    stream(counts)
    assert stream.doubt == "" and stream.saturated == pytest.approx(200 / (48 * 64))


@pytest.mark.parametrize("largest", [5000, 254, 40_000])
def test_other_counts_are_no_limit_of_a_camera(largest: int) -> None:
    """A flat wall is not saturated."""
    assert saturation(np.full((8, 8), largest, np.uint16)) == (0.0, largest)
