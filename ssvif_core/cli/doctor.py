"""`ssvif doctor`: what is installed, what works, and what to do if something does not."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ssvif_core.engines import ENGINES, why_not
from ssvif_core.engines.tensorrt.cuda import driver_cuda
from ssvif_core.graph.model_file import DEFAULT_MODEL

# Module -> distributions that may contain it.
PACKAGES = {
    "numpy": ("numpy",),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv"),
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt": ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    "tensorrt_rtx": ("tensorrt-rtx",),
    "cuda.bindings": ("cuda-bindings",),
    "rosbags": ("rosbags",),
    "torch": ("torch",),
    "rclpy": ("ros-rclpy", "rclpy"),
    "cv_bridge": ("ssvif-pip-ros", "cv-bridge"),
    "message_filters": ("ssvif-pip-ros", "message-filters"),
}
OPTIONAL = {"torch", "tensorrt", "tensorrt_rtx", "cuda.bindings"}


def doctor() -> None:
    """Show what is installed, which engines work here, and what to do about problems."""
    console = Console()
    console.print(f"Python {platform.python_version()} ({sys.executable}), {platform.platform()}")
    table = Table("package", "version", "state")
    for name, distributions in PACKAGES.items():
        table.add_row(name, _version(distributions), _state(name))
    console.print(table)
    engines = Table("engine", "works here")
    for name in ENGINES:
        engines.add_row(name, why_not(name) or "yes")
    console.print(engines)
    console.print(f"ROS: {_ros()}")
    console.print(f"shipped model: {'there' if DEFAULT_MODEL.is_file() else 'MISSING'}")
    for advice in _advice():
        console.print(f"! {advice}", style="yellow", soft_wrap=True, highlight=False)


def _version(distributions: tuple[str, ...]) -> str:
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "-"


def _state(name: str) -> str:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:
        return "not installed" + (" (optional)" if name in OPTIONAL else "")
    except Exception as error:  # a broken library can fail in any way while it loads
        return f"BROKEN: {error}"
    return "our stand-in" if getattr(module, "STAND_IN", False) else "ok"


def _ros() -> str:
    distribution = os.environ.get("ROS_DISTRO")
    if distribution:
        return f"{distribution} is sourced"
    rclpy = "rclpy is from the package index" if _state("rclpy") == "ok" else "rclpy is missing"
    return f"no installation is sourced; {rclpy}"


def _cuda_advice(bindings: str, driver: tuple[int, int] | None) -> list[str]:
    """What to do if cuda-bindings, of this version or "-", does not fit the driver's CUDA."""
    if driver is None or bindings == "-" or bindings.split(".")[0] == str(driver[0]):
        return []
    major, minor = driver
    return [
        f"cuda-bindings {bindings} does not fit the driver, which has CUDA {major}.{minor}; run "
        f"`pip install 'cuda-bindings>={major},<{major + 1}'`"
    ]


def _advice() -> list[str]:
    advice = []
    if "_ARRAY_API" in _state("cv_bridge") or "BROKEN" in _state("cv_bridge"):
        advice.append(
            "cv_bridge does not load: ROS distributions build it for NumPy 1, but NumPy "
            f"{_version(('numpy',))} is first on the path; run `pip install 'numpy<2'` in the "
            "environment of the node"
        )
    if sum(_version((name,)) != "-" for name in PACKAGES["cv2"][:3]) > 1:
        advice.append(
            "several OpenCV distributions are installed and overwrite each other; keep only one"
        )
    if not any(os.environ.get(f"{name}_DEFAULT_PROFILES_FILE") for name in ("FASTDDS", "FASTRTPS")):
        advice.append(
            "this shell sets no Fast DDS profile; our programs set their own, but camera drivers "
            "need one too: set FASTDDS_DEFAULT_PROFILES_FILE and FASTRTPS_DEFAULT_PROFILES_FILE "
            "to config/fastdds.xml"
        )
    advice += _cuda_advice(_version(("cuda-bindings",)), driver_cuda())
    buffer = Path("/proc/sys/net/core/rmem_max")
    if buffer.is_file() and int(buffer.read_text()) < 4_000_000:
        advice.append(
            f"net.core.rmem_max is {buffer.read_text().strip()}, so images from other hosts will "
            "be lost; run `sudo sysctl -w net.core.rmem_max=8388608`"
        )
    return advice
