"""Compares calibration from scenes with known mappings; writes docs/results/registration.json.

    python tools/registration.py generated --seeds 100
    python tools/registration.py real ../shared/data --mappings 10
    python tools/registration.py fusion ../shared/data
    python tools/registration.py cost ssvif_core/weights/ssvif_s.safetensors

Each command replaces its own part of the file. `generated` and `real` write it every 40 runs, so
that an interrupted measurement is not lost; `--resume` continues it. The error of a result is the
mean distance between the result and the true mapping at the corners of the area that both cameras
see, in pixels of a visible image 640 wide.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from rich.progress import track

from ssvif_core.calibration.refine import overlap, refine
from ssvif_core.calibration.scene import SceneCalibration, calibrate_from_scene
from ssvif_core.cameras.model import Camera, CameraPair, aligned
from ssvif_core.cameras.yaml_file import load_camera_pair, save_camera_pair
from ssvif_core.machine import describe_machine
from ssvif_core.metrics import (
    FUSION_METRICS,
    fusion_metrics,
    luma_of_bgr,
    person_contrast,
    summarise,
)
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.images import read_thermal, read_visible
from ssvif_core.recordings.layouts import pair_folders
from ssvif_core.recordings.video import video_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.thermal import StreamState, ThermalConfig, ThermalFrame
from ssvif_core.types import AnyArray, Float64Array, Pair, Shapes

OUT = Path(__file__).parents[1] / "docs" / "results" / "registration.json"
VISIBLE, THERMAL = (640, 480), (320, 256)
RUNS_PER_SAVE = 40  # about all real recordings with one mapping
WRONG = 8.0  # pixels; an accepted result with a larger error is a confident wrong answer
SCALE, ROTATION, SHIFT = (0.4, 2.5), 8.0, 0.25  # shift: share of the visible image


@dataclass(frozen=True)
class Mapping:
    """A similarity, thermal -> visible pixels, around the centres of the images."""

    scale: float
    rotation: float  # degrees
    shift: tuple[float, float]  # visible pixels

    @classmethod
    def draw(cls, random: np.random.Generator) -> Mapping:
        """A random mapping."""
        scale = math.exp(random.uniform(*np.log(SCALE)))
        x, y = random.uniform(-SHIFT, SHIFT, 2) * VISIBLE
        return cls(scale, float(random.uniform(-ROTATION, ROTATION)), (float(x), float(y)))

    @property
    def matrix(self) -> Float64Array:
        """(3, 3) homography, thermal -> visible pixels."""
        factor = self.scale * VISIBLE[0] / THERMAL[0]
        angle = math.radians(self.rotation)
        c, s = factor * math.cos(angle), factor * math.sin(angle)
        tx, ty = ((n - 1) / 2 for n in THERMAL)
        vx, vy = ((n - 1) / 2 for n in VISIBLE)
        return np.array([
            [c, -s, vx - c * tx + s * ty + self.shift[0]],
            [s, c, vy - s * tx - c * ty + self.shift[1]],
            [0, 0, 1],
        ])  # fmt: skip


# ---- generated scenes


def generated(seed: int) -> dict[str, Any]:
    """Calibrate from eight frames of a generated drive, by day, by night or both.

    The thermal lens has distortion and lies beside the visible camera.
    """
    random = np.random.default_rng(seed)
    mapping = Mapping.draw(random)
    condition = ("day", "day", "night", "drive")[seed % 4]
    distortion, parallax = random.uniform(-0.05, 0.05), random.uniform(-0.04, 0.04)
    noise = random.uniform(0.04, 0.2)
    scenes = DriveGenerator(
        DriveConfig(
            seed=seed, visible_size=VISIBLE, thermal_size=THERMAL, condition=condition, frames=96,
            homography=mapping.matrix, distortion=float(distortion), parallax=float(parallax),
            thermal_noise=float(noise),
        )
    )  # fmt: skip
    pairs = [Pair(s.visible, s.thermal) for s in map(scenes.frame, range(5, 96, 12))]
    started = time.perf_counter()
    result = calibrate_from_scene(pairs)
    seconds = time.perf_counter() - started
    error = _generated_error(result.best, mapping, distortion, parallax)
    return {"seed": seed, "condition": condition, "scale": round(mapping.scale, 2),
            "parallax_m": round(parallax, 3), **_outcome(result, error, seconds)}  # fmt: skip


def _generated_error(
    result: CameraPair, mapping: Mapping, distortion: float, parallax: float
) -> float:
    """The smallest error over several planes in the scene, because a homography fits only one.

    The planes are upright at several distances, or the road, 1.4 m below the cameras.
    """
    x, y = np.meshgrid(np.linspace(0, THERMAL[0] - 1, 61), np.linspace(0, THERMAL[1] - 1, 61))
    thermal = np.stack([x.ravel(), y.ravel()], 1)
    centre = (np.array(THERMAL) - 1) / 2
    ray = thermal - centre
    bend = 1 + distortion * (ray**2).sum(1) / (centre**2).sum()
    far = cv2.perspectiveTransform((centre + ray * bend[:, None])[None], mapping.matrix)[0]
    focal, horizon = 0.9 * VISIBLE[0], 0.46 * VISIBLE[1]
    disparities = [parallax * focal / z + 0 * far[:, 1] for z in (4, 6, 8, 10, 14, 20, 40, 1e6)]
    disparities.append(parallax / 1.4 * (far[:, 1] - horizon))
    errors = []
    for disparity in disparities:
        visible = far + np.stack([disparity, 0 * disparity], 1)
        inside = ((visible >= 0) & (visible <= np.array(VISIBLE) - 1)).all(1)
        if not inside.any():
            continue
        visible, thermal_inside = visible[inside], thermal[inside]
        corners = [np.abs(visible - c).sum(1).argmin() for c in
                   ((0, 0), (639, 0), (639, 479), (0, 479))]  # fmt: skip
        errors.append(_distance(result.to_visible(thermal_inside[corners]), visible[corners]))
    return min(errors)


# ---- real pairs


def real(job: tuple[str, str, Path, int, int]) -> dict[str, Any]:
    """Calibrate from crops of real pairs, which are roughly registered, with a known mapping."""
    data, name, rig_file, seed, frames = job
    data_set = data.rsplit("/", 1)[-1]
    recording = _recording(Path(data), name, frames)
    mapping, to_visible = _draw_crops(np.random.default_rng((seed, hash_of(name))), recording[0])
    pairs = [_crop(pair, to_visible, to_visible @ mapping.matrix) for pair in recording]
    started = time.perf_counter()
    result = calibrate_from_scene(pairs)
    seconds = time.perf_counter() - started
    true = CameraPair(Camera(*VISIBLE), Camera(*THERMAL), mapping.matrix)
    corners = overlap(true)
    thermal = true.to_thermal(corners)
    nominal = _distance(result.best.to_visible(thermal), corners)
    # The true mapping includes the rig of the data set: thermal crop -> image -> visible crop.
    rig = _load_rig(rig_file)
    in_image = cv2.perspectiveTransform(thermal[None], to_visible @ mapping.matrix)[0]
    expected = cv2.perspectiveTransform(rig.to_visible(in_image)[None], np.linalg.inv(to_visible))
    error = _distance(result.best.to_visible(thermal), expected[0])
    time_of_day = ("night" if "N" in name else "day") if data_set == "msrs" else name
    return {"of": f"{data_set} {time_of_day}",
            "name": name, "seed": seed, "frames": len(pairs), "scale": round(mapping.scale, 2),
            "crop": round(float(to_visible[0, 0]), 2), "error_nominal": round(nominal, 2),
            **_outcome(result, error, seconds)}  # fmt: skip


def hash_of(name: str) -> int:
    """A number for a name; unlike Python's hash, it is the same in every run."""
    return int.from_bytes(name.encode()[-7:], "little")


