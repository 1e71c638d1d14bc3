"""The node's parameters: one dataclass gives defaults, descriptors and checks."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from ssvif_core.bundle import Bundle
from ssvif_core.engines import ENGINES
from ssvif_core.engines.half_size import WORKING_SIZES
from ssvif_core.errors import InputError
from ssvif_core.recordings.decode import Crop
from ssvif_core.thermal import MODES, ThermalConfig


def _parameter(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A field with description, range or choices.

    Args:
        live: it may change while the node is active. Others are read when it is configured.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "description": description,
            "range": None if low is None else (low, high),
            "choices": choices,
            "live": live,
        },
    )


@dataclass
class FusionParameters:
    """All parameters of `fusion_node`, in the order of `config/fusion.yaml`."""

    visible_topic: str = _parameter("visible/image_raw", "Visible camera's image topic.")
    thermal_topic: str = _parameter("thermal/image_raw", "Thermal camera's image topic.")
    visible_info_topic: str = _parameter(
        "", "Visible camera's camera_info; empty: next to its images."
    )
    thermal_info_topic: str = _parameter(
        "", "Thermal camera's camera_info; empty: next to its images."
    )
    calibration_file: str = _parameter(
        "",
        "camera_pair.yaml of `ssvif calibrate`; empty: both cameras have the same field of view.",
    )
    pairing: str = _parameter(
        "nearest",
        "nearest: each thermal image in one pair; visible_rate: every visible image in one.",
        choices=("nearest", "visible_rate"),
    )
    thermal_max_age: float = _parameter(
        0.15,
        "Largest age of a thermal image with visible_rate, seconds.",
        low=0.001,
        high=10.0,
        live=True,
    )
    slop: float = _parameter(
        0.02, "Largest stamp difference within a pair, seconds.", low=0.0001, high=10.0, live=True
    )
    thermal_time_offset: float = _parameter(
        0.0, "Seconds to add to thermal stamps, besides the time offset of the calibration.",
        low=-1e6, high=1e6,
    )  # fmt: skip
    queue_size: int = _parameter(
        10, "Images of each camera that may wait for their partner.", low=1, high=100
    )
    camera_timeout: float = _parameter(
        1.0, "Seconds without an image after which a camera counts as missing.",
        low=0.1, high=3600.0, live=True,
    )  # fmt: skip
    on_missing: str = _parameter(
        "passthrough",
        "While one camera is missing: passthrough shows the other alone; hold fuses the last image "
        "of the missing one; stop shows nothing.",
        choices=("passthrough", "hold", "stop"),
        live=True,
    )
    lazy: bool = _parameter(
        True, "Receive images only while someone listens to an output.", live=True
    )
    qos: str = _parameter(
        "auto",
        "Reliability of the subscriptions; auto follows the publishers.",
        choices=("auto", "reliable", "best_effort"),
    )
    image_transport: str = _parameter(
        "auto",
        "raw, compressed (the topic's name with /compressed); auto: raw where it is published.",
        choices=("auto", "raw", "compressed"),
    )
    visible_bits: int = _parameter(
        0, "Bits that a visible camera of 16-bit images uses, 8 to 16; 0 finds them.",
        low=0, high=16,
    )  # fmt: skip
    engine: str = _parameter(
        "auto",
        "Inference engine; auto takes the best one that works here.",
        choices=("auto", *ENGINES),
    )
    precision: str = _parameter(
        "auto",
        "Arithmetic of the engine; auto: fp16 on GPUs, int8 on x86-64 CPUs, fp32 on others.",
        choices=("auto", "fp32", "fp16", "int8"),
    )
    working_size: str = _parameter(
        "full",
        "half: fuse at half the visible width and height, add the change to the whole image.",
        choices=WORKING_SIZES,
    )
    threads: int = _parameter(0, "CPU threads of the engine; 0 lets it choose.", low=0, high=256)
    model: str = _parameter(
        "",
        "ONNX file of `ssvif export`, or engine file; empty: the shipped model. ~/reload_model "
        "reads it anew.",
        live=True,
    )
    bundle: str = _parameter(
        "",
        "Folder of `ssvif deploy`: its model, calibration and camera parameters are used where the "
        "parameters here are empty or at their defaults.",
    )
    visible_width: int = _parameter(
        0, "Image size to prepare the engine for; 0 waits for the first pair.",
        low=0, high=8192,
    )  # fmt: skip
    visible_height: int = _parameter(0, "See visible_width.", low=0, high=8192)
    thermal_width: int = _parameter(0, "See visible_width.", low=0, high=8192)
    thermal_height: int = _parameter(0, "See visible_width.", low=0, high=8192)
    thermal_bits: int = _parameter(16, "See visible_width: 8 or 16.", low=8, high=16)
    largest_side: int = _parameter(
        4096, "Largest side of an image, pixels; larger images are refused.", low=16, high=16384
    )
    thermal_crop: str = _parameter(
        "", "Part of the thermal messages that is the image: x,y,width,height; empty: all."
    )
    thermal_gain: str = _parameter(
        "auto",
        "auto: 8-bit images as they are, others percentile; plateau; temperature: a fixed range.",
        choices=MODES,
        live=True,
    )
    thermal_low: float = _parameter(
        0.0, "Counts (with temperature: degC) shown as black; see thermal_high.",
        low=-300.0, high=65535.0, live=True
    )  # fmt: skip
    thermal_high: float = _parameter(
        0.0, "Counts (degC) shown as white; both 0: from the scene, or 0 to 40 degC.",
        low=-300.0, high=65535.0, live=True
    )  # fmt: skip
    thermal_scale: float = _parameter(
        0.04, "Kelvin per count of a radiometric camera.", low=1e-6, high=10.0, live=True
    )
    thermal_offset: float = _parameter(
        -273.15, "Temperature of count 0, degC.", low=-1000.0, high=1000.0, live=True
    )
    thermal_smoothing: float = _parameter(
        0.9,
        "Smoothing of the thermal range over time; 0 judges each frame alone.",
        low=0.0,
        high=0.99,
        live=True,
    )
    thermal_repair: bool = _parameter(
        True, "Replace dead and hot pixels of the thermal camera.", live=True
    )
    publish_fused: bool = _parameter(True, "Offer ~/fused/image and its JPEG topic.", live=True)
    publish_overlay: bool = _parameter(
        True, "Offer ~/segmentation/overlay and its JPEG topic.", live=True
    )
    publish_labels: bool = _parameter(True, "Offer ~/segmentation/labels.", live=True)
    publish_confidence: bool = _parameter(True, "Offer ~/segmentation/confidence.", live=True)
    publish_detections: bool = _parameter(
        False, "Offer ~/detections: boxes of the classes; needs vision_msgs.", live=True
    )
    detection_area: int = _parameter(
        60, "Smallest region that becomes a detection, pixels.", low=1, high=1_000_000, live=True
    )
    detection_confidence: float = _parameter(
        0.7, "Least mean probability of the class in a detection.", low=0.0, high=1.0, live=True
    )
    overlay_alpha: float = _parameter(
        0.4, "Share of the class colour in the overlay.", low=0.0, high=1.0, live=True
    )
    overlay_palette: str = _parameter(
        "",
        "Class colours RRGGBB in the order of classes, with commas; empty takes ours.",
        live=True,
    )
    drift_period: float = _parameter(
        20.0, "Seconds between frames that check the calibration; 0.0: never.",
        low=0.0, high=3600.0, live=True
    )  # fmt: skip
    jpeg_quality: int = _parameter(
        85, "Quality of the compressed images.", low=1, high=100, live=True
    )
    save_folder: str = _parameter(
        "", "Folder for the pairs of `~/save_pair`; empty: the service refuses.", live=True
    )
    prometheus_file: str = _parameter(
        "", "File for the figures of the diagnostics, which Prometheus reads; empty: none."
    )
    autostart: bool = _parameter(
        True, "Configure and activate the node at the start; false: a lifecycle manager does."
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata["choices"]
            if choices and value not in choices:
                raise InputError(
                    f"parameter {field.name}='{value}'; expected one of {', '.join(choices)}"
                )
        if (self.thermal_low or self.thermal_high) and self.thermal_high <= self.thermal_low:
            raise InputError(
                f"parameters thermal_low={self.thermal_low}, thermal_high={self.thermal_high}; "
                "expected low below high, or both 0"
            )
        if 0 < self.visible_bits < 8:
            raise InputError(f"parameter visible_bits={self.visible_bits}; expected 0, or 8 to 16")
        _ = Crop.parse(self.thermal_crop), self.thermal  # they raise if they are malformed
        if self.thermal_bits not in (8, 16):
            raise InputError(f"parameter thermal_bits={self.thermal_bits}; expected 8 or 16")
        if self.model and not Path(self.model).is_file():
            raise InputError(f"parameter model='{self.model}'; there is no such file")

    @property
    def calibration_path(self) -> Path | None:
        """The calibration file, if one is set."""
        return Path(self.calibration_file).expanduser() if self.calibration_file else None

    def bundled(self, bundle: Bundle) -> dict[str, Any]:
        """The values of a bundle for those parameters that are at their defaults.

        Raises:
            InputError: the bundle holds a parameter that the node does not have, or of another
                type.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        values = {}
        for name, value in bundle.parameters.items():
            default = defaults.get(name)
            if isinstance(default, float) and type(value) is int:
                value = float(value)
            if type(value) is not type(default):
                raise InputError(
                    f"{bundle.path}: parameter {name} is {value}; expected "
                    f"{'a known name' if default is None else type(default).__name__}"
                )
            if getattr(self, name) == default:
                values[name] = value
        return values

    @property
    def thermal(self) -> ThermalConfig:
        """How thermal counts are shown.

        Raises:
            InputError: the values do not fit together.
        """
        limits = (self.thermal_low, self.thermal_high)
        given = limits if any(limits) else None
        fixed = self.thermal_gain == "temperature"
        return ThermalConfig(
            mode=self.thermal_gain,
            limits=None if fixed else given,
            temperatures=given if fixed and given else ThermalConfig.temperatures,
            scale=self.thermal_scale,
            offset=self.thermal_offset,
            smoothing=self.thermal_smoothing,
            repair=self.thermal_repair,
        )


