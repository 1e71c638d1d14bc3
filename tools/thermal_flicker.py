"""Measures the flicker of several thermal gains: `python tools/thermal_flicker.py`.

The input is generated drives of 8, 12, 14 and 16 bits at 30 Hz, in three versions: unchanged; with
a hot object that passes for one second; and with a flat-field correction (frozen for half a second,
then all counts 1.6 K higher). Each gain turns the frames into grey. The reference is the same
frames without the jump of the correction, in the fixed range of the first frame. Motion and noise
are in both, so `flicker` and `wobble` of `ssvif_core.metrics.temporal` show the effect of the gain,
in grey levels of 255.

It also measures the time of the thermal stream and of its parts for 640x512 in 16 bits, on one
thread. It writes docs/results/thermal.json and prints the same figures as tables.
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
from ssvif_core.metrics.temporal import Flicker, LumaFrame, flicker
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
from ssvif_core.types import AnyArray, UInt8Array

ROOT = Path(__file__).parents[1]
RATE, SIZE = 30, (320, 256)  # Hz; width, height
HOT, JUMP = 207.0, 1.6  # degC; K
BITS = (8, 12, 14, 16)
console = Console()

Frames = list[AnyArray]  # counts
Gain = Callable[[AnyArray, int], UInt8Array]  # counts, stamp in ns -> grey


def sequences(seconds: int, bits: int) -> dict[str, tuple[Frames, Frames]]:
    """Name -> the frames, and the same frames without the jump of the camera."""
    config = DriveConfig(
        condition="day", frames=RATE * seconds, fps=RATE, visible_size=SIZE, thermal_size=SIZE,
        dead_pixels=0, thermal_bits=bits,
    )  # fmt: skip
    zero, step = THERMAL_SCALES[bits]
    highest = 2**bits - 1
    drive = [scene.thermal for scene in DriveGenerator(config)]
    start = len(drive) // 3
    hottest = min(round((HOT - zero) / step), highest)
    hot = [frame.copy() for frame in drive]
    for n in range(RATE):
        x = round((n / RATE) * (SIZE[0] + 80)) - 40
        cv2.circle(hot[start + n], (x, 160), 40, hottest, -1, cv2.LINE_8)  # 6 % of the image
    frozen = list(drive)
    for n in range(RATE // 2):
        frozen[start + n] = drive[start]
    jump_at = start + RATE // 2
    jumped = frozen[:jump_at] + [
        np.minimum(frame.astype(int) + round(JUMP / step), highest).astype(frame.dtype)
        for frame in frozen[jump_at:]
    ]
    return {
        "steady": (drive, drive),
        "hot object passes": (hot, hot),
        "FFC jump": (jumped, frozen),
    }


def new_gains(bits: int) -> dict[str, Gain]:
    """Name -> gain without a history."""
    zero, step = THERMAL_SCALES[bits]

    def min_max(counts: AnyArray, _: int) -> UInt8Array:
        low, high = float(counts.min()), float(counts.max())
        return to_grey(counts, np.array((low, max(high, low + 1))), *counts.shape)

    def percentiles(counts: AnyArray, _: int) -> UInt8Array:
        low, high = np.percentile(counts, (0.5, 99.5))
        return to_grey(counts, np.array((low, max(high, low + 1))), *counts.shape)

    def ours(mode: str) -> Gain:
        stream = ThermalStream(ThermalConfig(mode, scale=step, offset=zero))

        def gain(counts: AnyArray, stamp: int) -> UInt8Array:
            frame = stream(counts, stamp)
            return to_grey(frame.thermal, frame.range, *counts.shape)

        return gain

    return {
        "min-max of each frame": min_max,
        "percentiles of each frame": percentiles,
        **{mode: ours(mode) for mode in ("percentile", "plateau", "temperature")},
    }


def measure_gains(seconds: int) -> list[dict[str, object]]:
    """Flicker, wobble and contrast of each gain, for each number of bits and each sequence."""
    rows: list[dict[str, object]] = []
    all_sequences = [(bits, *item) for bits in BITS for item in sequences(seconds, bits).items()]
    for bits, sequence, (frames, without_jump) in all_sequences:
        fixed = ThermalGain(stretch_8_bit=True).update(without_jump[0])
        reference = [to_grey(frame, fixed, *frame.shape) for frame in without_jump]
        for name, gain in new_gains(bits).items():
            grey = [gain(frame, (1 + n) * 1_000_000_000 // RATE) for n, frame in enumerate(frames)]
            luma_frames = [LumaFrame(r, r, g) for r, g in zip(reference, grey, strict=True)]
            results = [flicker(earlier, later) for earlier, later in pairwise(luma_frames)]
            wobbles = [result.wobble for result in results]
            rows.append({
                "bits": bits, "sequence": sequence, "way": name,
                "flicker": round(float(np.nanmean([result.flicker for result in results])), 3),
                "wobble": round(float(np.nanmean(wobbles)), 3),
                "worst_wobble": round(float(np.nanmax(wobbles)), 2),
                "contrast": round(float(np.mean([image.std() for image in grey])), 1),
            })  # fmt: skip
    return rows


def fused_clip(visible: Path, thermal: Path) -> dict[str, dict[str, float]]:
    """Mean flicker, mean wobble and worst wobble of a fused clip.

    The clip is fused with each frame's own range of counts, and as the node fuses it. The reference
    is the thermal frames of the clip.
    """
    own_range = ThermalConfig(mode="percentile", percentiles=(1e-3, 100 - 1e-3), smoothing=0.0)
    pipelines = {
        "min-max of each frame": FusionPipeline(thermal=own_range),
        "ours": FusionPipeline(),
    }
    previous: dict[str, LumaFrame] = {}
    changes: dict[str, list[Flicker]] = {name: [] for name in pipelines}
    for pair in video_pairs(visible, thermal):
        for name, pipeline in pipelines.items():
            fused = luma_of_bgr(pipeline(pair).fused)
            frame = LumaFrame(luma_of_bgr(pair.visible), pair.thermal, fused)
            if name in previous:
                changes[name].append(flicker(previous[name], frame))
            previous[name] = frame
    return {
        name: {"flicker": round(float(np.mean([result.flicker for result in results])), 3),
               "wobble": round(float(np.mean([result.wobble for result in results])), 3),
               "worst_wobble": round(float(np.max([result.wobble for result in results])), 2)}
        for name, results in changes.items()
    }  # fmt: skip


def durations(runs: int) -> dict[str, dict[str, float]]:
    """Milliseconds per frame of 640x512 in 16 bits: median and 95th percentile."""
    config = DriveConfig(
        condition="day", fps=10, visible_size=(640, 512), thermal_size=(640, 512), thermal_bits=16,
        dead_pixels=40,
    )  # fmt: skip
    scenes = DriveGenerator(config)
    frames = [scenes.frame(n).thermal for n in range(30)]

    def measure(step: Callable[[AnyArray, int], object], period_ns: int) -> dict[str, float]:
        for n in range(60):  # 6 s, enough to find the dead pixels
            step(frames[n % 30], (1 + n) * 100_000_000)
        times_ms = []
        for n in range(runs):
            start = time.perf_counter()
            step(frames[n % 30], 6_000_000_000 + (1 + n) * period_ns)
            times_ms.append(1000 * (time.perf_counter() - start))
        p50, p95 = np.percentile(times_ms, (50, 95))
        return {"median": round(float(p50), 3), "p95": round(float(p95), 3)}

    period_ns = 1_000_000_000 // RATE
    repair = DeadPixels()
    rows = {
        "repair, pixels found, no look": measure(
            lambda frame, stamp: repair(frame, stamp, learn=stamp < 6e9), period_ns
        ),
        "repair with a look at the whole frame": measure(DeadPixels(), 100_000_000),
        "shutter": measure(ShutterWatch(), period_ns),
    }
    for mode in ("auto", "percentile", "plateau", "temperature"):
        stream = ThermalStream(ThermalConfig(mode, scale=0.01))
        rows[f"whole stream, {mode}"] = measure(stream, period_ns)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=6, help="length of each sequence")
    parser.add_argument("--runs", type=int, default=300, help="number of timed frames")
    parser.add_argument("--clip", type=Path, nargs=2, help="visible and thermal video to fuse")
    arguments = parser.parse_args()
    path = ROOT / "docs/results/thermal.json"
    if arguments.clip:
        results = json.loads(path.read_text())
        results["fused_clip"] = {
            "command": "python tools/thermal_flicker.py --clip " + " ".join(
                map(str, arguments.clip)),
            **fused_clip(*arguments.clip),
        }  # fmt: skip
        path.write_text(json.dumps(results, indent=2) + "\n")
        console.print(results["fused_clip"])
        return
    cv2.setNumThreads(1)
    rows, times = measure_gains(arguments.seconds), durations(arguments.runs)
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
    earlier = json.loads(path.read_text()) if path.is_file() else {}
    if "fused_clip" in earlier:
        result["fused_clip"] = earlier["fused_clip"]
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
