"""What the classes are worth: names from a few labelled images, IoU on others.

    python tools/semantics.py name WEIGHTS ... --alone WEIGHTS --train ... --test ... --out FILE
    python tools/semantics.py supervised WEIGHTS --train msrs/train --test msrs/test --out FILE
    python tools/semantics.py segment NAME=TRAIN_IMAGES:TEST_IMAGES ... --train ... --test ...

`name` fits a naming on 20 labelled training images for each weights file, with --tune tuned on, and
with --alone on the features of that file's fusion network alone (of stage 1a: what L_fus gives).
`supervised` trains head and fusion network on all masks, or with --few on those 20. `segment`
trains one small segmenter alike on each kind of image. Results are added to --out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.metrics.segmentation import confusion_matrix, segmentation_scores
from ssvif_core.models import Model, load_model, save_model
from ssvif_core.models.fusion import FusionFeatures
from ssvif_core.models.pixel_net import PixelNet
from ssvif_core.recordings.images import read_visible
from ssvif_core.recordings.labels import IGNORE
from ssvif_core.recordings.layouts import find_pairs
from ssvif_core.training.data.pairs import PairDataset
from ssvif_core.training.naming import features_of, fit_naming
from ssvif_core.training.tuning import TuningConfig, tune

NAMES = ("background", "person", "bicycle", "car")
LABELLED = 20

Labelled = tuple[np.ndarray, np.ndarray, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["name", "supervised", "segment"])
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--few", action="store_true", help="supervised: the 20 masks of `name`")
    parser.add_argument("--alone", help="weights of which the fusion features alone are named")
    parser.add_argument("--tune", type=int, default=0, help="steps of `ssvif name --tune`")
    parser.add_argument("--save", type=Path, help="where the first named model is written")
    arguments = parser.parse_args()
    train, test = read(arguments.train), read(arguments.test)
    started = time.monotonic()
    if arguments.what == "name":
        results = names_of(arguments.inputs, train, test, arguments.save, arguments.tune)
        if arguments.alone:
            results |= features_alone(arguments.alone, train, test)
    elif arguments.what == "supervised":
        if arguments.few:
            train = {str(number): pair for number, pair in enumerate(few(train))}
        results = supervised(arguments.inputs[0], train, test, arguments.steps, arguments.seed)
    else:
        results = {}
        for item in arguments.inputs:
            name, _, folders = item.partition("=")
            folder, other = (Path(part) for part in folders.split(":"))
            results |= segment(
                f"{name}, seed {arguments.seed}", with_images(train, folder),
                with_images(test, other), arguments.steps, arguments.seed,
            )  # fmt: skip
    known = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    known |= results
    arguments.out.write_text(json.dumps(known, indent=2) + "\n")
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


def few(pairs: dict[str, Labelled]) -> list[Labelled]:
    """20 images, by turns one that shows a bicycle, a person, a car, spread over the names."""
    chosen: list[str] = []
    for number in range(LABELLED):
        kind = (2, 1, 3)[number % 3]
        shows = [n for n, p in pairs.items() if (p[2] == kind).sum() > 100 and n not in chosen]
        chosen.append(shows[(number * 7919) % len(shows)])
    return [pairs[name] for name in chosen]


def names_of(
    files: list[str],
    train: dict[str, Labelled],
    test: dict[str, Labelled],
    save: Path | None,
    steps: int,
) -> dict[str, dict[str, float]]:
    results = {}
    for number, file in enumerate(files):
        model = load_model(Path(file))
        model.name(NAMES, *fit_naming(model, few(train), NAMES))
        if steps:
            pairs = [(visible, thermal) for visible, thermal, _ in train.values()]
            tune(model, few(train), pairs, TuningConfig(steps=steps))
        results[file + f", tuned {steps} steps" * bool(steps)] = score(model, test)
        if save and number == 0:
            save_model(model, save)
    return results


def features_alone(
    file: str, train: dict[str, Labelled], test: dict[str, Labelled]
) -> dict[str, dict[str, float]]:
    model = load_model(Path(file))
    model.head = NoEmbedding()  # type: ignore[assignment]
    model.name(NAMES, *fit_naming(model, few(train), NAMES))
    return {f"fusion features of {file}": score(model, test)}


class NoEmbedding(nn.Module):
    """In place of S_f: nothing, so that a naming reads the features of F alone."""

    width = 1

    def embed(self, features: FusionFeatures) -> Tensor:
        return torch.zeros_like(features.stride4[:, :1])


def score(model: Model, test: dict[str, Labelled]) -> dict[str, float]:
    labeller = model.labeller

    def predict(visible: np.ndarray, thermal: np.ndarray) -> Tensor:
        with torch.no_grad():
            return labeller(features_of(model, visible, thermal))

    return score_of(predict, test)


def score_of(predict, test: dict[str, Labelled]) -> dict[str, float]:  # type: ignore[no-untyped-def]
    matrix = np.zeros((len(NAMES), len(NAMES)), np.int64)
    for visible, thermal, mask in test.values():
        logits = F.interpolate(predict(visible, thermal), scale_factor=4, mode="bilinear")
        labels = logits.argmax(1)[0, : mask.shape[0], : mask.shape[1]].numpy().astype(np.uint8)
        matrix += confusion_matrix(mask, labels, len(NAMES), IGNORE)
    scores = segmentation_scores(matrix)
    return {
        **{name: round(float(v), 4) for name, v in zip(NAMES, scores.iou, strict=True)},
        "mIoU": round(scores.mean_iou, 4),
    }


def labelled_crops(
    pairs: dict[str, Labelled], steps: int, seed: int, batch: int = 6, side: int = 192
):  # type: ignore[no-untyped-def]
    """Batches; three crops of four hold a labelled object, since bicycles are rare."""
    random = np.random.default_rng(seed)
    shows = {kind: [p for p in pairs.values() if (p[2] == kind).sum() > 100] for kind in (1, 2, 3)}
    for _ in range(steps):
        images = []
        for number in range(batch):
            kind = number % 4
            among = shows[kind] if kind else list(pairs.values())
            visible, thermal, mask = among[random.integers(len(among))]
            height, width = mask.shape
            length = min(int(side / random.uniform(0.5, 1.4)), height, width)
            y, x = random.integers(height - length + 1), random.integers(width - length + 1)
            if kind:
                rows, columns = np.nonzero(mask == kind)
                at = random.integers(len(rows))
                y = int(np.clip(rows[at] - random.integers(length), 0, height - length))
                x = int(np.clip(columns[at] - random.integers(length), 0, width - length))
            cut = (slice(y, y + length), slice(x, x + length))
            flip = -1 if random.random() < 0.5 else 1
            images.append(
                [
                    cv2.resize(i[cut], (side, side), interpolation=how)[:, ::flip].copy()
                    for i, how in (
                        (visible, cv2.INTER_LINEAR),
                        (thermal, cv2.INTER_LINEAR),
                        (mask, cv2.INTER_NEAREST),
                    )
                ]
            )
        v, t, m = (torch.from_numpy(np.stack(x)) for x in zip(*images, strict=True))
        yield v.permute(0, 3, 1, 2).float() / 255, t[:, None].float() / 255, m.long()


def train_labelled(parameters, logits_of, pairs, steps: int, seed: int) -> None:  # type: ignore[no-untyped-def]
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
) -> dict[str, dict[str, float]]:
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
    """The pairs with the fused images of `folder` in place of the visible ones."""
    files = {path.stem: path for path in folder.iterdir()}
    return {name: (read_visible(files[name]), t, m) for name, (_, t, m) in pairs.items()}


def segment(
    name: str, train: dict[str, Labelled], test: dict[str, Labelled], steps: int, seed: int
) -> dict[str, dict[str, float]]:
    torch.manual_seed(seed)
    net = PixelNet(len(NAMES))
    train_labelled(net.parameters(), lambda image, _: net(image), train, steps, seed)

    def predict(image: np.ndarray, _: np.ndarray) -> Tensor:
        with torch.no_grad():
            return net(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)

    return {name: score_of(predict, test)}


if __name__ == "__main__":
    main()
