"""Agreement of a label map with its ground truth.

A confusion matrix is a plain array, so accumulating over a set is `matrix += confusion_matrix(...)`
and the scores come once, from the sum: the mean of per-image IoU would be another figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssvif_core.metrics import validate

IGNORE = 255


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of a confusion matrix over C classes, all 0 to 1.

    Attributes:
        iou: (C,) tp / (tp + fp + fn); NaN for a class that is in neither map.
        mean_iou: mean over the classes that occur; NaN if none does.
        pixel_accuracy: share of right pixels; NaN without pixels.
        pixels: (C,) ground-truth pixels per class.
    """

    iou: NDArray[np.float64]
    mean_iou: float
    pixel_accuracy: float
    pixels: NDArray[np.int64]


def confusion_matrix(
    truth: NDArray, labels: NDArray, classes: int, ignore: int = IGNORE
) -> NDArray[np.int64]:
    """Count pixels by (true class, labelled class).

    Args:
        truth: (H, W) integer class ids 0..classes-1, or `ignore` for pixels that do not count.
        labels: (H, W) integer class ids 0..classes-1.
        classes: number of classes.

    Returns:
        (classes, classes) int64, rows are the truth.

    Raises:
        ValueError: shapes that differ, not integer maps, or ids outside the ranges above.
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

    Everingham et al., IJCV 2010 (IoU); Long, Shelhamer, Darrell, CVPR 2015 (means).

    Raises:
        ValueError: the matrix is not square.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix has shape {matrix.shape}, expected (C, C)")
    right, truth = np.diag(matrix), matrix.sum(1)
    union = truth + matrix.sum(0) - right
    occurs = union > 0
    iou = np.full(len(matrix), np.nan)
    iou[occurs] = right[occurs] / union[occurs]
    total = int(matrix.sum())
    return SegmentationScores(
        iou=iou,
        mean_iou=float(iou[occurs].mean()) if occurs.any() else float("nan"),
        pixel_accuracy=float(right.sum() / total) if total else float("nan"),
        pixels=truth,
    )
