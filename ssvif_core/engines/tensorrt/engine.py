"""The `Engine` that runs on an NVIDIA GPU."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.engines.base import Engine, EngineInfo, thermal_bytes
from ssvif_core.engines.tensorrt.build import BuildRequest, build_in_child
from ssvif_core.engines.tensorrt.cache import EngineCache, EngineKey, open_engine, with_agreement
from ssvif_core.engines.tensorrt.cuda import Buffer, Cuda, Graph, find_device
from ssvif_core.engines.tensorrt.flavour import Flavour, find_flavour
from ssvif_core.engines.verify import check_accepted, generated_pairs, measure, reference_engine
from ssvif_core.errors import EngineError
from ssvif_core.graph.contract import INPUTS, OUTPUT_NAMES, OUTPUTS
from ssvif_core.graph.model_file import ENGINE_SUFFIX, float_file_of, read_note
from ssvif_core.types import AnyArray, Float32Array, FusionBuffers, SamplingMap, Shapes, UInt8Array

logger = logging.getLogger(__name__)


class TensorRtEngine(Engine):
    """TensorRT on a GPU; see `Engine`.

    `model` may also be an `.engine` file of `ssvif engine build --out`. Engines are code, so use
    only files that you trust.

    Attributes:
        stored: the engine file and its sidecar.
        cuda: context and stream that it runs in.
        graph: copies and execution as one launch; None if each is queued alone.
    """

    precisions = ("fp16", "fp32", "int8")

    def __init__(self, model: Path, shapes: Shapes, precision: str, threads: int = 0) -> None:
        self.check_usable()
        self.shapes = shapes
        self._flavour, device = find_flavour(), find_device()
        self.cuda = Cuda(device)
        if model.suffix == ENGINE_SUFFIX:
            self.stored = open_engine(model)
            self._check_machine(device.compute_capability)
            self._load()
        else:
            self._load_or_build(BuildRequest(model, precision, shapes))
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{self._flavour} cannot create a context; is the GPU memory full?")
        self._buffers = self._bind()
        self.graph: Graph | None = None
        self._fusion = FusionBuffers(*(self._buffers[name].host[0] for name in OUTPUT_NAMES))
        self.info = EngineInfo(
            self._flavour.name, self._flavour.version, self.stored.key.precision, device.name
        )

    @classmethod
    def check_usable(cls) -> None:
        find_device()  # first, because some TensorRT libraries crash without a device
        find_flavour()

    @classmethod
    def is_ready(cls, model: Path, shapes: Shapes, precision: str) -> bool:
        if model.suffix == ENGINE_SUFFIX:
            return open_engine(model).key.covers(shapes)
        request = BuildRequest(model, precision, shapes)
        read_note(model)
        return EngineCache().find(EngineKey.of(find_flavour(), request, find_device())) is not None

    def accept(self) -> None:
        agreement = self.stored.agreement
        if agreement is None:
            reference = reference_engine(float_file_of(Path(self.stored.source)), self.shapes)
            if reference is None:
                logger.warning("%s is used unchecked: no float32 file or CPU engine", self.info)
                return
            agreement = measure(self, reference, generated_pairs(self.shapes))
            try:
                self.stored = with_agreement(self.stored, agreement)
            except OSError as error:
                logger.warning("%s: the agreement is not saved (%s)", self.stored.sidecar, error)
            logger.info("%s, compared with float32: %s", self.info, agreement)
        check_accepted(agreement, self.stored.key.precision, str(self.info))

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
        super().warm_up()  # a capture needs this too, because it may not allocate memory
        if self.stored.key.smallest != self.stored.key.largest:
            return  # within a range of shapes, TensorRT may change how it runs
        try:
            self.graph = self.cuda.capture(self._enqueue)
        except EngineError as error:
            logger.info("no CUDA graph for this engine; it runs without one (%s)", error)

    def execute(self) -> None:
        """Queue only the network, without copies from and to the host."""
        if not self._context.execute_async_v3(int(self.cuda.stream)):
            raise EngineError(f"{self._flavour} cannot run {self.stored.path.name}")

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
        stored = cache.find(key)
        if stored is None:
            build_in_child(request, self._flavour, cache.folder)
            stored = cache.find(key)
        if stored is None:
            raise EngineError(f"{cache.folder}: the engine was built, but is missing; build again")
        self.stored = stored
        self._load()

    def _load(self) -> None:
        api = self._flavour.api
        self._runtime = api.Runtime(_logger(self._flavour))
        if self.stored.key.version_compatible:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(self.stored.read())
        if self._engine is None:
            raise EngineError(
                f"{self.stored.path}: {self._flavour} cannot load this engine; is the GPU memory "
                "full? If not, remove the file, so that it is built again"
            )

    def _bind(self) -> dict[str, Buffer]:
        """Buffers for all inputs and outputs. TensorRT gets their addresses once."""
        specs = (*INPUTS, *OUTPUTS)
        names = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
        if names != {spec.name for spec in specs}:
            raise EngineError(
                f"{self.stored.path}: its tensors are {', '.join(sorted(names))}; expected "
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
                    f"{self.stored.path}: built for {key.smallest} to {key.largest}, not for "
                    f"{self.shapes}; build an engine for these sizes"
                )
            if not self._context.set_tensor_address(spec.name, buffers[spec.name].address):
                raise EngineError(f"{self._flavour} refuses the buffer of {spec.name}")
        return buffers

    def _check_machine(self, compute_capability: str) -> None:
        """Refuse an engine file of another machine. The node cannot build a file given by path."""
        stored, key = self.stored, self.stored.key
        if key.tensorrt != str(self._flavour) and not key.version_compatible:
            raise EngineError(
                f"{stored.path}: built with {key.tensorrt}, but this machine has {self._flavour}; "
                "build it here"
            )
        if key.compute_capability != compute_capability and not key.hardware_compatible:
            raise EngineError(
                f"{stored.path}: built for compute capability {key.compute_capability}, but this "
                f"GPU has {compute_capability}; build it here"
            )


_loggers: dict[str, Any] = {}


def _logger(flavour: Flavour) -> Any:
    """One logger for the life of the process, because TensorRT keeps the first one."""
    return _loggers.setdefault(flavour.name, flavour.logger())
