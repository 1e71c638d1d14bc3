"""OpenVINO: the default on CPUs."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import openvino as ov

from ssvif_core.engines.base import Engine, EngineInfo, thermal_bytes
from ssvif_core.engines.verify import check_on_this_cpu
from ssvif_core.errors import ModelError
from ssvif_core.graph.contract import OUTPUT_NAMES, input_shapes, new_outputs
from ssvif_core.graph.model_file import read_note
from ssvif_core.types import AnyArray, Float32Array, FusionBuffers, SamplingMap, Shapes, UInt8Array


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU; see `Engine`."""

    # int8 takes two thirds of fp32's time with VNNI and three quarters without, and the fused image
    # differs by less than a grey level. On ARM it was not measured.
    precisions = ("int8", "fp32") if platform.machine() == "x86_64" else ("fp32", "int8")

    def __init__(self, model: Path, shapes: Shapes, precision: str, threads: int = 0) -> None:
        read_note(model)  # its errors explain what is wrong with the file
        self._model = model
        core = _core()
        try:
            network = core.read_model(model)
        except RuntimeError as error:
            raise ModelError(
                f"{model}: OpenVINO cannot read this model file; export it again "
                f"({_first_line(error)})"
            ) from error
        self.shapes = shapes
        network.reshape({name: list(shape) for name, shape in input_shapes(shapes).items()})
        options: dict[str, str | int | bool] = {
            "PERFORMANCE_HINT": "LATENCY",
            # By default OpenVINO silently uses bf16 if the CPU has it. It is slower than int8, and
            # sums over whole images are wrong in it.
            "INFERENCE_PRECISION_HINT": "f32",
            # Camera drivers share the robot's cores. Pinned threads would wait for them.
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        self._request = core.compile_model(network, "CPU", options).create_infer_request()
        self._outputs = new_outputs(shapes)
        for name in OUTPUT_NAMES:
            buffer = getattr(self._outputs, name)[None]
            self._request.set_tensor(name, ov.Tensor(buffer, shared_memory=True))
        self.info = EngineInfo("openvino", ov.__version__.split("-")[0], precision, "CPU")

    def accept(self) -> None:
        check_on_this_cpu(self, self._model)

    def register(self, sampling: SamplingMap) -> None:
        self._sampling = sampling  # keeps the memory alive that the request reads
        for name in ("grid", "coverage"):
            buffer = getattr(sampling, name)[None]
            self._request.set_tensor(name, ov.Tensor(buffer, shared_memory=True))

    def infer(
        self, visible: UInt8Array, thermal: AnyArray, thermal_range: Float32Array
    ) -> FusionBuffers:
        inputs = {
            "visible": visible[None],
            "thermal": thermal_bytes(thermal),
            "thermal_range": thermal_range,
        }
        for name, array in inputs.items():
            self._request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        self._request.infer()
        return self._outputs


@functools.cache
def _core() -> ov.Core:
    """One core for the life of the process.

    The CPU plugin gives a signal stack to the thread that loads it, and frees the stack when any
    thread frees the plugin. The next signal in the loading thread would then crash the process.
    """
    return ov.Core()


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
