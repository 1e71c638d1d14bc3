"""Confusion matrices and their scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvif_core.metrics import confusion_matrix, segmentation_scores


def random_maps(seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth, labels = rng.integers(0, classes, (2, 12, 9)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.2] = 255
    return truth, labels


seeds = st.integers(0, 2**32 - 1)


def test_known_values():
    truth = np.array([[0, 0, 0], [1, 1, 255]], np.uint8)
    labels = np.array([[0, 0, 1], [1, 0, 1]], np.uint8)
    matrix = confusion_matrix(truth, labels, classes=3)
    assert matrix.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    scores = segmentation_scores(matrix)
    assert scores.iou[:2].tolist() == [2 / 4, 1 / 3]
    assert np.isnan(scores.iou[2])  # the class is in neither map, so it is not in the mean
    assert scores.mean_iou == pytest.approx((2 / 4 + 1 / 3) / 2)
    assert scores.pixel_accuracy == pytest.approx(3 / 5)
    assert scores.pixels.tolist() == [3, 2, 0]


def test_a_class_without_ground_truth_scores_zero():
    truth, labels = np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, 1]], np.uint8)
    scores = segmentation_scores(confusion_matrix(truth, labels, 2))
    assert scores.iou.tolist() == [0.75, 0]


@given(seeds)
def test_a_perfect_label_map_scores_one(seed):
    truth, _ = random_maps(seed)
    labels = np.where(truth == 255, 0, truth)
    scores = segmentation_scores(confusion_matrix(truth, labels, 4))
    assert scores.mean_iou == 1
    assert scores.pixel_accuracy == 1


@given(seeds)
def test_matrices_of_parts_add_up(seed):
    truth, labels = random_maps(seed)
    whole = confusion_matrix(truth, labels, 4)
    parts = sum(confusion_matrix(truth[r], labels[r], 4) for r in (slice(0, 5), slice(5, None)))
    assert np.array_equal(whole, parts)
    assert whole.sum() == (truth != 255).sum()


@given(seeds)
def test_iou_is_symmetric(seed):
    _, labels = random_maps(seed)
    _, other = random_maps(seed + 1)
    iou = segmentation_scores(confusion_matrix(labels, other, 4)).iou
    swapped = segmentation_scores(confusion_matrix(other, labels, 4)).iou
    assert np.array_equal(iou, swapped, equal_nan=True)


def test_scores_without_pixels_are_nan():
    truth = np.full((2, 2), 255, np.uint8)
    scores = segmentation_scores(confusion_matrix(truth, np.zeros_like(truth), 2))
    assert np.isnan(scores.mean_iou)
    assert np.isnan(scores.pixel_accuracy)


def test_rejected_input():
    zeros = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match=r"labels has class ids 0..9, expected 0..3; map"):
        confusion_matrix(zeros, np.array([[0, 9], [0, 0]]), 4)
    with pytest.raises(ValueError, match=r"truth has class ids -1..0.*or 255 \(ignore\)"):
        confusion_matrix(zeros.astype(int) - [[1, 0], [0, 0]], zeros, 4)
    with pytest.raises(ValueError, match="sizes differ"):
        confusion_matrix(zeros, zeros[:1], 4)
    with pytest.raises(ValueError, match="integer class ids"):
        confusion_matrix(zeros, zeros.astype(float), 4)
    with pytest.raises(ValueError, match=r"expected \(C, C\)"):
        segmentation_scores(np.zeros((2, 3), int))
