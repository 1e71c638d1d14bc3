"""`CvBridge`: ROS image messages to NumPy arrays and back."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg

from .encodings import (
    DEPTHS,
    DTYPES,
    CvBridgeError,
    Image,
    convert,
    parse,
    split_cvtype,
)

__all__ = ["CvBridge", "CvBridgeError"]


class CvBridge:
    """Converts between ROS image messages and OpenCV images (NumPy arrays).

    An image of one channel has shape (H, W), of more (H, W, C).
    """

    def dtype_with_channels_to_cvtype2(self, dtype: DTypeLike, n_channels: int) -> str:
        """Return the OpenCV type's name, such as '8UC3', for an array's dtype and channels."""
        name = np.dtype(dtype).name
        if name not in DTYPES:
            raise CvBridgeError(
                f"an image of dtype {name} has no OpenCV type; convert it to one of "
                f"{', '.join(DTYPES)} first"
            )
        return f"{DEPTHS[DTYPES.index(name)]}C{n_channels}"

    def cvtype2_to_dtype_with_channels(self, cvtype: int) -> tuple[str, int]:
        """Return the dtype's name and the channels for an OpenCV type's number."""
        depth, channels = split_cvtype(cvtype)
        if depth >= len(DTYPES):
            raise CvBridgeError(
                f"OpenCV type {cvtype} has depth {depth}; expected 0 (uint8) to 6 (float64)"
            )
        return DTYPES[depth], channels

    def encoding_to_cvtype2(self, encoding: str) -> int:
        """Return the OpenCV type's number for a ROS encoding: 16 (CV_8UC3) for 'bgr8'."""
        return parse(encoding).cvtype

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Return the dtype's name and the channels for a ROS encoding: ('uint8', 3) for 'bgr8'."""
        return self.cvtype2_to_dtype_with_channels(self.encoding_to_cvtype2(encoding))

    def imgmsg_to_cv2(self, img_msg: Any, desired_encoding: str = "passthrough") -> Image:
        """Return a sensor_msgs/Image as an array, in its own or the desired encoding.

        'passthrough' gives a view onto the message's buffer (writing to it changes the message),
        except when rows are padded or the byte order is foreign: then a contiguous, native copy.
        Any other encoding gives a copy. CvBridgeError when the message is malformed or the
        encodings do not convert.
        """
        image = _view(img_msg)
        if desired_encoding == "passthrough":
            return image
        return convert(image, img_msg.encoding, desired_encoding)

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: Any, desired_encoding: str = "passthrough"
    ) -> Image | None:
        """Return a decoded sensor_msgs/CompressedImage.

        'passthrough' gives what the file holds (BGR, BGRA or grey, 8 or 16 bits). Any other
        encoding takes the file's image to be bgr8 and converts it. As in ROS, None when the bytes
        are no image and there is nothing to convert. CvBridgeError when there are no bytes or the
        encodings do not convert.
        """
        try:
            image: Image | None = cv2.imdecode(
                np.frombuffer(cmprs_img_msg.data, np.uint8), cv2.IMREAD_UNCHANGED
            )
        except cv2.error as error:
            raise CvBridgeError(
                f"OpenCV cannot decode {len(cmprs_img_msg.data)} bytes of format "
                f"{cmprs_img_msg.format!r}; expected a whole image file: {error}"
            ) from error
        if desired_encoding == "passthrough":
            return image
        if image is not None:
            return convert(image, "bgr8", desired_encoding)
        if desired_encoding in ("", "bgr8"):
            return None
        raise CvBridgeError(
            f"{len(cmprs_img_msg.data)} bytes of format {cmprs_img_msg.format!r} are no image "
            f"that OpenCV can read, so none to convert to {desired_encoding!r}; mend the publisher"
        )

    def cv2_to_compressed_imgmsg(self, cvim: Image, dst_format: str = "jpg") -> CompressedImage:
        """Return the image as a sensor_msgs/CompressedImage holding a `dst_format` file.

        `cvim`: (H, W) or (H, W, C), BGR. TypeError when it is no array, CvBridgeError when
        OpenCV cannot write it in that format.
        """
        _check_array(cvim)
        try:
            written, data = cv2.imencode(f".{dst_format}", cvim)
        except cv2.error as error:
            raise CvBridgeError(
                f"OpenCV cannot write a {cvim.shape} {cvim.dtype} image as {dst_format!r}; use "
                f"png for 16 bits or alpha, jpg for 8-bit colour: {error}"
            ) from error
        if not written:
            raise CvBridgeError(f"OpenCV did not write a {dst_format!r} file; try png or jpg")
        msg = CompressedImage()
        msg.format = dst_format
        msg.data = _bytes(data)
        return msg

    def cv2_to_imgmsg(
        self, cvim: Image, encoding: str = "passthrough", header: Any | None = None
    ) -> ImageMsg:
        """Return the image as a sensor_msgs/Image with unpadded rows.

        `cvim`: (H, W) or (H, W, C). 'passthrough' names the encoding after the array's type
        (8UC3); any other must have that type, and the pixels are not converted. TypeError when it
        is no array, CvBridgeError when its type and the encoding do not go together.
        """
        _check_array(cvim)
        channels = cvim.shape[2] if cvim.ndim == 3 else 1
        type_name = self.dtype_with_channels_to_cvtype2(cvim.dtype, channels)
        if encoding == "passthrough":
            encoding = type_name
        elif (expected := parse(encoding).type_name) != type_name:
            raise CvBridgeError(
                f"the image is {type_name} but {encoding!r} needs {expected}; convert the image "
                "or name the encoding it has"
            )
        msg = ImageMsg()
        if header is not None:
            msg.header = header
        msg.height, msg.width = cvim.shape[:2]
        msg.encoding = encoding
        msg.is_bigendian = int(cvim.dtype.str.startswith(">"))
        msg.step = msg.width * channels * cvim.dtype.itemsize
        msg.data = _bytes(cvim)
        return msg


def _check_array(image: Any) -> None:
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"expected a NumPy array, got {type(image).__name__}; wrap it in numpy.asarray"
        )
    if image.ndim not in (2, 3):
        raise CvBridgeError(f"expected an image of shape (H, W) or (H, W, C), got {image.shape}")


def _bytes(values: Image) -> array[int]:
    """Return the array's bytes as what a uint8[] field keeps as it is.

    Anything else is checked and copied element by element there: 300 ms for 1080p, against 0.5.
    """
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    data = array("B")
    data.frombytes(flat.data)
    return data


def _view(msg: Any) -> Image:
    """Return the message's pixels, without a copy where their layout allows it."""
    encoding = parse(msg.encoding)
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if msg.is_bigendian else "<")
    pixel = encoding.channels * dtype.itemsize
    row, rest = msg.width * pixel, msg.height * msg.step
    if msg.step < row or len(msg.data) < rest:
        raise CvBridgeError(
            f"the message says {msg.width} x {msg.height} {msg.encoding!r} with a step of "
            f"{msg.step}, so step should be at least {row} and data {rest} bytes, but data is "
            f"{len(msg.data)}; mend the publisher"
        )
    shape: tuple[int, ...] = (msg.height, msg.width)
    strides: tuple[int, ...] = (msg.step, pixel)
    if encoding.channels > 1:
        shape, strides = (*shape, encoding.channels), (*strides, dtype.itemsize)
    image: Image = np.ndarray(shape, dtype, buffer=msg.data, strides=strides)
    if not dtype.isnative:
        return image.astype(dtype.newbyteorder("="))
    return np.ascontiguousarray(image)