def _recording(data: Path, name: str, frames: int) -> list[Pair]:
    """`frames` pairs: those of a clip, or the named pair with others of the same time of day."""
    if data.name == "m3svd":
        clip = list(video_pairs(data / "vi" / name, data / "ir" / name))
        return [clip[int(i)] for i in np.linspace(0, len(clip) - 1, frames).round()]
    sources = pair_folders(data / "train" / "vi", data / "train" / "ir").pairs
    (first,) = (source for source in sources if source.name == name)
    alike = [source for source in sources if source.name[-1] == name[-1] and source != first]
    random = np.random.default_rng(hash_of(name))
    others = [alike[int(i)] for i in random.choice(len(alike), frames - 1, replace=False)]
    return [Pair(read_visible(s.visible), read_thermal(s.thermal)) for s in [first, *others]]


def _draw_crops(random: np.random.Generator, pair: Pair) -> tuple[Mapping, Float64Array]:
    """A mapping, and the matrix visible crop -> image, with both crops inside the image."""
    height, width = pair.visible.shape[:2]
    while True:
        mapping = Mapping.draw(random)
        corners = np.array([[[0, 0], [1, 0], [1, 1], [0, 1]]], np.float64)
        thermal = cv2.perspectiveTransform(corners * THERMAL - 0.5, mapping.matrix)[0]
        all_corners = np.concatenate([corners[0] * VISIBLE - 0.5, thermal])
        low, high = all_corners.min(0), all_corners.max(0)
        zoom = min(width / (high[0] - low[0]), height / (high[1] - low[1]), 1.0)
        if zoom >= 0.3:
            room = np.array((width, height)) - zoom * (high - low)
            x, y = random.uniform(0, 1, 2) * room - zoom * low - 0.5
            return mapping, np.array([[zoom, 0, x], [0, zoom, y], [0, 0, 1]])


