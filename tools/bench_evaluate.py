"""Compares the speed of `ssvif evaluate` with a simple implementation, in pairs/s on one core.

    python tools/bench_evaluate.py msrs/test --fused peers/seafusion --out FILE

Both read the same images from disk and score the same fused images, in turns, on one core.
`ssvif evaluate` computes its eleven metrics. The simple implementation computes nine of them,
without Qcb and Nabf, with scikit-image, SciPy and NumPy. The result also has the largest relative
differences of the scores.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before the import of NumPy and OpenCV

import cv2
import numpy as np
from scipy.ndimage import correlate1d, sobel
from skimage.io import imread
from skimage.measure import shannon_entropy
from skimage.metrics import structural_similarity

from ssvif_core.evaluation.plan import Settings, plan_input
from ssvif_core.evaluation.scoring import Scorer
from ssvif_core.machine import describe_machine
from ssvif_core.types import AnyArray, Float64Array

ROUNDS = 3


def luma(path: Path) -> Float64Array:
    """The luma of an image file, (H, W), 0 to 255."""
    image: AnyArray = imread(path)
    if image.ndim == 2:
        return image.astype(np.float64)
    rounded: Float64Array = np.round(image[..., :3] @ (0.299, 0.587, 0.114))
    return rounded


def simple_scores(
    visible: Float64Array, thermal: Float64Array, fused: Float64Array
) -> dict[str, float]:
    """Nine metrics, computed directly from their formulas."""
    dx, dy = np.diff(fused, axis=1), np.diff(fused, axis=0)
    mean_square = (dx[:-1] ** 2 + dy[:, :-1] ** 2) / 2
    sources = (visible, thermal)
    return {
        "EN": shannon_entropy(fused),
        "SD": fused.std(),
        "SF": np.sqrt((dx**2).mean() + (dy**2).mean()),
        "AG": np.sqrt(mean_square).mean(),
        "MI": sum(mutual_information(source, fused) for source in sources),
        "SCD": correlation(fused - thermal, visible) + correlation(fused - visible, thermal),
        "VIF": sum(vif(source, fused) for source in sources),
        "Qabf": qabf(visible, thermal, fused),
        "SSIM": float(np.mean(
            [
                structural_similarity(
                    source, fused, data_range=255, gaussian_weights=True, sigma=1.5,
                    use_sample_covariance=False,
                )
                for source in sources
            ]
        )),
    }  # fmt: skip


def mutual_information(a: Float64Array, b: Float64Array) -> float:
    joint = np.histogram2d(a.ravel(), b.ravel(), 256, [[0, 256]] * 2)[0] / a.size
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    positive = joint > 0
    joint, independent = joint[positive], independent[positive]
    return float((joint * np.log2(joint / independent)).sum())


def correlation(a: Float64Array, b: Float64Array) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def vif(reference: Float64Array, image: Float64Array) -> float:
    kept = present = 0.0
    for scale, size in enumerate((17, 9, 5, 3)):
        x = np.arange(size) - size // 2
        kernel = np.exp(-(x**2) / (2 * (size / 5) ** 2))
        kernel /= kernel.sum()

        def blur(image: Float64Array, kernel: Float64Array = kernel) -> Float64Array:
            margin = len(kernel) // 2
            blurred: Float64Array = correlate1d(correlate1d(image, kernel, 0), kernel, 1)
            return blurred[margin:-margin, margin:-margin]

        if scale:
            reference, image = blur(reference)[::2, ::2], blur(image)[::2, ::2]
        mean_r, mean_i = blur(reference), blur(image)
        var_r = np.maximum(blur(reference**2) - mean_r**2, 0)
        var_i = np.maximum(blur(image**2) - mean_i**2, 0)
        cov = np.clip(blur(reference * image) - mean_r * mean_i, 0, None)
        gain = cov / (var_r + 1e-10)
        noise = np.maximum(var_i - gain * cov, 0)
        kept += np.log(1 + gain**2 * var_r / (noise + 2)).sum()
        present += np.log(1 + var_r / 2).sum()
    return float(kept / present)


def qabf(visible: Float64Array, thermal: Float64Array, fused: Float64Array) -> float:
    def edges(image: Float64Array) -> tuple[Float64Array, Float64Array]:
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
        same_direction = 1 - np.abs(angle - angle_f) / (np.pi / 2)
        quality = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
        quality *= 0.9879 / (1 + np.exp(-22 * (same_direction - 0.8)))
        kept += (quality * strength).sum()
        present += strength.sum()
    return float(kept / present)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of pairs")
    parser.add_argument("--fused", type=Path, required=True, help="folder of their fused images")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    settings = Settings(fused={"other": arguments.fused}, models={})
    plan = plan_input(arguments.data, "data", "", settings)
    items = [item for job in plan.jobs for item in job.items][: arguments.pairs]
    jobs = [job for job in plan.jobs if job.items[0] in items]
    jobs[-1] = type(jobs[-1])(jobs[-1].input, tuple(i for i in jobs[-1].items if i in items))
    scorer = Scorer(settings)
    times: dict[str, list[float]] = {"ssvif evaluate": [], "scikit-image": []}
    for _ in range(ROUNDS):  # in turns, because the speed of the machine drifts
        start = time.perf_counter()
        ours = [result.rows[0].scores for job in jobs for result in scorer(job)]
        times["ssvif evaluate"].append(time.perf_counter() - start)
        start = time.perf_counter()
        simple = [
            simple_scores(
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
                f"{max(abs(a[name] / b[name] - 1) for a, b in zip(ours, simple, strict=True)):.2g}"
            )
            for name in simple[0]
        },
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
