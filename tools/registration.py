"""Measures calibration from scenes against known mappings; writes docs/results/registration.json.

    python tools/registration.py generated --seeds 100
    python tools/registration.py real ../shared/data --mappings 10
    python tools/registration.py fusion ../shared/data
    python tools/registration.py cost ssvif_core/weights/ssvif_s.safetensors

Each command replaces its own part of the file. `generated` and `real` write it every 40 runs, so
that one that was cut off still tells, and go on from there with `--resume`. The error of a result
is the mean distance, in visible pixels at 640 across, between where it and the true mapping put the
corners of what both cameras see.
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
from ssvif_core.types import Pair

OUT = Path(__file__).parents[1] / "docs" / "results" / "registration.json"
VISIBLE, THERMAL = (640, 480), (320, 256)
SAVED = 40  # runs; all real recordings under one mapping
WRONG = 8.0  # pixels; an accepted result beyond this is a confident wrong answer
SCALE, ROTATION, SHIFT = (0.4, 2.5), 8.0, 0.25


@dataclass(frozen=True)
class Mapping:
    """Thermal -> visible pixels: a similarity about the centres."""

    scale: float
    rotation: float
    shift: tuple[float, float]

    @classmethod
    def draw(cls, random: np.random.Generator) -> Mapping:
        scale = math.exp(random.uniform(*np.log(SCALE)))
        x, y = random.uniform(-SHIFT, SHIFT, 2) * VISIBLE
        return cls(scale, float(random.uniform(-ROTATION, ROTATION)), (float(x), float(y)))

    @property
    def matrix(self) -> np.ndarray:
        grow = self.scale * VISIBLE[0] / THERMAL[0]
        angle = math.radians(self.rotation)
        c, s = grow * math.cos(angle), grow * math.sin(angle)
        tx, ty = ((n - 1) / 2 for n in THERMAL)
        vx, vy = ((n - 1) / 2 for n in VISIBLE)
        return np.array([
            [c, -s, vx - c * tx + s * ty + self.shift[0]],
            [s, c, vy - s * tx - c * ty + self.shift[1]],
            [0, 0, 1],
        ])  # fmt: skip


# ---- generated scenes


def generated(seed: int) -> dict[str, Any]:
    """A drive of eight frames, a second apart or less, by day, night or both, through a thermal
    lens with distortion, from beside the visible camera."""
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
    found: CameraPair, mapping: Mapping, distortion: float, parallax: float
) -> float:
    """Over the planes in the scene, since a homography is right for one, the smallest error.

    The planes: upright ones at several distances, and the road, 1.4 m below the cameras.
    """
    x, y = np.meshgrid(np.linspace(0, THERMAL[0] - 1, 61), np.linspace(0, THERMAL[1] - 1, 61))
    thermal = np.stack([x.ravel(), y.ravel()], 1)
    centre = (np.array(THERMAL) - 1) / 2
    ray = thermal - centre
    bend = 1 + distortion * (ray**2).sum(1) / (centre**2).sum()
    far = cv2.perspectiveTransform((centre + ray * bend[:, None])[None], mapping.matrix)[0]
    focal, horizon = 0.9 * VISIBLE[0], 0.46 * VISIBLE[1]
    planes = [parallax * focal / z + 0 * far[:, 1] for z in (4, 6, 8, 10, 14, 20, 40, 1e6)]
    planes.append(parallax / 1.4 * (far[:, 1] - horizon))
    errors = []
    for moved in planes:
        visible = far + np.stack([moved, 0 * moved], 1)
        inside = ((visible >= 0) & (visible <= np.array(VISIBLE) - 1)).all(1)
        if not inside.any():
            continue
        visible, seen = visible[inside], thermal[inside]
        corners = [np.abs(visible - c).sum(1).argmin() for c in
                   ((0, 0), (639, 0), (639, 479), (0, 479))]  # fmt: skip
        errors.append(_distance(found.to_visible(seen[corners]), visible[corners]))
    return min(errors)


# ---- real pairs


def real(job: tuple[str, str, Path, int, int]) -> dict[str, Any]:
    """A known mapping between crops of real pairs that are registered, more or less."""
    data, name, rig_file, seed, frames = job
    kind = data.rsplit("/", 1)[-1]
    sources = _recording(Path(data), name, frames)
    mapping, to_visible = _windows(np.random.default_rng((seed, hash_of(name))), sources[0])
    pairs = [_views(pair, to_visible, to_visible @ mapping.matrix) for pair in sources]
    started = time.perf_counter()
    result = calibrate_from_scene(pairs)
    seconds = time.perf_counter() - started
    true = CameraPair(Camera(*VISIBLE), Camera(*THERMAL), mapping.matrix)
    corners = overlap(true)
    thermal = true.to_thermal(corners)
    nominal = _distance(result.best.to_visible(thermal), corners)
    # The data set's own rig, found from its other pairs: thermal crop -> image -> visible crop.
    rig = _load_rig(rig_file)
    source = cv2.perspectiveTransform(thermal[None], to_visible @ mapping.matrix)[0]
    placed = cv2.perspectiveTransform(rig.to_visible(source)[None], np.linalg.inv(to_visible))[0]
    error = _distance(result.best.to_visible(thermal), placed)
    night = kind == "msrs" and "N" in name
    return {"of": f"{kind} {'night' if night else 'day' if kind == 'msrs' else name}",
            "name": name, "seed": seed, "frames": len(pairs), "scale": round(mapping.scale, 2),
            "crop": round(float(to_visible[0, 0]), 2), "error_nominal": round(nominal, 2),
            **_outcome(result, error, seconds)}  # fmt: skip


def hash_of(name: str) -> int:
    """The same number for a name on every run, which Python's hash is not."""
    return int.from_bytes(name.encode()[-7:], "little")


