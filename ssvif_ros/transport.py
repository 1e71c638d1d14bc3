"""The Fast DDS profile without which most best-effort images never arrive."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def config_file(name: str) -> Path:
    """A file of `config/` in the ROS install space, the virtual environment or the checkout.

    Raises:
        FileNotFoundError: it is in none of these places.
    """
    places = [Path(__file__).parents[1] / "config", Path(sys.prefix) / "share/ssvif_ros/config"]
    try:
        from ament_index_python.packages import get_package_share_directory

        places.insert(0, Path(get_package_share_directory("ssvif_ros")) / "config")
    except Exception:  # noqa: S110  no ROS install is sourced; the other places remain
        pass
    for place in places:
        if (place / name).is_file():
            return place / name
    searched = ", ".join(map(str, places))
    raise FileNotFoundError(f"{name}: not in {searched}; install ssvif_ros again")


def use_transport_profile() -> None:
    """Point Fast DDS to `config/fastdds.xml`, unless the user has set a profile.

    Call it before `rclpy.init`. By default, Fast DDS's shared-memory segment (0.5 MB) and socket
    buffers are smaller than one image, so best-effort subscribers lose most frames.
    """
    if not any(os.environ.get(name) for name in VARIABLES):
        for name in VARIABLES:
            os.environ[name] = str(config_file("fastdds.xml"))
