"""ONNX Runtime: runs on every CPU, also on aarch64 and old ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from ssvif_core.engines.base import Engine, EngineInfo, thermal_bytes
from ssvif_core.engines.verify import check_on_this_cpu
from ssvif_core.errors import ModelError
from ssvif_core.graph.contract import OUTPUT_NAMES, new_outputs
from ssvif_core.graph.model_file import read_note
from ssvif_core.types import AnyArray, Float32Array, FusionBuffers, SamplingMap, Shapes, UInt8Array


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the CPU; see `Engine`."""

    precisions = ("fp32", "int8")

    def __init__(self, model: Path, shapes: Shapes, precision: str, threads: int = 0) -> None:
        read_note(model)  # its errors explain what is wrong with the file
        self._model = model
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Spinning threads would starve the camera drivers that share the robot's cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no public base class
            raise ModelError(
                f"{model}: ONNX Runtime cannot read this model file; export it again ({error})"
            ) from error
        self.shapes = shapes
        self._session, self._binding = session, session.io_binding()
        self._outputs = new_outputs(shapes)
        for name in OUTPUT_NAMES:
            buffer = getattr(self._outputs, name)
            self._binding.bind_output(
                name, "cpu", 0, np.uint8, (1, *buffer.shape), buffer.ctypes.data
            )
        self.info = EngineInfo("onnxruntime", ort.__version__, precision, "CPU")

    def accept(self) -> None:
        check_on_this_cpu(self, self._model)

    def register(self, sampling: SamplingMap) -> None:
        self._sampling = sampling  # keeps the memory alive that the binding reads
        for name in ("grid", "coverage"):
            self._binding.bind_cpu_input(name, getattr(sampling, name)[None])

    def infer(
        self, visible: UInt8Array, thermal: AnyArray, thermal_range: Float32Array
    ) -> FusionBuffers:
        self._binding.bind_cpu_input("visible", visible[None])
        self._binding.bind_cpu_input("thermal", thermal_bytes(thermal))
        self._binding.bind_cpu_input("thermal_range", thermal_range)
        self._session.run_with_iobinding(self._binding)
        return self._outputs