def descriptor(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    """The ROS descriptor of a field of `FusionParameters`."""
    result = ParameterDescriptor(description=field.metadata["description"])
    if field.metadata["choices"]:
        result.additional_constraints = "One of " + ", ".join(field.metadata["choices"])
    if field.metadata["range"]:
        low, high = field.metadata["range"]
        if isinstance(field.default, int):
            result.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        else:
            result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return result


def is_live(name: str) -> bool:
    """Whether a parameter may change while the node is configured."""
    fields = {field.name: field for field in dataclasses.fields(FusionParameters)}
    return bool(fields[name].metadata["live"])


def read(node: Node) -> FusionParameters:
    """The present values of the declared parameters.

    Raises:
        InputError: they cannot be used.
    """
    names = (field.name for field in dataclasses.fields(FusionParameters))
    return FusionParameters(**{name: node.get_parameter(name).value for name in names})


def declare(node: Node) -> FusionParameters:
    """Declare all parameters on `node` and return their values.

    Raises:
        InputError: a value is of the wrong type, out of range or not among the choices.
    """
    values = {}
    for field in dataclasses.fields(FusionParameters):
        try:
            values[field.name] = node.declare_parameter(
                field.name, field.default, descriptor(field)
            ).value
        except Exception as error:  # rclpy raises several types with one meaning
            allowed = field.metadata["range"]
            expected = f"{type(field.default).__name__}" + (
                f" from {allowed[0]} to {allowed[1]}" if allowed else ""
            )
            raise InputError(
                f"parameter {field.name}: expected {expected}; {error}"
                + (" (write 1.0, not 1)" if isinstance(field.default, float) else "")
            ) from error
    _warn_of_unknown(node, set(values))
    return FusionParameters(**values)


def _warn_of_unknown(node: Node, known: set[str]) -> None:
    """Name parameters that were given and that the node does not have.

    It goes on, because a file for `/**` may hold the parameters of other nodes too.
    """
    # rclpy has no public list of what was given.
    for name in getattr(node, "_parameter_overrides", {}):
        if name in known or node.has_parameter(name) or name.startswith("qos_overrides."):
            continue
        near = difflib.get_close_matches(name, known, 1)
        advice = f"; did you mean {near[0]}?" if near else ""
        node.get_logger().warning(f"parameter {name} is unknown to this node{advice}")