def _crop(pair: Pair, to_visible: Float64Array, to_thermal: Float64Array) -> Pair:
    """Crops of a pair; the matrices map pixels of the crops to pixels of the images."""
    shrinkage = math.sqrt(abs(np.linalg.det(to_thermal)))
    thermal = pair.thermal
    if shrinkage > 1.2:
        thermal = cv2.GaussianBlur(thermal, (0, 0), 0.4 * shrinkage)
    return Pair(
        cv2.warpPerspective(pair.visible, to_visible, VISIBLE,
                            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP),
        cv2.warpPerspective(thermal, to_thermal, THERMAL,
                            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                            borderMode=cv2.BORDER_REPLICATE),
    )  # fmt: skip


_rigs: dict[Path, CameraPair] = {}


def _load_rig(path: Path) -> CameraPair:
    if path not in _rigs:
        _rigs[path] = load_camera_pair(path)
    return _rigs[path]


def find_rig(data: Path, name: str = "") -> CameraPair:
    """The mapping that is left between the registered images of a data set or of a clip."""
    if name:
        pairs = _recording(data, name, 80 if data.name == "msrs" else 40)
    else:
        names = [
            source.name
            for source in pair_folders(data / "train" / "vi", data / "train" / "ir").pairs
        ]
        second = next(name for name in names if name[-1] != "N")
        pairs = _recording(data, names[0], 80) + _recording(data, second, 80)
    shapes = Shapes.of(pairs[0])
    return refine(
        [pair.visible for pair in pairs], [pair.thermal for pair in pairs], aligned(*shapes.sizes)
    ).pair


# ---- effect of registration on the fused image


def fusion(data: Path) -> dict[str, Any]:
    """Scores of fusions without calibration, with the one from the scene, and with the true one.

    The scores use the truly registered thermal image.
    """
    mapping = Mapping(1.25, 3.0, (30.0, -20.0))
    zoom = 0.78
    middle = (np.array(VISIBLE) - 1) / 2
    crop = np.array([[zoom, 0, middle[0] * (1 - zoom) - 15], [0, zoom, middle[1] * (1 - zoom) + 8],
                     [0, 0, 1]])  # fmt: skip
    thermal_crop = crop @ mapping.matrix
    drive = _recording(data / "msrs", "00270D", 12) + _recording(data / "msrs", "00681N", 12)
    result = calibrate_from_scene([_crop(pair, crop, thermal_crop) for pair in drive])
    true = CameraPair(Camera(*VISIBLE), Camera(*THERMAL), mapping.matrix)
    calibrations = {"none": None, "found": result.best, "true": true}
    scores: dict[str, list[list[float]]] = {name: [] for name in calibrations}
    contrasts: dict[str, list[Any]] = {name: [] for name in calibrations}
    pipelines = {
        name: FusionPipeline(thermal=ThermalConfig(smoothing=0), calibration=calibration)
        for name, calibration in calibrations.items()
    }
    test = data / "msrs" / "test"
    for source in track(pair_folders(test / "vi", test / "ir").pairs, "fusing"):
        pair = Pair(read_visible(source.visible), read_thermal(source.thermal))
        cropped = _crop(pair, crop, thermal_crop)
        thermal = cv2.warpPerspective(pair.thermal, crop, VISIBLE,
                                      flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR)  # fmt: skip
        mask = cv2.imread(str(test / "mask" / f"{source.name}.png"), cv2.IMREAD_UNCHANGED)
        mask = cv2.warpPerspective(mask, crop, VISIBLE, flags=cv2.WARP_INVERSE_MAP)
        for name, pipeline in pipelines.items():
            fused = pipeline(cropped).fused
            values = fusion_metrics(cropped.visible, thermal, fused)
            scores[name].append([values[metric] for metric in FUSION_METRICS])
            contrasts[name] += person_contrast(
                luma_of_bgr(cropped.visible), thermal, luma_of_bgr(fused), mask
            )
    table = {}
    for name in calibrations:
        contrast = summarise(contrasts[name])
        table[name] = {
            **{metric: round(float(value), 4) for metric, value in
               zip(FUSION_METRICS, np.mean(scores[name], 0), strict=True)},
            "contrast_mean": round(contrast.mean, 3), "contrast_p10": round(contrast.p10, 3),
        }  # fmt: skip
    corners = overlap(true)
    error = _distance(result.best.to_visible(true.to_thermal(corners)), corners)
    return {"pairs": len(scores["none"]), "mapping": vars(mapping),
            "found": {"accepted": result.pair is not None, "error": round(error, 2),
                      "deviation": round(result.deviation, 2)},
            "scores": table}  # fmt: skip


