"""Starts a visible camera, a thermal camera and fusion_node: what a first robot needs.

A driver runs as `camera` in the namespace `visible` or `thermal`, so its topics have the names that
fusion_node expects, and no service of one camera meets that of the other. Only the packages of the
chosen drivers must be installed. `ros2 launch ssvif_ros cameras.launch.py --show-args` lists the
arguments.
"""

import os
from fractions import Fraction

from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("ssvif_ros")

# name, default, description
ARGUMENTS = [
    ("visible_driver", "usb_cam", "Driver; none: it runs elsewhere."),
    ("visible_device", "/dev/video0", "Device, or a link to it such as /dev/v4l/by-id/..."),
    ("visible_pipeline", "", "gmsl: GStreamer pipeline without sink; empty reads the device."),
    ("visible_format", "", "Pixel format as the driver calls it; empty: YUYV, gmsl: rgb8."),
    ("visible_width", "640", "Width asked of the camera, pixels."),
    ("visible_height", "480", "Height asked of the camera, pixels."),
    ("visible_rate", "30.0", "Images per second asked of it; v4l2_camera cannot ask."),
    ("visible_frame_id", "visible_camera", "Frame of its images."),
    ("visible_camera_info_url", "", "Calibration for camera_info, file:///... or package://..."),
    ("thermal_driver", "usb_cam", "Driver; none: it runs elsewhere."),
    ("thermal_device", "/dev/video2", "Device, or a link to it such as /dev/v4l/by-id/..."),
    ("thermal_format", "", "Pixel format as the driver calls it; empty: 16 bits if it can."),
    ("thermal_width", "640", "Width asked of the camera, pixels; flir_boson: 640 or 320."),
    ("thermal_height", "512", "Height asked of the camera, pixels."),
    ("thermal_rate", "30.0", "Images per second; flir_boson: 9, 30 or 60."),
    ("thermal_frame_id", "thermal_camera", "Frame of its images."),
    ("thermal_camera_info_url", "", "Calibration for camera_info, file:///... or package://..."),
    ("boson_package", "flir_boson_usb", "Package that flir_boson starts."),
    ("respawn", "true", "Start a driver again, 2 s after it ended."),
    ("visible_image", "visible/image_raw", "Topic of visible images that the node hears."),
    ("thermal_image", "thermal/image_raw", "Topic of thermal images that the node hears."),
    ("calibration_file", "", "camera_pair.yaml of the two cameras; empty: they are aligned."),
    ("config_file", PathJoinSubstitution([SHARE, "config", "fusion.yaml"]), "Parameter file."),
    ("namespace", "", "Namespace of the drivers, the node and their relative topics."),
    ("use_sim_time", "false", "Take the time from /clock."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
]

# The arguments that take nothing else.
CHOICES = {
    "visible_driver": ["usb_cam", "v4l2_camera", "gmsl", "none"],
    "thermal_driver": ["usb_cam", "flir_boson", "v4l2_camera", "none"],
    "boson_package": ["flir_boson_usb", "flir_boson_usb2"],
}

# What the arguments say about each camera.
CAMERAS = {
    "visible": {
        "driver": LaunchConfiguration("visible_driver"),
        "device": LaunchConfiguration("visible_device"),
        "pipeline": LaunchConfiguration("visible_pipeline"),
        "format": LaunchConfiguration("visible_format"),
        "width": LaunchConfiguration("visible_width"),
        "height": LaunchConfiguration("visible_height"),
        "rate": LaunchConfiguration("visible_rate"),
        "frame_id": LaunchConfiguration("visible_frame_id"),
        "camera_info_url": LaunchConfiguration("visible_camera_info_url"),
    },
    "thermal": {
        "driver": LaunchConfiguration("thermal_driver"),
        "device": LaunchConfiguration("thermal_device"),
        "format": LaunchConfiguration("thermal_format"),
        "width": LaunchConfiguration("thermal_width"),
        "height": LaunchConfiguration("thermal_height"),
        "rate": LaunchConfiguration("thermal_rate"),
        "frame_id": LaunchConfiguration("thermal_frame_id"),
        "camera_info_url": LaunchConfiguration("thermal_camera_info_url"),
        "package": LaunchConfiguration("boson_package"),
    },
}


def usb_cam(role, camera):
    """Release 0.8.1 of ros-drivers/usb_cam. Its mono16 is V4L2's Y16."""
    parameters = {
        # It follows no link that leads out of its folder, as those in /dev/v4l/by-id do.
        "video_device": os.path.realpath(camera["device"]),
        "pixel_format": camera["format"] or {"visible": "yuyv", "thermal": "mono16"}[role],
        "image_width": camera["width"],
        "image_height": camera["height"],
        "framerate": camera["rate"],
        "frame_id": camera["frame_id"],
        "camera_name": role,
        "camera_info_url": camera["camera_info_url"],
        "brightness": -1,  # -1 leaves it alone; the driver's default is 50
    }
    return {"package": "usb_cam", "executable": "usb_cam_node_exe"}, parameters


def v4l2_camera(role, camera):
    """Releases 0.6.2 to 0.7.1 of boldhearts/ros2_v4l2_camera: 8 bits only."""
    # Its formats, as they are published unconverted.
    encodings = {"YUYV": "yuv422_yuy2", "UYVY": "yuv422", "GREY": "mono8"}
    pixels = camera["format"] or {"visible": "YUYV", "thermal": "GREY"}[role]
    if pixels not in encodings:
        raise ValueError(
            f"{role}_format is {pixels!r}, but v4l2_camera reads only {', '.join(encodings)}; "
            f"use {role}_driver:=usb_cam, which also reads mono16 (Y16) and mjpeg2rgb"
        )
    parameters = {
        "video_device": camera["device"],
        "pixel_format": pixels,
        "output_encoding": encodings[pixels] if role == "visible" else "mono8",
        "image_size": [camera["width"], camera["height"]],
        "camera_frame_id": camera["frame_id"],
        "camera_info_url": camera["camera_info_url"],
    }
    return {"package": "v4l2_camera", "executable": "v4l2_camera_node"}, parameters


def gmsl(role, camera):
    """A camera behind a GMSL or CSI link, by GStreamer: release 2.0.2 of ros-drivers/gscam."""
    rate = Fraction(camera["rate"]).limit_denominator(1001)
    parameters = {
        "gscam_config": camera["pipeline"]
        or f"v4l2src device={camera['device']} ! video/x-raw,width={camera['width']},"
        f"height={camera['height']},framerate={rate.numerator}/{rate.denominator} ! videoconvert",
        "image_encoding": camera["format"] or "rgb8",
        "sync_sink": False,  # an image is wanted when it comes, not when it is due
        "frame_id": camera["frame_id"],
        "camera_name": role,
        "camera_info_url": camera["camera_info_url"],
    }
    topics = ["image_raw", "image_raw/compressed", "camera_info"]
    remappings = [(f"camera/{topic}", topic) for topic in topics]
    return {
        "package": "gscam",
        "executable": "gscam_node",
        "remappings": remappings,
    }, parameters


def flir_boson(role, camera):
    """ctu-vras/flir_boson_usb, or akhilj95/flir_boson_usb2, from which it came: the same names."""
    sensors = {640: "Boson_640", 320: "Boson_320"}
    if camera["width"] not in sensors:
        raise ValueError(f"{role}_width is {camera['width']}; a FLIR Boson has 640 or 320")
    parameters = {
        "dev": camera["device"],
        "video_mode": camera["format"] or "RAW16",
        "sensor_type": sensors[camera["width"]],
        "frame_rate": camera["rate"],
        "frame_id": camera["frame_id"],
        "camera_info_url": camera["camera_info_url"],
    }
    return {"package": camera["package"], "executable": "boson_camera_node"}, parameters


DRIVERS = {
    "usb_cam": usb_cam,
    "v4l2_camera": v4l2_camera,
    "gmsl": gmsl,
    "flir_boson": flir_boson,
}


def settings(context, role):
    """What the arguments say about a camera; sizes and rate as numbers above zero."""
    camera = {name: value.perform(context) for name, value in CAMERAS[role].items()}
    for name, kind in (("width", int), ("height", int), ("rate", float)):
        text = camera[name]
        try:
            camera[name] = kind(text)
        except ValueError:
            camera[name] = 0
        if not 0 < camera[name] < 1e6:
            raise ValueError(f"{role}_{name} is {text!r}; expected a number above 0")
    return camera


def start(context, role):
    """The node of a camera's driver; none where it runs elsewhere."""
    camera = settings(context, role)
    if camera["driver"] == "none":
        return []
    node, parameters = DRIVERS[camera["driver"]](role, camera)
    namespace = LaunchConfiguration("namespace").perform(context).rstrip("/")
    return [
        Node(
            **node,
            name="camera",
            namespace=f"{namespace}/{role}" if namespace else role,
            parameters=[
                # Without the type, a frame called 1 or a pipeline with a colon becomes no string.
                {
                    name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
                    for name, value in parameters.items()
                },
                {"use_sim_time": LaunchConfiguration("use_sim_time")},
            ],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            respawn=LaunchConfiguration("respawn"),
            respawn_delay=2.0,
            output="screen",
            emulate_tty=True,
        )
    ]


def generate_launch_description():
    profile = PathJoinSubstitution([SHARE, "config", "fastdds.xml"])
    fusion = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "fusion.launch.py"])),
        launch_arguments={
            "config_file": LaunchConfiguration("config_file"),
            "calibration_file": LaunchConfiguration("calibration_file"),
            "namespace": LaunchConfiguration("namespace"),
            "visible_image": LaunchConfiguration("visible_image"),
            "thermal_image": LaunchConfiguration("thermal_image"),
            "use_sim_time": LaunchConfiguration("use_sim_time"),
            "log_level": LaunchConfiguration("log_level"),
        }.items(),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                name, default_value=default, description=description, choices=CHOICES.get(name)
            )
            for name, default, description in ARGUMENTS
        ]
        # The drivers need it too, or their images mostly never arrive; a user's profile stays.
        + [
            SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=profile))
            for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
            if not os.environ.get(name)
        ]
        + [OpaqueFunction(function=start, args=[role]) for role in CAMERAS]
        + [fusion]
    )
