"""Trains a model that fuses and names classes, on a GPU. The shipped weights were made with it.

    python tools/train_overlay.py pack DATA --labelled msrs/train --unlabelled roadscene/train ...
    python tools/train_overlay.py train DATA OUT [--seconds 120] [--hold-out] [--set pixel=0]
    python tools/train_overlay.py finish DATA OUT --weights WEIGHTS --set steps=1000 labelled=8

`pack` writes pairs and masks as small files, to copy them to a machine with a GPU. `train` needs
only PyTorch, OpenCV and safetensors there, not the other dependencies of this project. With
--hold-out, every fifth labelled pair is left out of the training and scored.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
import torch

from ssvif_core.models import Model, ModelConfig, load_model, save_model
from ssvif_core.models.fusion import fused_colour, luma_of
from ssvif_core.training.data.deck import Deck
from ssvif_core.training.overlay import (
    OverlayConfig,
    OverlayTrainer,
    finish_fusion,
    scores,
    train_overlay,
)
from ssvif_core.types import UInt8Array

NAMES = ("background", "person", "bicycle", "car")
QUALITY = 92  # of the JPEG files

PackedPair = tuple[UInt8Array, UInt8Array, UInt8Array | None]  # visible, thermal, mask


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["pack", "train", "finish"])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--labelled", type=Path, nargs="*", default=[])
    parser.add_argument("--unlabelled", type=Path, nargs="*", default=[])
    parser.add_argument("--weights", type=Path, help="weights to start from; finish needs them")
    parser.add_argument("--size", default="s")
    parser.add_argument("--network", default="trunk")
    parser.add_argument("--hold-out", action="store_true")
    parser.add_argument("--every", type=int, default=1000, help="steps between two logs")
    parser.add_argument("--seconds", type=float, default=0, help="choose the steps for this time")
    parser.add_argument(
        "--set", nargs="*", default=[], help="settings, such as pixel=0 loss.ssim=4"
    )
    arguments = parser.parse_args()
    if arguments.what == "pack":
        pack(arguments.data, arguments.labelled, arguments.unlabelled)
    elif arguments.what == "train":
        train(arguments)
    else:
        finish(arguments)


def pack(out: Path, labelled: list[Path], unlabelled: list[Path]) -> None:
    """Write the pairs of all folders, and the masks of the labelled ones."""
    from ssvif_core.recordings.layouts import find_pairs
    from ssvif_core.training.data.pairs import PairDataset

    out.mkdir(parents=True, exist_ok=True)
    count = 0
    for root in [*labelled, *unlabelled]:
        dataset = PairDataset([find_pairs(root)])
        for index in range(len(dataset)):
            visible, thermal = dataset[index]
            stem = out / f"{count:05d}"
            quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
            cv2.imwrite(f"{stem}_vi.jpg", visible, quality)
            cv2.imwrite(f"{stem}_ir.jpg", thermal, quality)
            mask = dataset.mask(index) if root in labelled else None
            if mask is not None:
                cv2.imwrite(f"{stem}_mask.png", mask)
            count += 1
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(f"{out}: {count} pairs, {size:.0f} MB")


def read(folder: Path) -> list[PackedPair]:
    """The pairs that `pack` wrote."""
    pairs = []
    for file in sorted(folder.glob("*_vi.jpg")):
        stem = str(file).removesuffix("_vi.jpg")
        thermal: Any = cv2.imread(f"{stem}_ir.jpg", cv2.IMREAD_GRAYSCALE)
        mask_file = Path(f"{stem}_mask.png")
        mask: Any = (
            cv2.imread(str(mask_file), cv2.IMREAD_GRAYSCALE) if mask_file.is_file() else None
        )
        visible: Any = cv2.imread(str(file))
        pairs.append((visible, thermal, mask))
    return pairs


def settings(texts: list[str]) -> OverlayConfig:
    """The default settings with changes such as `pixel=0` or `loss.ssim=4`."""
    config: Any = OverlayConfig()
    for text in texts:
        key, value = text.split("=")
        *parents, last = key.split(".")
        part = getattr(config, parents[0]) if parents else config
        old = getattr(part, last)
        if isinstance(old, tuple):
            new: object = tuple(map(float, value.split(",")))
        else:
            new = value == "true" if isinstance(old, bool) else type(old)(value)
        part = dataclasses.replace(part, **{last: new})
        config = dataclasses.replace(config, **{parents[0]: part}) if parents else part
    return config  # type: ignore[no-any-return]


def train(arguments: argparse.Namespace) -> None:
    """Train a model, and log losses and scores as JSON lines next to it."""
    started = time.monotonic()
    config = settings(arguments.set)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    all_pairs = read(arguments.data)
    labelled = [(v, t, mask) for v, t, mask in all_pairs if mask is not None]
    held_out = labelled[::5] if arguments.hold_out else []
    learned = [pair for index, pair in enumerate(labelled) if not held_out or index % 5]
    # Training uses the images of the held-out pairs, but not their masks.
    unlabelled = [pair for pair in all_pairs if pair[2] is None] + learned + held_out
    torch.manual_seed(config.seed)
    if arguments.weights:
        model = load_model(arguments.weights)
    else:
        model = Model(ModelConfig(arguments.network, arguments.size), NAMES)
    trainer = OverlayTrainer(
        model, Deck(learned, len(NAMES), device), Deck(unlabelled, len(NAMES), device), config
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    log = arguments.out.with_suffix(".jsonl").open("w")
    note = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "torch": torch.__version__, "config": dataclasses.asdict(config),
            "learned": len(learned), "unlabelled": len(unlabelled), "held": len(held_out),
            "read_seconds": round(time.monotonic() - started, 1)}  # fmt: skip
    write_line(log, note)

    def report(step: int, losses: dict[str, float]) -> None:
        line: dict[str, object] = {"step": step, "seconds": round(time.monotonic() - started, 1)}
        line |= {name: round(value, 4) for name, value in losses.items()}
        if held_out:
            line["held_fusion"] = round(fusion_loss(trainer, held_out[::4], device), 4)
            for name, smooth in (("iou", True), ("iou_blocks", False)):
                result = scores(trainer.result, held_out, device, smooth)
                line[name] = [round(float(iou), 3) for iou in result.iou]
                line["m" + name] = round(result.mean_iou, 4)
        write_line(log, line)
        temporary = arguments.out.with_suffix(".part.safetensors")
        save_model(trainer.result, temporary)
        temporary.replace(arguments.out)

    if arguments.seconds:
        fit_time(trainer, arguments.seconds)
        write_line(log, {"steps": trainer.config.steps})
    train_overlay(trainer, report, arguments.every)


def finish(arguments: argparse.Namespace) -> None:
    """Train the fused image further, and nothing else."""
    config = settings(arguments.set)
    model = load_model(arguments.weights)
    pairs = Deck(read(arguments.data), len(NAMES), torch.device("cpu"))
    losses: list[float] = []

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if step % arguments.every == 0:
            print(step, round(float(np.mean(losses[-arguments.every :])), 4), flush=True)

    finish_fusion(model, pairs, config, report)
    save_model(model, arguments.out)


def fit_time(trainer: OverlayTrainer, seconds: float, start: int = 20, measured: int = 40) -> None:
    """Choose the number of steps that takes `seconds` on this machine."""
    steps_per_second = 0.0
    for count in (start, measured):
        started = time.monotonic()
        for _ in range(count):
            trainer.advance()
        float(trainer.losses["total"])  # waits for the device
        steps_per_second = count / (time.monotonic() - started)
    steps = max(int(steps_per_second * seconds), start + measured + 1)
    trainer.config = dataclasses.replace(trainer.config, steps=steps)


@torch.no_grad()
def fusion_loss(
    trainer: OverlayTrainer, pairs: Sequence[PackedPair], device: torch.device
) -> float:
    """L_fus of the result; the mean over uncropped pairs."""
    losses = []
    for visible, thermal, _ in pairs:
        v = torch.from_numpy(visible).to(device).permute(2, 0, 1)[None].float() / 255
        t = torch.from_numpy(thermal).to(device)[None, None].float() / 255
        image = fused_colour(v, trainer.result.fusion(v, t).change)
        losses.append(float(trainer.fusion_loss(luma_of(image), luma_of(v), t)["total"]))
    return float(np.mean(losses))


def write_line(log: TextIO, line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)
    log.write(json.dumps(line) + "\n")
    log.flush()


if __name__ == "__main__":
    main()