def cost(weights: Path) -> dict[str, Any]:
    """Milliseconds of OpenVINO: a graph that resizes, ours aligned, ours warped; in turns."""
    import openvino as ov

    scene = DriveGenerator(DriveConfig()).frame(0)
    pair = Pair(scene.visible, scene.thermal)
    counts = np.array((6800, 8000), np.float32)
    frame = ThermalFrame(scene.thermal, counts, StreamState.LIVE)
    core = ov.Core()
    network = core.read_model(resizing_graph(weights))
    network.reshape({"visible": [1, 480, 640, 3], "thermal": [1, 256, 320, 2],
                     "coverage": [1, 480, 640]})  # fmt: skip
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
               "ENABLE_CPU_PINNING": False}  # fmt: skip
    request = core.compile_model(network, "CPU", options).create_infer_request()
    thermal = scene.thermal.view(np.uint8).reshape(1, 256, 320, 2)
    inputs = {"visible": scene.visible[None], "thermal": thermal, "thermal_range": counts,
              "coverage": np.ones((1, 480, 640), np.float32)}  # fmt: skip
    for name, array in inputs.items():
        request.set_tensor(name, ov.Tensor(np.ascontiguousarray(array)))
    warped = CameraPair(Camera(*VISIBLE), Camera(*THERMAL), Mapping(1.1, 4.0, (20, 10)).matrix)
    aligned_pipeline = FusionPipeline(engine="openvino")
    warped_pipeline = FusionPipeline(engine="openvino", calibration=warped)
    runs = {
        "resized": request.infer,
        "aligned": lambda: aligned_pipeline(pair, frame),
        "warped": lambda: warped_pipeline(pair, frame),
    }
    times_ms: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(200):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times_ms[name].append(1000 * (time.perf_counter() - started))
    return {"median_ms": {name: round(float(np.median(ms)), 2) for name, ms in times_ms.items()},
            "size": "640x480 and 320x256 16 bit, OpenVINO f32, 2 threads"}  # fmt: skip


def resizing_graph(weights: Path) -> bytes:
    """The ONNX graph of the weights with a resize in place of the sampling map."""
    from torch.nn import functional

    from ssvif_core.graph import export
    from ssvif_core.models import load_model

    def resize(thermal: Any, grid: Any, **_: object) -> Any:
        return functional.interpolate(thermal, size=grid.shape[1:3], mode="bilinear")

    with mock.patch.object(functional, "grid_sample", resize):
        return bytes(export._exported(export.raw_module(load_model(weights))).SerializeToString())


# ---- results of all commands


def _outcome(result: SceneCalibration, error: float, seconds: float) -> dict[str, Any]:
    return {"error": round(error, 2), "accepted": result.pair is not None,
            "beyond": round(result.beyond, 2), "agreement": round(result.agreement, 2),
            "deviation": round(min(result.deviation, 999.0), 2),
            "independent": round(result.independent, 1),
            "seconds": round(seconds, 1)}  # fmt: skip


def _distance(points: AnyArray, others: AnyArray) -> float:
    distances = np.linalg.norm(points - others, axis=1)
    return float(np.where(np.isfinite(distances), distances, 999).mean())


def summary(rows: Sequence[dict[str, Any]], error: str = "error") -> dict[str, Any]:
    """Numbers of runs, and the errors of the accepted results."""
    accepted = [row[error] for row in rows if row["accepted"]]
    figures: dict[str, Any] = {"runs": len(rows), "refused": len(rows) - len(accepted)}
    if accepted:
        figures |= {"median": round(float(np.median(accepted)), 2),
                    "p95": round(float(np.percentile(accepted, 95)), 2), "max": max(accepted),
                    "confident_wrong": sum(value > WRONG for value in accepted)}  # fmt: skip
    refused = [row[error] for row in rows if not row["accepted"]]
    figures["would_have_been_wrong"] = sum(value > WRONG for value in refused)
    return figures


