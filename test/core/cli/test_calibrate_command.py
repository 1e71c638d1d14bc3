"""The options of `ssvif calibrate`, on real bags and folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from boards import BOARD, NEAR, THERMAL, TRUE, VISIBLE, board_pairs, mapping_difference
from boards import rendered as rendered_board
from films import MAPPING, Images, film, late, walk
from rosbags.rosbag2 import StoragePlugin, Writer
from typer.testing import CliRunner, Result

from ssvif_core.cameras.model import Camera, CameraPair, PlaneMapping
from ssvif_core.cameras.yaml_file import load_camera_pair, save_camera_pair
from ssvif_core.cli import app
from ssvif_core.errors import InputError
from ssvif_core.recordings.bags import IMAGE_TYPE, TYPES, _image_cdr
from ssvif_core.types import Pair

SPECIFICATION = "checkerboard:8x6:0.06"
INFO_TYPE = "sensor_msgs/msg/CameraInfo"


def calibrate(source: Path, out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["calibrate", str(source), "--out", str(out), *options])


def folder_of(path: Path, pairs: Iterable[Pair]) -> Path:
    for name in ("vi", "ir"):
        (path / name).mkdir(parents=True)
    for index, pair in enumerate(pairs):
        cv2.imwrite(str(path / "vi" / f"{index}.png"), pair.visible)
        cv2.imwrite(str(path / "ir" / f"{index}.png"), pair.thermal)
    return path


def bag_of(path: Path, visible: Images, thermal: Images, lens: Camera | None = None) -> Path:
    """A bag of two streams, written in the order of their stamps."""
    topics = {"/visible/image_raw": visible, "/thermal/image_raw": thermal}
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        out = {topic: writer.add_connection(topic, IMAGE_TYPE, typestore=TYPES) for topic in topics}
        if lens is not None:
            info = writer.add_connection("/visible/camera_info", INFO_TYPE, typestore=TYPES)
            writer.write(info, visible[0][0], camera_info(lens))
        messages = [
            (stamp, topic, image) for topic, images in topics.items() for stamp, image in images
        ]
        for stamp, topic, image in sorted(messages, key=lambda message: message[0]):
            encoding = "mono16" if image.dtype == np.uint16 else "bgr8"
            writer.write(out[topic], stamp, _image_cdr(image, encoding, stamp, "camera"))
    return path


def camera_info(lens: Camera) -> memoryview | bytes:
    types = TYPES.types
    assert lens.matrix is not None
    message = types[INFO_TYPE](
        types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), ""),
        lens.height, lens.width, lens.distortion_model, np.array(lens.distortion),
        lens.matrix.ravel(), np.eye(3).ravel(), np.zeros(12), 0, 0,
        types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )  # fmt: skip
    return TYPES.serialize_cdr(message, INFO_TYPE)


def coloured(images: Images) -> Images:
    return [(stamp, cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)) for stamp, image in images]


def known_pair(path: Path, time_offset: float = 0.0) -> Path:
    """A file with the camera pair of the fixture `people`."""
    save_camera_pair(CameraPair(Camera(320, 240), Camera(160, 120), MAPPING, time_offset), path)
    return path


@pytest.mark.slow
def test_a_board_and_lenses_of_the_start_give_the_extrinsics(tmp_path: Path) -> None:
    start = tmp_path / "lenses.yaml"
    save_camera_pair(CameraPair(VISIBLE, THERMAL, np.eye(3), 0.03), start)
    source = folder_of(tmp_path / "board", board_pairs()[:6])
    out = tmp_path / "camera_pair.yaml"
    result = calibrate(
        source, out, "--board", SPECIFICATION, "--start", str(start), "--distance", "8"
    )
    assert result.exit_code == 0, result.output
    pair = load_camera_pair(out)
    assert isinstance(pair.mapping, PlaneMapping) and pair.mapping.distance == 8
    assert np.allclose(pair.visible.matrix, VISIBLE.matrix) and pair.time_offset == 0.03
    assert mapping_difference(pair, CameraPair(VISIBLE, THERMAL, PlaneMapping(
        TRUE.mapping.rotation, TRUE.mapping.translation, 8.0))) < 0.5  # fmt: skip
    assert out.with_suffix(".png").is_file()


@pytest.mark.slow
def test_a_board_at_the_working_distance_gives_a_homography(tmp_path: Path) -> None:
    pairs = [rendered_board(BOARD, pose, seed=index) for index, pose in enumerate(NEAR)]
    source, out = folder_of(tmp_path / "board", pairs), tmp_path / "camera_pair.yaml"
    result = calibrate(source, out, "--board", SPECIFICATION, "--plane")
    assert result.exit_code == 0, result.output
    assert isinstance(load_camera_pair(out).mapping, np.ndarray)


@pytest.mark.slow
def test_a_recording_without_the_board_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "board", board_pairs()[:3])
    result = calibrate(source, tmp_path / "out.yaml", "--board", "checkerboard:7x4:0.06")
    assert isinstance(result.exception, InputError)
    assert "found in both images of 0 of 3 pairs" in str(result.exception)
    assert not (tmp_path / "out.yaml").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--board", "chessboard"], "--board chessboard; expected, for example"),
        (["--target", "chessboard"], "--board chessboard; expected, for example"),
        (
            ["--board", SPECIFICATION, "--start", "nowhere.yaml"],
            "nowhere.yaml: cannot be read",
        ),
        (["--keep-mapping"], "--keep-mapping needs --start"),
        (["--visible", "/one"], "belong together"),
        (["--out", "nowhere/pair.yaml"], "nowhere: no such folder"),
        (["--time-offset"], "needs a bag or two videos"),
    ],
)
def test_invalid_options_give_an_error(options: list[str], text: str, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "board", board_pairs()[:1])
    result = CliRunner().invoke(app, ["calibrate", str(source), *options])
    assert isinstance(result.exception, InputError) and text in str(result.exception)


@pytest.mark.slow
def test_keep_mapping_finds_the_time_offset_only(
    people: tuple[Images, Images], tmp_path: Path
) -> None:
    visible, thermal = people
    bag = bag_of(tmp_path / "bag", coloured(visible), late(thermal, 0.171))
    start, out = known_pair(tmp_path / "known.yaml"), tmp_path / "camera_pair.yaml"
    result = calibrate(bag, out, "--start", str(start), "--time-offset", "--keep-mapping")
    assert result.exit_code == 0, result.output
    pair = load_camera_pair(out)
    assert pair.time_offset == pytest.approx(-0.171, abs=0.005)
    assert np.allclose(pair.homography, MAPPING)


def test_a_still_scene_gives_no_time_offset_and_exit_code_3(tmp_path: Path) -> None:
    still = film([], 20, 5, False), film([], 10, 5, True)
    bag = bag_of(tmp_path / "bag", coloured(still[0]), still[1])
    start, out = known_pair(tmp_path / "known.yaml"), tmp_path / "camera_pair.yaml"
    result = calibrate(bag, out, "--start", str(start), "--time-offset", "--keep-mapping")
    assert result.exit_code == 3 and "no time offset found" in result.output
    assert not out.exists()


@pytest.mark.slow
def test_pairs_are_matched_with_the_time_offset_of_the_start(tmp_path: Path) -> None:
    """The stamps are 2 s apart. Without the time offset, no images match."""
    walkers = [walk(2)]
    visible, thermal = film(walkers, 10, 4, False), film(walkers, 10, 4, True)
    bag = bag_of(tmp_path / "bag", coloured(visible), late(thermal, 2.0))
    out = tmp_path / "out.yaml"
    start = known_pair(tmp_path / "known.yaml", time_offset=-2.0)
    result = calibrate(bag, out, "--start", str(start), "--every", "1")
    # People in front of a wall do not show the mapping, but there were 40 pairs to try.
    assert "24 frames" in result.output, result.output


@pytest.mark.slow
def test_a_truncated_bag_gives_its_lens(people: tuple[Images, Images], tmp_path: Path) -> None:
    lens = Camera(320, 240, np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]), "plumb_bob",
                  (-0.1, 0, 0, 0))  # fmt: skip
    visible, thermal = people
    bag = bag_of(tmp_path / "bag", coloured(visible), thermal, lens)
    (complete,) = bag.glob("*.mcap")
    truncated = tmp_path / "cut.mcap"
    truncated.write_bytes(complete.read_bytes()[: int(0.9 * complete.stat().st_size)])
    start, out = known_pair(tmp_path / "known.yaml"), tmp_path / "camera_pair.yaml"
    result = calibrate(truncated, out, "--start", str(start), "--time-offset")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "time offset" in result.output and "frames, worth" in result.output
