"""Measures the classes: names them with a few labelled images, and computes the IoU on others.

    python tools/semantics.py name WEIGHTS ... --alone WEIGHTS --train ... --test ... --out FILE
    python tools/semantics.py supervised WEIGHTS --train msrs/train --test msrs/test --out FILE
    python tools/semantics.py segment NAME=TRAIN_IMAGES:TEST_IMAGES ... --train ... --test ...

`name` fits a naming on 20 labelled training images for each weights file. --tune trains each model
further. --alone also fits one on the features of that file's fusion network only; with weights of
stage 1a it shows the effect of L_fus. `supervised` trains head and fusion network on all masks, or
with --few on those 20. `segment` trains the same small segmentation network on each set of images.
The results are added to --out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.labels import IGNORE
from ssvif_core.metrics.segmentation import confusion_matrix, segmentation_scores
from ssvif_core.models import Model, load_model, save_model
from ssvif_core.models.fusion import FusionFeatures
from ssvif_core.models.pixel_net import PixelNet
from ssvif_core.recordings.images import read_visible
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.training.data.pairs import PairDataset
from ssvif_core.training.naming import Labelled, fit_naming
from ssvif_core.training.prediction import features_of
from ssvif_core.training.tuning import TuningConfig, tune
from ssvif_core.types import UInt8Array

NAMES = ("background", "person", "bicycle", "car")
LABELLED = 20  # images

Results = dict[str, dict[str, float]]  # method -> class or mIoU -> value
Predict = Callable[[UInt8Array, UInt8Array], Tensor]  # visible, thermal -> logits at stride 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["name", "supervised", "segment"])
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--few", action="store_true", help="supervised: use the 20 masks of `name`")
    parser.add_argument("--alone", help="name only the fusion features of these weights")
    parser.add_argument("--tune", type=int, default=0, help="steps of `ssvif name --tune`")
    parser.add_argument("--choice", type=int, default=0, help="another choice of the 20 images")
    parser.add_argument("--save", type=Path, help="file for the first named model")
    arguments = parser.parse_args()
    train, test = read(arguments.train), read(arguments.test)
    started = time.monotonic()
    if arguments.what == "name":
        results = name_models(
            arguments.inputs, train, test, arguments.save, arguments.tune, arguments.choice
        )
        if arguments.alone:
            results |= features_alone(arguments.alone, train, test)
    elif arguments.what == "supervised":
        if arguments.few:
            train = {str(number): pair for number, pair in enumerate(few_of(train))}
        results = supervised(arguments.inputs[0], train, test, arguments.steps, arguments.seed)
    else:
        results = {}
        for item in arguments.inputs:
            name, _, folders = item.partition("=")
            train_images, test_images = (Path(part) for part in folders.split(":"))
            results |= segment(
                f"{name}, seed {arguments.seed}", with_images(train, train_images),
                with_images(test, test_images), arguments.steps, arguments.seed,
            )  # fmt: skip
    earlier = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    arguments.out.write_text(json.dumps(earlier | results, indent=2) + "\n")
    print(json.dumps(results, indent=2), f"{time.monotonic() - started:.0f} s")


def read(root: Path) -> dict[str, Labelled]:
    """Pairs and masks by name."""
    dataset = PairDataset([find_pairs(root)])
    pairs = {}
    for index, name in enumerate(dataset.names):
        mask = dataset.mask(index)
        assert mask is not None, name
        pairs[Path(name).stem] = (*dataset[index], mask)
    return pairs


def few_of(pairs: dict[str, Labelled], choice: int = 0) -> list[Labelled]:
    """20 images that show a bicycle, a person and a car in turns.

    Choice 0 is spread over the names; the others are drawn with that seed.
    """
    chosen: list[str] = []
    random = np.random.default_rng(choice)
    for number in range(LABELLED):
        class_id = (2, 1, 3)[number % 3]
        candidates = [
            name
            for name, (_, _, mask) in pairs.items()
            if (mask == class_id).sum() > 100 and name not in chosen
        ]
        place = int(random.integers(len(candidates))) if choice else number * 7919
        chosen.append(candidates[place % len(candidates)])
    return [pairs[name] for name in chosen]


def name_models(
    files: list[str],
    train: dict[str, Labelled],
    test: dict[str, Labelled],
    save: Path | None,
    steps: int,
    choice: int = 0,
) -> Results:
    """Scores of the weights files after naming, and tuning for `steps`; saves the first model."""
    results = {}
    for number, file in enumerate(files):
        model = load_model(Path(file))
        few = few_of(train, choice)
        model.name(NAMES, *fit_naming(model, few, NAMES))
        if steps:
            pairs = [(visible, thermal) for visible, thermal, _ in train.values()]
            tune(model, few, pairs, TuningConfig(steps=steps))
        note = f", tuned {steps} steps" * bool(steps) + f", choice {choice}" * bool(choice)
        results[file + note] = score(model, test)
        if save and number == 0:
            save_model(model, save)
    return results


def features_alone(file: str, train: dict[str, Labelled], test: dict[str, Labelled]) -> Results:
    """Scores of a naming that reads only the features of the fusion network."""
    model = load_model(Path(file))
    model.head = NoEmbedding()  # type: ignore[assignment]
    model.name(NAMES, *fit_naming(model, few_of(train), NAMES))
    return {f"fusion features of {file}": score(model, test)}


class NoEmbedding(nn.Module):
    """Replaces S_f by zeros, so that a naming reads only the features of F."""

    width = 1

    def embed(self, features: FusionFeatures) -> Tensor:
        return torch.zeros_like(features.stride4[:, :1])


def score(model: Model, test: dict[str, Labelled]) -> dict[str, float]:
    """IoU of a named model."""
    labeller = model.labeller

    def predict(visible: UInt8Array, thermal: UInt8Array) -> Tensor:
        with torch.no_grad():
            logits: Tensor = labeller(features_of(model, visible, thermal))
            return logits

    return score_predictions(predict, test)


def score_predictions(predict: Predict, test: dict[str, Labelled]) -> dict[str, float]:
    """IoU of each class, and mIoU, over all test images."""
    matrix = np.zeros((len(NAMES), len(NAMES)), np.int64)
    for visible, thermal, mask in test.values():
        logits = F.interpolate(predict(visible, thermal), scale_factor=4, mode="bilinear")
        labels = logits.argmax(1)[0, : mask.shape[0], : mask.shape[1]].numpy().astype(np.uint8)
        matrix += confusion_matrix(mask, labels, len(NAMES), IGNORE)
    scores = segmentation_scores(matrix)
    return {
        **{name: round(float(iou), 4) for name, iou in zip(NAMES, scores.iou, strict=True)},
        "mIoU": round(scores.mean_iou, 4),
    }


def labelled_crops(
    pairs: dict[str, Labelled], steps: int, seed: int, batch: int = 6, side: int = 192
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of visible (B, 3, side, side), thermal (B, 1, side, side) and ids (B, side, side).

    Three of four crops contain a labelled object, because bicycles are rare.
    """
    random = np.random.default_rng(seed)
    images_with = {
        class_id: [pair for pair in pairs.values() if (pair[2] == class_id).sum() > 100]
        for class_id in (1, 2, 3)
    }
    for _ in range(steps):
        crops = []
        for number in range(batch):
            class_id = number % 4
            candidates = images_with[class_id] if class_id else list(pairs.values())
            visible, thermal, mask = candidates[random.integers(len(candidates))]
            height, width = mask.shape
            length = min(int(side / random.uniform(0.5, 1.4)), height, width)
            y = int(random.integers(height - length + 1))
            x = int(random.integers(width - length + 1))
            if class_id:
                rows, columns = np.nonzero(mask == class_id)
                pixel = random.integers(len(rows))
                y = int(np.clip(rows[pixel] - random.integers(length), 0, height - length))
                x = int(np.clip(columns[pixel] - random.integers(length), 0, width - length))
            window = (slice(y, y + length), slice(x, x + length))
            flip = -1 if random.random() < 0.5 else 1
            crops.append(
                [
                    cv2.resize(image[window], (side, side), interpolation=method)[:, ::flip].copy()
                    for image, method in (
                        (visible, cv2.INTER_LINEAR),
                        (thermal, cv2.INTER_LINEAR),
                        (mask, cv2.INTER_NEAREST),
                    )
                ]
            )
        v, t, ids = (torch.from_numpy(np.stack(images)) for images in zip(*crops, strict=True))
        yield v.permute(0, 3, 1, 2).float() / 255, t[:, None].float() / 255, ids.long()