def _run(work: Any, jobs: Sequence[Any], workers: int) -> Iterator[dict[str, Any]]:
    os.environ["OMP_NUM_THREADS"] = "1"
    # Spawn, because OpenCV's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        for row in track(pool.map(work, jobs), "calibrating", len(jobs)):
            print(json.dumps(row), flush=True)
            yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("generated", "real", "fusion", "cost"))
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--mappings", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument(
        "--resume", action="store_true", help="keep the runs in --out, and do the others"
    )
    arguments = parser.parse_args()
    if arguments.what == "generated":
        jobs = {seed: seed for seed in range(arguments.seeds)}
        _measure(arguments, generated, jobs, _summary_of_generated)
    elif arguments.what == "real":
        _measure(arguments, real, _real_jobs(arguments), _summary_of_real)
    else:
        part = {"fusion": fusion, "cost": cost}[arguments.what](arguments.data)
        _write(arguments, part)
        print(json.dumps(part, indent=1))


def _measure(
    arguments: argparse.Namespace,
    work: Callable[[Any], dict[str, Any]],
    jobs: dict[Any, Any],
    summarise_rows: Callable[[Sequence[dict[str, Any]]], dict[str, Any]],
) -> None:
    """Run the jobs that have no result yet, and save the results every `RUNS_PER_SAVE` runs."""
    rows: list[dict[str, Any]] = []
    if arguments.resume and arguments.out.is_file():
        saved = json.loads(arguments.out.read_text()).get(arguments.what, {})
        rows = [row for row in saved.get("each", []) if _key(row) in jobs]
    finished = {_key(row) for row in rows}
    remaining = [job for key, job in jobs.items() if key not in finished]
    for count, row in enumerate(_run(work, remaining, arguments.workers), 1):
        rows.append(row)
        if count % RUNS_PER_SAVE == 0 or count == len(remaining):
            _write(arguments, {"asked": len(jobs), **summarise_rows(rows), "each": rows})
    print(json.dumps(summarise_rows(rows), indent=1))


def _key(row: dict[str, Any]) -> Any:
    return row["seed"] if "name" not in row else (row["seed"], row["name"], row["frames"])


def _write(arguments: argparse.Namespace, part: dict[str, Any]) -> None:
    """Replace one part of the file, atomically."""
    out = arguments.out
    results = json.loads(out.read_text()) if out.is_file() else {}
    results["machine"] = describe_machine()
    command = f"python tools/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}"
    results[arguments.what] = {**results.get(arguments.what, {}), "command": command, **part}
    temporary = out.with_suffix(".part")
    temporary.write_text(json.dumps(results, indent=1) + "\n")
    temporary.replace(out)


def _summary_of_generated(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"all": summary(rows)} | {
        condition: summary([row for row in rows if row["condition"] == condition])
        for condition in ("day", "night", "drive")
    }


def _summary_of_real(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    part: dict[str, Any] = {}
    for frames, title in ((1, "single pairs"), (12, "twelve frames")):
        rows_of: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if row["frames"] == frames:
                rows_of.setdefault(row["of"], []).append(row)
        for data, group in sorted(rows_of.items()):
            part[f"{title}, {data}"] = summary(group) | {"nominal": summary(group, "error_nominal")}
    return part


def _real_jobs(arguments: argparse.Namespace) -> dict[Any, tuple[str, str, Path, int, int]]:
    """The jobs in order of mappings, so that an interrupted measurement has used all pairs."""
    data, msrs = arguments.data, arguments.data / "msrs"
    names = pair_folders(msrs / "train" / "vi", msrs / "train" / "ir").names
    days = [name for name in names if name.endswith("D")][::7][:18]
    nights = [name for name in names if name.endswith("N")][::7][:18]
    clips = sorted(path.name for path in (data / "m3svd" / "vi").glob("*.mp4"))
    scratch = Path(tempfile.gettempdir())
    rigs = {name: scratch / f"ssvif_rig_{name}.yaml" for name in ("msrs", *clips)}
    for name, file in rigs.items():
        if not (arguments.resume and file.is_file()):
            rig = find_rig(msrs) if name == "msrs" else find_rig(data / "m3svd", name)
            save_camera_pair(rig, file)
    jobs = {}
    for seed in range(arguments.mappings):
        recordings = [(msrs, name, 1) for name in days + nights]
        recordings += [(data / "m3svd", clip, 12) for clip in clips]
        if seed < max(arguments.mappings // 5, 1):
            recordings += [(msrs, name, 12) for name in days[:6] + nights[:6]]
        for folder, name, frames in recordings:
            rig_file = rigs.get(name, rigs["msrs"])
            jobs[seed, name, frames] = (str(folder), name, rig_file, seed, frames)
    return jobs


if __name__ == "__main__":
    main()
