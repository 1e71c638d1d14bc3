"""Outputs of the types of vision_msgs, where that package is installed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from ssvif_core.detections import Detection, find_detections
from ssvif_core.errors import InputError
from ssvif_core.types import Fusion
from ssvif_ros.node import interface
from ssvif_ros.node.parameters import FusionParameters

try:
    from vision_msgs import msg as vision_msgs
except ImportError:
    vision_msgs = None


class VisionOutputs:
    """`~/segmentation/class_map`, and `~/detections` if the parameters ask for it.

    `parameters` may change at run time. Without vision_msgs there are no such topics.
    """

    def __init__(self, node: Node, parameters: FusionParameters) -> None:
        self._node, self._parameters = node, parameters
        self._lock = threading.Lock()  # the worker publishes, the executor offers
        self._names: tuple[str, ...] = ()
        self._detections: Any = None
        self._class_map: Any = None
        if vision_msgs is not None:
            self._class_map = node.create_publisher(
                vision_msgs.LabelInfo,
                interface.CLASS_MAP.name,
                QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
            )

    def offer(self) -> None:
        """Offer `~/detections`, or take it back, as the parameter says.

        Raises:
            InputError: see `require_vision_msgs`.
        """
        is_asked = self._parameters.publish_detections
        if is_asked:
            require_vision_msgs()
        with self._lock:
            if is_asked and self._detections is None:
                self._detections = self._node.create_publisher(
                    vision_msgs.Detection2DArray, interface.DETECTIONS.name, 5
                )
            elif not is_asked and self._detections is not None:
                self._node.destroy_publisher(self._detections)
                self._detections = None

    @property
    def wanted(self) -> bool:
        """Whether anyone listens to the detections."""
        with self._lock:
            return self._detections is not None and self._detections.get_subscription_count() > 0

    def set_classes(self, names: Sequence[str]) -> None:
        """Publish the names of the classes, latched."""
        self._names = tuple(names)
        if self._class_map is not None:
            classes = [
                vision_msgs.VisionClass(class_id=index, class_name=name)
                for index, name in enumerate(names)
            ]
            self._class_map.publish(vision_msgs.LabelInfo(class_map=classes))

    def publish(self, fusion: Fusion, header: Header) -> None:
        """Publish the detections of a fusion, if anyone listens."""
        if not self.wanted:
            return
        found = find_detections(
            fusion.labels, fusion.confidence, self._names,
            self._parameters.detection_area, self._parameters.detection_confidence,
        )  # fmt: skip
        detections = [self._message(detection, header) for detection in found]
        with self._lock:
            if self._detections is not None:
                message = vision_msgs.Detection2DArray(header=header, detections=detections)
                self._detections.publish(message)

    def _message(self, detection: Detection, header: Header) -> Any:
        result = vision_msgs.ObjectHypothesisWithPose()
        result.hypothesis.class_id = self._names[detection.class_id]
        result.hypothesis.score = detection.confidence
        message = vision_msgs.Detection2D(header=header, results=[result])
        message.bbox.center.position.x = detection.left + detection.width / 2
        message.bbox.center.position.y = detection.top + detection.height / 2
        message.bbox.size_x = float(detection.width)
        message.bbox.size_y = float(detection.height)
        return message


def require_vision_msgs() -> None:
    """Check that detections can be published.

    Raises:
        InputError: the package vision_msgs is not installed.
    """
    if vision_msgs is None:
        raise InputError(
            "publish_detections needs the package vision_msgs, which is not installed; "
            "`apt install ros-$ROS_DISTRO-vision-msgs`, or set publish_detections: false"
        )
