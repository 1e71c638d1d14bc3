"""Measures the error of the time offset, on real clips and on pairs of unrelated ones.

    python tools/time_offset.py ../shared/data/m3svd

Thermal stamps get constant errors of -200 to 200 ms, at the full rate and with two of three thermal
frames dropped. The mapping is known, or searched together with the time offset, or found from the
scene between two estimates, as in `ssvif calibrate --time-offset`. The tool writes
docs/results/time_offset.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ssvif_core.calibration.scene import calibrate_from_scene
from ssvif_core.calibration.time_offset import time_offset
from ssvif_core.machine import describe_machine
from ssvif_core.recordings.video import video_pairs
from ssvif_core.types import AnyArray, Pair, UInt8Array

Frame = tuple[int, UInt8Array, AnyArray]  # stamp in ns, visible and thermal image

ROOT = Path(__file__).parents[1]
SHIFTS = (-200, -150, -111, -50, -7, 0, 13, 50, 87, 150, 200)  # ms
FEW_SHIFTS = (-111, 0, 87)  # ms
RATES = {"full": 1, "third": 3}  # name -> every n-th thermal frame
console = Console(width=110)


def read(folder: Path, name: str) -> list[Frame]:
    """All frames of a clip."""
    pairs = video_pairs(folder / "vi" / f"{name}.mp4", folder / "ir" / f"{name}.mp4")
    return [(pair.visible_stamp, pair.visible, pair.thermal) for pair in pairs]


def measure(
    visible_clip: list[Frame],
    thermal_clip: list[Frame],
    shift_ms: int,
    every: int,
    mapping: str,
) -> dict[str, Any]:
    """One estimate; `shift_ms` is subtracted from the thermal stamps, so it is the right answer."""
    start = time.perf_counter()
    visible = [(stamp, image) for stamp, image, _ in visible_clip]
    thermal = [
        (stamp - shift_ms * 1_000_000, image)
        for stamp, _, image in thermal_clip[every - 1 :: every]
    ]
    # The clips are registered.
    offset = time_offset(visible, thermal, np.eye(3) if mapping == "known" else None)
    if mapping == "found" and offset.confident:
        scene = calibrate_from_scene(simultaneous(visible, thermal, offset.seconds))
        if scene.pair is not None:
            offset = time_offset(visible, thermal, scene.pair.homography)
    return {
        "shift_ms": shift_ms,
        "error_ms": round(1000 * offset.seconds - shift_ms, 2) if offset.confident else None,
        "uncertainty_ms": round(1000 * offset.uncertainty, 2) if offset.confident else None,
        "reason": offset.reason,
        "seconds": round(time.perf_counter() - start, 1),
    }


def simultaneous(
    visible: list[tuple[int, UInt8Array]], thermal: list[tuple[int, AnyArray]], offset_s: float
) -> list[Pair]:
    """About 24 pairs of nearest images, after `offset_s` is added to the thermal stamps."""
    stamps = np.array([stamp for stamp, _ in visible])
    pairs = []
    for stamp, image in thermal[:: max(len(thermal) // 24, 1)]:
        nearest = int(np.abs(stamps - stamp - offset_s * 1e9).argmin())
        pairs.append(Pair(visible[nearest][1], image))
    return pairs


def summary(runs: list[dict[str, Any]], residual_ms: float) -> dict[str, Any]:
    """Sizes of the errors: against the stamps of the clip, and against the residual of the clip."""
    errors = np.array([run["error_ms"] for run in runs if run["error_ms"] is not None])
    result: dict[str, Any] = {"runs": len(runs), "refused": len(runs) - len(errors)}
    for name, values in (("", errors), ("_beside_residual", errors - residual_ms)):
        if len(values):
            sizes = np.abs(values)
            result[f"error_ms{name}"] = {
                "median": round(float(np.median(sizes)), 2),
                "p95": round(float(np.percentile(sizes, 95)), 2),
                "max": round(float(sizes.max()), 2),
            }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with vi/*.mp4 and ir/*.mp4")
    arguments = parser.parse_args()
    names = sorted(path.stem for path in (arguments.folder / "vi").glob("*.mp4"))
    if not names:
        parser.error(f"{arguments.folder}: no vi/*.mp4; expected clips as in M3SVD")
    clips = {name: read(arguments.folder, name) for name in names}
    rows = []
    total = len(names) * len(RATES) * (len(SHIFTS) + 2 * len(FEW_SHIFTS))
    with Progress(console=console) as bar:
        task = bar.add_task("clips", total=total)
        for name, clip in clips.items():
            residual_ms: float | None = None
            plan = (("known", SHIFTS), ("searched", FEW_SHIFTS), ("found", FEW_SHIFTS))
            for mapping, shifts in plan:
                for rate, every in RATES.items():
                    runs = []
                    for shift in sorted(shifts, key=abs):  # 0 first, because it gives the residual
                        runs.append(measure(clip, clip, shift, every, mapping))
                        if residual_ms is None and runs[-1]["error_ms"] is not None:
                            residual_ms = runs[-1]["error_ms"]
                        bar.advance(task)
                    rows.append({
                        "clip": name, "mapping": mapping, "rate": rate, "residual_ms": residual_ms,
                        **summary(runs, residual_ms or 0.0), "each": runs,
                    })  # fmt: skip
    # Images of two different clips have no time offset, so every answer is wrong.
    unrelated = [
        {"visible": first, "thermal": second, **measure(clips[first], clips[second], 0, 1, mapping)}
        for first in names
        for second in names
        for mapping in ("known", "searched")
        if first != second
    ]
    refused = sum(run["error_ms"] is None for run in unrelated)
    result = {
        "machine": describe_machine(),
        "command": "python tools/time_offset.py ../shared/data/m3svd",
        "date": time.strftime("%Y-%m-%d"),
        "what": "error_ms: against the clips' own stamps; error_ms_beside_residual: against the "
        "first estimate without shift of the same clip; rate third: two of three thermal frames "
        "dropped",
        "clips": rows,
        "unrelated": {
            "runs": len(unrelated),
            "refused": refused,
            "each": unrelated,
        },
    }
    path = ROOT / "docs/results/time_offset.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    columns = ("clip", "mapping", "rate", "runs", "refused", "residual_ms")
    table = Table(*columns, "error", "beside residual", title="errors in ms: median / 95 % / max")
    for row in rows:
        errors = (row.get(key, {}) for key in ("error_ms", "error_ms_beside_residual"))
        table.add_row(
            *(str(row[key]) for key in columns),
            *(" / ".join(str(error.get(key, "-")) for key in ("median", "p95", "max"))
              for error in errors),
        )  # fmt: skip
    console.print(table)
    console.print(f"unrelated clips refused: {refused} of {len(unrelated)}")
    console.print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
