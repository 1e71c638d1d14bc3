"""The file of a camera pair: what is written can be read, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from lenses import HOMOGRAPHY, camera_with, plane_pair, point_grid

from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.cameras.yaml_file import load_camera_pair, save_camera_pair
from ssvif_core.errors import InputError


@pytest.mark.parametrize(
    "pair", [plane_pair(7.0), CameraPair(camera_with(), Camera(320, 256), HOMOGRAPHY, -0.05)]
)
def test_reading_a_written_file_gives_the_same_camera_pair(
    pair: CameraPair, tmp_path: Path
) -> None:
    path = tmp_path / "camera_pair.yaml"
    save_camera_pair(pair, path)
    loaded = load_camera_pair(path)
    points = point_grid(320, 256)
    assert loaded.to_visible(points) == pytest.approx(pair.to_visible(points), abs=1e-4)
    assert loaded.time_offset == pair.time_offset
    assert [file.name for file in tmp_path.iterdir()] == ["camera_pair.yaml"]


GOOD = """\
format: 1
visible: {width: 640, height: 480}
thermal: {width: 320, height: 256}
mapping: {kind: homography, matrix: [2, 0, 0, 0, 2, 0, 0, 0, 1]}
"""


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("format: 1", "format: 7", "format 7; this version reads 1"),
        ("format: 1", "format: 7\nplanes: []", "format 7; this version reads 1"),
        ("format: 1", "format: true", "format True; this version reads 1"),
        ("width: 640", "width: 640.9", "visible: width 640.9; expected a whole number"),
        ("width: 640", "width: .inf", "visible: width inf; expected a whole number"),
        ("height: 480}", "height: 480, binning: [2]}", "binning [2.0]; expected two numbers"),
        ("height: 480}", "height: 480, binning: [.inf, 1]}", "expected two numbers, 0 to 1000"),
        ("height: 480}", "height: 480, roi: [0, 0, 8]}", "expected x, y, width, height"),
        ("mapping:", "maping:", "unknown key maping; did you mean mapping?"),
        ("width: 640, ", "", "visible.width is missing"),
        ("width: 320", "with: 320", "unknown key thermal.with; did you mean width?"),
        ("homography", "affine", "mapping.kind 'affine'; expected homography or plane"),
        ("[2, 0, 0, 0, 2, 0, 0, 0, 1]", "[2, 0]", "expected nine numbers"),
        ("[2, 0, 0, 0, 2, 0, 0, 0, 1]", "[0, 0, 0, 0, 2, 0, 0, 0, 1]", "invertible"),
        ("height: 480}", "height: 480, distortion: [1, 0, 0, 0]}", "without a camera matrix"),
        ("format: 1", "format: [", "not valid YAML"),
        (GOOD, "- 1", "expected keys with values"),
        ("format: 1", "format: 1\ntime_offset: soon", "not a camera pair"),
    ],
)
def test_an_invalid_file_gives_an_error_that_names_the_mistake(
    old: str, new: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "pair.yaml"
    path.write_text(GOOD)
    assert load_camera_pair(path).visible.size == (640, 480)
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError, match="pair.yaml: ") as caught:
        load_camera_pair(path)
    assert text in str(caught.value)


def test_a_missing_file_gives_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.yaml: cannot be read"):
        load_camera_pair(tmp_path / "nowhere.yaml")
