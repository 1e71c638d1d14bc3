"""cameras.launch.py starts each driver with the parameter and topic names of its source code."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
LAUNCH = ROOT / "launch"
TREE = ast.parse((LAUNCH / "cameras.launch.py").read_text())
needs_launch = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch and launch_ros are part of a ROS installation, not of the package index",
)

VISIBLE = ("usb_cam", "v4l2_camera", "gmsl", "none")
THERMAL = ("usb_cam", "flir_boson", "v4l2_camera", "none")
# driver: package, executable
PROGRAMS = {
    "usb_cam": ("usb_cam", "usb_cam_node_exe"),
    "v4l2_camera": ("v4l2_camera", "v4l2_camera_node"),
    "gmsl": ("gscam", "gscam_node"),
    "flir_boson": ("flir_boson_usb", "boson_camera_node"),
}
# The parameters that we set, as the drivers' source code declares them, with types of defaults.
DECLARED: dict[str, dict[str, Any]] = {
    "usb_cam": {
        "video_device": "", "pixel_format": "", "image_width": 0, "image_height": 0,
        "framerate": 0.0, "frame_id": "", "camera_name": "", "camera_info_url": "",
        "brightness": 0,
    },
    "v4l2_camera": {
        "video_device": "", "pixel_format": "", "output_encoding": "", "image_size": [0, 0],
        "camera_frame_id": "", "camera_info_url": "",
    },
    "gmsl": {
        "gscam_config": "", "image_encoding": "", "sync_sink": True, "frame_id": "",
        "camera_name": "", "camera_info_url": "",
    },
    "flir_boson": {
        "dev": "", "video_mode": "", "sensor_type": "", "frame_rate": 0.0, "frame_id": "",
        "camera_info_url": "",
    },
}  # fmt: skip
# The topic of a driver's images in its source code; camera_info is next to it.
TOPICS = {driver: "image_raw" for driver in PROGRAMS} | {"gmsl": "camera/image_raw"}


def assigned(path: Path, name: str) -> ast.expr:
    """The expression that a launch file assigns to a name."""
    (value,) = (
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name
    )
    return value


def arguments(path: Path) -> dict[str, ast.expr]:
    """The arguments of a launch file, with their descriptions."""
    rows = assigned(path, "ARGUMENTS").elts  # type: ignore[attr-defined]
    return {row.elts[0].value: row.elts[2] for row in rows}


@pytest.fixture(scope="module")
def drivers() -> dict[str, Callable[[str, dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]]:
    """The driver functions of the launch file, which run without `launch`."""
    body: list[ast.stmt] = [
        node
        for node in TREE.body
        if (isinstance(node, ast.FunctionDef) and node.name in PROGRAMS)
        or (isinstance(node, ast.Import) and node.names[0].name == "os")
        or (isinstance(node, ast.ImportFrom) and node.module == "fractions")
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DRIVERS")
    ]
    names: dict[str, Any] = {}
    exec(compile(ast.Module(body, []), "cameras.launch.py", "exec"), names)
    return names["DRIVERS"]


def camera(**changes: Any) -> dict[str, Any]:
    """The settings of a camera."""
    return {
        "device": "/dev/video0", "pipeline": "", "format": "", "width": 640, "height": 512,
        "rate": 30.0, "frame_id": "frame", "camera_info_url": "", "package": "flir_boson_usb",
    } | changes  # fmt: skip


def types(parameters: dict[str, Any]) -> dict[str, type]:
    """The types of parameters. A driver refuses an integer for a parameter declared as float."""
    return {name: type(value) for name, value in parameters.items()}


def test_every_argument_is_described_and_in_the_reference() -> None:
    reference = (ROOT / "docs/reference/launch.md").read_text()
    for name, description in arguments(LAUNCH / "cameras.launch.py").items():
        assert ast.literal_eval(description).endswith("."), name
        assert f"`{name}`" in reference, name


def test_every_driver_has_a_function_and_a_choice(drivers: dict[str, Any]) -> None:
    choices = ast.literal_eval(assigned(LAUNCH / "cameras.launch.py", "CHOICES"))
    assert tuple(choices["visible_driver"]) == VISIBLE
    assert tuple(choices["thermal_driver"]) == THERMAL
    assert {*drivers, "none"} == {*VISIBLE, *THERMAL}
    assert choices.keys() <= arguments(LAUNCH / "cameras.launch.py").keys()


def test_the_node_gets_only_arguments_of_its_launch_file() -> None:
    (passed,) = (
        keyword.value.func.value  # type: ignore[attr-defined]
        for node in ast.walk(TREE)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "launch_arguments"
    )
    assert {key.value for key in passed.keys} <= arguments(LAUNCH / "fusion.launch.py").keys()


def test_the_package_depends_on_no_driver() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    needed = {element.text for element in package.iter() if element.tag.endswith("depend")}
    assert needed.isdisjoint(package for package, _ in PROGRAMS.values())


@pytest.mark.parametrize(
    ("role", "driver"),
    [(role, driver) for role, names in (("visible", VISIBLE), ("thermal", THERMAL))
     for driver in names if driver != "none"],
)  # fmt: skip
def test_a_driver_gets_exactly_the_declared_parameters(
    drivers: dict[str, Any], role: str, driver: str
) -> None:
    node, parameters = drivers[driver](role, camera())
    assert (node["package"], node["executable"]) == PROGRAMS[driver]
    assert types(parameters) == types(DECLARED[driver])


def test_thermal_images_have_16_bits_if_the_driver_can(drivers: dict[str, Any]) -> None:
    assert drivers["usb_cam"]("thermal", camera())[1]["pixel_format"] == "mono16"
    assert drivers["flir_boson"]("thermal", camera())[1]["video_mode"] == "RAW16"
    parameters = drivers["v4l2_camera"]("thermal", camera())[1]
    assert (parameters["pixel_format"], parameters["output_encoding"]) == ("GREY", "mono8")


def test_v4l2_camera_refuses_16_bits_and_names_a_driver_that_reads_them(
    drivers: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="thermal_format is 'Y16'.*YUYV.*thermal_driver:=usb_cam"):
        drivers["v4l2_camera"]("thermal", camera(format="Y16"))


def test_v4l2_camera_converts_thermal_images_to_grey(drivers: dict[str, Any]) -> None:
    """The node reads no colour as thermal image, so YUYV is converted."""
    assert drivers["v4l2_camera"]("thermal", camera(format="YUYV"))[1]["output_encoding"] == "mono8"
    visible = drivers["v4l2_camera"]("visible", camera(format="UYVY"))[1]
    assert visible["output_encoding"] == "yuv422"


def test_usb_cam_gets_the_target_of_a_link(drivers: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "by-id").mkdir()
    (tmp_path / "video7").touch()
    link = tmp_path / "by-id" / "usb-camera"
    link.symlink_to("../video7")
    parameters = drivers["usb_cam"]("visible", camera(device=str(link)))[1]
    assert parameters["video_device"] == str(tmp_path / "video7")


def test_gmsl_builds_a_pipeline_or_uses_the_given_one(drivers: dict[str, Any]) -> None:
    parameters = drivers["gmsl"]("visible", camera(device="/dev/video3", rate=29.97))[1]
    assert parameters["gscam_config"] == (
        "v4l2src device=/dev/video3 ! video/x-raw,width=640,height=512,framerate=2997/100"
        " ! videoconvert"
    )
    pipeline = "nvarguscamerasrc ! nvvidconv ! video/x-raw,format=BGRx ! videoconvert"
    assert drivers["gmsl"]("visible", camera(pipeline=pipeline))[1]["gscam_config"] == pipeline


@pytest.mark.parametrize(("width", "sensor"), [(640, "Boson_640"), (320, "Boson_320")])
def test_the_width_selects_the_boson(drivers: dict[str, Any], width: int, sensor: str) -> None:
    assert drivers["flir_boson"]("thermal", camera(width=width))[1]["sensor_type"] == sensor


def test_an_unknown_width_of_a_boson_is_refused(drivers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="thermal_width is 160; a FLIR Boson has 640 or 320"):
        drivers["flir_boson"]("thermal", camera(width=160))


# The following tests start processes with the real `launch`. Drivers and node are replaced by nodes
# that declare the same parameters and report how they were started.

STAND_IN = """#!{python}
import json, os, sys
import rclpy
from rclpy.node import Node
rclpy.init(args=sys.argv)
node = Node("stand_in", automatically_declare_parameters_from_overrides={undeclared})
for name, default in {parameters}.items():
    node.declare_parameter(name, default)
