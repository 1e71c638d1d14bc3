"""Plays a bag to fusion_node and records the outputs."""

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("ssvif_ros")

# name, default, description; an argument with default None is required
ARGUMENTS = [
    ("bag", None, "Bag to play."),
    ("output", "fusion_outputs", "Folder for the recorded bag; it must not exist."),
    ("rate", "1.0", "Playback speed."),
    ("visible_image", "visible/image_raw", "Topic of the visible images in the bag."),
    ("thermal_image", "thermal/image_raw", "Topic of the thermal images in the bag."),
    ("fused_image", "~/fused/image", "Topic of the fused image."),
    ("namespace", "", "Namespace of the node and of its relative topics."),
    ("bundle", "", "Folder of `ssvif deploy`: model, calibration and camera parameters."),
    ("config_file", PathJoinSubstitution([SHARE, "config", "fusion.yaml"]), "Parameter file."),
]


def full_name(topic, namespace):
    """The name of a topic that the node in this namespace knows as `topic`."""
    space = "/" + namespace.strip("/") if namespace.strip("/") else ""
    if topic.startswith("/"):
        return topic
    if topic.startswith("~/"):
        return f"{space}/fusion_node/{topic[2:]}"
    return f"{space}/{topic}"


def recorder(context):
    """Records inputs, outputs and diagnostics."""
    namespace, visible, thermal, fused = (
        LaunchConfiguration(name).perform(context)
        for name in ("namespace", "visible_image", "thermal_image", "fused_image")
    )
    segmentation = [f"~/segmentation/{name}" for name in ("overlay", "labels", "label_info")]
    topics = [visible, thermal, fused, *segmentation, "/diagnostics"]
    return [
        ExecuteProcess(
            cmd=[
                "ros2",
                "bag",
                "record",
                "--storage",
                "mcap",
                "--output",
                LaunchConfiguration("output"),
                *(full_name(topic, namespace) for topic in topics),
            ],
            output="screen",
        )
    ]


def generate_launch_description():
    fusion = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "fusion.launch.py"])),
        launch_arguments={
            "config_file": LaunchConfiguration("config_file"),
            "bundle": LaunchConfiguration("bundle"),
            "visible_image": LaunchConfiguration("visible_image"),
            "thermal_image": LaunchConfiguration("thermal_image"),
            "fused_image": LaunchConfiguration("fused_image"),
            "namespace": LaunchConfiguration("namespace"),
            "use_sim_time": "true",
        }.items(),
    )
    play = ExecuteProcess(
        cmd=[
            "ros2",
            "bag",
            "play",
            LaunchConfiguration("bag"),
            "--clock",
            "--delay",
            "3",
            "--rate",
            LaunchConfiguration("rate"),
        ],
        output="screen",
    )
    record = OpaqueFunction(function=recorder)
    end = RegisterEventHandler(
        OnProcessExit(target_action=play, on_exit=[EmitEvent(event=Shutdown(reason="bag played"))])
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(name, default_value=default, description=description)
            for name, default, description in ARGUMENTS
        ]
        + [fusion, record, play, end]
    )
