"""The behaviour of `cv_bridge` that ssvif_ros needs, from ROS's package and from our stand-in."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import cv_bridge
import numpy as np
import pytest
from cv_bridge import CvBridge, CvBridgeError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

AnyArray = NDArray[Any]

REAL = not getattr(cv_bridge, "STAND_IN", False)
# ROS's package calls ndarray.newbyteorder, which NumPy 2 does not have.
BIG_ENDIAN = pytest.mark.xfail(
    REAL and int(np.__version__.split(".")[0]) >= 2,
    reason="ROS's cv_bridge cannot read big-endian images under NumPy 2",
    strict=False,
)

bridge = CvBridge()
rng = np.random.default_rng(0)

TYPES = {
    "bgr8": (cv2.CV_8UC3, "uint8", 3),
    "rgb8": (cv2.CV_8UC3, "uint8", 3),
    "bgra8": (cv2.CV_8UC4, "uint8", 4),
    "rgba8": (cv2.CV_8UC4, "uint8", 4),
    "bgr16": (cv2.CV_16UC3, "uint16", 3),
    "mono8": (cv2.CV_8UC1, "uint8", 1),
    "mono16": (cv2.CV_16UC1, "uint16", 1),
    "bayer_rggb8": (cv2.CV_8UC1, "uint8", 1),
    "bayer_bggr8": (cv2.CV_8UC1, "uint8", 1),
    "bayer_gbrg8": (cv2.CV_8UC1, "uint8", 1),
    "bayer_grbg8": (cv2.CV_8UC1, "uint8", 1),
    "bayer_rggb16": (cv2.CV_16UC1, "uint16", 1),
    "yuv422": (cv2.CV_8UC2, "uint8", 2),
    "yuv422_yuy2": (cv2.CV_8UC2, "uint8", 2),
    "8UC1": (cv2.CV_8UC1, "uint8", 1),
    "8UC3": (cv2.CV_8UC3, "uint8", 3),
    "8SC2": (cv2.CV_8SC2, "int8", 2),
    "16UC1": (cv2.CV_16UC1, "uint16", 1),
    "16SC1": (cv2.CV_16SC1, "int16", 1),
    "32SC1": (cv2.CV_32SC1, "int32", 1),
    "32FC1": (cv2.CV_32FC1, "float32", 1),
    "64FC4": (cv2.CV_64FC4, "float64", 4),
    "8UC5": (cv2.CV_8UC(5), "uint8", 5),
    "16U": (cv2.CV_16UC1, "uint16", 1),
}


def random_image(height: int, width: int, channels: int, dtype: Any) -> AnyArray:
    dtype = np.dtype(dtype)
    shape = (height, width) if channels == 1 else (height, width, channels)
    data = rng.integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8)
    return data.view(dtype)[..., 0]


def message(pixels: AnyArray, encoding: str, padding: int = 0) -> Image:
    """A message made without cv_bridge, with `padding` bytes after each row."""
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    msg = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    msg.is_bigendian = int(pixels.dtype.str.startswith(">"))
    msg.step = rows.shape[1]
    msg.data = array("B", rows.tobytes())
    return msg


def equal(image: AnyArray, expected: AnyArray) -> bool:
    """Whether shape and pixels are equal. Bytes are compared, because NaN does not equal itself."""
    return image.shape == expected.shape and (
        np.ascontiguousarray(image).tobytes()
        == np.ascontiguousarray(expected, expected.dtype.newbyteorder("=")).tobytes()
    )


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize("encoding", TYPES)
def test_an_encoding_gives_type_dtype_and_channels(encoding: str) -> None:
    cvtype, dtype, channels = TYPES[encoding]
    assert bridge.encoding_to_cvtype2(encoding) == cvtype
    assert bridge.cvtype2_to_dtype_with_channels(cvtype) == (dtype, channels)
    assert bridge.encoding_to_dtype_with_channels(encoding) == (dtype, channels)


def test_a_dtype_gives_the_name_of_the_opencv_type() -> None:
    assert bridge.dtype_with_channels_to_cvtype2(np.dtype("uint8"), 3) == "8UC3"
    assert bridge.dtype_with_channels_to_cvtype2(np.dtype(">i2"), 1) == "16SC1"
    assert bridge.dtype_with_channels_to_cvtype2(np.dtype("float64"), 4) == "64FC4"


@pytest.mark.parametrize("encoding", ["", "jpeg", "8UC", "BGR8", "24UC3", "bgr8 "])
def test_unknown_encodings_raise(encoding: str) -> None:
    with pytest.raises(CvBridgeError):
        bridge.encoding_to_cvtype2(encoding)
    with pytest.raises(CvBridgeError):
        bridge.imgmsg_to_cv2(message(random_image(2, 2, 1, "u1"), encoding))


def test_the_error_is_a_type_error() -> None:
    assert issubclass(CvBridgeError, TypeError)


# -------------------------------------------------------------- passthrough


@pytest.mark.parametrize("encoding", TYPES)
def test_passthrough_is_a_view_of_the_message(encoding: str) -> None:
    _, dtype, channels = TYPES[encoding]
    pixels = random_image(5, 6, channels, dtype)
    msg = message(pixels, encoding)
    image = bridge.imgmsg_to_cv2(msg)
    assert equal(image, pixels)
    assert image.dtype == np.dtype(dtype)
    assert np.shares_memory(image, np.frombuffer(msg.data, np.uint8))
    assert image.flags.writeable
    image.reshape(-1).view(np.uint8)[0] ^= 0xFF
    assert msg.data[0] == pixels.reshape(-1).view(np.uint8)[0] ^ 0xFF


@pytest.mark.parametrize("encoding", TYPES)
def test_padding_is_left_out(encoding: str) -> None:
    _, dtype, channels = TYPES[encoding]
    pixels = random_image(4, 3, channels, dtype)
    padding = 2 * channels * pixels.itemsize
    image = bridge.imgmsg_to_cv2(message(pixels, encoding, padding))
    assert equal(image, pixels)
    assert image.flags.c_contiguous  # OpenCV and engines need no further copy


@pytest.mark.xfail(
    REAL, reason="ROS assumes rows of whole pixels and skews the image", strict=False
)
@pytest.mark.parametrize("padding", [1, 2, 4])
def test_padding_need_not_be_whole_pixels(padding: int) -> None:
    pixels = random_image(4, 5, 3, np.uint8)
    assert equal(bridge.imgmsg_to_cv2(message(pixels, "bgr8", padding)), pixels)


@BIG_ENDIAN
@pytest.mark.parametrize("dtype", [">u2", ">i4", ">f4"])
@pytest.mark.parametrize("padding", [0, 8])
def test_big_endian_images_become_native(dtype: str, padding: int) -> None:
    encoding = {">u2": "mono16", ">i4": "32SC1", ">f4": "32FC1"}[dtype]
    pixels = random_image(4, 6, 1, dtype)
    image = bridge.imgmsg_to_cv2(message(pixels, encoding, padding))
    assert image.dtype.isnative
    assert equal(image, pixels)


@BIG_ENDIAN
def test_big_endian_is_converted_by_value() -> None:
    pixels = np.array([[0, 257, 65535]], ">u2")
    assert bridge.imgmsg_to_cv2(message(pixels, "mono16"), "mono8").tolist() == [[0, 1, 255]]
    grey = message(np.array([[1, 2]], np.uint8), "mono8")
    grey.is_bigendian = 1  # has no effect on single bytes
    assert bridge.imgmsg_to_cv2(grey).tolist() == [[1, 2]]


def test_too_little_data_raises() -> None:
    msg = message(random_image(4, 4, 3, np.uint8), "bgr8")
    msg.data = msg.data[:-1]
    with pytest.raises(TypeError):
        bridge.imgmsg_to_cv2(msg)


@pytest.mark.xfail(REAL, reason="ROS returns fewer columns", strict=False)
def test_a_step_shorter_than_a_row_raises() -> None:
    msg = message(random_image(4, 4, 3, np.uint8), "bgr8")
    msg.step = 9
    with pytest.raises(CvBridgeError, match="step"):
        bridge.imgmsg_to_cv2(msg)


# ------------------------------------------------------------- to a message


def test_a_message_has_all_fields() -> None:
    header = Header(frame_id="camera")
    pixels = random_image(3, 5, 3, np.uint8)
    msg = bridge.cv2_to_imgmsg(pixels, "bgr8", header)
    assert msg.header is header
    assert (msg.height, msg.width, msg.step, msg.encoding) == (3, 5, 15, "bgr8")
    assert msg.is_bigendian == 0
    assert isinstance(msg.data, array)
    assert msg.data.tobytes() == pixels.tobytes()
    assert not np.shares_memory(np.frombuffer(msg.data, np.uint8), pixels)


def test_passthrough_names_the_opencv_type() -> None:
    def encoding(*image: Any) -> str:
        return bridge.cv2_to_imgmsg(random_image(*image)).encoding

    assert encoding(2, 3, 1, "u2") == "16UC1"
    assert encoding(2, 3, 3, "u1") == "8UC3"
    assert encoding(2, 3, 5, "f4") == "32FC5"
    assert bridge.cv2_to_imgmsg(np.zeros((2, 3, 1), np.uint8)).encoding == "8UC1"


def test_a_message_is_made_from_an_array_with_gaps() -> None:
    pixels = random_image(6, 8, 3, np.uint8)
    for part in (pixels[::2, 1:5], pixels[:, ::-1], pixels.transpose(1, 0, 2), pixels[..., 0]):
        msg = bridge.cv2_to_imgmsg(part)
        assert msg.step == msg.width * (part.shape[2] if part.ndim == 3 else 1)
        assert equal(bridge.imgmsg_to_cv2(msg), part)


def test_a_message_keeps_the_byte_order() -> None:
    pixels = np.array([[1, 2]], ">u2")
    msg = bridge.cv2_to_imgmsg(pixels, "mono16")
    assert msg.is_bigendian == 1
    assert list(msg.data) == [0, 1, 0, 2]


@pytest.mark.parametrize(
    ("channels", "dtype", "encoding"),
    [(3, "u1", "bgra8"), (3, "u1", "mono8"), (1, "u2", "mono8"), (1, "u1", "bgr8"),
     (1, "i2", "mono16"), (3, "u1", "no such")],
)  # fmt: skip
def test_an_image_must_have_the_type_of_the_encoding(
    channels: int, dtype: str, encoding: str
) -> None:
    with pytest.raises(CvBridgeError):
        bridge.cv2_to_imgmsg(random_image(2, 2, channels, dtype), encoding)


@pytest.mark.parametrize("value", [1, None, [[1, 2]], b"12"])
def test_an_image_must_be_an_array(value: Any) -> None:
    with pytest.raises(TypeError):
        bridge.cv2_to_imgmsg(value)
    with pytest.raises(TypeError):
        bridge.cv2_to_compressed_imgmsg(value)


@pytest.mark.parametrize("dtype", ["int64", "float16", "bool", "uint32"])
def test_an_image_must_have_an_opencv_type(dtype: str) -> None:
    with pytest.raises((CvBridgeError, KeyError)):  # ROS: a bare KeyError
        bridge.cv2_to_imgmsg(np.zeros((2, 2), dtype))


# -------------------------------------------------------------- conversions


def converted(pixels: Any, source: str, target: str, dtype: str = "u1") -> AnyArray:
    return bridge.imgmsg_to_cv2(message(np.asarray(pixels, dtype), source), target)


@pytest.mark.parametrize(
    ("source", "target", "pixel", "expected"),
    [
        ("rgb8", "bgr8", [1, 2, 3], [3, 2, 1]),
        ("bgr8", "rgba8", [1, 2, 3], [3, 2, 1, 255]),
        ("bgr8", "bgra8", [1, 2, 3], [1, 2, 3, 255]),
        ("rgba8", "bgr8", [1, 2, 3, 4], [3, 2, 1]),
        ("rgba8", "bgra8", [1, 2, 3, 4], [3, 2, 1, 4]),
        ("bgra8", "rgb8", [1, 2, 3, 4], [3, 2, 1]),
        ("rgb8", "rgb16", [0, 1, 255], [0, 257, 65535]),
        ("rgb8", "bgr16", [0, 1, 255], [65535, 257, 0]),
        ("bgr8", "8UC3", [1, 2, 3], [1, 2, 3]),
        ("bgr8", "32FC3", [1, 2, 3], [1, 2, 3]),
        ("8UC3", "16SC3", [1, 2, 255], [257, 514, 32767]),
    ],
)
def test_channels_are_reordered_added_and_removed(
    source: str, target: str, pixel: list[int], expected: list[int]
) -> None:
    assert converted([[pixel, pixel]], source, target).tolist() == [[expected, expected]]


def test_grey_and_colour_are_converted() -> None:
    assert converted([[7, 9]], "mono8", "bgr8").tolist() == [[[7] * 3, [9] * 3]]
    assert converted([[7, 9]], "mono8", "rgba8").tolist() == [[[7] * 3 + [255], [9] * 3 + [255]]]
    primaries = [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    assert converted(primaries, "rgb8", "mono8").tolist() == [[76, 150, 29]]
    assert converted(primaries, "bgr8", "mono8").tolist() == [[29, 150, 76]]
    assert converted(primaries, "rgb8", "mono16").tolist() == [[76 * 257, 150 * 257, 29 * 257]]


def test_depth_is_scaled_by_the_full_range() -> None:
    """So thermal counts become black; use passthrough and a gain for them."""
    assert converted([[0, 1, 255]], "mono8", "mono16").tolist() == [[0, 257, 65535]]
    raw = [[0, 128, 129, 7500, 65535]]
    assert converted(raw, "mono16", "mono8", "u2").tolist() == [[0, 0, 1, 29, 255]]
    assert converted(raw, "16UC1", "8UC1", "u2").tolist() == [[0, 0, 1, 29, 255]]
    assert converted(raw, "16UC1", "32FC1", "u2").tolist() == raw
    assert converted([[0.5, 1.5, -3.0, 1e6]], "32FC1", "16UC1", "f4").tolist() == [[0, 2, 0, 65535]]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("16UC1", "mono8"), ("16UC1", "mono16"), ("16UC1", "bgr8"), ("8UC1", "mono8"),
        ("8UC3", "bgr8"), ("bgr8", "8UC1"), ("mono16", "8UC3"), ("8UC3", "8UC1"),
        ("mono8", "bayer_rggb8"), ("bgr8", "yuv422"), ("bayer_rggb8", "rgba8"),
        ("bayer_rggb8", "bayer_bggr8"), ("bgr8", "no such"), ("16U", "16UC1"), ("mono8", "8U"),
    ],
)  # fmt: skip
def test_impossible_conversions_raise(source: str, target: str) -> None:
    _, dtype, channels = TYPES[source]
    with pytest.raises(CvBridgeError):
        bridge.imgmsg_to_cv2(message(random_image(4, 4, channels, dtype), source), target)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_bayer_mosaic_gives_its_colour(pattern: str, bits: int) -> None:
    """The mosaic of a uniform colour gives this colour."""
    colour = {"r": 200, "g": 120, "b": 40}
    cell = np.array([colour[channel] for channel in pattern], f"u{bits // 8}").reshape(2, 2)
    mosaic = message(np.tile(cell, (4, 4)), f"bayer_{pattern}{bits}")
    rgb = bridge.imgmsg_to_cv2(mosaic, f"rgb{bits}")
    assert rgb.shape == (8, 8, 3)
    assert (rgb == [200, 120, 40]).all()
    assert (bridge.imgmsg_to_cv2(mosaic, f"bgr{bits}") == [40, 120, 200]).all()
    assert bridge.imgmsg_to_cv2(mosaic, f"mono{bits}").shape == (8, 8)


@pytest.mark.parametrize(("encoding", "luma", "chroma"), [("yuv422", 1, 0), ("yuv422_yuy2", 0, 1)])
def test_yuv422_gives_its_colour(encoding: str, luma: int, chroma: int) -> None:
    """BT.601 with video range: every pixel has luma, and one of the two chromas in turns."""
    pixels = np.full((2, 4, 2), 128, np.uint8)
    pixels[..., luma] = [[16, 235, 126, 16]] * 2
    msg = message(pixels, encoding)
    assert equal(bridge.imgmsg_to_cv2(msg, "mono8"), pixels[..., luma])
    grey = bridge.imgmsg_to_cv2(msg, "rgb8")
    assert np.abs(grey.astype(int) - [[[0], [255], [128], [0]]] * 2).max() <= 1
    pixels[..., luma] = 81
    pixels[:, ::2, chroma], pixels[:, 1::2, chroma] = 90, 240
    msg = message(pixels, encoding)
    red = bridge.imgmsg_to_cv2(msg, "rgb8").astype(int)
    assert np.abs(red - [255, 0, 0]).max() <= 2
    assert equal(bridge.imgmsg_to_cv2(msg, "bgr8"), red[..., ::-1].astype(np.uint8))
    assert (bridge.imgmsg_to_cv2(msg, "bgra8")[..., 3] == 255).all()


def test_the_same_encoding_gives_a_copy() -> None:
    msg = message(random_image(3, 3, 3, np.uint8), "bgr8")
    image = bridge.imgmsg_to_cv2(msg, "bgr8")
    assert equal(image, bridge.imgmsg_to_cv2(msg))
    assert not np.shares_memory(image, np.frombuffer(msg.data, np.uint8))


# --------------------------------------------------------------- compressed


@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, "u1"), (3, "u1"), (4, "u1"), (1, "u2"), (3, "u2")]
)
def test_png_is_lossless(channels: int, dtype: str) -> None:
    pixels = random_image(5, 7, channels, dtype)
    msg = bridge.cv2_to_compressed_imgmsg(pixels, "png")
    assert isinstance(msg, CompressedImage)
    assert msg.format == "png"
    assert isinstance(msg.data, array)
    assert msg.data.tobytes().startswith(b"\x89PNG")
    assert equal(bridge.compressed_imgmsg_to_cv2(msg), pixels)


def test_compressed_images_are_jpeg_by_default() -> None:
    pixels = np.full((16, 16, 3), (10, 120, 240), np.uint8)
    msg = bridge.cv2_to_compressed_imgmsg(pixels)
    assert msg.format == "jpg"
    assert np.abs(bridge.compressed_imgmsg_to_cv2(msg).astype(int) - pixels).max() <= 3


def test_compressed_images_are_treated_as_bgr() -> None:
    pixels = random_image(4, 4, 3, np.uint8)
    msg = bridge.cv2_to_compressed_imgmsg(pixels, "png")
    assert equal(bridge.compressed_imgmsg_to_cv2(msg, "bgr8"), pixels)
    assert equal(bridge.compressed_imgmsg_to_cv2(msg, "rgb8"), pixels[..., ::-1])
    assert bridge.compressed_imgmsg_to_cv2(msg, "mono8").shape == (4, 4)
    with pytest.raises(CvBridgeError):
        bridge.compressed_imgmsg_to_cv2(msg, "8UC1")
    grey = bridge.cv2_to_compressed_imgmsg(pixels[..., 0], "png")
    with pytest.raises(CvBridgeError):  # one channel is not bgr8
        bridge.compressed_imgmsg_to_cv2(grey, "mono8")


def test_bytes_without_an_image_give_none_or_raise() -> None:
    no_image = CompressedImage(format="png", data=array("B", b"not an image"))
    assert bridge.compressed_imgmsg_to_cv2(no_image) is None
    with pytest.raises(CvBridgeError):
        bridge.compressed_imgmsg_to_cv2(no_image, "mono8")
    with pytest.raises((CvBridgeError, cv2.error)):  # ROS: OpenCV's own error
        bridge.compressed_imgmsg_to_cv2(CompressedImage(format="png"))


def test_unknown_file_formats_raise() -> None:
    with pytest.raises((CvBridgeError, cv2.error)):  # ROS: OpenCV's own error
        bridge.cv2_to_compressed_imgmsg(np.zeros((2, 2), np.uint8), "no such")


# --------------------------------------------------------------- properties

sizes = st.integers(1, 9)
dtypes = ("u1", "i1", "u2", "i2", "i4", "f4", "f8")


@settings(max_examples=100)
@given(sizes, sizes, st.integers(1, 6), st.sampled_from(dtypes), st.integers(0, 3))
def test_images_survive_a_message(
    height: int, width: int, channels: int, dtype: str, padding: int
) -> None:
    pixels = random_image(height, width, channels, dtype)
    msg = bridge.cv2_to_imgmsg(pixels)
    assert equal(bridge.imgmsg_to_cv2(msg), pixels)
    padded = message(pixels, msg.encoding, padding * channels * pixels.itemsize)
    assert equal(bridge.imgmsg_to_cv2(padded), pixels)


@BIG_ENDIAN
@settings(max_examples=60)
@given(sizes, sizes, st.integers(1, 4), st.sampled_from(dtypes))
def test_big_endian_images_survive_a_message(
    height: int, width: int, channels: int, dtype: str
) -> None:
    pixels = random_image(height, width, channels, f">{dtype}")
    msg = bridge.cv2_to_imgmsg(pixels)
    assert msg.is_bigendian == int(pixels.itemsize > 1)
    assert equal(bridge.imgmsg_to_cv2(msg), pixels)


@settings(max_examples=100)
@given(
    sizes,
    sizes,
    st.sampled_from(
        [("rgb8", "bgr8"), ("bgr8", "rgba8"), ("rgba8", "bgra8"), ("mono8", "mono16"),
         ("mono8", "rgb8"), ("bgr8", "bgr16"), ("bgr8", "rgb16"), ("8UC3", "16UC3"),
         ("16UC1", "32FC1"), ("8UC1", "64FC1")]
    ),
)  # fmt: skip
def test_lossless_conversions_can_be_reversed(
    height: int, width: int, encodings: tuple[str, str]
) -> None:
    source, target = encodings
    dtype, channels = bridge.encoding_to_dtype_with_channels(source)
    pixels = random_image(height, width, channels, dtype)
    image = bridge.imgmsg_to_cv2(message(pixels, source), target)
    if encodings in {("16UC1", "32FC1"), ("8UC1", "64FC1")}:  # the values stay the same
        assert equal(image.astype(dtype), pixels)
    assert equal(bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(image, target), source), pixels)
