"""The child process of `build_apart`: engine file or folder of a cache, flavour, request."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from ssvif_core.engines.tensorrt.build import BuildRequest
from ssvif_core.engines.tensorrt.cache import EngineCache, store_engine
from ssvif_core.engines.tensorrt.cuda import find_device
from ssvif_core.engines.tensorrt.flavour import find_flavour
from ssvif_core.errors import SsvifError

PR_SET_PDEATHSIG = 1  # of prctl(2)


def main(target: str, flavour: str, request: str) -> int:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(10)  # meanwhile an engine on the CPU may serve
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        wanted, found, path = BuildRequest.from_json(request), find_flavour(flavour), Path(target)
        if path.suffix == ".engine":
            device = None if wanted.compute_capability else find_device()
            store_engine(path, found, wanted, device)
        else:
            EngineCache(path).build(found, wanted)
    except (SsvifError, OSError) as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
