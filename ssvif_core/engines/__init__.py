"""Inference engines: libraries that run the graph, behind one interface.

base        the interface
openvino, onnxruntime, tensorrt/    the engines
half_size   an engine at half of the visible image's size, for slow machines
choice      which engine and which precision is used here
verify      whether an engine agrees with float32
"""

from ssvif_core.engines.base import Engine, EngineInfo
from ssvif_core.engines.choice import (
    ENGINES,
    create_engine,
    create_engine_now,
    engine_class,
    is_ready,
    note_of,
    precision_of,
    why_not,
)

__all__ = [
    "ENGINES",
    "Engine",
    "EngineInfo",
    "create_engine",
    "create_engine_now",
    "engine_class",
    "is_ready",
    "note_of",
    "precision_of",
    "why_not",
]