values = {{name: node.get_parameter(name).value for name in node._parameters}}
report = {{
    "program": os.path.basename(sys.argv[0]),
    "arguments": sys.argv[1:],
    "name": node.get_name(),
    "parameters": {{k: v if isinstance(v, (str, float, int)) else list(v)
                   for k, v in values.items() if k != "start_type_description_service"}},
    "topics": {{topic: node.resolve_topic_name(topic) for topic in {topics}}},
    "profiles": [os.environ.get(name) for name in
                 ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")],
}}
file = node.get_namespace().strip("/").replace("/", ".") + "." + report["program"]
with open(os.path.join(os.environ["REPORTS"], file), "w") as out:
    json.dump(report, out)
"""
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
path, *arguments = sys.argv[1:]
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(path),
    launch_arguments=[tuple(argument.split(":=", 1)) for argument in arguments],
)]))
sys.exit(service.run())
"""


def install(prefix: Path, package: str, executable: str, **values: Any) -> None:
    """Install a package with one program, which reports how it was started."""
    index = prefix / "share/ament_index/resource_index/packages"
    folder = prefix / "lib" / package
    for path in (index, folder, prefix / "share" / package):
        path.mkdir(parents=True, exist_ok=True)
    (index / package).touch()
    (folder / executable).write_text(STAND_IN.format(python=sys.executable, **values))
    (folder / executable).chmod(0o755)


class Started:
    """Starts the launch file, and keeps exit code, log and the reports of the programs."""

    def __init__(self, folder: Path, domain: int, *arguments: str, drivers: Iterable[str]) -> None:
        prefix, reports = folder / "prefix", folder / "reports"
        reports.mkdir()
        install(
            prefix, "ssvif_ros", "fusion_node", undeclared=True, parameters={},
            topics=["visible/image_raw", "thermal/image_raw"],
        )  # fmt: skip
        for name in ("launch", "config"):
            (prefix / "share/ssvif_ros" / name).symlink_to(ROOT / name)
        for driver in {*drivers} - {"none"}:
            image = TOPICS[driver]
            topics = [image, f"{image}/compressed", image.replace("image_raw", "camera_info")]
            install(
                prefix, *PROGRAMS[driver], undeclared=False, parameters=DECLARED[driver],
                topics=topics,
            )  # fmt: skip
        self.profile = str(prefix / "share/ssvif_ros/config/fastdds.xml")
        environment = {
            name: value for name, value in os.environ.items() if "PROFILES_FILE" not in name
        } | {
            "AMENT_PREFIX_PATH": os.pathsep.join(
                [str(prefix), *filter(None, [os.environ.get("AMENT_PREFIX_PATH")])]
            ),
            "REPORTS": str(reports),
            "ROS_LOG_DIR": str(folder / "log"),
            "ROS_DOMAIN_ID": str(domain),
        }
        result = subprocess.run(
            [sys.executable, "-c", RUN, str(LAUNCH / "cameras.launch.py"), "respawn:=false",
             *arguments],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self.code, self.log = result.returncode, result.stdout + result.stderr
        self.programs = {file.name: json.loads(file.read_text()) for file in reports.iterdir()}


@needs_launch
@pytest.mark.parametrize(("visible", "thermal"), itertools.product(VISIBLE, THERMAL))
def test_two_drivers_need_only_their_packages(
    tmp_path: Path, next_domain: Callable[[], int], visible: str, thermal: str
) -> None:
    chosen = {"visible": visible, "thermal": thermal}
    choices = [f"{role}_driver:={driver}" for role, driver in chosen.items()]
    started = Started(tmp_path, next_domain(), *choices, drivers=chosen.values())
    assert started.code == 0, started.log
    node = started.programs.pop(".fusion_node")
    assert node["profiles"] == [started.profile] * 2
    for role, driver in chosen.items():
        assert node["topics"][f"{role}/image_raw"] == f"/{role}/image_raw"
        if driver == "none":
            continue
        report = started.programs.pop(f"{role}.{PROGRAMS[driver][1]}")
        assert report["parameters"].pop("use_sim_time") is False
        assert types(report["parameters"]) == types(DECLARED[driver])
        assert [*report["topics"].values()] == [
            f"/{role}/{topic}" for topic in ("image_raw", "image_raw/compressed", "camera_info")
        ]
        assert report["profiles"] == [started.profile] * 2
    assert not started.programs


@needs_launch
def test_launch_arguments_reach_the_drivers_and_the_node(
    tmp_path: Path, next_domain: Callable[[], int]
) -> None:
    started = Started(
        tmp_path, next_domain(), "visible_driver:=gmsl",
        "visible_pipeline:=videotestsrc name=a: ! videoconvert", "visible_frame_id:=7",
        "thermal_driver:=flir_boson", "thermal_device:=/dev/boson", "thermal_width:=320",
        "thermal_height:=256", "thermal_rate:=9",
        "thermal_camera_info_url:=file:///calibration/thermal.yaml", "namespace:=robot",
        "calibration_file:=/calibration/camera_pair.yaml", "bundle:=/calibration/b",
        "use_sim_time:=true", "log_level:=error",
        "visible_image:=visible/image_rect", drivers=("gmsl", "flir_boson"),
    )  # fmt: skip
    assert started.code == 0, started.log
    visible = started.programs["robot.visible.gscam_node"]
    assert visible["name"] == "camera"
    assert visible["parameters"] == {
        "gscam_config": "videotestsrc name=a: ! videoconvert", "image_encoding": "rgb8",
        "sync_sink": False, "frame_id": "7", "camera_name": "visible", "camera_info_url": "",
        "use_sim_time": True,
    }  # fmt: skip
    thermal = started.programs["robot.thermal.boson_camera_node"]
    assert thermal["parameters"] == {
        "dev": "/dev/boson", "video_mode": "RAW16", "sensor_type": "Boson_320", "frame_rate": 9.0,
        "frame_id": "thermal_camera", "camera_info_url": "file:///calibration/thermal.yaml",
        "use_sim_time": True,
    }  # fmt: skip
    node = started.programs["robot.fusion_node"]
    assert node["topics"] == {
        "visible/image_raw": "/robot/visible/image_rect",
        "thermal/image_raw": thermal["topics"]["image_raw"],
    }
    assert node["parameters"]["use_sim_time"] is True
    assert node["parameters"]["calibration_file"] == "/calibration/camera_pair.yaml"
    assert node["parameters"]["bundle"] == "/calibration/b"
    for report in started.programs.values():
        level = report["arguments"].index("--log-level") + 1
        assert report["arguments"][level] == "error"


@needs_launch
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("visible_driver:=zed", r"visible_driver.*zed.*usb_cam.*v4l2_camera.*gmsl.*none"),
        ("thermal_driver:=gmsl", r"thermal_driver.*gmsl.*usb_cam.*flir_boson.*v4l2_camera.*none"),
        ("visible_rate:=fast", r"visible_rate is 'fast'; expected a number above 0"),
        ("thermal_width:=0", r"thermal_width is '0'; expected a number above 0"),
    ],
)
def test_a_bad_launch_argument_is_refused(
    tmp_path: Path, next_domain: Callable[[], int], argument: str, message: str
) -> None:
    started = Started(tmp_path, next_domain(), argument, drivers=["usb_cam"])
    assert started.code != 0
    assert re.search(message, started.log), started.log
    assert ".fusion_node" not in started.programs
