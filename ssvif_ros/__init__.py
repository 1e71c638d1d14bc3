"""The ROS 2 side: the fusion node, and a test bench that replays recordings through it.

node/       the fusion node, in the order of the data: pairing, messages, worker, outputs
replay/     bags through the real node: player, recorder, demo, evaluation
transport   the Fast DDS profile that both need
"""

import sys
from types import TracebackType


def _end_quietly(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Show no traceback of a Ctrl-C that comes while libraries are imported."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _end_quietly