def _recording(data: Path, name: str, frames: int) -> list[Pair]:
    """The named pair and, for recordings, others of the same camera pair and time of day."""
    if data.name == "m3svd":
        clip = list(video_pairs(data / "vi" / name, data / "ir" / name))
        return [clip[int(i)] for i in np.linspace(0, len(clip) - 1, frames).round()]
    listing = pair_folders(data / "train" / "vi", data / "train" / "ir").pairs
    (first,) = (files for files in listing if files.name == name)
    same = [files for files in listing if files.name[-1] == name[-1] and files.name != name]
    random = np.random.default_rng(hash_of(name))
    others = [same[int(i)] for i in random.choice(len(same), frames - 1, replace=False)]
    return [Pair(read_visible(f.visible), read_thermal(f.thermal)) for f in [first, *others]]


def _windows(random: np.random.Generator, pair: Pair) -> tuple[Mapping, np.ndarray]:
    """A mapping, and the visible crop -> image that leaves both crops inside the image."""
    height, width = pair.visible.shape[:2]
    while True:
        mapping = Mapping.draw(random)
        corners = np.array([[[0, 0], [1, 0], [1, 1], [0, 1]]], np.float64)
        thermal = cv2.perspectiveTransform(corners * THERMAL - 0.5, mapping.matrix)[0]
        both = np.concatenate([corners[0] * VISIBLE - 0.5, thermal])
        low, high = both.min(0), both.max(0)
        zoom = min(width / (high[0] - low[0]), height / (high[1] - low[1]), 1.0)
        if zoom >= 0.3:
            room = np.array((width, height)) - zoom * (high - low)
            x, y = random.uniform(0, 1, 2) * room - zoom * low - 0.5
            return mapping, np.array([[zoom, 0, x], [0, zoom, y], [0, 0, 1]])