def train_labelled(
    parameters: Iterable[Tensor],
    logits_of: Callable[[Tensor, Tensor], Tensor],
    pairs: dict[str, Labelled],
    steps: int,
    seed: int,
) -> None:
    """Train by cross-entropy; `logits_of` gives logits at stride 4."""
    optimiser = torch.optim.AdamW(parameters, 2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps, pct_start=0.05)
    for visible, thermal, mask in labelled_crops(pairs, steps, seed):
        loss = F.cross_entropy(
            logits_of(visible, thermal), mask[:, 2::4, 2::4], ignore_index=IGNORE
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def supervised(
    file: str, train: dict[str, Labelled], test: dict[str, Labelled], steps: int, seed: int
) -> Results:
    """Scores after training a new head and the fusion network on masks."""
    torch.manual_seed(seed)
    model = load_model(Path(file))
    fresh = Model(model.config)
    model.head = fresh.head
    channels = model.head.width + sum(model.fusion.channels)
    weight = torch.randn(len(NAMES), channels) / channels**0.5
    model.name(NAMES, weight, torch.zeros(len(NAMES)))
    labeller = model.labeller
    train_labelled(
        [*model.fusion.parameters(), *labeller.parameters()],
        lambda v, t: labeller(model.fusion(v, t)), train, steps, seed,
    )  # fmt: skip
    return {f"supervised, {len(train)} masks, {steps} steps": score(model, test)}


def with_images(pairs: dict[str, Labelled], folder: Path) -> dict[str, Labelled]:
    """The pairs with the images of a folder, such as fused ones, in place of the visible ones."""
    files = {path.stem: path for path in folder.iterdir()}
    return {
        name: (read_visible(files[name]), thermal, mask)
        for name, (_, thermal, mask) in pairs.items()
    }


def segment(
    name: str, train: dict[str, Labelled], test: dict[str, Labelled], steps: int, seed: int
) -> Results:
    """Scores of a small network that is trained on the images only."""
    torch.manual_seed(seed)
    net = PixelNet(len(NAMES))
    train_labelled(net.parameters(), lambda image, _: net(image), train, steps, seed)

    def predict(image: UInt8Array, _: UInt8Array) -> Tensor:
        with torch.no_grad():
            logits: Tensor = net(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
            return logits

    return {name: score_predictions(predict, test)}


if __name__ == "__main__":
    main()
