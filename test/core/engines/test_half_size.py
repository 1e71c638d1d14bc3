"""`working_size: half`: the network works on small images, and the fused image stays whole."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.cameras.model import Camera, CameraPair
from ssvif_core.engines.half_size import half_of
from ssvif_core.errors import InputError
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.thermal import ThermalConfig
from ssvif_core.types import Fusion, Pair, Shapes

# The thermal camera sees a part of the visible image.
SMALL = CameraPair(
    Camera(320, 240), Camera(160, 128), np.array([[0.8, 0.02, -30], [0, 0.8, -20], [0, 0, 1]])
)


def fused(pair: Pair, working_size: str, calibration=None) -> Fusion:
    pipeline = FusionPipeline(
        engine="openvino",
        precision="fp32",
        thermal=ThermalConfig(smoothing=0),
        calibration=calibration,
        working_size=working_size,
    )
    return pipeline(pair).copy()


def levels(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference of two images, grey levels."""
    return float(np.abs(a.astype(int) - b).mean())


def test_the_fused_image_is_nearly_that_of_full_size(drive_pairs: list[Pair]) -> None:
    for pair in drive_pairs[::6]:
        full, half = fused(pair, "full"), fused(pair, "half")
        assert half.fused.shape == full.fused.shape
        change = levels(full.fused, pair.visible)
        assert levels(half.fused, full.fused) < 0.25 * change
        assert (half.labels == full.labels).mean() > 0.97


def test_fine_structure_of_the_visible_image_stays(drive_pairs: list[Pair]) -> None:
    """A thermal image without structure changes no single row of a visible grid of lines."""
    lines = np.zeros((96, 128, 3), np.uint8) + 60
    lines[::2] = 180
    flat = np.full((48, 64), 20, np.uint8)
    rows = fused(Pair(lines, flat), "half").fused[20:70, 20:100].astype(int)
    contrast = rows[::2].mean() - rows[1::2].mean()
    assert contrast == pytest.approx(120, abs=6)


@pytest.mark.parametrize("size", [(17, 16, 8, 9), (50, 71, 33, 40)])
def test_any_size(size: tuple[int, int, int, int]) -> None:
    height, width, thermal_height, thermal_width = size
    random = np.random.default_rng(0)
    pair = Pair(
        random.integers(0, 256, (height, width, 3), dtype=np.uint8),
        random.integers(0, 65536, (thermal_height, thermal_width), dtype=np.uint16),
    )
    result = fused(pair, "half")
    assert result.fused.shape == (height, width, 3)
    assert result.labels.shape == result.confidence.shape == (height, width)


def test_where_the_thermal_camera_does_not_see_nothing_changes(drive_pairs: list[Pair]) -> None:
    """The registration is that of full size: the same part of the image is fused."""
    pair = drive_pairs[0]
    full, half = fused(pair, "full", SMALL), fused(pair, "half", SMALL)
    unseen = full.confidence == 0
    assert unseen.mean() > 0.2
    far = unseen & (half.confidence == 0)
    assert far.sum() > 0.97 * unseen.sum()
    assert levels(half.fused[far], pair.visible[far]) < 1


def test_the_engine_says_that_it_works_at_half_size() -> None:
    pipeline = FusionPipeline(engine="openvino", precision="fp32", working_size="half")
    engine = pipeline.prepare(Shapes(481, 640, 256, 320, 2))
    assert str(engine.info).endswith("(fp32, CPU, half size)")
    assert half_of(engine.shapes) == Shapes(241, 320, 256, 320, 2)


def test_another_working_size_is_refused() -> None:
    with pytest.raises(InputError, match="working_size 'quarter'; expected full or half"):
        FusionPipeline(working_size="quarter")