def _views(pair: Pair, visible: np.ndarray, thermal: np.ndarray) -> Pair:
    """Crops of a pair; the matrices map pixels of the crops to pixels of the images."""
    per_pixel = math.sqrt(abs(np.linalg.det(thermal)))
    heat = pair.thermal
    if per_pixel > 1.2:
        heat = cv2.GaussianBlur(heat, (0, 0), 0.4 * per_pixel)
    how = cv2.WARP_INVERSE_MAP
    return Pair(
        cv2.warpPerspective(pair.visible, visible, VISIBLE, flags=cv2.INTER_CUBIC | how),
        cv2.warpPerspective(heat, thermal, THERMAL, flags=cv2.INTER_LINEAR | how,
                            borderMode=cv2.BORDER_REPLICATE),
    )  # fmt: skip


_rigs: dict[Path, CameraPair] = {}


def _load_rig(path: Path) -> CameraPair:
    if path not in _rigs:
        _rigs[path] = load_camera_pair(path)
    return _rigs[path]


def find_rig(data: Path, name: str = "") -> CameraPair:
    """The registration that a data set's own rig has left: of every third training pair."""
    pairs = _recording(data, name, 80 if data.name == "msrs" else 40) if name else _recording(
        data, pair_folders(data / "train" / "vi", data / "train" / "ir").pairs[0].name, 80
    )  # fmt: skip
    if not name:  # by day and by night
        night = [f.name for f in pair_folders(data / "train" / "vi", data / "train" / "ir").pairs
                 if f.name[-1] != "N"][0]  # fmt: skip
        pairs += _recording(data, night, 80)
    sizes = pairs[0].visible.shape[1::-1], pairs[0].thermal.shape[::-1]
    return refine([p.visible for p in pairs], [p.thermal for p in pairs], aligned(*sizes)).pair


# ---- what registration is worth to the fused image


def fusion(data: Path) -> dict[str, Any]:
    """Fused with no, the found and the true calibration: scores against the true thermal image."""
    mapping = Mapping(1.25, 3.0, (30.0, -20.0))
    zoom = 0.78
    middle = (np.array(VISIBLE) - 1) / 2
    crop = np.array([[zoom, 0, middle[0] * (1 - zoom) - 15], [0, zoom, middle[1] * (1 - zoom) + 8],
                     [0, 0, 1]])  # fmt: skip
    thermal = crop @ mapping.matrix
    drive = _recording(data / "msrs", "00270D", 12) + _recording(data / "msrs", "00681N", 12)
    found = calibrate_from_scene([_views(pair, crop, thermal) for pair in drive])
    true = CameraPair(Camera(*VISIBLE), Camera(*THERMAL), mapping.matrix)
    ways = {"none": None, "found": found.best, "true": true}
    scores: dict[str, list[list[float]]] = {way: [] for way in ways}
    persons: dict[str, list[Any]] = {way: [] for way in ways}
    pipelines = {
        way: FusionPipeline(thermal=ThermalConfig(smoothing=0), calibration=calibration)
        for way, calibration in ways.items()
    }
    test = data / "msrs" / "test"
    for files in track(pair_folders(test / "vi", test / "ir").pairs, "fusing"):
        pair = Pair(read_visible(files.visible), read_thermal(files.thermal))
        views = _views(pair, crop, thermal)
        how = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        heat = cv2.warpPerspective(pair.thermal, crop, VISIBLE, flags=how)
        mask = cv2.imread(str(test / "mask" / f"{files.name}.png"), cv2.IMREAD_UNCHANGED)
        mask = cv2.warpPerspective(mask, crop, VISIBLE, flags=cv2.WARP_INVERSE_MAP)
        for way, pipeline in pipelines.items():
            fused = pipeline(views).fused
            values = fusion_metrics(views.visible, heat, fused)
            scores[way].append([values[name] for name in FUSION_METRICS])
            persons[way] += person_contrast(
                luma_of_bgr(views.visible), heat, luma_of_bgr(fused), mask
            )
    table = {}
    for way in ways:
        kept = summarise(persons[way])
        table[way] = {
            **{name: round(float(v), 4) for name, v in
               zip(FUSION_METRICS, np.mean(scores[way], 0), strict=True)},
            "contrast_mean": round(kept.mean, 3), "contrast_p10": round(kept.p10, 3),
        }  # fmt: skip
    corners = overlap(true)
    error = _distance(found.best.to_visible(true.to_thermal(corners)), corners)
    return {"pairs": len(scores["none"]), "mapping": vars(mapping),
            "found": {"accepted": found.pair is not None, "error": round(error, 2),
                      "deviation": round(found.deviation, 2)},
            "scores": table}  # fmt: skip


