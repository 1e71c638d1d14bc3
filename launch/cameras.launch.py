"""Starts a visible camera, a thermal camera and fusion_node.

Each driver runs as node `camera` in the namespace `visible` or `thermal`. So its topics have the
names that fusion_node expects, and the services of the two cameras have different names. Only the
packages of the chosen drivers must be installed.
`ros2 launch ssvif_ros cameras.launch.py --show-args` lists the arguments.
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
    ("visible_driver", "usb_cam", "Driver; none: the driver is started elsewhere."),
    ("visible_device", "/dev/video0", "Device, or a link to it such as /dev/v4l/by-id/..."),
    ("visible_pipeline", "", "gmsl: GStreamer pipeline without sink; empty: reads the device."),
    ("visible_format", "", "The driver's name of the pixel format; empty: YUYV, gmsl: rgb8."),
    ("visible_width", "640", "Requested width, pixels."),
    ("visible_height", "480", "Requested height, pixels."),
    ("visible_rate", "30.0", "Requested images per second; v4l2_camera does not use it."),
    ("visible_frame_id", "visible_camera", "Frame id of its images."),
    ("visible_camera_info_url", "", "Calibration for camera_info, file:///... or package://..."),
    ("thermal_driver", "usb_cam", "Driver; none: the driver is started elsewhere."),
    ("thermal_device", "/dev/video2", "Device, or a link to it such as /dev/v4l/by-id/..."),
    ("thermal_format", "", "The driver's name of the pixel format; empty: 16 bits if possible."),
    ("thermal_width", "640", "Requested width, pixels; flir_boson: 640 or 320."),
    ("thermal_height", "512", "Requested height, pixels."),
    ("thermal_rate", "30.0", "Requested images per second; flir_boson: 9, 30 or 60."),
    ("thermal_frame_id", "thermal_camera", "Frame id of its images."),
    ("thermal_camera_info_url", "", "Calibration for camera_info, file:///... or package://..."),
    ("boson_package", "flir_boson_usb", "Package of the driver flir_boson."),
    ("respawn", "true", "Restart a driver 2 s after it ended."),
    ("visible_image", "visible/image_raw", "Topic of the visible camera's images for the node."),
    ("thermal_image", "thermal/image_raw", "Topic of the thermal camera's images for the node."),
    ("calibration_file", "", "camera_pair.yaml of both cameras; empty: same field of view."),
    ("bundle", "", "Folder of `ssvif deploy`: model, calibration and camera parameters."),
    ("config_file", PathJoinSubstitution([SHARE, "config", "fusion.yaml"]), "Parameter file."),
    ("namespace", "", "Namespace of the drivers, of the node and of their relative topics."),
    ("use_sim_time", "false", "Take the time from /clock."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
]

# Arguments with a fixed set of values.
CHOICES = {
    "visible_driver": ["usb_cam", "v4l2_camera", "gmsl", "none"],
    "thermal_driver": ["usb_cam", "flir_boson", "v4l2_camera", "none"],
    "boson_package": ["flir_boson_usb", "flir_boson_usb2"],
}

# The launch arguments of each camera.
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
    """ros-drivers/usb_cam 0.8.1. Its format mono16 is V4L2's Y16."""
    parameters = {
        # The driver does not follow links into another folder, such as those in /dev/v4l/by-id.
        "video_device": os.path.realpath(camera["device"]),
        "pixel_format": camera["format"] or {"visible": "yuyv", "thermal": "mono16"}[role],
        "image_width": camera["width"],
        "image_height": camera["height"],
        "framerate": camera["rate"],
        "frame_id": camera["frame_id"],
        "camera_name": role,
        "camera_info_url": camera["camera_info_url"],
        "brightness": -1,  # -1 keeps the camera's setting; the driver's default is 50
    }
    return {"package": "usb_cam", "executable": "usb_cam_node_exe"}, parameters


def v4l2_camera(role, camera):
    """boldhearts/ros2_v4l2_camera 0.6.2 to 0.7.1. It reads only 8-bit images."""
    # V4L2 format -> encoding in which it is published without conversion.
    encodings = {"YUYV": "yuv422_yuy2", "UYVY": "yuv422", "GREY": "mono8"}
    pixel_format = camera["format"] or {"visible": "YUYV", "thermal": "GREY"}[role]
    if pixel_format not in encodings:
        raise ValueError(
            f"{role}_format is {pixel_format!r}; v4l2_camera reads only {', '.join(encodings)}; "
            f"use {role}_driver:=usb_cam, which also reads mono16 (Y16) and mjpeg2rgb"
        )
    parameters = {
        "video_device": camera["device"],
        "pixel_format": pixel_format,
        "output_encoding": encodings[pixel_format] if role == "visible" else "mono8",
        "image_size": [camera["width"], camera["height"]],
        "camera_frame_id": camera["frame_id"],
        "camera_info_url": camera["camera_info_url"],
    }
    return {"package": "v4l2_camera", "executable": "v4l2_camera_node"}, parameters


def gmsl(role, camera):
    """ros-drivers/gscam 2.0.2: reads a camera on a GMSL or CSI link through GStreamer."""
    rate = Fraction(camera["rate"]).limit_denominator(1001)
    parameters = {
        "gscam_config": camera["pipeline"]
        or f"v4l2src device={camera['device']} ! video/x-raw,width={camera['width']},"
        f"height={camera['height']},framerate={rate.numerator}/{rate.denominator} ! videoconvert",
        "image_encoding": camera["format"] or "rgb8",
        "sync_sink": False,  # publish each image at once, not at its presentation time
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
    """ctu-vras/flir_boson_usb, or its origin akhilj95/flir_boson_usb2 with the same names."""
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
    """The values of a camera's arguments; sizes and rate become numbers above 0."""
    camera = {name: value.perform(context) for name, value in CAMERAS[role].items()}
    for name, number_type in (("width", int), ("height", int), ("rate", float)):
        text = camera[name]
        try:
            camera[name] = number_type(text)
        except ValueError:
            camera[name] = 0
        if not 0 < camera[name] < 1e6:
            raise ValueError(f"{role}_{name} is {text!r}; expected a number above 0")
    return camera


def driver_nodes(context, role):
    """The node of a camera's driver; an empty list if the driver is started elsewhere."""
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
                # Without the type, a frame id 1 or a pipeline with a colon would not be a string.
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
            "bundle": LaunchConfiguration("bundle"),
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
        # Without this profile most images of the drivers never arrive. A profile of the user stays.
        + [
            SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=profile))
            for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
            if not os.environ.get(name)
        ]
        + [OpaqueFunction(function=driver_nodes, args=[role]) for role in CAMERAS]
        + [fusion]
    )
