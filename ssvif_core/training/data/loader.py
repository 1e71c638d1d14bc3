"""Batches of crops for one process of a run, from a step on."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from ssvif_core.errors import InputError
from ssvif_core.training.config import StageConfig
from ssvif_core.training.data.crops import CropDataset, Pairs
from ssvif_core.training.processes import ignore_signals


def load_batches(
    fabric: Fabric, pairs: Pairs, settings: StageConfig, seed: int, workers: int, first: int
) -> Iterator[dict[str, Tensor]]:
    """The batches of a stage that this process computes, part by part.

    The processes share the numbers of the crops. So together they see what one would.

    Args:
        seed: of the stage.
        workers: number of processes that cut crops.
        first: step from which the stage goes on.

    Raises:
        InputError: a part of the batch cannot be shared by the processes.
    """
    crop_count = settings.batch * settings.steps
    part = settings.batch // settings.accumulate
    share = part // fabric.world_size
    if share * fabric.world_size != part:
        raise InputError(
            f"stage {settings.name}: {part} samples cannot be shared by {fabric.world_size} "
            "processes; choose batch / accumulate as a multiple of their number"
        )
    crops = CropDataset(pairs, settings.crop, seed, crop_count, settings.salient)
    offset = fabric.global_rank * share
    starts = range(first * settings.batch + offset, crop_count, part)
    loader = DataLoader(
        crops,
        batch_sampler=[list(range(start, start + share)) for start in starts],
        num_workers=workers,
        worker_init_fn=ignore_signals,
    )
    batches = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
    assert not isinstance(batches, list)
    return iter(batches)
