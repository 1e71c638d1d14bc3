"""The child process of `build_apart`: folder of the cache, name of the flavour, request."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from ssvif_core.engines.tensorrt.build import BuildRequest
from ssvif_core.engines.tensorrt.cache import EngineCache
from ssvif_core.engines.tensorrt.flavour import find_flavour
from ssvif_core.errors import SsvifError


def main(folder: str, flavour: str, request: str) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        EngineCache(Path(folder)).build(find_flavour(flavour), BuildRequest.from_json(request))
    except SsvifError as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
