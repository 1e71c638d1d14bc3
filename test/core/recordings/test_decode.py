"""Image messages of every encoding become the same arrays, in the node and from bags.

Each encoding is written by the encoder below, from a known picture, and read again. The messages
of the node are tested with the same table in `test/ros/node/test_messages.py`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from encoders import BAYER, COLOURS, GREY, TEMPERATURES, encoded, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.errors import InputError
from ssvif_core.recordings.decode import Crop, claimed_size, thermal_image, visible_image
from ssvif_core.recordings.encodings import THERMAL_ENCODINGS, VISIBLE_ENCODINGS
from ssvif_core.recordings.pixels import BitDepth
from ssvif_core.recordings.to_colour import to_colour

sides = st.integers(1, 33)
paddings = st.sampled_from([0, 1, 2, 3, 64])


def visible(message: Any, depth: BitDepth | None = None) -> np.ndarray:
    return visible_image(message, to_colour, depth)


def compressed(pixels: np.ndarray, format: str, suffix: str = ".png", head: bytes = b"") -> Any:
    data = cv2.imencode(suffix, pixels)[1].tobytes()
    return SimpleNamespace(format=format, data=head + data)


def test_every_encoding_of_the_table_has_an_encoder() -> None:
    assert set(VISIBLE_ENCODINGS) == {*COLOURS, *GREY, *BAYER}
    assert set(THERMAL_ENCODINGS) == {*COLOURS, *GREY, *TEMPERATURES}


# --- visible


@settings(max_examples=150)
@given(st.sampled_from(sorted(COLOURS)), sides, sides, paddings, st.booleans(), st.integers(0, 99))
def test_colours_are_read_back(
    name: str, height: int, width: int, padding: int, big: bool, seed: int
) -> None:
    """Within the rounding of the encoding; `encoders` says how much that is."""
    code = COLOURS[name]
    bgr = picture(height * code.unit[0], width * code.unit[1], seed, code.block)
    message = encoded(name, bgr, padding, big)
    result = visible(message)
    assert result.shape == bgr.shape and result.dtype == np.uint8
    assert np.abs(result.astype(int) - bgr).max() <= code.tolerance
    assert np.array_equal(visible(encoded(name.upper(), bgr, padding, big)), result)


@settings(max_examples=60)
@given(st.sampled_from(sorted(GREY)), sides, sides, paddings, st.booleans(), st.integers(0, 99))
def test_grey_becomes_equal_colours(
    name: str, height: int, width: int, padding: int, big: bool, seed: int
) -> None:
    grey = picture(height, width, seed)[..., 0]
    bits = GREY[name]
    result = visible(encoded(name, grey, padding, big), BitDepth(bits))
    assert np.array_equal(result, cv2.merge([grey] * 3))


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(BAYER)), st.integers(3, 20), st.integers(3, 20), paddings, st.booleans()
)
def test_a_bayer_pattern_of_one_colour_gives_this_colour(
    name: str, height: int, width: int, padding: int, big: bool
) -> None:
    """Two rows and columns of the pattern at least; an even colour needs no interpolation."""
    bgr = np.full((2 * height, 2 * width, 3), (40, 120, 200), np.uint8)
    result = visible(encoded(name, bgr, padding, big), BitDepth(BAYER[name]))
    assert np.abs(result[2:-2, 2:-2].astype(int) - bgr[2:-2, 2:-2]).max() == 0


@pytest.mark.parametrize("layout", ["height of the picture", "height of all rows"])
@pytest.mark.parametrize("name", ["nv12", "nv21", "nv24"])
def test_the_height_may_count_the_rows_of_the_colour_plane(name: str, layout: str) -> None:
    bgr = picture(24, 32, 0, 2)
    message = encoded(name, bgr)
    if layout == "height of all rows":
        message.height = len(message.data) // message.step
    result = visible(message)
    assert np.abs(result.astype(int) - bgr).max() <= COLOURS[name].tolerance


@pytest.mark.parametrize("size", [(24, 31), (24, 33)])
def test_an_odd_nv12_image_is_refused(size: tuple[int, int]) -> None:
    height, width = size
    data = bytes(width * height * 3 // 2)
    message = SimpleNamespace(
        height=height, width=width, encoding="nv12", is_bigendian=0, step=width, data=data
    )
    with pytest.raises(InputError, match="nv12; expected whole rows, and even sizes"):
        visible(message)


# --- visible, 16 bits


@pytest.mark.parametrize("name", ["mono16", "16UC1", "rgb16", "bgr16", "rgba16", "bayer_rggb16"])
def test_a_camera_of_12_bits_is_not_dark(name: str) -> None:
    message = encoded(name, np.full((12, 16, 3), 255, np.uint8), bits=12)
    assert visible(message).min() == 255


def test_the_brightness_does_not_follow_the_scene() -> None:
    """A camera of 12 bits: a dark image and a bright one are reduced alike."""
    depth = BitDepth()
    for level in (300, 1000, 4095, 300):
        values = np.full((4, 6), level, np.uint16)
        message = encoded("mono16", values)
        assert set(visible(message, depth).ravel()) == {level // 16}


def test_a_camera_of_16_bits_is_found_once() -> None:
    depth = BitDepth()
    shown = [
        int(visible(encoded("mono16", np.full((4, 6), level, np.uint16)), depth)[0, 0, 0])
        for level in (40_000, 3_000, 65_535)
    ]
    assert shown == [40_000 >> 8, 3_000 >> 8, 255]


def test_the_bits_may_be_given_by_hand_or_by_the_name() -> None:
    ten = np.full((4, 6), 1023, np.uint16)
    assert visible(encoded("mono16", ten), BitDepth(10)).min() == 255
    assert visible(encoded("mono10", ten)).min() == 255
    # Values in the upper bits, though the name says 12.
    assert visible(encoded("mono12", ten << 6)).min() == 255
    with pytest.raises(InputError, match="5 bits of a visible image; expected 8 to 16"):
        BitDepth(5)


# --- thermal


@settings(max_examples=60)
@given(st.sampled_from(sorted(GREY)), sides, sides, paddings, st.booleans(), st.integers(0, 99))
def test_counts_are_read_back_unchanged(
    name: str, height: int, width: int, padding: int, big: bool, seed: int
) -> None:
    kind = np.uint8 if THERMAL_ENCODINGS[name].kind == "u1" else np.uint16
    counts = np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, (height, width), kind)
    result = thermal_image(encoded(name, counts, padding, big))
    assert result.dtype == kind and result.dtype.isnative
    assert np.array_equal(result, counts)


@pytest.mark.parametrize(
    ("name", "celsius", "kelvin_100"),
    [
        ("16SC1", [-4000, -550, 0, 2150, 32767], [23315, 26765, 27315, 29465, 60082]),
        ("32FC1", [-40.0, -5.5, 0.0, 21.5, 300.0], [23315, 26765, 27315, 29465, 57315]),
    ],
)
@pytest.mark.parametrize("big", [False, True])
def test_temperatures_become_hundredths_of_a_kelvin(
    name: str, celsius: list[float], kelvin_100: list[int], big: bool
) -> None:
    kind = np.int16 if name == "16SC1" else np.float32
    message = encoded(name, np.array([celsius] * 3, kind), 6, big)
    result = thermal_image(message)
    assert result.dtype == np.uint16
    assert result.tolist() == [kelvin_100] * 3


def test_floats_in_kelvin_are_recognised() -> None:
    kelvin = np.array([[268.15, 295.0], [300.0, 573.15]], np.float32)
    assert thermal_image(encoded("32FC1", kelvin)).tolist() == [[26815, 29500], [30000, 57315]]


def test_unknown_pixels_show_the_lowest_temperature() -> None:
    celsius = np.array([[np.nan, 20.0], [np.inf, 30.0]], np.float32)
    assert thermal_image(encoded("32FC1", celsius)).tolist() == [[29315, 29315], [29315, 30315]]
    with pytest.raises(InputError, match="without a single finite value"):
        thermal_image(encoded("32FC1", np.full((2, 2), np.nan, np.float32)))


@pytest.mark.parametrize("name", sorted(COLOURS))
def test_a_grey_picture_in_colours_is_read_and_a_painted_one_is_told(name: str) -> None:
    grey = picture(24, 32, 3)[..., :1].repeat(3, 2)
    result = thermal_image(encoded(name, grey))
    assert result.shape == (24, 32)
    as_bytes = result >> 8 if result.dtype == np.uint16 else result
    assert np.abs(as_bytes.astype(int) - grey[..., 0]).max() <= max(COLOURS[name].tolerance, 40)
    rainbow = cv2.applyColorMap(grey[..., 0], cv2.COLORMAP_JET)
    with pytest.raises(InputError, match="is in colour; expected counts.*images swapped"):
        thermal_image(encoded(name, rainbow))


def test_raw_data_below_a_grey_picture_are_told_and_can_be_cut_out() -> None:
    """As the P2 Pro sends them: 256x384 yuyv, the lower half holds counts."""
    grey = picture(192, 256, 3)[..., :1].repeat(3, 2)
    upper = encoded("yuyv", grey)
    counts = np.random.default_rng(0).integers(17_000, 20_000, (192, 256)).astype("<u2")
    upper.height, upper.data = 384, upper.data + counts.tobytes()
    with pytest.raises(
        InputError, match="384 rows, a grey picture above raw data; .*0,192,256,192"
    ):
        thermal_image(upper)
    assert np.array_equal(thermal_image(upper, Crop.parse("0,192,256,192")), counts)
    shown = thermal_image(upper, Crop.parse("0,0,256,192"))
    assert shown.dtype == np.uint8 and np.abs(shown.astype(int) - grey[..., 0]).max() < 20


@pytest.mark.parametrize("name", ["mono8", "mono16", "bgr8", "32FC1"])
def test_a_crop_is_the_same_part_of_every_encoding(name: str) -> None:
    grey = picture(24, 32, 1)[..., 0]
    pixels = {"bgr8": cv2.merge([grey] * 3), "32FC1": grey.astype(np.float32)}.get(name, grey)
    whole = thermal_image(encoded(name, pixels, 5))
    part = thermal_image(encoded(name, pixels, 5), Crop(4, 2, 20, 16))
    assert np.array_equal(part, whole[2:18, 4:24])


@pytest.mark.parametrize(
    "text", ["1,2,3", "a,b,c,d", "0,0,0,4", "-1,0,4,4", "1.5,0,4,4", "0,0,33,4", "0,20,8,8"]
)
def test_an_impossible_crop_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="crop .*; expected"):
        thermal_image(encoded("mono8", picture(24, 32, 1)[..., 0]), Crop.parse(text))


# --- compressed


@pytest.mark.parametrize(
    ("format", "is_swapped"),
    [
        ("jpeg", False), ("png", False), ("bgr8; jpeg compressed bgr8", False),
        ("rgb8; jpeg compressed bgr8", False), ("rgb8; png compressed bgr8", False),
        ("rgb8; png compressed rgb8", True), ("rgb8; jpeg compressed ", True),
        ("mono8; jpeg compressed ", False), ("bgr8; jpeg compressed ", False),
        ("8UC3; png compressed ", False),
    ],
)  # fmt: skip
def test_the_order_of_the_colours_is_that_of_image_transport(format: str, is_swapped: bool) -> None:
    bgr = np.full((16, 16, 3), (0, 80, 200), np.uint8)
    result = visible(compressed(bgr, format))
    assert np.array_equal(result, bgr[..., ::-1] if is_swapped else bgr)


@pytest.mark.parametrize(
    ("format", "head"),
    [("png", b""), ("16UC1; png compressed ", b""), ("mono16; png compressed mono16", b""),
     ("16UC1; compressedDepth png", bytes(12)), ("16UC1; compressedDepth", bytes(12))],
)  # fmt: skip
def test_a_png_of_16_bits_stays_16_bits(format: str, head: bytes) -> None:
    counts = np.random.default_rng(0).integers(0, 65536, (12, 16)).astype(np.uint16)
    assert np.array_equal(thermal_image(compressed(counts, format, head=head)), counts)


def test_a_visible_png_of_12_bits_is_not_dark() -> None:
    values = np.full((12, 16, 3), 4095, np.uint16)
    assert visible(compressed(values, "rgb16; png compressed bgr16")).min() == 255


def test_a_painted_thermal_jpeg_is_told_and_a_grey_one_is_read() -> None:
    grey = picture(48, 64, 3)[..., 0]
    for pixels in (grey, cv2.merge([grey] * 3)):
        result = thermal_image(compressed(pixels, "jpeg", ".jpg"))
        assert result.shape == grey.shape and np.abs(result.astype(int) - grey).mean() < 6
    with pytest.raises(InputError, match="is in colour"):
        thermal_image(compressed(cv2.applyColorMap(grey, cv2.COLORMAP_JET), "jpeg", ".jpg"))


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"noise" * 30])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    message = SimpleNamespace(format="png", data=data)
    for read in (visible, thermal_image):
        with pytest.raises(InputError, match="'png' and .* bytes.* expected"):
            read(message)


def test_depths_of_floats_are_refused() -> None:
    counts = np.zeros((12, 16), np.uint16)
    with pytest.raises(InputError, match="temperatures are lost; let the driver send 16UC1"):
        thermal_image(compressed(counts, "32FC1; compressedDepth png", head=bytes(12)))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
@pytest.mark.parametrize("shape", [(30, 70, 3), (600, 8), (8, 600, 3)])
def test_the_claimed_size_of_a_picture_is_read_without_decoding(
    suffix: str, shape: tuple[int, ...]
) -> None:
    message = compressed(np.zeros(shape, np.uint8), "x", suffix)
    assert claimed_size(message) == (shape[1], shape[0])
    if suffix == ".jpg":  # a fill byte before a marker
        message.data = message.data[:2] + b"\xff" + message.data[2:]
        assert claimed_size(message) == (shape[1], shape[0])


@pytest.mark.parametrize("suffix", [".bmp", ".webp"])
def test_a_picture_whose_size_cannot_be_known_before_is_refused(suffix: str) -> None:
    with pytest.raises(InputError, match="expected a JPEG, PNG or TIFF picture"):
        thermal_image(compressed(np.zeros((20, 30), np.uint8), "x", suffix))


@settings(max_examples=100)
@given(st.binary(max_size=300), st.sampled_from(["jpeg", "png", "16UC1; compressedDepth png", ""]))
def test_any_bytes_give_a_picture_or_a_sentence(data: bytes, format: str) -> None:
    for head in (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        message = SimpleNamespace(format=format, data=head + data)
        for read in (visible, thermal_image):
            try:
                assert read(message).ndim >= 2
            except InputError as error:
                assert "expected" in str(error)


# --- what is wrong


@pytest.mark.parametrize("name", ["8UC2", "mono12p", "jpeg", "", "x" * 10_000, "32FC3"])
def test_an_unknown_encoding_is_named_with_the_known_ones(name: str) -> None:
    message = SimpleNamespace(
        height=2, width=2, encoding=name, is_bigendian=0, step=24, data=bytes(48)
    )
    for read, camera in ((visible, "visible"), (thermal_image, "thermal")):
        with pytest.raises(
            InputError, match=f"{camera} image with encoding .*expected one of"
        ) as e:
            read(message)
        assert len(str(e.value)) < 900


def test_an_encoding_of_the_other_camera_suggests_swapped_topics() -> None:
    celsius = encoded("32FC1", np.zeros((4, 4), np.float32))
    with pytest.raises(InputError, match="visible image with encoding '32FC1'.*swapped"):
        visible(celsius)
    bayer = encoded("bayer_rggb8", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="thermal image with encoding 'bayer_rggb8'.*swapped"):
        thermal_image(bayer)
