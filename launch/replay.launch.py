"""Plays a bag into fusion_node and records what it makes of it."""

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("ssvif_ros")

# name, default, description; without default it must be given
ARGUMENTS = [
    ("bag", None, "Bag to play."),
    ("output", "fusion_outputs", "Folder of the recorded bag; must not exist."),
    ("rate", "1.0", "Speed of playing."),
    ("visible_image", "visible/image_raw", "The bag's topic of visible images."),
    ("thermal_image", "thermal/image_raw", "The bag's topic of thermal images."),
    ("config_file", PathJoinSubstitution([SHARE, "config", "fusion.yaml"]), "Parameter file."),
]


def generate_launch_description():
    fusion = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "fusion.launch.py"])),
        launch_arguments={
            "config_file": LaunchConfiguration("config_file"),
            "visible_image": LaunchConfiguration("visible_image"),
            "thermal_image": LaunchConfiguration("thermal_image"),
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
    record = ExecuteProcess(
        cmd=[
            "ros2",
            "bag",
            "record",
            "--storage",
            "mcap",
            "--output",
            LaunchConfiguration("output"),
            "/fusion_node/fused/image",
            "/fusion_node/segmentation/overlay",
            "/diagnostics",
        ],
        output="screen",
    )
    done = RegisterEventHandler(
        OnProcessExit(target_action=play, on_exit=[EmitEvent(event=Shutdown(reason="bag played"))])
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(name, default_value=default, description=description)
            for name, default, description in ARGUMENTS
        ]
        + [fusion, record, play, done]
    )
