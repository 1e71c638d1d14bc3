"""Fusion -> outgoing messages. Each is made and published only while someone listens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, TimeReference
from std_msgs.msg import Header, String

from ssvif_core.errors import InputError
from ssvif_core.overlay import colours_of, draw_overlay
from ssvif_core.types import Fusion, UInt8Array
from ssvif_ros.node import interface
from ssvif_ros.node.messages import compressed_message, image_message
from ssvif_ros.node.parameters import FusionParameters
from ssvif_ros.node.vision_outputs import VisionOutputs

# history, depth and reliability can be set with parameters `qos_overrides.TOPIC.publisher.depth`
OVERRIDES = QoSOverridingOptions.with_default_policies()
BOTH = "both"  # cameras that the image shows


class Outputs:
    """The node's publishers. `parameters` may change at run time.

    Attributes:
        info_of_fused: gives the camera_info of a fused image with this header; None if unknown.
    """

    def __init__(self, node: Node, parameters: FusionParameters) -> None:
        self.parameters = parameters
        self.info_of_fused: Callable[[Header], CameraInfo | None] = lambda _header: None
        self._colours: UInt8Array | None = None
        self._names: tuple[str, ...] = ()
        self._cameras = BOTH
        self._label_info = node.create_publisher(
            String,
            interface.LABEL_INFO.name,
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )
        self._thermal_time = node.create_publisher(TimeReference, interface.THERMAL_TIME.name, 10)
        self._fused_info = node.create_publisher(CameraInfo, interface.FUSED_INFO.name, 10)
        self._vision = VisionOutputs(node, parameters)
        self._all = self._fused, self._overlay, self._labels, self._confidence = tuple(
            Output(node, output) for output in interface.OUTPUTS
        )
        self.offer()

    @property
    def wanted(self) -> bool:
        """Whether anyone listens to anything that needs a fusion."""
        return self._vision.wanted or any(output.wanted for output in self._all)

    def offer(self) -> None:
        """Offer the topics that the parameters ask for, and no others.

        Raises:
            InputError: detections are asked for, and vision_msgs is not installed.
        """
        self._vision.offer()
        for output in self._all:
            output.offer(getattr(self.parameters, output.parameter))

    def recolour(self, palette: str) -> None:
        """Take other class colours.

        Raises:
            InputError: see `class_colours`.
        """
        class_colours(palette, self._names)
        names, self._names = self._names, ()
        self.parameters.overlay_palette = palette
        self.set_classes(names)

    def set_classes(self, names: Sequence[str]) -> None:
        """Publish class names and colours, latched, if they are new."""
        if tuple(names) == self._names:
            return
        self._names = tuple(names)
        self._colours = class_colours(self.parameters.overlay_palette, names)
        self._vision.set_classes(names)
        self._publish_classes()

    def set_cameras(self, cameras: str) -> None:
        """Publish what the image shows from now on, latched with the classes."""
        if cameras != self._cameras:
            self._cameras = cameras
            self._publish_classes()

    def _publish_classes(self) -> None:
        assert self._colours is not None
        classes = [
            {"id": index, "name": name, "rgb": [int(c) for c in colour[::-1]]}
            for index, (name, colour) in enumerate(zip(self._names, self._colours, strict=True))
        ]
        text = json.dumps({"classes": classes, "cameras": self._cameras})
        self._label_info.publish(String(data=text))

    def publish(self, fusion: Fusion, header: Header, thermal: Header | None) -> None:
        """Publish a fusion with the visible image's header, and the time of its thermal image."""
        if thermal is not None and _listened(self._thermal_time):
            self._thermal_time.publish(
                TimeReference(header=header, time_ref=thermal.stamp, source=thermal.frame_id)
            )
        if _listened(self._fused_info):
            info = self.info_of_fused(header)
            if info is not None:
                self._fused_info.publish(info)
        quality = self.parameters.jpeg_quality
        self._fused.publish(fusion.fused, header, quality)
        self._labels.publish(fusion.labels, header, quality)
        self._confidence.publish(fusion.confidence, header, quality)
        self._vision.publish(fusion, header)
        if self._overlay.wanted and self._colours is not None:
            overlay = draw_overlay(
                fusion.fused, fusion.labels, self._colours, self.parameters.overlay_alpha
            )
            self._overlay.publish(overlay, header, quality)


class Output:
    """One image topic. Colour topics have a JPEG topic `/compressed`, as in image_transport.

    Attributes:
        parameter: the name of the parameter that offers it.
    """

    def __init__(self, node: Node, output: interface.ImageOutput) -> None:
        self._node, self._output = node, output
        self.parameter = output.parameter
        self._lock = threading.Lock()  # the worker publishes, the executor offers
        self._image: Publisher | None = None
        self._jpeg: Publisher | None = None

    def offer(self, offered: bool) -> None:
        """Offer the topic, or take it back."""
        topic = self._output.name
        with self._lock:
            if offered and self._image is None:
                self._image = self._node.create_publisher(
                    Image, topic, _image_qos(), qos_overriding_options=OVERRIDES
                )
                if self._output.has_jpeg:
                    self._jpeg = self._node.create_publisher(
                        CompressedImage, topic + "/compressed", _image_qos(),
                        qos_overriding_options=OVERRIDES,
                    )  # fmt: skip
            elif not offered:
                for publisher in filter(None, (self._image, self._jpeg)):
                    self._node.destroy_publisher(publisher)
                self._image = self._jpeg = None

    @property
    def wanted(self) -> bool:
        """Whether anyone listens."""
        with self._lock:
            return _listened(self._image) or _listened(self._jpeg)

    def publish(self, image: UInt8Array, header: Header, quality: int) -> None:
        """Publish on the topics that have listeners; `quality` is of the JPEG."""
        with self._lock:
            if self._image is not None and _listened(self._image):
                self._image.publish(image_message(image, self._output.encoding, header))
            if self._jpeg is not None and _listened(self._jpeg):
                self._jpeg.publish(compressed_message(image, quality, header))


def _image_qos() -> QoSProfile:
    """Reliable, like image_transport: reliable and best-effort subscribers both match.

    A new one for each publisher, since rclpy writes overrides into it.
    """
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


def class_colours(text: str, names: Sequence[str]) -> UInt8Array:
    """Colours (classes, 3) BGR from 'RRGGBB,RRGGBB,...'; empty text gives our palette.

    Raises:
        InputError: the text has another form, or fewer colours than classes.
    """
    classes = len(names)
    if not text:
        return colours_of(names)
    try:
        colours = np.array([list(bytes.fromhex(part.strip())) for part in text.split(",")])
        if colours.ndim != 2 or colours.shape[1] != 3 or len(colours) < classes:
            raise ValueError(f"{len(colours)} colours")
    except ValueError as error:
        raise InputError(
            f"parameter overlay_palette='{text}' ({error}); expected {classes} colours RRGGBB "
            "separated by commas, or nothing"
        ) from error
    bgr: UInt8Array = colours[:classes, ::-1].astype(np.uint8)
    return bgr


def _listened(publisher: Publisher | None) -> bool:
    return publisher is not None and bool(publisher.get_subscription_count())
