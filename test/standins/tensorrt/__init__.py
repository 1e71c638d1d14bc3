"""A stand-in for TensorRT on machines without a GPU.

It has the names that our engine uses, and computes with ONNX Runtime and the stand-in driver beside
it. It cannot show TensorRT's own arithmetic and speed. The real parser and builder are tested with
tensorrt_rtx. Environment variables:

    STANDIN_BUILD_SECONDS   duration of a build
    STANDIN_BUILDS          file that gets a line for each build
    STANDIN_TOUCHED         file that gets a line for each builder or runtime
    STANDIN_VERSION         its version
    STANDIN_ERROR           grey levels that are added to its fused images
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import time
from typing import Any

import numpy as np
import onnxruntime

__version__ = os.environ.get("STANDIN_VERSION", "10.3.0")
MAGIC = b"stand-in plan\n"


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        pass


class _Flag(enum.IntEnum):
    STRONGLY_TYPED = EXPLICIT_BATCH = WORKSPACE = 0
    TF32 = FP16 = INT8 = VERSION_COMPATIBLE = PREFER_PRECISION_CONSTRAINTS = 1


NetworkDefinitionCreationFlag = MemoryPoolType = BuilderFlag = _Flag
uint8, float32 = "DataType.UINT8", "DataType.FLOAT"
TYPES = {"tensor(uint8)": (uint8, np.uint8), "tensor(float)": (float32, np.float32)}


class _Tensor:
    def __init__(self, node: onnxruntime.NodeArg) -> None:
        self.name, self.dtype = node.name, TYPES[node.type][0]
        self.shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        assert len(shapes) == 3
        self.shapes[name] = [list(shape) for shape in shapes]


class _TimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data


class _Config:
    profile: _Profile | None = None

    def set_memory_pool_limit(self, pool: _Flag, size: int) -> None:
        assert size > 0

    def set_flag(self, flag: _Flag) -> None: ...

    def clear_flag(self, flag: _Flag) -> None: ...

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profile = profile
        return 0

    def create_timing_cache(self, data: bytes) -> _TimingCache:
        return _TimingCache(data + b".")

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        return True


class _Network:
    num_layers = 0  # ONNX Runtime does not show its layers

    def get_layer(self, index: int) -> None:
        raise IndexError(index)

    def load(self, model: bytes) -> None:
        session = onnxruntime.InferenceSession(model)
        self.model = model
        self.inputs = list(map(_Tensor, session.get_inputs()))
        self.outputs = list(map(_Tensor, session.get_outputs()))
        self.num_inputs, self.num_outputs = len(self.inputs), len(self.outputs)

    def get_input(self, index: int) -> _Tensor:
        return self.inputs[index]

    def get_output(self, index: int) -> _Tensor:
        return self.outputs[index]


class OnnxParser:
    num_errors = 0

    def __init__(self, network: _Network, logger: ILogger) -> None:
        self._network = network

    def parse(self, model: bytes) -> bool:
        self._network.load(model)
        return True


def _touched() -> None:
    if "STANDIN_TOUCHED" in os.environ:
        with open(os.environ["STANDIN_TOUCHED"], "a") as file:
            file.write("touched\n")


class Builder:
    def __init__(self, logger: ILogger) -> None:
        _touched()
        self.logger = logger

    def create_network(self, flags: int) -> _Network:
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes:
        if "STANDIN_BUILDS" in os.environ:
            with open(os.environ["STANDIN_BUILDS"], "a") as file:
                file.write("built\n")
        time.sleep(float(os.environ.get("STANDIN_BUILD_SECONDS", "0")))
        if config.profile is None:
            shapes = {tensor.name: [tensor.shape] * 3 for tensor in network.inputs}
        else:
            shapes = config.profile.shapes
        assert all(-1 not in shape for limits in shapes.values() for shape in limits)
        return MAGIC + json.dumps(shapes).encode() + b"\n" + network.model


class IProfiler:
    pass


class LayerType(enum.Enum):
    CONSTANT = enum.auto()
    SHAPE = enum.auto()
    CAST = enum.auto()
    QUANTIZE = enum.auto()
    DEQUANTIZE = enum.auto()
    GRID_SAMPLE = enum.auto()


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        _touched()
        assert isinstance(logger, ILogger)

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        return _Engine(plan[len(MAGIC) :]) if plan.startswith(MAGIC) else None


class _Engine:
    def __init__(self, plan: bytes) -> None:
        shapes, model = plan.split(b"\n", 1)
        self.profile = json.loads(shapes)
        self.session = onnxruntime.InferenceSession(model)
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = [node.name for node in self.session.get_outputs()]
        self.num_io_tensors = len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return (self.inputs + self.outputs)[index]

    def get_tensor_dtype(self, name: str) -> str:
        nodes = (*self.session.get_inputs(), *self.session.get_outputs())
        return next(TYPES[node.type][0] for node in nodes if node.name == name)

    def create_execution_context(self) -> _Context:
        return _Context(self)


class _Context:
    """Runs when the stream reaches it, on what then is at the addresses."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {"thermal_range": (2,)}
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: self._infer())
        self._driver = ctypes.CDLL("libcuda.so.1")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if name in self._engine.profile:
            low, _, high = np.array(self._engine.profile[name])
            if not ((low <= shape) & (shape <= high)).all():
                return False
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    profiler: Any = None

    def execute_async_v3(self, stream: int) -> bool:
        if self.profiler is not None:
            self.profiler.report_layer_time("everything", 1.0)
        assert set(self._addresses) == set(self._engine.inputs + self._engine.outputs)
        return self._driver.cuLaunchHostFunc(ctypes.c_void_p(stream), self._run, None) == 0

    def _infer(self) -> None:
        feed = {
            node.name: self._at(node.name, self._shapes[node.name], TYPES[node.type][1])
            for node in self._engine.session.get_inputs()
        }
        names = self._engine.outputs
        for name, value in zip(names, self._engine.session.run(names, feed), strict=True):
            if name == "fused":
                brighter = value + np.uint16(os.environ.get("STANDIN_ERROR", "0"))
                value = np.minimum(brighter, 255).astype(np.uint8)
            np.copyto(self._at(name, value.shape, value.dtype), value)

    def _at(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_uint8 * size).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)
