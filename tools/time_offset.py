"""Measures how exactly the delay between two streams is found, on real clips and unrelated ones.

    python tools/time_offset.py ../shared/data/m3svd

Thermal stamps get constant errors of -200 to 200 ms, at the full rate and with two of three thermal
frames dropped. The mapping is known; or searched with the delay; or, as `ssvif calibrate
--time-offset` does it, found from the scene between two estimates. Writes
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
from ssvif_core.types import Pair

ROOT = Path(__file__).parents[1]
SHIFTS = (-200, -150, -111, -50, -7, 0, 13, 50, 87, 150, 200)  # ms
FEW = (-111, 0, 87)
RATES = {"full": 1, "third": 3}
console = Console(width=110)


def read(folder: Path, name: str) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Stamp, visible and thermal image of every frame of a clip."""
    pairs = video_pairs(folder / "vi" / f"{name}.mp4", folder / "ir" / f"{name}.mp4")
    return [(one.visible_stamp, one.visible, one.thermal) for one in pairs]


def measure(
    visible: list[tuple[int, np.ndarray, np.ndarray]],
    thermal: list[tuple[int, np.ndarray, np.ndarray]],
    shift: int,
    every: int,
    mapping: str,
) -> dict[str, Any]:
    """One estimate, with thermal stamps late by `-shift` ms: the answer should be `shift`."""
    start = time.perf_counter()
    seen = [(stamp, image) for stamp, image, _ in visible]
    warm = [(stamp - shift * 1_000_000, image) for stamp, _, image in thermal[every - 1 :: every]]
    # The clips are registered.
    found = time_offset(seen, warm, np.eye(3) if mapping == "known" else None)
    if mapping == "found" and found.confident:
        scene = calibrate_from_scene(simultaneous(seen, warm, found.seconds))
        if scene.pair is not None:
            found = time_offset(seen, warm, scene.pair.homography)
    return {
        "shift_ms": shift,
        "error_ms": round(1000 * found.seconds - shift, 2) if found.confident else None,
        "uncertainty_ms": round(1000 * found.uncertainty, 2) if found.confident else None,
        "reason": found.reason,
        "seconds": round(time.perf_counter() - start, 1),
    }


def simultaneous(
    visible: list[tuple[int, np.ndarray]], thermal: list[tuple[int, np.ndarray]], offset: float
) -> list[Pair]:
    """Some 24 pairs of nearest images once `offset` (s) is added to the thermal stamps."""
    stamps = np.array([stamp for stamp, _ in visible])
    pairs = []
    for stamp, image in thermal[:: max(len(thermal) // 24, 1)]:
        nearest = int(np.abs(stamps - stamp - offset * 1e9).argmin())
        pairs.append(Pair(visible[nearest][1], image))
    return pairs


def summary(runs: list[dict[str, Any]], residual: float) -> dict[str, Any]:
    """Errors of one clip or of all, against the clips as they are and against their residual."""
    errors = np.array([run["error_ms"] for run in runs if run["error_ms"] is not None])
    result: dict[str, Any] = {"runs": len(runs), "refused": len(runs) - len(errors)}
    for name, values in (("", errors), ("_beside_residual", errors - residual)):
        if len(values):
            size = np.abs(values)
            result[f"error_ms{name}"] = {
                "median": round(float(np.median(size)), 2),
                "p95": round(float(np.percentile(size, 95)), 2),
                "max": round(float(size.max()), 2),
            }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with vi/*.mp4 and ir/*.mp4")
    arguments = parser.parse_args()
    names = sorted(path.stem for path in (arguments.folder / "vi").glob("*.mp4"))
    if not names:
        parser.error(f"{arguments.folder}: no vi/*.mp4; expected clips like M3SVD's")
    clips = {name: read(arguments.folder, name) for name in names}
    rows = []
    total = len(names) * len(RATES) * (len(SHIFTS) + 2 * len(FEW))
    with Progress(console=console) as bar:
        task = bar.add_task("clips", total=total)
        for name, clip in clips.items():
            residual: float | None = None
            for mapping, shifts in (("known", SHIFTS), ("searched", FEW), ("found", FEW)):
                for rate, every in RATES.items():
                    runs = []
                    for shift in sorted(shifts, key=abs):  # 0 first: it tells the residual
                        runs.append(measure(clip, clip, shift, every, mapping))
                        if residual is None and runs[-1]["error_ms"] is not None:
                            residual = runs[-1]["error_ms"]
                        bar.advance(task)
                    rows.append({
                        "clip": name, "mapping": mapping, "rate": rate,
                        "residual_ms": residual, **summary(runs, residual or 0.0), "each": runs,
                    })  # fmt: skip
    # A clip beside the thermal side of another has no delay; its answers are all wrong.
    unrelated = [
        {"visible": one, "thermal": other, **measure(clips[one], clips[other], 0, 1, mapping)}
        for one in names
        for other in names
        for mapping in ("known", "searched")
        if one != other
    ]
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
            "refused": sum(run["error_ms"] is None for run in unrelated),
            "each": unrelated,
        },
    }
    path = ROOT / "docs/results/time_offset.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    columns = ("clip", "mapping", "rate", "runs", "refused", "residual_ms")
    kinds = ("error_ms", "error_ms_beside_residual")
    table = Table(*columns, "error", "beside residual", title="errors in ms: median / 95 % / max")
    for row in rows:
        errors = (row.get(kind, {}) for kind in kinds)
        table.add_row(
            *(str(row[key]) for key in columns),
            *(" / ".join(str(error.get(k, "-")) for k in ("median", "p95", "max"))
              for error in errors),
        )  # fmt: skip
    console.print(table)
    refused = result["unrelated"]["refused"]  # type: ignore[index]
    console.print(f"unrelated clips refused: {refused} of {len(unrelated)}")
    console.print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
