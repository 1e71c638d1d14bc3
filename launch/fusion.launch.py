"""Starts the fusion node. `ros2 launch ssvif_ros fusion.launch.py --show-args` lists arguments."""

import os

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("ssvif_ros")

# name, default, description
ARGUMENTS = [
    ("config_file", PathJoinSubstitution([SHARE, "config", "fusion.yaml"]), "Parameter file."),
    ("namespace", "", "Namespace of the node and of its relative topics."),
    ("visible_image", "visible/image_raw", "Topic of the visible camera's images."),
    ("thermal_image", "thermal/image_raw", "Topic of the thermal camera's images."),
    ("fused_image", "~/fused/image", "Topic of the fused image."),
    ("calibration_file", "", "camera_pair.yaml of both cameras; empty: same field of view."),
    ("bundle", "", "Folder of `ssvif deploy`: model, calibration and camera parameters."),
    ("respawn", "false", "Start the node again 2 s after it died."),
    ("autostart", "", "false: a lifecycle manager configures and activates the node."),
    ("build_only", "false", "Build the TensorRT engine for the first pair's sizes, and end."),
    ("use_sim_time", "false", "Take the time from /clock, for a bag that is played with --clock."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
]


def end_if_refused(event, context):
    """End the launch, with exit code 1, when the node says that it cannot start (exit code 2)."""
    if event.returncode == 2 and not context.is_shutdown:
        raise RuntimeError(f"{event.process_name} refused to start; its message above says why")


def is_true(value):
    return value.lower() in ("true", "1")


def fusion_node(context):
    config_file = os.path.expanduser(LaunchConfiguration("config_file").perform(context))
    if not os.path.isfile(config_file):
        raise RuntimeError(
            f"config_file {config_file}: no such file; expected a copy of config/fusion.yaml"
        )
    parameters = [config_file, {"use_sim_time": LaunchConfiguration("use_sim_time")}]
    # An empty argument must not override the parameter file.
    if LaunchConfiguration("calibration_file").perform(context):
        parameters.append({"calibration_file": LaunchConfiguration("calibration_file")})
    if LaunchConfiguration("bundle").perform(context):
        parameters.append({"bundle": LaunchConfiguration("bundle")})
    if autostart := LaunchConfiguration("autostart").perform(context):
        parameters.append({"autostart": is_true(autostart)})
    builds = is_true(LaunchConfiguration("build_only").perform(context))
    return [
        Node(
            package="ssvif_ros",
            executable="build_engine" if builds else "fusion_node",
            name="fusion_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=parameters,
            remappings=[
                ("visible/image_raw", LaunchConfiguration("visible_image")),
                ("thermal/image_raw", LaunchConfiguration("thermal_image")),
                ("~/fused/image", LaunchConfiguration("fused_image")),
                ("~/fused/image/compressed", [LaunchConfiguration("fused_image"), "/compressed"]),
            ],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
            emulate_tty=True,
            on_exit=end_if_refused,
            respawn=not builds and is_true(LaunchConfiguration("respawn").perform(context)),
            respawn_delay=2.0,
        )
    ]


def generate_launch_description():
    profile = PathJoinSubstitution([SHARE, "config", "fastdds.xml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(name, default_value=default, description=description)
            for name, default, description in ARGUMENTS
        ]
        # Without this profile most best-effort images never arrive. A profile of the user stays.
        + [
            SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=profile))
            for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
            if not os.environ.get(name)
        ]
        + [OpaqueFunction(function=fusion_node)]
    )
