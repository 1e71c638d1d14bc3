"""What the node offers to others: topics and services. The reference is generated from here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interface:
    """A topic or a service.

    Attributes:
        name: relative names take the node's namespace, `~` is the node itself.
        type: package and type of the message or service.
        description: for the reference.
    """

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class ImageOutput(Interface):
    """An image topic. Colour topics have a JPEG topic `/compressed` as well.

    Attributes:
        encoding: of its images.
        parameter: the parameter that offers it.
    """

    encoding: str = "bgr8"
    parameter: str = ""

    @property
    def has_jpeg(self) -> bool:
        """Whether there is a topic `/compressed`, as image_transport names it."""
        return self.encoding == "bgr8"


IMAGE, JPEG = "sensor_msgs/Image", "sensor_msgs/CompressedImage"

FUSED = ImageOutput(
    "~/fused/image", IMAGE, "the fused image, of the visible image's size", "bgr8", "publish_fused"
)
OVERLAY = ImageOutput(
    "~/segmentation/overlay", IMAGE, "the fused image, tinted by class", "bgr8", "publish_overlay"
)
LABELS = ImageOutput("~/segmentation/labels", IMAGE, "class ids", "mono8", "publish_labels")
CONFIDENCE = ImageOutput(
    "~/segmentation/confidence", IMAGE, "probability of the class times 255", "mono8",
    "publish_confidence",
)  # fmt: skip
OUTPUTS = (FUSED, OVERLAY, LABELS, CONFIDENCE)
FUSED_INFO = Interface(
    "~/fused/camera_info", "sensor_msgs/CameraInfo",
    "the visible camera's, with the header of the fused image, for image_proc and other tools",
)  # fmt: skip
LABEL_INFO = Interface(
    "~/segmentation/label_info", "std_msgs/String",
    'latched JSON with the classes, and with the cameras that the image shows: `{"classes": '
    '[{"id": 0, "name": "background", "rgb": [0, 0, 0]}, ...], "cameras": "both"}`',
)  # fmt: skip
CLASS_MAP = Interface(
    "~/segmentation/class_map", "vision_msgs/LabelInfo",
    "the names of the classes, latched, if vision_msgs is installed",
)  # fmt: skip
DETECTIONS = Interface(
    "~/detections", "vision_msgs/Detection2DArray",
    "a box for each connected region of a class, largest first, with the name of the class and its "
    "mean probability; offered with `publish_detections`",
)  # fmt: skip
THERMAL_TIME = Interface(
    "~/thermal_time", "sensor_msgs/TimeReference",
    "the header of the fused image, and the time of its thermal image",
)  # fmt: skip
DIAGNOSTICS = Interface(
    "/diagnostics", "diagnostic_msgs/DiagnosticArray", "the state of the node, once a second"
)
ENABLE = Interface(
    "~/enable", "std_srvs/SetBool", "false: receive and publish nothing until true comes"
)
SAVE_PAIR = Interface(
    "~/save_pair", "std_srvs/Trigger",
    "writes the next pair, its fused image and its labels into `save_folder`, as `ssvif` reads it",
)  # fmt: skip
RELOAD_MODEL = Interface(
    "~/reload_model", "std_srvs/Trigger",
    "reads the file of `model` anew; the old model goes on if the new one cannot be used",
)  # fmt: skip
CALIBRATE = Interface(
    "~/calibrate", "std_srvs/Trigger",
    "calibrates the cameras from the pairs of the next six seconds",
)  # fmt: skip

SUBSCRIBED = (
    Interface("visible/image_raw", IMAGE, "images of the colour camera"),
    Interface("thermal/image_raw", IMAGE, "images of the thermal camera"),
    Interface(
        "visible/camera_info", "sensor_msgs/CameraInfo",
        "lens, region of interest and binning (REP 104); its place is next to the image topic, "
        "unless it is remapped or set with `visible_info_topic`",
    ),
    Interface("thermal/camera_info", "sensor_msgs/CameraInfo", "the same for the thermal camera"),
)  # fmt: skip
PUBLISHED = (*OUTPUTS, FUSED_INFO, LABEL_INFO, THERMAL_TIME, DIAGNOSTICS)
WITH_VISION_MSGS = (CLASS_MAP, DETECTIONS)
SERVICES = (CALIBRATE, ENABLE, SAVE_PAIR, RELOAD_MODEL)
