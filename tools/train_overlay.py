"""Train a model that fuses and names: the recipe of the shipped weights, for a GPU.

    python tools/train_overlay.py pack DATA --labelled msrs/train --unlabelled roadscene/train ...
    python tools/train_overlay.py train DATA OUT [--seconds 120] [--hold-out] [--set pixel=0]
    python tools/train_overlay.py finish DATA OUT --weights WEIGHTS --set steps=1000 labelled=8

`pack` writes pairs and masks as small files, so that they can be carried to a machine with a GPU.
`train` needs PyTorch, OpenCV and safetensors there, nothing else of this project's dependencies.
With --hold-out every fifth labelled pair is not learned from, and scored instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

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

NAMES = ("background", "person", "bicycle", "car")
QUALITY = 92  # of the JPEG files


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["pack", "train", "finish"])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--labelled", type=Path, nargs="*", default=[])
    parser.add_argument("--unlabelled", type=Path, nargs="*", default=[])
    parser.add_argument("--weights", type=Path, help="to start from; finish needs it")
    parser.add_argument("--size", default="s")
    parser.add_argument("--network", default="trunk")
    parser.add_argument("--hold-out", action="store_true")
    parser.add_argument("--every", type=int, default=1000, help="steps between two scores")
    parser.add_argument("--seconds", type=float, default=0, help="fit the steps to this time")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as pixel=0 loss.ssim=4")
    arguments = parser.parse_args()
    if arguments.what == "pack":
        pack(arguments.data, arguments.labelled, arguments.unlabelled)
    elif arguments.what == "train":
        train(arguments)
    else:
        finish(arguments)


def pack(out: Path, labelled: list[Path], unlabelled: list[Path]) -> None:
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


def read(folder: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    pairs = []
    for file in sorted(folder.glob("*_vi.jpg")):
        stem = str(file).removesuffix("_vi.jpg")
        thermal = cv2.imread(f"{stem}_ir.jpg", cv2.IMREAD_GRAYSCALE)
        mask = Path(f"{stem}_mask.png")
        ids = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE) if mask.is_file() else None
        pairs.append((cv2.imread(str(file)), thermal, ids))
    return pairs


def settings(texts: list[str]) -> OverlayConfig:
    config = OverlayConfig()
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
    return config


def train(arguments: argparse.Namespace) -> None:
    began = time.monotonic()
    config = settings(arguments.set)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    everything = read(arguments.data)
    labelled = [pair for pair in everything if pair[2] is not None]
    held = labelled[::5] if arguments.hold_out else []
    learned = [pair for index, pair in enumerate(labelled) if not held or index % 5]
    unlabelled = [pair for pair in everything if pair[2] is None] + learned
    if held:
        unlabelled += held  # their masks are unknown, they themselves are not
    torch.manual_seed(config.seed)
    if arguments.weights:
        model = load_model(arguments.weights)
    else:
        model = Model(ModelConfig(arguments.network, arguments.size), NAMES)
    decks = [Deck(pairs, len(NAMES), device) for pairs in (learned, unlabelled)]
    trainer = OverlayTrainer(model, *decks, config)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    log = arguments.out.with_suffix(".jsonl").open("w")
    note = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "torch": torch.__version__, "config": dataclasses.asdict(config),
            "learned": len(learned), "unlabelled": len(unlabelled), "held": len(held),
            "read_seconds": round(time.monotonic() - began, 1)}  # fmt: skip
    tell(log, note)

    def told(step: int, losses: dict[str, float]) -> None:
        line: dict[str, object] = {"step": step, "seconds": round(time.monotonic() - began, 1)}
        line |= {name: round(value, 4) for name, value in losses.items()}
        if held:
            line["held_fusion"] = round(fusion_loss(trainer, held[::4], device), 4)
            for name, smooth in (("iou", True), ("iou_blocks", False)):
                found = scores(trainer.result, held, device, smooth)
                line[name] = [round(float(each), 3) for each in found.iou]
                line["m" + name] = round(found.mean_iou, 4)
        tell(log, line)
        save_model(trainer.result, arguments.out.with_suffix(".part.safetensors"))
        arguments.out.with_suffix(".part.safetensors").replace(arguments.out)

    if arguments.seconds:
        fit_time(trainer, arguments.seconds)
        tell(log, {"steps": trainer.config.steps})
    train_overlay(trainer, told, arguments.every)


def finish(arguments: argparse.Namespace) -> None:
    """Tune the fused image alone."""
    config = settings(arguments.set)
    model = load_model(arguments.weights)
    pairs = Deck(read(arguments.data), len(NAMES), torch.device("cpu"))
    losses: list[float] = []

    def told(step: int, loss: float) -> None:
        losses.append(loss)
        if step % arguments.every == 0:
            print(step, round(float(np.mean(losses[-arguments.every :])), 4), flush=True)

    finish_fusion(model, pairs, config, told)
    save_model(model, arguments.out)


def fit_time(trainer: OverlayTrainer, seconds: float, start: int = 20, measured: int = 40) -> None:
    """Choose the number of steps that take `seconds` here."""
    rate = 0.0
    for count in (start, measured):
        began = time.monotonic()
        for _ in range(count):
            trainer.advance()
        float(trainer.losses["total"])  # waits for the device
        rate = count / (time.monotonic() - began)
    steps = max(int(rate * seconds), start + measured + 1)
    trainer.config = dataclasses.replace(trainer.config, steps=steps)


@torch.no_grad()
def fusion_loss(trainer: OverlayTrainer, pairs, device: torch.device) -> float:  # type: ignore[no-untyped-def]
    """L_fus of the result, mean over whole pairs."""
    losses = []
    for visible, thermal, _ in pairs:
        v = torch.from_numpy(visible).to(device).permute(2, 0, 1)[None].float() / 255
        t = torch.from_numpy(thermal).to(device)[None, None].float() / 255
        image = fused_colour(v, trainer.result.fusion(v, t).change)
        losses.append(float(trainer.fusion_loss(luma_of(image), luma_of(v), t)["total"]))
    return float(np.mean(losses))


def tell(log, line: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    print(json.dumps(line), flush=True)
    log.write(json.dumps(line) + "\n")
    log.flush()


if __name__ == "__main__":
    main()
