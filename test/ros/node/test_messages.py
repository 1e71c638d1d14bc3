"""Camera messages become arrays for every supported encoding; others give clear errors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from harness import image
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ssvif_core.errors import InputError
from ssvif_core.recordings.decode import thermal_image
from ssvif_core.types import UInt8Array
from ssvif_ros.node.messages import compressed_message, image_message, visible_array

RANDOM = np.random.default_rng(0)
BGR = cv2.GaussianBlur(RANDOM.integers(0, 256, (24, 32, 3), dtype=np.uint8), (0, 0), 4)
GREY = cv2.cvtColor(BGR, cv2.COLOR_BGR2GRAY)
COUNTS = RANDOM.integers(0, 65536, (24, 32)).astype(np.uint16)


def mosaic(first: str) -> UInt8Array:
    """The Bayer mosaic of BGR whose first row begins with the two colours `first`."""
    channel = {"b": 0, "g": 1, "r": 2}
    second = {"rg": "gb", "bg": "gr", "gb": "rg", "gr": "bg"}[first]
    out = np.empty(BGR.shape[:2], np.uint8)
    for y, row in enumerate((first, second)):
        for x, colour in enumerate(row):
            out[y::2, x::2] = BGR[y::2, x::2, channel[colour]]
    return out


def yuv(order: str) -> UInt8Array:
    """BGR in YUV 4:2:2, (H, W, 2); the order is 'uyvy' or 'yuyv'."""
    y, u, v = cv2.split(cv2.cvtColor(BGR, cv2.COLOR_BGR2YUV))
    chroma = np.where(np.arange(BGR.shape[1]) % 2 == 0, u, v)
    return np.stack([chroma, y] if order == "uyvy" else [y, chroma], 2).astype(np.uint8)


# encoding: pixels, largest difference from BGR
VISIBLE = {
    "bgr8": (BGR, 0),
    "rgb8": (BGR[..., ::-1], 0),
    "bgra8": (cv2.cvtColor(BGR, cv2.COLOR_BGR2BGRA), 0),
    "rgba8": (cv2.cvtColor(BGR, cv2.COLOR_BGR2RGBA), 0),
    "bayer_rggb8": (mosaic("rg"), 12),
    "bayer_bggr8": (mosaic("bg"), 12),
    "bayer_gbrg8": (mosaic("gb"), 12),
    "bayer_grbg8": (mosaic("gr"), 12),
    "yuv422": (yuv("uyvy"), 25),
    "yuv422_yuy2": (yuv("yuyv"), 25),
    "yuyv": (yuv("yuyv"), 25),
}


@pytest.mark.parametrize("encoding", VISIBLE)
@pytest.mark.parametrize("padding", [0, 4, 5])
def test_all_visible_encodings_give_the_same_image(encoding: str, padding: int) -> None:
    pixels, tolerance = VISIBLE[encoding]
    result = visible_array(image(pixels, encoding, 0, padding=padding))
    assert result.shape == BGR.shape and result.dtype == np.uint8
    assert np.abs(result.astype(int) - BGR)[2:-2, 2:-2].max() <= tolerance


def test_a_mono_visible_image_becomes_grey_bgr() -> None:
    result = visible_array(image(GREY, "mono8", 0, padding=3))
    assert np.array_equal(result, cv2.merge([GREY] * 3))


@pytest.mark.parametrize("padding", [0, 4, 5])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_thermal_images_are_read_in_both_byte_orders(
    encoding: str, order: str, padding: int
) -> None:
    counts = thermal_image(image(COUNTS.astype(f"{order}u2"), encoding, 0, padding=padding))
    assert counts.dtype == np.uint16 and counts.dtype.isnative
    assert np.array_equal(counts, COUNTS)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_8_bit_thermal_images_are_read(encoding: str) -> None:
    assert np.array_equal(thermal_image(image(GREY, encoding, 0, padding=1)), GREY)


def test_a_colour_thermal_image_suggests_swapped_topics() -> None:
    with pytest.raises(InputError, match="thermal image with encoding 'bgr8'.*swapped"):
        thermal_image(image(BGR, "bgr8", 0))


def test_a_float_thermal_image_is_refused() -> None:
    pixels = np.full((24, 32), np.nan, np.float32)
    with pytest.raises(InputError, match="encoding '32FC1'; expected one of mono8, 8UC1, mono16"):
        thermal_image(image(pixels, "32FC1", 0))


def test_an_unknown_encoding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError, match="visible image with encoding 'nv21'; expected one of bgr8"
    ):
        visible_array(image(GREY, "nv21", 0))


@pytest.mark.parametrize("change", [-1, +1, -700])
def test_data_with_a_wrong_length_is_refused(change: int) -> None:
    message = image(BGR, "bgr8", 0)
    data = bytes(message.data)
    message.data = data[:change] if change < 0 else data + b"x"
    with pytest.raises(InputError, match=r"bytes of data; expected step \* height = 96 \* 24"):
        visible_array(message)


def test_a_step_shorter_than_a_row_is_refused() -> None:
    message = image(BGR, "bgr8", 0)
    message.step = 10
    with pytest.raises(InputError, match="step 10; a row of 32 pixels bgr8 has 96 bytes"):
        visible_array(message)


def test_an_image_of_size_zero_is_refused() -> None:
    with pytest.raises(InputError, match="0x0 pixels; expected a size above zero"):
        thermal_image(Image(encoding="mono8"))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*VISIBLE, "mono16", "32FC1", "", "bgr"]),
    st.integers(0, 9), st.integers(0, 9), st.integers(0, 64), st.binary(max_size=200),
)  # fmt: skip
def test_any_message_gives_an_image_or_a_clear_error(
    encoding: str, height: int, width: int, step: int, data: bytes
) -> None:
    message = Image(encoding=encoding, height=height, width=width, step=step)
    message.data = data
    for convert in (visible_array, thermal_image):
        try:
            assert convert(message).shape[:2] == (height, width)
        except InputError as error:
            assert "expected" in str(error) or "has" in str(error)


def test_an_outgoing_image_is_read_back_unchanged() -> None:
    message = image_message(BGR, "bgr8", Header(frame_id="x"))
    assert message.header.frame_id == "x"
    assert np.array_equal(visible_array(message), BGR)


def test_the_jpeg_message_shows_the_same_image() -> None:
    message = compressed_message(BGR, 95, Header())
    decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert "jpeg" in message.format
    assert np.abs(decoded.astype(int) - BGR).mean() < 4
