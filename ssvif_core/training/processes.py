"""The processes of a run: how they start, stop and agree."""

from __future__ import annotations

import logging
import os
import platform
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ssvif_core.training.config import TrainConfig

logger = logging.getLogger(__name__)


def create_fabric(config: TrainConfig) -> Fabric:
    """Fabric for one process here, or for the processes that torchrun started."""
    devices, nodes = config.devices, 1
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    strategy = "ddp" if devices * nodes > 1 else "auto"
    return Fabric(
        accelerator=config.accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=config.precision,  # type: ignore[arg-type]
    )


def describe_machine(fabric: Fabric) -> str:
    """Processes, device, cores and PyTorch version, in one line."""
    device = fabric.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return (
        f"{fabric.world_size} process(es) on {device.type} ({name}), {os.cpu_count()} cores, "
        f"PyTorch {torch.__version__}"
    )


def gathered(fabric: Fabric, rows: Tensor) -> Tensor:
    """The rows of all processes, (n * rows, ...); gradients flow back."""
    if fabric.world_size == 1:
        return rows
    everything = fabric.all_gather(rows, sync_grads=True)
    assert isinstance(everything, Tensor)
    return everything.flatten(0, 1)


def averaged(fabric: Fabric, values: Tensor) -> Tensor:
    """The mean of the values of all processes."""
    mean = fabric.all_reduce(values)
    assert isinstance(mean, Tensor)
    return mean


def any_of(fabric: Fabric, condition: bool) -> bool:
    """Whether a condition holds in any process, so that all do the same at the same step."""
    if fabric.world_size == 1:
        return condition
    flag = fabric.all_reduce(torch.tensor(float(condition), device=fabric.device), reduce_op="max")
    assert isinstance(flag, Tensor)
    return bool(flag)


def same_everywhere(fabric: Fabric, place: tuple[int, int]) -> bool:
    """Whether all processes have the same two numbers."""
    own = torch.tensor(place, device=fabric.device)
    places = fabric.all_gather(own)
    assert isinstance(places, Tensor)
    return bool((places.view(-1, 2) == own).all())


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether SIGINT or SIGTERM came; a second one ends at once."""
    requested = False

    def request(number: int, frame: object) -> None:
        nonlocal requested
        requested = True
        logger.warning("finishing this step, then saving; a second signal ends at once")
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, request)
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals(worker: int) -> None:
    """For loader processes: the trainer ends them, and not the terminal's Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
