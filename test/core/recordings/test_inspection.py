"""`ssvif bag check` says in plain words what a bag's cameras send."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from encoders import encoded, picture
from rosbags.rosbag2 import StoragePlugin, Writer

from ssvif_core.errors import InputError
from ssvif_core.recordings.bag_pairs import BagStream
from ssvif_core.recordings.bags import COMPRESSED_TYPE, IMAGE_TYPE, TYPES
from ssvif_core.recordings.decode import Crop, Reading
from ssvif_core.recordings.inspection import BagReport, inspect

VISIBLE, THERMAL = "/cam/color/image_raw", "/boson/image_raw"
SECOND = 1_000_000_000
RAMP = (np.linspace(7000, 9000, 40 * 32).reshape(32, 40)).astype(np.uint16)


def raw(name: str, pixels: Any, **options: Any) -> Callable[[int], Any]:
    """A camera that sends images of an encoding; `pixels` may depend on the number."""

    def message(number: int) -> Any:
        values = pixels(number) if callable(pixels) else pixels
        return encoded(name, values, **options)

    return message


def bag(
    path: Path, visible: Callable[[int], Any], thermal: Callable[[int], Any], count: int = 40,
    rate: float = 30.0, offset_s: float = 0.0, thermal_phase: float = 0.1,
    visible_stamps: bool = True, keep: Callable[[int], bool] = lambda number: True,
    drift: float = 0.0,
) -> Path:  # fmt: skip
    types = TYPES.types
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for number in range(count):
            for topic, camera in ((VISIBLE, visible), (THERMAL, thermal)):
                if topic == VISIBLE and not keep(number):
                    continue
                phase = thermal_phase if topic == THERMAL else 0.0
                time = 100 * SECOND + round((number + phase) / rate * SECOND)
                stamp = time + round(offset_s * SECOND) * (topic == THERMAL)
                stamp += round(number / rate * drift * SECOND) * (topic == THERMAL)
                stamp *= visible_stamps or topic == THERMAL
                message = camera(number)
                header = types["std_msgs/msg/Header"](
                    types["builtin_interfaces/msg/Time"](*divmod(stamp, SECOND)), "c"
                )
                fields = vars(message)
                kind = COMPRESSED_TYPE if "format" in fields else IMAGE_TYPE
                data = np.frombuffer(fields["data"], np.uint8)
                full = types[kind](header=header, **{**fields, "data": data})
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
                writer.write(connections[topic], time, bytes(TYPES.serialize_cdr(full, kind)))
    return path


def jpeg(pixels: np.ndarray, format: str, suffix: str = ".jpg") -> Callable[[int], Any]:
    from types import SimpleNamespace

    data = cv2.imencode(suffix, pixels)[1].tobytes()
    return lambda _number: SimpleNamespace(format=format, data=data)


COLOUR = raw("bgr8", picture(48, 64, 0))
COUNTS = raw("mono16", lambda number: RAMP + number)


def words(report: BagReport) -> str:
    parts = [report.visible, report.thermal]
    return " | ".join(
        [*report.problems, *(f"{p.what} {' '.join(p.problems)}" for p in parts), report.launch_line]
    )


def test_a_usual_bag_has_no_problem(tmp_path: Path) -> None:
    report = inspect(bag(tmp_path / "b", COLOUR, COUNTS))
    assert report.is_usable and report.pairs == 40
    assert not (report.problems or report.visible.problems or report.thermal.problems)
    assert report.visible.what == "64x48 bgr8"
    assert report.thermal.what == "40x32 mono16, values 7000 to 9019"
    assert report.visible.rate_hz == pytest.approx(30, abs=0.1)
    assert report.launch_line.endswith(
        "fusion.launch.py visible_image:=/cam/color/image_raw thermal_image:=/boson/image_raw"
    )


ODD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "atomic time": (
        lambda p: bag(p, COLOUR, COUNTS, offset_s=37.0),
        "thermal stamps are 37.000 s ahead of the visible ones",
    ),
    "half a period apart": (
        lambda p: bag(p, COLOUR, COUNTS, rate=9.0, thermal_phase=0.5),
        "so use pairing: visible_rate, or a larger slop",
    ),
    "no stamps": (
        lambda p: bag(p, COLOUR, COUNTS, visible_stamps=False),
        "40 of 40 stamps are not set",
    ),
    "12 bits": (
        lambda p: bag(p, raw("bayer_rggb16", picture(48, 64, 0), bits=12), COUNTS),
        "64x48 bayer_rggb16, 12 of 16 bits used",
    ),
    "padding": (
        lambda p: bag(p, raw("rgb8", picture(48, 64, 0), padding=64), COUNTS),
        "64x48 rgb8, 64 bytes of padding in a row",
    ),
    "wrong byte order": (
        lambda p: bag(p, COLOUR, raw("mono16", lambda number: (RAMP + number).byteswap())),
        "is_bigendian of the driver is wrong",
    ),
    "unknown encoding": (
        lambda p: bag(p, raw("vendor12p", picture(48, 64, 0)), COUNTS),
        "visible image with encoding 'vendor12p'; expected one of bgr8",
    ),
    "painted": (
        lambda p: bag(
            p, COLOUR,
            raw("rgb8", cv2.applyColorMap(picture(32, 40, 1)[..., 0], cv2.COLORMAP_JET)),
        ),
        "Does the camera paint a palette?",
    ),
    "losses": (
        lambda p: bag(p, COLOUR, COUNTS, keep=lambda number: number % 5 != 4),
        "images are missing by their stamps",
    ),
    "closed shutter": (
        lambda p: bag(p, COLOUR, raw("mono16", np.full((32, 40), 8000, np.uint16))),
        "all pixels have one value; is the shutter closed?",
    ),
    "drifting clocks": (
        lambda p: bag(p, COLOUR, COUNTS, count=90, drift=1e-3),
        "the clocks drift apart by 1.00 ms in a second",
    ),
    "grey colour camera": (
        lambda p: bag(p, jpeg(picture(48, 64, 0)[..., 0], "bgr8; jpeg compressed bgr8"), COUNTS),
        "the images are grey, though their encoding has colours",
    ),
    "compressed": (
        lambda p: bag(
            p, jpeg(picture(48, 64, 0), "rgb8; jpeg compressed bgr8"),
            jpeg(RAMP, "16UC1; png compressed ", ".png"),
        ),
        "64x48 rgb8; jpeg compressed bgr8  | 40x32 16UC1; png compressed , values 7000 to 9000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_bag_is_described(tmp_path: Path, name: str) -> None:
    make, expected = ODD[name]
    report = inspect(make(tmp_path / "b"), (VISIBLE, THERMAL))
    assert expected in words(report)
    can_fuse = ("12 bits", "padding", "wrong byte order", "losses", "closed shutter", "compressed",
                "drifting clocks", "grey colour camera")  # fmt: skip
    assert report.is_usable == (name in can_fuse)


@pytest.mark.slow
def test_topics_that_are_no_images_and_odd_slops_are_refused(tmp_path: Path) -> None:
    path = bag(tmp_path / "b", COLOUR, COUNTS, count=2)
    foreign = tmp_path / "f"
    with Writer(foreign, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        text = writer.add_connection("/text", "std_msgs/msg/String", typestore=TYPES)
        writer.write(text, 1, b"\0\1\0\0\1\0\0\0\0")
        other = writer.add_connection("/other", "std_msgs/msg/String", typestore=TYPES)
        writer.write(other, 1, b"\0\1\0\0\1\0\0\0\0")
    with pytest.raises(InputError, match="topic /text is of type std_msgs/msg/String; expected"):
        inspect(foreign, ("/text", "/other"))
    for arguments in (("bag", "check", path, "--slop", "nan"),
                      ("evaluate", path, "--thermal-time-offset", "nan")):  # fmt: skip
        command = [sys.executable, "-m", "ssvif_core.cli", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert result.returncode == 2 and "Traceback" not in result.stderr


def test_an_odd_image_that_a_library_refuses_is_described(tmp_path: Path) -> None:
    even = encoded("yuv422", np.zeros((24, 34, 3), np.uint8))
    even.width = 33
    odd = lambda _number: even  # noqa: E731
    report = inspect(bag(tmp_path / "b", odd, COUNTS), (VISIBLE, THERMAL))
    assert "even sizes where pixels share a colour" in words(report)


@pytest.mark.slow
def test_the_command_prints_the_report_and_tells_by_its_exit_code(tmp_path: Path) -> None:
    for name, offset_s, code in (("good", 0.0, 0), ("bad", 37.0, 3)):
        path = bag(tmp_path / name, COLOUR, COUNTS, offset_s=offset_s)
        command = [sys.executable, "-m", "ssvif_core.cli", "bag", "check", str(path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert result.returncode == code, result.stderr
        assert "40 images, 30.0 Hz, 64x48 bgr8" in result.stdout
        assert "to fuse it live: ros2 launch ssvif_ros fusion.launch.py" in result.stdout
    assert "set in my.yaml: thermal_time_offset: -37.0" in result.stdout


@pytest.mark.slow
def test_the_counts_below_a_picture_are_read_from_a_bag_with_a_crop(tmp_path: Path) -> None:
    """As the P2 Pro sends them."""
    grey = encoded("yuyv", picture(32, 40, 3)[..., :1].repeat(3, 2))
    grey.height, grey.data = 64, grey.data + RAMP.astype("<u2").tobytes()
    path = bag(tmp_path / "b", COLOUR, lambda _number: grey, count=3)
    (refused,) = {str(pair) for _, pair in BagStream(path, (VISIBLE, THERMAL)).numbered({0})}
    assert "set thermal_crop to 0,32,40,32 for the counts" in refused
    reading = Reading(thermal_crop=Crop(0, 32, 40, 32))
    ((_, pair),) = BagStream(path, (VISIBLE, THERMAL), reading=reading).numbered({0})
    assert np.array_equal(pair.thermal, RAMP)  # type: ignore[union-attr]
    command = [sys.executable, "-m", "ssvif_core.cli", "fuse", str(path), "--out",
               str(tmp_path / "out"), "--thermal-crop", "0,32,40,32",
               "--visible", VISIBLE, "--thermal", THERMAL]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3
