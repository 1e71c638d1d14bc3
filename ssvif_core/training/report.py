"""What is to say about a run when it is over: machine, times and health of each stage."""

from __future__ import annotations

import json
import resource
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch


@dataclass
class Report:
    """The content of `run.json`.

    Attributes:
        machine: in words.
        stages: by label, the number of steps, the time and the memory of a finished stage.
        health: sentences about finished stages that a person should read.
    """

    machine: str
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    health: list[str] = field(default_factory=list)

    def add_stage(self, label: str, steps: int, seconds: float, device: torch.device) -> None:
        """Note down how long a stage took, and how much memory."""
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.stages[label] = {
            "steps": steps,
            "seconds": round(seconds, 1),
            "steps_per_second": round(steps / seconds, 2) if steps else 0.0,
            "peak_memory_mb": round(memory),
        }
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated() / 2**20
            self.stages[label]["peak_gpu_memory_mb"] = round(peak)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def continue_from(self, path: Path) -> None:
        """Take over the stages that an earlier process finished."""
        if path.is_file():
            before = json.loads(path.read_text())
            self.stages, self.health = before["stages"], before["health"]
