"""The child process of `build_in_child`.

Its arguments are an engine file or the folder of a cache, a flavour, and a request as JSON.
"""

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
from ssvif_core.graph.model_file import ENGINE_SUFFIX

PR_SET_PDEATHSIG = 1  # of prctl(2)


def main(target: str, flavour_name: str, request_json: str) -> int:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(10)  # an engine on the CPU may serve at the same time
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        request, path = BuildRequest.from_json(request_json), Path(target)
        flavour = find_flavour(flavour_name)
        if path.suffix == ENGINE_SUFFIX:
            device = None if request.compute_capability else find_device()
            store_engine(path, flavour, request, device)
        else:
            EngineCache(path).build(flavour, request)
    except (SsvifError, OSError) as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
