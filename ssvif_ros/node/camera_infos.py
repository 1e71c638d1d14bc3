"""The camera_info topics of both cameras: where they are, and what came last."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from ssvif_core.cameras.camera_info import info_topic, is_rectified

# Camera, whether its images are rectified, message, topic.
Receive = Callable[[str, bool, CameraInfo, str], None]


class CameraInfos:
    """Subscribes to the camera_info of both cameras.

    The topic of a camera is, in this order: its parameter; where `visible/camera_info` or
    `thermal/camera_info` is remapped to; or the topic next to its images, wherever those are
    remapped to.

    Args:
        image_topics, info_topics: of the visible and the thermal camera, as in the parameters.
        receive: gets each message.

    Attributes:
        problem: why there is no camera_info; empty if nothing is wrong.
    """

    def __init__(
        self, node: Node, image_topics: tuple[str, str], info_topics: tuple[str, str],
        receive: Receive,
    ) -> None:  # fmt: skip
        self.problem = ""
        self._visible: CameraInfo | None = None
        self._receive = receive
        names = ("visible", "thermal")
        images = [node.resolve_topic_name(topic) for topic in image_topics]
        given = [
            _given_topic(node, name, topic) for name, topic in zip(names, info_topics, strict=True)
        ]
        topics = [topic or info_topic(image) for topic, image in zip(given, images, strict=True)]
        if node.resolve_topic_name(topics[0]) == node.resolve_topic_name(topics[1]):
            topics = given if sum(map(bool, given)) == 1 else ["", ""]
        if topics == ["", ""]:
            self.problem = (
                f"{info_topic(images[0])} lies beside the images of both cameras, so it is taken "
                "for neither; set visible_info_topic or thermal_info_topic"
            )
            node.get_logger().warning(self.problem)
        for name, image, topic in zip(names, images, topics, strict=True):
            if topic:
                self._subscribe(node, name, is_rectified(image), topic)

    def _subscribe(self, node: Node, name: str, rectified: bool, topic: str) -> None:
        full_topic = node.resolve_topic_name(topic)

        def take(message: CameraInfo) -> None:
            if name == "visible":
                self._visible = message
            self._receive(name, rectified, message, full_topic)

        node.create_subscription(CameraInfo, topic, take, qos_profile_sensor_data)

    def of_fused(self, header: Header) -> CameraInfo | None:
        """The camera_info of the fused image with this header: that of the visible camera."""
        last = self._visible
        if last is None:
            return None
        fields = {name: getattr(last, name) for name in last.get_fields_and_field_types()}
        return CameraInfo(**{**fields, "header": header})


def _given_topic(node: Node, name: str, parameter: str) -> str:
    """The topic of a parameter or of a remapping, before rclpy remaps it; empty if neither."""
    if parameter:
        return parameter
    relative = f"{name}/camera_info"
    is_remapped = node.resolve_topic_name(relative) != node.resolve_topic_name(
        relative, only_expand=True
    )
    return relative if is_remapped else ""
