"""Fusion -> outgoing messages, each made and published only while someone listens."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from ssvif_core.errors import InputError
from ssvif_core.overlay import draw_overlay, palette
from ssvif_core.types import Fusion
from ssvif_ros.messages import compressed_message, image_message
from ssvif_ros.parameters import FusionParameters


class Outputs:
    """The node's publishers. `parameters` may change while it runs (alpha, JPEG quality)."""

    def __init__(self, node: Node, parameters: FusionParameters) -> None:
        self.parameters = parameters
        self._colours: np.ndarray | None = None
        self._names: tuple[str, ...] = ()
        # Reliable, as image_transport publishes: reliable and best-effort subscribers both match.
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

        def image(wanted: bool, topic: str) -> Publisher | None:
            return node.create_publisher(Image, topic, qos) if wanted else None

        def jpeg(wanted: bool, topic: str) -> Publisher | None:
            return node.create_publisher(CompressedImage, topic + "/compressed", qos) if wanted \
                else None

        p = parameters
        self._fused = image(p.publish_fused, "~/fused/image")
        self._fused_jpeg = jpeg(p.publish_fused, "~/fused/image")
        self._overlay = image(p.publish_overlay, "~/segmentation/overlay")
        self._overlay_jpeg = jpeg(p.publish_overlay, "~/segmentation/overlay")
        self._labels = image(p.publish_labels, "~/segmentation/labels")
        self._confidence = image(p.publish_confidence, "~/segmentation/confidence")
        self._label_info = node.create_publisher(String, "~/segmentation/label_info", latched)

    @property
    def wanted(self) -> bool:
        """Whether anyone listens to anything that needs a fusion."""
        return any(
            _listened(publisher)
            for publisher in (
                self._fused, self._fused_jpeg, self._overlay, self._overlay_jpeg,
                self._labels, self._confidence,
            )
        )  # fmt: skip

    def set_classes(self, names: Sequence[str]) -> None:
        """Publish the class names and colours, latched, when they are new."""
        if tuple(names) == self._names:
            return
        self._names = tuple(names)
        self._colours = class_colours(self.parameters.overlay_palette, len(names))
        classes = [
            {"id": index, "name": name, "rgb": [int(c) for c in colour[::-1]]}
            for index, (name, colour) in enumerate(zip(names, self._colours, strict=True))
        ]
        self._label_info.publish(String(data=json.dumps({"classes": classes})))

    def publish(self, fusion: Fusion, header: Header) -> None:
        """Publish a fusion under the visible image's header."""
        quality = self.parameters.jpeg_quality
        if _listened(self._fused):
            self._fused.publish(image_message(fusion.fused, "bgr8", header))
        if _listened(self._fused_jpeg):
            self._fused_jpeg.publish(compressed_message(fusion.fused, quality, header))
        if _listened(self._labels):
            self._labels.publish(image_message(fusion.labels, "mono8", header))
        if _listened(self._confidence):
            self._confidence.publish(image_message(fusion.confidence, "mono8", header))
        if self._colours is None or not (
            _listened(self._overlay) or _listened(self._overlay_jpeg)
        ):
            return
        alpha = self.parameters.overlay_alpha
        overlay = draw_overlay(fusion.fused, fusion.labels, self._colours, alpha)
        if _listened(self._overlay):
            self._overlay.publish(image_message(overlay, "bgr8", header))
        if _listened(self._overlay_jpeg):
            self._overlay_jpeg.publish(compressed_message(overlay, quality, header))


def class_colours(text: str, classes: int) -> np.ndarray:
    """Colours (classes, 3) uint8 BGR from 'RRGGBB,RRGGBB,...'; empty text gives our palette.

    Raises:
        InputError: not that form, or fewer colours than classes.
    """
    if not text:
        return palette(classes)
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
