"""Camera messages become arrays for every supported encoding; others give clear errors."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
import pytest
from encoders import COLOURS, GREY, TEMPERATURES, encoded, picture
from harness import image
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ssvif_core.errors import InputError
from ssvif_core.recordings.decode import thermal_image, visible_image
from ssvif_core.recordings.encodings import THERMAL_ENCODINGS, VISIBLE_ENCODINGS
from ssvif_core.recordings.to_colour import to_colour
from ssvif_ros.node.messages import compressed_message, image_message, visible_array

BGR = picture(24, 32, 0, 2)
GREY_PICTURE = picture(24, 32, 1)[..., 0]


def ros_image(message: Any) -> Image:
    """The same message as rclpy's."""
    return Image(**{**vars(message), "data": array("B", message.data)})


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("name", sorted(VISIBLE_ENCODINGS))
def test_the_node_reads_visible_images_as_from_a_bag(name: str, padding: int) -> None:
    """cv_bridge in the node and rosbags-image for bags give the same pixels."""
    message = encoded(name, GREY_PICTURE if name in GREY else BGR, padding)
    result = visible_array(ros_image(message))
    assert result.shape == (24, 32, 3) and result.dtype == np.uint8
    assert np.array_equal(result, visible_image(message, to_colour))


@pytest.mark.parametrize("name", sorted(THERMAL_ENCODINGS))
def test_the_node_reads_thermal_images_as_from_a_bag(name: str) -> None:
    pixels = cv2.merge([GREY_PICTURE] * 3) if name in COLOURS else GREY_PICTURE
    if name in TEMPERATURES:
        pixels = GREY_PICTURE.astype(np.int16 if name == "16SC1" else np.float32)
    message = encoded(name, pixels, 3)
    assert np.array_equal(thermal_image(ros_image(message)), thermal_image(message))


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


@settings(max_examples=200)
@given(
    st.sampled_from([*VISIBLE_ENCODINGS, *TEMPERATURES, "", "bgr"]),
    st.integers(0, 9), st.integers(0, 9), st.integers(0, 64), st.binary(max_size=200),
)  # fmt: skip
def test_any_message_gives_an_image_or_a_clear_error(
    encoding: str, height: int, width: int, step: int, data: bytes
) -> None:
    message = Image(encoding=encoding, height=height, width=width, step=step)
    message.data = data
    for convert in (visible_array, thermal_image):
        try:
            result = convert(message)
            is_counted = encoding in ("nv12", "nv21", "nv24")  # the height of all rows
            assert result.shape[:2] == (height, width) or (is_counted and len(result) < height)
        except InputError as error:
            assert "expected" in str(error) or "has" in str(error)


def test_an_outgoing_image_is_read_back_unchanged() -> None:
    message = image_message(BGR, "bgr8", Header(frame_id="x"))
    assert message.header.frame_id == "x"
    assert np.array_equal(visible_array(message), BGR)


def test_the_jpeg_message_shows_the_same_image() -> None:
    smooth = cv2.GaussianBlur(BGR, (0, 0), 4)
    message = compressed_message(smooth, 95, Header())
    decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert "jpeg" in message.format
    assert np.abs(decoded.astype(int) - smooth).mean() < 4