def cost(weights: Path) -> dict[str, Any]:
    """Milliseconds of OpenVINO in turns: with a plain resize; ours aligned; ours warped."""
    import openvino as ov

    scene = DriveGenerator(DriveConfig()).frame(0)
    pair = Pair(scene.visible, scene.thermal)
    counts = np.array((6800, 8000), np.float32)
    view = ThermalFrame(scene.thermal, counts, StreamState.LIVE)
    core = ov.Core()
    network = core.read_model(resizing(weights))
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
    aligned_way = FusionPipeline(engine="openvino")
    warped_way = FusionPipeline(engine="openvino", calibration=warped)
    ways = {
        "resized": request.infer,
        "aligned": lambda: aligned_way(pair, view),
        "warped": lambda: warped_way(pair, view),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(200):
        for way, run in ways.items():
            started = time.perf_counter()
            run()
            times[way].append(1000 * (time.perf_counter() - started))
    return {"median_ms": {way: round(float(np.median(t)), 2) for way, t in times.items()},
            "size": "640x480 and 320x256 16 bit, OpenVINO f32, 2 threads"}  # fmt: skip


def resizing(weights: Path) -> bytes:
    """The ONNX graph of the weights with a plain resize in place of the map."""
    from torch.nn import functional

    from ssvif_core.graph import export
    from ssvif_core.models import load_model

    def resize(heat: Any, grid: Any, **_: object) -> Any:
        return functional.interpolate(heat, size=grid.shape[1:3], mode="bilinear")

    with mock.patch.object(functional, "grid_sample", resize):
        return export._exported(export.raw_module(load_model(weights))).SerializeToString()


# ---- what is told of all


def _outcome(result: SceneCalibration, error: float, seconds: float) -> dict[str, Any]:
    return {"error": round(error, 2), "accepted": result.pair is not None,
            "beyond": round(result.beyond, 2), "agreement": round(result.agreement, 2),
            "deviation": round(min(result.deviation, 999.0), 2),
            "independent": round(result.independent, 1),
            "seconds": round(seconds, 1)}  # fmt: skip


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    apart = np.linalg.norm(one - other, axis=1)
    return float(np.where(np.isfinite(apart), apart, 999).mean())


def summary(rows: Sequence[dict[str, Any]], error: str = "error") -> dict[str, Any]:
    """Counts, and the errors of what was accepted."""
    good = [row[error] for row in rows if row["accepted"]]
    said: dict[str, Any] = {"runs": len(rows), "refused": len(rows) - len(good)}
    if good:
        said |= {"median": round(float(np.median(good)), 2),
                 "p95": round(float(np.percentile(good, 95)), 2), "max": max(good),
                 "confident_wrong": sum(value > WRONG for value in good)}  # fmt: skip
    said["would_have_been_wrong"] = sum(row[error] > WRONG for row in rows if not row["accepted"])
    return said


def _run(work: Any, jobs: Sequence[Any], workers: int) -> Iterator[dict[str, Any]]:
    os.environ["OMP_NUM_THREADS"] = "1"
    # Spawned, since OpenCV's threads do not live on in a fork.
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
    parser.add_argument("--resume", action="store_true", help="keep the runs that --out has")
    arguments = parser.parse_args()
    if arguments.what == "generated":
        jobs = {seed: seed for seed in range(arguments.seeds)}
        _measured(arguments, generated, jobs, _of_generated)
    elif arguments.what == "real":
        _measured(arguments, real, _real_jobs(arguments), _of_real)
    else:
        part = {"fusion": fusion, "cost": cost}[arguments.what](arguments.data)
        _write(arguments, part)
        print(json.dumps(part, indent=1))


def _measured(
    arguments: argparse.Namespace,
    work: Callable[[Any], dict[str, Any]],
    jobs: dict[Any, Any],
    said: Callable[[Sequence[dict[str, Any]]], dict[str, Any]],
) -> None:
    """Does what is left of the jobs, and writes what is known so far every `SAVED` runs."""
    done: list[dict[str, Any]] = []
    if arguments.resume and arguments.out.is_file():
        before = json.loads(arguments.out.read_text()).get(arguments.what, {})
        done = [row for row in before.get("each", []) if _key(row) in jobs]
    known = {_key(row) for row in done}
    left = [job for key, job in jobs.items() if key not in known]
    for count, row in enumerate(_run(work, left, arguments.workers), 1):
        done.append(row)
        if count % SAVED == 0 or count == len(left):
            _write(arguments, {"asked": len(jobs), **said(done), "each": done})
    print(json.dumps(said(done), indent=1))


def _key(row: dict[str, Any]) -> Any:
    return row["seed"] if "name" not in row else (row["seed"], row["name"], row["frames"])


def _write(arguments: argparse.Namespace, part: dict[str, Any]) -> None:
    """Puts a part into the file, which is whole at every moment."""
    out = arguments.out
    told = json.loads(out.read_text()) if out.is_file() else {}
    told["machine"] = describe_machine()
    command = f"python tools/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}"
    told[arguments.what] = {**told.get(arguments.what, {}), "command": command, **part}
    beside = out.with_suffix(".part")
    beside.write_text(json.dumps(told, indent=1) + "\n")
    beside.replace(out)


def _of_generated(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"all": summary(rows)} | {
        kind: summary([row for row in rows if row["condition"] == kind])
        for kind in ("day", "night", "drive")
    }


def _of_real(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    part: dict[str, Any] = {}
    for frames, kind in ((1, "single pairs"), (12, "twelve frames")):
        for of in sorted({row["of"] for row in rows if row["frames"] == frames}):
            some = [row for row in rows if row["of"] == of and row["frames"] == frames]
            part[f"{kind}, {of}"] = summary(some) | {"nominal": summary(some, "error_nominal")}
    return part


def _real_jobs(arguments: argparse.Namespace) -> dict[Any, tuple[str, str, Path, int, int]]:
    """Mapping by mapping, so that a run that is cut off has seen all pairs."""
    data, msrs = arguments.data, arguments.data / "msrs"
    names = [f.name for f in pair_folders(msrs / "train" / "vi", msrs / "train" / "ir").pairs]
    days = [name for name in names if name.endswith("D")][::7][:18]
    nights = [name for name in names if name.endswith("N")][::7][:18]
    clips = sorted(path.name for path in (data / "m3svd" / "vi").glob("*.mp4"))
    scratch = Path(tempfile.gettempdir())
    rigs = {name: scratch / f"ssvif_rig_{name}.yaml" for name in ("msrs", *clips)}
    for name, file in rigs.items():
        if not (arguments.resume and file.is_file()):
            found = find_rig(msrs) if name == "msrs" else find_rig(data / "m3svd", name)
            save_camera_pair(found, file)
    jobs = {}
    for seed in range(arguments.mappings):
        some = [(msrs, name, 1) for name in days + nights]
        some += [(data / "m3svd", clip, 12) for clip in clips]
        if seed < max(arguments.mappings // 5, 1):
            some += [(msrs, name, 12) for name in days[:6] + nights[:6]]
        for folder, name, frames in some:
            rig = rigs.get(name, rigs["msrs"])
            jobs[seed, name, frames] = (str(folder), name, rig, seed, frames)
    return jobs


if __name__ == "__main__":
    main()
