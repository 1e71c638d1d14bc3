"""The `Engine` that runs on a GPU."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.engines.base import Engine, EngineInfo, thermal_bytes
from ssvif_core.engines.tensorrt.build import BuildRequest, build_apart
from ssvif_core.engines.tensorrt.cache import EngineCache, EngineKey, accepted, open_engine
from ssvif_core.engines.tensorrt.cuda import Buffer, Cuda, Graph, find_device
from ssvif_core.engines.tensorrt.flavour import Flavour, find_flavour
from ssvif_core.engines.verify import check_accepted, generated_pairs, measure, reference_engine
from ssvif_core.errors import EngineError
from ssvif_core.graph.contract import INPUTS, OUTPUT_NAMES, OUTPUTS
from ssvif_core.graph.model_file import ENGINE_SUFFIX, float_file_of, read_note
from ssvif_core.types import AnyArray, Float32Array, FusionBuffers, SamplingMap, Shapes, UInt8Array

logger = logging.getLogger(__name__)


class TensorRtEngine(Engine):
    """See `Engine`. `model` may also be an `.engine` file of `ssvif engine build --out`, which is
    then trusted: engines are code.

    Attributes:
        stored: the engine file, with what is known of it.
        cuda: context and stream it runs in.
        graph: copies and execution as one launch; None: each is queued by itself.
    """

    precisions = ("fp16", "fp32", "int8")

    def __init__(self, model: Path, shapes: Shapes, precision: str, threads: int = 0) -> None:
        self.usable()
        self.shapes = shapes
        self._flavour, device = find_flavour(), find_device()
        self.cuda = Cuda(device)
        if model.suffix == ENGINE_SUFFIX:
            self.stored = open_engine(model)
            self._check_goes(device.compute_capability)
            self._load()
        else:
            self._load_or_build(BuildRequest(model, precision, shapes))
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{self._flavour} cannot make a context; is the GPU's memory full?")
        self._buffers = self._bind()
        self.graph: Graph | None = None
        self._fusion = FusionBuffers(*(self._buffers[name].host[0] for name in OUTPUT_NAMES))
        self.info = EngineInfo(
            self._flavour.name, self._flavour.version, self.stored.key.precision, device.name
        )

    @classmethod
    def usable(cls) -> None:
        find_device()  # first: without one, some libraries of TensorRT crash when they are used
        find_flavour()

    @classmethod
    def is_made(cls, model: Path, shapes: Shapes, precision: str) -> bool:
        if model.suffix == ENGINE_SUFFIX:
            return open_engine(model).key.takes(shapes)
        request = BuildRequest(model, precision, shapes)
        read_note(model)
        return EngineCache().find(EngineKey.of(find_flavour(), request, find_device())) is not None

    def accept(self) -> None:
        found = self.stored.agreement
        if found is None:
            reference = self._reference()
            if reference is None:
                logger.warning("%s is used without a check: nothing to compare with", self.info)
                return
            found = measure(self, reference, generated_pairs(self.shapes))
            try:
                self.stored = accepted(self.stored, found)
            except OSError as error:
                logger.warning("%s: it will be compared again (%s)", self.stored.sidecar, error)
            logger.info("%s agrees with float32: %s", self.info, found)
        check_accepted(found, self.stored.key.precision, str(self.info))

    def register(self, sampling: SamplingMap) -> None:
        self.cuda.enter()
        for name in ("grid", "coverage"):
            buffer = self._buffers[name]
            np.copyto(buffer.host[0], getattr(sampling, name))
            buffer.upload()
        self.cuda.synchronise()

    def infer(
        self, visible: UInt8Array, thermal: AnyArray, thermal_range: Float32Array
    ) -> FusionBuffers:
        self.cuda.enter()
        np.copyto(self._buffers["visible"].host[0], visible)
        np.copyto(self._buffers["thermal"].host, thermal_bytes(thermal))
        np.copyto(self._buffers["thermal_range"].host, thermal_range)
        if self.graph is not None:
            self.graph.launch()
        else:
            self._enqueue()
        self.cuda.synchronise()
        return self._fusion

    def warm_up(self) -> None:
        super().warm_up()  # also what a capture needs: nothing may be allocated in it
        if not self.stored.key.smallest == self.stored.key.largest:
            return  # TensorRT may change its ways with the shapes of a range
        try:
            self.graph = self.cuda.capture(self._enqueue)
        except EngineError as error:
            logger.info("no CUDA graph for this engine, it runs without (%s)", error)

    def _reference(self) -> Engine | None:
        return reference_engine(float_file_of(Path(self.stored.source)), self.shapes)

    def execute(self) -> None:
        """Queue the network alone, on what lies in device memory."""
        if not self._context.execute_async_v3(int(self.cuda.stream)):
            raise EngineError(f"{self._flavour} could not run {self.stored.path.name}")

    def _enqueue(self) -> None:
        for name in ("visible", "thermal", "thermal_range"):
            self._buffers[name].upload()
        self.execute()
        for name in OUTPUT_NAMES:
            self._buffers[name].download()

    def _load_or_build(self, request: BuildRequest) -> None:
        read_note(request.model)
        cache = EngineCache()
        key = EngineKey.of(self._flavour, request, self.cuda.device)
        found = cache.find(key)
        if found is None:
            build_apart(request, self._flavour, cache.folder)
            found = cache.find(key)
        if found is None:
            raise EngineError(f"{cache.folder}: the engine that was just built is not there")
        self.stored = found
        self._load()

    def _load(self) -> None:
        api = self._flavour.api
        self._runtime = api.Runtime(_logger(self._flavour))
        if self.stored.key.version_compatible:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(self.stored.read())
        if self._engine is None:
            raise EngineError(
                f"{self.stored.path}: {self._flavour} does not load this engine; is the GPU's "
                "memory full? If not, remove the file, and it is built again"
            )

    def _bind(self) -> dict[str, Buffer]:
        """Buffers for all inputs and outputs; TensorRT hears their addresses once."""
        specs = (*INPUTS, *OUTPUTS)
        names = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
        if names != {spec.name for spec in specs}:
            raise EngineError(
                f"{self.stored.path}: an engine with {', '.join(sorted(names))}; expected "
                f"{', '.join(sorted(spec.name for spec in specs))}; build it again"
            )
        types = {"uint8": self._flavour.api.uint8, "float32": self._flavour.api.float32}
        buffers = {}
        for spec in specs:
            dtype = self._engine.get_tensor_dtype(spec.name)
            if dtype != types[spec.dtype.name]:
                raise EngineError(
                    f"{self.stored.path}: {spec.name} is {dtype}; expected {spec.dtype.name}; "
                    "build it again"
                )
            shape = spec.shape(self.shapes)
            buffers[spec.name] = self.cuda.buffer(shape, spec.dtype)
            if spec in INPUTS and not self._context.set_input_shape(spec.name, shape):
                key = self.stored.key
                raise EngineError(
                    f"{self.stored.path}: made for {key.smallest} to {key.largest}, not for "
                    f"{self.shapes}; build one for these sizes"
                )
            if not self._context.set_tensor_address(spec.name, buffers[spec.name].address):
                raise EngineError(f"{self._flavour} refuses the buffer of {spec.name}")
        return buffers

    def _check_goes(self, compute_capability: str) -> None:
        """Of an engine file given by path: nothing can be built in its place."""
        stored, key = self.stored, self.stored.key
        if key.tensorrt != str(self._flavour) and not key.version_compatible:
            raise EngineError(
                f"{stored.path}: built with {key.tensorrt}, here is {self._flavour}; build it here"
            )
        if key.compute_capability != compute_capability and not key.hardware_compatible:
            raise EngineError(
                f"{stored.path}: built for compute capability {key.compute_capability}, this GPU "
                f"has {compute_capability}; build it here"
            )


_loggers: dict[str, Any] = {}


def _logger(flavour: Flavour) -> Any:
    """One for the life of the process: TensorRT keeps the first it gets."""
    return _loggers.setdefault(flavour.name, flavour.logger())
