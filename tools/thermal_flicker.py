"""Measures how steady each way of showing thermal counts is: `python tools/thermal_flicker.py`.

Generated drives of 8, 12, 14 and 16 bits at 30 Hz: as they are; something hot passes for a second;
the camera corrects itself (half a second frozen, then all counts lie 1.6 K higher). Each frame
becomes grey, and the grey stream is compared with the one of the same frames without the jump,
shown in one fixed range, that of the first frame. So what moves or is noisy counts in both, and
what is left comes from the gain: `flicker` and `wobble` of `ssvif_core.metrics.temporal`, in grey
levels of 255.

Also measures the time of each way and of the repair, 640x512 in 16 bits, on one thread. Writes
docs/results/thermal.json and prints the same as tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from ssvif_core.machine import describe_machine
from ssvif_core.metrics.temporal import LumaFrame, flicker
from ssvif_core.metrics.validate import luma_of_bgr
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.video import video_pairs
from ssvif_core.synthetic import DriveConfig, DriveGenerator
from ssvif_core.synthetic.config import THERMAL_SCALES
from ssvif_core.thermal import (
    DeadPixels,
    ShutterWatch,
    ThermalConfig,
    ThermalGain,
    ThermalStream,
    to_grey,
)

ROOT = Path(__file__).parents[1]
RATE, SIZE = 30, (320, 256)  # Hz; width, height
HOT, JUMP = 207.0, 1.6  # degC; K
BITS = (8, 12, 14, 16)
console = Console()

Frames = list[np.ndarray]
Show = Callable[[np.ndarray, int], np.ndarray]  # counts, stamp -> grey


def sequences(seconds: int, bits: int) -> dict[str, tuple[Frames, Frames]]:
    """By name: the frames, and the same without what the camera does to them."""
    config = DriveConfig(
        condition="day", frames=RATE * seconds, fps=RATE, visible_size=SIZE, thermal_size=SIZE,
        dead_pixels=0, thermal_bits=bits,
    )  # fmt: skip
    zero, step = THERMAL_SCALES[bits]
    full = 2**bits - 1
    drive = [scene.thermal for scene in DriveGenerator(config)]
    start = len(drive) // 3
    hottest = min(round((HOT - zero) / step), full)
    hot = [frame.copy() for frame in drive]
    for n in range(RATE):
        x = round((n / RATE) * (SIZE[0] + 80)) - 40
        cv2.circle(hot[start + n], (x, 160), 40, hottest, -1, cv2.LINE_8)  # 6 % of the image
    calm = list(drive)
    for n in range(RATE // 2):
        calm[start + n] = drive[start]
    first = start + RATE // 2
    jumped = calm[:first] + [
        np.minimum(frame.astype(int) + round(JUMP / step), full).astype(frame.dtype)
        for frame in calm[first:]
    ]
    return {
        "steady": (drive, drive),
        "hot object passes": (hot, hot),
        "FFC jump": (jumped, calm),
    }


def ways(bits: int) -> dict[str, Show]:
    """Fresh, by name."""
    zero, step = THERMAL_SCALES[bits]

    def least_to_most(counts: np.ndarray, _: int) -> np.ndarray:
        low, high = float(counts.min()), float(counts.max())
        return to_grey(counts, np.array((low, max(high, low + 1))), *counts.shape)

    def percentiles(counts: np.ndarray, _: int) -> np.ndarray:
        low, high = np.percentile(counts, (0.5, 99.5))
        return to_grey(counts, np.array((low, max(high, low + 1))), *counts.shape)

    def ours(mode: str) -> Show:
        stream = ThermalStream(ThermalConfig(mode, scale=step, offset=zero))

        def show(counts: np.ndarray, stamp: int) -> np.ndarray:
            view = stream(counts, stamp)
            return to_grey(view.thermal, view.range, *counts.shape)

        return show

    return {
        "min-max of each frame": least_to_most,
        "percentiles of each frame": percentiles,
        **{mode: ours(mode) for mode in ("percentile", "plateau", "temperature")},
    }


def steadiness(seconds: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    every = [(bits, *item) for bits in BITS for item in sequences(seconds, bits).items()]
    for bits, sequence, (frames, undisturbed) in every:
        fixed = ThermalGain(stretch_8_bit=True).update(undisturbed[0])
        reference = [to_grey(frame, fixed, *frame.shape) for frame in undisturbed]
        for way, show in ways(bits).items():
            grey = [show(f, (1 + n) * 1_000_000_000 // RATE) for n, f in enumerate(frames)]
            moments = [LumaFrame(r, r, g) for r, g in zip(reference, grey, strict=True)]
            results = [flicker(a, b) for a, b in pairwise(moments)]
            wobbles = [r.wobble for r in results]
            rows.append({
                "bits": bits, "sequence": sequence, "way": way,
                "flicker": round(float(np.nanmean([r.flicker for r in results])), 3),
                "wobble": round(float(np.nanmean(wobbles)), 3),
                "worst_wobble": round(float(np.nanmax(wobbles)), 2),
                "contrast": round(float(np.mean([g.std() for g in grey])), 1),
            })  # fmt: skip
    return rows


def fused_clip(visible: Path, thermal: Path) -> dict[str, dict[str, float]]:
    """Mean flicker and wobble, and worst wobble, of a clip fused with each frame's own range of
    counts, and as the node does it; against the clip's thermal frames as they came."""
    apart = ThermalConfig(mode="percentile", percentiles=(1e-3, 100 - 1e-3), smoothing=0.0)
    pipelines = {"min-max of each frame": FusionPipeline(thermal=apart), "ours": FusionPipeline()}
    before: dict[str, LumaFrame] = {}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in pipelines}
    for pair in video_pairs(visible, thermal):
        for way, pipeline in pipelines.items():
            fused = luma_of_bgr(pipeline(pair).fused)
            frame = LumaFrame(luma_of_bgr(pair.visible), pair.thermal, fused)
            if way in before:
                one = flicker(before[way], frame)
                found[way].append((one.flicker, one.wobble))
            before[way] = frame
    return {
        way: {"flicker": round(float(np.mean([f for f, _ in values])), 3),
              "wobble": round(float(np.mean([w for _, w in values])), 3),
              "worst_wobble": round(float(np.max([w for _, w in values])), 2)}
        for way, values in found.items()
    }  # fmt: skip


