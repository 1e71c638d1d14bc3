"""Detections: boxes of the regions of each class."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ssvif_core.detections import Detection, find_detections

NAMES = ("background", "person", "car")


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A person of 10x30, another of 4x5 (less sure), and a car of 40x20 pixels."""
    labels, confidence = np.zeros((60, 100), np.uint8), np.full((60, 100), 255, np.uint8)
    labels[10:40, 20:30] = 1
    labels[5:10, 80:84], confidence[5:10, 80:84] = 1, 102
    labels[35:55, 50:90], confidence[35:55, 50:90] = 2, 204
    return labels, confidence


def test_each_region_gives_a_box_largest_first() -> None:
    assert find_detections(*scene(), NAMES) == [
        Detection(2, 50, 35, 40, 20, 800, 0.8),
        Detection(1, 20, 10, 10, 30, 300, 1.0),
        Detection(1, 80, 5, 4, 5, 20, 0.4),
    ]


def test_small_and_unsure_regions_are_left_out() -> None:
    labels, confidence = scene()
    assert [d.area for d in find_detections(labels, confidence, NAMES, 21)] == [800, 300]
    assert [d.area for d in find_detections(labels, confidence, NAMES, 0, 0.9)] == [300]


def test_background_has_no_box_and_pseudo_classes_all_have() -> None:
    labels, confidence = scene()
    assert {d.class_id for d in find_detections(labels, confidence, ("background",) * 3)} == set()
    assert {d.class_id for d in find_detections(labels, confidence, ("0", "1", "2"))} == {0, 1, 2}


def test_classes_side_by_side_are_regions_of_their_own() -> None:
    labels = np.repeat(np.uint8([1, 2]), 8)[None].repeat(4, 0)
    found = find_detections(labels, np.full_like(labels, 255), NAMES)
    assert [(d.class_id, d.left, d.width) for d in found] == [(1, 0, 8), (2, 8, 8)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_boxes_hold_all_pixels_of_their_class(seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, (height, width)).astype(np.uint8)
    confidence = random.integers(0, 256, (height, width)).astype(np.uint8)
    found = find_detections(labels, confidence, NAMES)
    for class_id in (1, 2):
        of_class = [d for d in found if d.class_id == class_id]
        covered = np.zeros(labels.shape, bool)
        for d in of_class:
            covered[d.top : d.top + d.height, d.left : d.left + d.width] = True
        assert covered[labels == class_id].all()
        assert sum(d.area for d in of_class) == (labels == class_id).sum()
        mean = sum(d.area * d.confidence for d in of_class)
        assert np.isclose(mean, confidence[labels == class_id].sum() / 255)
