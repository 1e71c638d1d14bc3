"""Agreement of a label map with its ground truth.

A confusion matrix is a plain array: add up the matrices of a set, then compute the scores once
from the sum. The mean of per-image IoUs is a different figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssvif_core.metrics import validate
from ssvif_core.types import AnyArray, Float64Array, Int64Array

IGNORE = 255


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of a confusion matrix over C classes, in 0 to 1.

    Attributes:
        iou: (C,) tp / (tp + fp + fn); NaN for a class that is in neither map.
        mean_iou: mean over the classes that occur; NaN if none occurs.
        pixel_accuracy: share of correct pixels; NaN without pixels.
        pixels: (C,) ground-truth pixels per class.
    """

    iou: Float64Array
    mean_iou: float
    pixel_accuracy: float
    pixels: Int64Array


def confusion_matrix(
    truth: AnyArray, labels: AnyArray, classes: int, ignore: int = IGNORE
) -> Int64Array:
    """Count pixels by (true class, labelled class).

    Args:
        truth: (H, W) integer class ids 0..classes-1; pixels of value `ignore` are not counted.
        labels: (H, W) integer class ids 0..classes-1.
        classes: number of classes.

    Returns:
        (classes, classes) int64; rows are the truth.

    Raises:
        ValueError: shapes that differ, maps that are not integer, or ids outside these ranges.

    >>> truth = np.array([[0, 0, 1, 255]])
    >>> labels = np.array([[0, 1, 1, 1]])
    >>> confusion_matrix(truth, labels, classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    truth, labels = validate.classes(truth, "truth"), validate.classes(labels, "labels")
    validate.same_shape(truth=truth, labels=labels)
    counted = truth != ignore
    rows, columns = truth[counted].astype(np.int64), labels[counted].astype(np.int64)
    for name, ids in (("truth", rows), ("labels", columns)):
        if ids.size and (ids.min() < 0 or ids.max() >= classes):
            raise ValueError(
                f"{name} has class ids {ids.min()}..{ids.max()}, expected 0..{classes - 1}"
                f"{f' or {ignore} (ignore)' if name == 'truth' else ''}; "
                "map the ids or raise the number of classes"
            )
    counts = np.bincount(rows * classes + columns, minlength=classes * classes)
    return counts.reshape(classes, classes)


def segmentation_scores(matrix: NDArray[np.integer]) -> SegmentationScores:
    """IoU per class, mean IoU and pixel accuracy of a (C, C) confusion matrix.

    Sources: Everingham et al., IJCV 2010 (IoU); Long, Shelhamer, Darrell, CVPR 2015 (means).

    Raises:
        ValueError: the matrix is not square.

    >>> scores = segmentation_scores(np.array([[1, 1], [0, 1]]))
    >>> scores.iou.tolist(), scores.mean_iou
    ([0.5, 0.5], 0.5)
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix has shape {matrix.shape}, expected (C, C)")
    correct, truth = np.diag(matrix), matrix.sum(1)
    union = truth + matrix.sum(0) - correct
    occurs = union > 0
    iou = np.full(len(matrix), np.nan)
    iou[occurs] = correct[occurs] / union[occurs]
    total = int(matrix.sum())
    return SegmentationScores(
        iou=iou,
        mean_iou=float(iou[occurs].mean()) if occurs.any() else float("nan"),
        pixel_accuracy=float(correct.sum() / total) if total else float("nan"),
        pixels=truth,
    )