def durations(runs: int) -> dict[str, dict[str, float]]:
    """ms for a frame of 640x512 in 16 bits: median and 95th percentile."""
    config = DriveConfig(
        condition="day", fps=10, visible_size=(640, 512), thermal_size=(640, 512), thermal_bits=16,
        dead_pixels=40,
    )  # fmt: skip
    scenes = DriveGenerator(config)
    frames = [scenes.frame(n).thermal for n in range(30)]

    def measured(step: Callable[[np.ndarray, int], object], stride: int) -> dict[str, float]:
        for n in range(60):  # seconds enough to find the dead pixels
            step(frames[n % 30], (1 + n) * 100_000_000)
        times = []
        for n in range(runs):
            start = time.perf_counter()
            step(frames[n % 30], 6_000_000_000 + (1 + n) * stride)
            times.append(1000 * (time.perf_counter() - start))
        p50, p95 = np.percentile(times, (50, 95))
        return {"median": round(float(p50), 3), "p95": round(float(p95), 3)}

    period = 1_000_000_000 // RATE
    pixels = DeadPixels()
    rows = {
        "repair, pixels found, no look": measured(lambda f, t: pixels(f, t, learn=t < 6e9), period),
        "repair with a look at the whole frame": measured(DeadPixels(), 100_000_000),
        "shutter": measured(ShutterWatch(), period),
    }
    for mode in ("auto", "percentile", "plateau", "temperature"):
        stream = ThermalStream(ThermalConfig(mode, scale=0.01))
        rows[f"whole stream, {mode}"] = measured(stream, period)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=6, help="length of each sequence")
    parser.add_argument("--runs", type=int, default=300, help="frames that are timed")
    parser.add_argument("--clip", type=Path, nargs=2, help="visible and thermal video to fuse")
    arguments = parser.parse_args()
    path = ROOT / "docs/results/thermal.json"
    if arguments.clip:
        told = json.loads(path.read_text())
        told["fused_clip"] = {
            "command": "python tools/thermal_flicker.py --clip " + " ".join(
                map(str, arguments.clip)),
            **fused_clip(*arguments.clip),
        }  # fmt: skip
        path.write_text(json.dumps(told, indent=2) + "\n")
        console.print(told["fused_clip"])
        return
    cv2.setNumThreads(1)
    rows, times = steadiness(arguments.seconds), durations(arguments.runs)
    result = {
        "machine": describe_machine(),
        "command": f"python tools/thermal_flicker.py --seconds {arguments.seconds} "
        f"--runs {arguments.runs}",
        "date": time.strftime("%Y-%m-%d"),
        "size": f"steadiness: thermal {SIZE[0]}x{SIZE[1]} at {RATE} Hz; times: 640x512 "
        "16 bit, 40 dead pixels, one thread",
        "unit": "grey levels of 255; contrast is the standard deviation of the grey image",
        "steadiness": rows,
        "ms_per_frame": times,
    }
    known = json.loads(path.read_text()) if path.is_file() else {}
    result |= {name: known[name] for name in ("fused_clip",) if name in known}
    path.write_text(json.dumps(result, indent=2) + "\n")
    table = Table(*rows[0], title="steadiness")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
    table = Table("ms per frame", "median", "p95")
    for name, figures in times.items():
        table.add_row(name, *map(str, figures.values()))
    console.print(table)
    console.print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
