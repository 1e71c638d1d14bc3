"""Pairs a second and core of `ssvif evaluate`, beside the straightforward scikit-image way.

    python tools/bench_evaluate.py msrs/test --fused peers/seafusion --out FILE

Both read the same images from disk and score the same fused images, in turns, on one core: ours
with all of its eleven metrics (the nine, Qcb and Nabf), the other with the nine, as one would write
them with scikit-image, SciPy and NumPy. The largest differences of the scores are shown as well.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and OpenCV are loaded

import cv2
import numpy as np
from scipy.ndimage import correlate1d, sobel
from skimage.io import imread
from skimage.measure import shannon_entropy
from skimage.metrics import structural_similarity

from ssvif_core.evaluation.plan import Settings, plan_input
from ssvif_core.evaluation.scoring import Scorer
from ssvif_core.machine import describe_machine

ROUNDS = 3


def luma(path: Path) -> np.ndarray:
    image = imread(path)
    if image.ndim == 2:
        return image.astype(float)
    return np.round(image[..., :3] @ (0.299, 0.587, 0.114))


def plain_scores(visible: np.ndarray, thermal: np.ndarray, fused: np.ndarray) -> dict[str, float]:
    """The nine, written down as their formulas are."""
    dx, dy = np.diff(fused, axis=1), np.diff(fused, axis=0)
    both = (dx[:-1] ** 2 + dy[:, :-1] ** 2) / 2
    sources = (visible, thermal)
    return {
        "EN": shannon_entropy(fused),
        "SD": fused.std(),
        "SF": np.sqrt((dx**2).mean() + (dy**2).mean()),
        "AG": np.sqrt(both).mean(),
        "MI": sum(mutual_information(s, fused) for s in sources),
        "SCD": correlation(fused - thermal, visible) + correlation(fused - visible, thermal),
        "VIF": sum(vif(s, fused) for s in sources),
        "Qabf": qabf(visible, thermal, fused),
        "SSIM": np.mean(
            [
                structural_similarity(
                    s, fused, data_range=255, gaussian_weights=True, sigma=1.5,
                    use_sample_covariance=False,
                )
                for s in sources
            ]
        ),
    }  # fmt: skip


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    joint = np.histogram2d(a.ravel(), b.ravel(), 256, [[0, 256]] * 2)[0] / a.size
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log2(joint[there] / outer[there])).sum())


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def vif(reference: np.ndarray, image: np.ndarray) -> float:
    kept = present = 0.0
    for scale, size in enumerate((17, 9, 5, 3)):
        x = np.arange(size) - size // 2
        kernel = np.exp(-(x**2) / (2 * (size / 5) ** 2))
        kernel /= kernel.sum()

        def blur(image: np.ndarray, kernel: np.ndarray = kernel) -> np.ndarray:
            margin = len(kernel) // 2
            whole = correlate1d(correlate1d(image, kernel, 0), kernel, 1)
            return whole[margin:-margin, margin:-margin]

        if scale:
            reference, image = blur(reference)[::2, ::2], blur(image)[::2, ::2]
        mean_r, mean_i = blur(reference), blur(image)
        var_r = np.maximum(blur(reference**2) - mean_r**2, 0)
        var_i = np.maximum(blur(image**2) - mean_i**2, 0)
        cov = np.clip(blur(reference * image) - mean_r * mean_i, 0, None)
        gain = cov / (var_r + 1e-10)
        rest = np.maximum(var_i - gain * cov, 0)
        kept += np.log(1 + gain**2 * var_r / (rest + 2)).sum()
        present += np.log(1 + var_r / 2).sum()
    return float(kept / present)


def qabf(visible: np.ndarray, thermal: np.ndarray, fused: np.ndarray) -> float:
    def edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sx, sy = sobel(image, 1, mode="nearest"), sobel(image, 0, mode="nearest")
        with np.errstate(divide="ignore", invalid="ignore"):
            angle = np.where(sx == 0, np.pi / 2, np.arctan(sy / sx))
        return np.hypot(sx, sy), angle

    strength_f, angle_f = edges(fused)
    kept = present = 0.0
    for source in (visible, thermal):
        strength, angle = edges(source)
        high = np.maximum(strength, strength_f)
        ratio = np.minimum(strength, strength_f) / np.where(high == 0, 1, high)
        turned = 1 - np.abs(angle - angle_f) / (np.pi / 2)
        quality = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
        quality *= 0.9879 / (1 + np.exp(-22 * (turned - 0.8)))
        kept += (quality * strength).sum()
        present += strength.sum()
    return float(kept / present)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fused", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    settings = Settings(fused={"other": arguments.fused}, ours=False)
    plan = plan_input(arguments.data, "data", "", settings)
    items = [item for job in plan.jobs for item in job.items][: arguments.pairs]
    jobs = [job for job in plan.jobs if job.items[0] in items]
    jobs[-1] = type(jobs[-1])(jobs[-1].input, tuple(i for i in jobs[-1].items if i in items))
    scorer = Scorer(settings)
    times: dict[str, list[float]] = {"ssvif evaluate": [], "scikit-image": []}
    for _ in range(ROUNDS):  # in turns: the machine's speed drifts
        start = time.perf_counter()
        ours = [result.rows[0].scores for job in jobs for result in scorer(job)]
        times["ssvif evaluate"].append(time.perf_counter() - start)
        start = time.perf_counter()
        plain = [
            plain_scores(
                luma(item.source.visible), luma(item.source.thermal), luma(item.fused["other"])
            )
            for item in items
        ]
        times["scikit-image"].append(time.perf_counter() - start)
    rates = {name: len(items) / float(np.median(seconds)) for name, seconds in times.items()}
    result = {
        "machine": describe_machine(),
        "command": "tools/bench_evaluate.py",
        "pairs": len(items),
        "pairs per second and core": {name: round(rate, 2) for name, rate in rates.items()},
        "ratio": round(rates["ssvif evaluate"] / rates["scikit-image"], 2),
        "largest relative difference": {
            name: float(
                f"{max(abs(a[name] / b[name] - 1) for a, b in zip(ours, plain, strict=True)):.2g}"
            )
            for name in plain[0]
        },
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
