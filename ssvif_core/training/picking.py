"""Picking: which pairs of a recording are worth labelling.

All pairs are described by what they show: the features of small regions are sorted into words by
k-means, and the named classes are words as well. The pairs are then picked one by one, so that
together they show every word often. The value of a pick is

    sum over the words w of sqrt(sum over the picked pairs of share(pair, w) / mean share(w))

The square root makes what was not seen yet worth more than more of the same, and the division
makes rare words count as much as frequent ones. Picking the best next pair comes within 1 - 1/e of
the best value, since this function is submodular (Nemhauser, Wolsey and Fisher, 1978).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from ssvif_core.errors import InputError
from ssvif_core.models import Model
from ssvif_core.models.heads import described
from ssvif_core.training.data.crops import Pairs
from ssvif_core.training.prediction import features_of
from ssvif_core.types import Float32Array, Float64Array

WORDS = 32
REGION = 8  # cells of the features (stride 4) along the side of a region: 32 pixels
SAMPLED = 20_000  # regions that k-means sees
SEED = 0


def describe(
    model: Model, pairs: Pairs, on_pair: Callable[[], None] = lambda: None
) -> Float64Array:
    """What each pair shows: the share of each word, (pairs, words).

    Args:
        pairs: visible (H, W, 3) BGR and thermal (H, W).
        on_pair: called after each pair.

    Raises:
        InputError: an image is smaller than a region.
    """
    regions: list[Float32Array] = []  # (regions, channels) of each pair
    classes = []  # shares of the named classes, without background
    for index in range(len(pairs)):
        visible, thermal = pairs[index]
        if min(thermal.shape) < 4 * REGION:
            raise InputError(
                f"pair {index}: images of {thermal.shape[1]}x{thermal.shape[0]} pixels; expected "
                f"at least {4 * REGION}x{4 * REGION}"
            )
        features = features_of(model, visible, thermal)
        with torch.no_grad():
            channels = described(model.head, features)
            ids = model.labeller(features).argmax(1).numpy()
        pooled = F.avg_pool2d(channels, REGION)[0].flatten(1).T
        regions.append(np.asarray(pooled.numpy(), np.float32))
        counts = np.bincount(ids.ravel(), minlength=len(model.names))
        classes.append(counts[1:] / counts.sum())
        on_pair()
    return np.hstack([_shares_of_words(regions), np.array(classes)])


def _shares_of_words(regions: Sequence[Float32Array]) -> Float64Array:
    every = np.vstack(regions)
    every = (every - every.mean(0)) / (every.std(0) + 1e-6)
    sample = every[np.random.default_rng(SEED).permutation(len(every))[:SAMPLED]]
    words = min(WORDS, len(sample))
    if words == 1:  # OpenCV takes a single row for many samples
        return np.ones((1, 1))
    cv2.setRNGSeed(SEED)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-3)
    _, _, centres = cv2.kmeans(sample, words, None, criteria, 1, cv2.KMEANS_PP_CENTERS)
    distances = (centres**2).sum(1) - 2 * every @ centres.T
    word = distances.argmin(1)
    ends = np.cumsum([len(of_pair) for of_pair in regions])[:-1]
    return np.array(
        [np.bincount(part, minlength=words) / len(part) for part in np.split(word, ends)]
    )


def pick(shares: Float64Array, count: int) -> list[int]:
    """The numbers of the pairs to label, the most useful first.

    Args:
        shares: of each word in each pair, (pairs, words), as `describe` gives them.
        count: number of pairs; all, if there are fewer.

    >>> shares = np.array([[1, 0], [1, 0], [0.9, 0.1], [1, 0]])
    >>> pick(shares, 2)
    [2, 0]
    """
    mean = shares.mean(0)
    worth = shares[:, mean > 0] / mean[mean > 0]
    seen = np.zeros(worth.shape[1])
    chosen: list[int] = []
    for _ in range(min(count, len(worth))):
        values = np.sqrt(seen + worth).sum(1)
        values[chosen] = -1
        best = int(values.argmax())
        chosen.append(best)
        seen += worth[best]
    return chosen
