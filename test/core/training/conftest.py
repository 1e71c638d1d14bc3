"""What the tests of the training share."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import pytest

from ssvif_core.types import Pair

sys.path.insert(0, str(Path(__file__).parent))  # scenes


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, drive_pairs: list[Pair]) -> Path:
    """Six pairs of a generated drive as images in two folders."""
    root = tmp_path_factory.mktemp("data")
    for folder in ("vi", "ir"):
        (root / folder).mkdir()
    for index, pair in enumerate(drive_pairs[:6]):
        cv2.imwrite(str(root / "vi" / f"{index}.png"), pair.visible)
        cv2.imwrite(str(root / "ir" / f"{index}.png"), pair.thermal)
    return root
