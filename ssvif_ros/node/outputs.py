"""Fusion -> outgoing messages, each made and published only while someone listens."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, TimeReference
from std_msgs.msg import Header, String

from ssvif_core.errors import InputError
from ssvif_core.overlay import colours_of, draw_overlay
from ssvif_core.types import Fusion
from ssvif_ros.node.messages import compressed_message, image_message
from ssvif_ros.node.parameters import FusionParameters


class Outputs:
    """The node's publishers. `parameters` may change while it runs (alpha, JPEG quality)."""

    def __init__(self, node: Node, parameters: FusionParameters) -> None:
        self.parameters = parameters
        self._colours: np.ndarray | None = None
        self._names: tuple[str, ...] = ()
        self._label_info = node.create_publisher(
            String,
            "~/segmentation/label_info",
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )
        self._thermal_time = node.create_publisher(TimeReference, "~/thermal_time", 10)
        p = parameters
        self._fused = Output(node, "~/fused/image", p.publish_fused, "bgr8")
        self._overlay = Output(node, "~/segmentation/overlay", p.publish_overlay, "bgr8")
        self._labels = Output(node, "~/segmentation/labels", p.publish_labels, "mono8")
        self._confidence = Output(node, "~/segmentation/confidence", p.publish_confidence, "mono8")

    @property
    def wanted(self) -> bool:
        """Whether anyone listens to anything that needs a fusion."""
        outputs = (self._fused, self._overlay, self._labels, self._confidence)
        return any(output.wanted for output in outputs)

    def set_classes(self, names: Sequence[str]) -> None:
        """Publish the class names and colours, latched, when they are new."""
        if tuple(names) == self._names:
            return
        self._names = tuple(names)
        self._colours = class_colours(self.parameters.overlay_palette, names)
        classes = [
            {"id": index, "name": name, "rgb": [int(c) for c in colour[::-1]]}
            for index, (name, colour) in enumerate(zip(names, self._colours, strict=True))
        ]
        self._label_info.publish(String(data=json.dumps({"classes": classes})))

    def publish(self, fusion: Fusion, header: Header, thermal: Header) -> None:
        """Publish a fusion under the visible image's header, and when its thermal part was."""
        if _listened(self._thermal_time):
            self._thermal_time.publish(
                TimeReference(header=header, time_ref=thermal.stamp, source=thermal.frame_id)
            )
        quality = self.parameters.jpeg_quality
        self._fused.publish(fusion.fused, header, quality)
        self._labels.publish(fusion.labels, header, quality)
        self._confidence.publish(fusion.confidence, header, quality)
        if self._overlay.wanted and self._colours is not None:
            overlay = draw_overlay(
                fusion.fused, fusion.labels, self._colours, self.parameters.overlay_alpha
            )
            self._overlay.publish(overlay, header, quality)


class Output:
    """One image topic; colour ones have a JPEG twin `/compressed`, as image_transport names it."""

    def __init__(self, node: Node, topic: str, offered: bool, encoding: str) -> None:
        self._encoding = encoding
        # Reliable, as image_transport publishes: reliable and best-effort subscribers both match.
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._image = node.create_publisher(Image, topic, qos) if offered else None
        self._jpeg = (
            node.create_publisher(CompressedImage, topic + "/compressed", qos)
            if offered and encoding == "bgr8"
            else None
        )

    @property
    def wanted(self) -> bool:
        """Whether anyone listens."""
        return _listened(self._image) or _listened(self._jpeg)

    def publish(self, image: np.ndarray, header: Header, quality: int) -> None:
        """Publish in the forms that are listened to; `quality` is that of the JPEG."""
        if self._image is not None and _listened(self._image):
            self._image.publish(image_message(image, self._encoding, header))
        if self._jpeg is not None and _listened(self._jpeg):
            self._jpeg.publish(compressed_message(image, quality, header))


def class_colours(text: str, names: Sequence[str]) -> np.ndarray:
    """Colours (classes, 3) uint8 BGR from 'RRGGBB,RRGGBB,...'; empty text gives our palette.

    Raises:
        InputError: not that form, or fewer colours than classes.
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
            "with commas between, or nothing"
        ) from error
    return colours[:classes, ::-1].astype(np.uint8)


def _listened(publisher: Publisher | None) -> bool:
    return publisher is not None and publisher.get_subscription_count() > 0
