"""The registry of fusion networks: a file in `networks/` is all that a new one needs.

A network registers itself where it is defined::

    @fusion_network("mine", sizes={"s": {"width": 16}})
    class MyNetwork(FusionNetwork):
        ...

Then ``ssvif train model.network=mine`` trains it.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ssvif_core.models.fusion import FusionNetwork
from ssvif_core.models.heads import FeatureHead, Head

AnyNetwork = TypeVar("AnyNetwork", bound=type[FusionNetwork])


@dataclass(frozen=True)
class Registered:
    """A registered fusion network.

    Attributes:
        network: its class.
        sizes: by size, the arguments of the class.
        head: the class of the feature head that reads its features.
    """

    network: type[FusionNetwork]
    sizes: Mapping[str, Mapping[str, Any]]
    head: type[Head]

    def build(self, size: str, classes: int) -> tuple[FusionNetwork, Head]:
        """F of a size, and S_f with a number of pseudo-classes."""
        fusion = self.network(**self.sizes[size])
        return fusion, self.head(fusion.channels, classes)


_registered: dict[str, Registered] = {}


def fusion_network(
    name: str, *, sizes: Mapping[str, Mapping[str, Any]], head: type[Head] = FeatureHead
) -> Callable[[AnyNetwork], AnyNetwork]:
    """Class decorator that registers a fusion network under a name.

    Args:
        name: as in the setting `model.network`.
        sizes: by size, the arguments of the class.
        head: the feature head that reads its features.

    Raises:
        ValueError: the name is taken by another class.
    """

    def register(network: AnyNetwork) -> AnyNetwork:
        if name in _registered and _registered[name].network.__module__ != network.__module__:
            raise ValueError(f"fusion network '{name}' is registered twice; choose another name")
        _registered[name] = Registered(network, sizes, head)
        return network

    return register


@functools.cache
def _import_all() -> None:
    from ssvif_core.models import networks

    for module in pkgutil.iter_modules(networks.__path__):
        importlib.import_module(f"{networks.__name__}.{module.name}")


def fusion_networks() -> Mapping[str, Registered]:
    """All fusion networks by name.

    >>> sorted(fusion_networks())
    ['dense', 'fast', 'trunk']
    """
    _import_all()
    return _registered
