"""ONNX file -> TensorRT engine.

The node builds in a child process (`build_in_child`). The build takes minutes, so it must be
stoppable. When the process ends, the robot gets its memory back, and a crash does not stop the
node. The precision comes from the file (`ssvif export --precision`), because TensorRT 11 takes
types only from there.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ssvif_core.engines.tensorrt.flavour import Flavour
from ssvif_core.errors import EngineError, InputError, ModelError
from ssvif_core.graph.contract import input_shapes
from ssvif_core.types import Shapes

logger = logging.getLogger(__name__)

WORKSPACE_BYTES = 1 << 30  # GPU memory that the builder may use
LOG_PERIOD_S = 5.0  # between log lines during a build


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        model: ONNX file of this precision.
        shapes: image sizes of the engine; the usual ones if there is a range.
        smallest, largest: the ends of a range; None for an engine of fixed shapes.
        compute_capability: of another GPU than this machine's, such as "8.6". This works only
            with tensorrt_rtx, which needs no GPU to build.
        hardware_compatible: the engine runs on every GPU from Ampere on, but slower.
        version_compatible: the engine runs with later TensorRT of the same major version.
    """

    model: Path
    precision: str
    shapes: Shapes
    smallest: Shapes | None = None
    largest: Shapes | None = None
    compute_capability: str = ""
    hardware_compatible: bool = False
    version_compatible: bool = False

    @property
    def is_fixed(self) -> bool:
        """Whether the engine is for one set of shapes only."""
        return self.smallest is None and self.largest is None

    @property
    def profile(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Smallest, usual and largest shape of each input that depends on the cameras."""
        sizes = self.smallest or self.shapes, self.shapes, self.largest or self.shapes
        inputs = [input_shapes(shapes) for shapes in sizes]
        return {name: tuple(shape[name] for shape in inputs) for name in inputs[0]}

    def as_json(self) -> str:
        """The text that `from_json` reads."""
        return json.dumps({**asdict(self), "model": str(self.model)})

    @classmethod
    def from_json(cls, text: str) -> BuildRequest:
        """The request that `as_json` wrote."""
        values = json.loads(text)
        for name in ("shapes", "smallest", "largest"):
            values[name] = values[name] and Shapes(**values[name])
        return replace(cls(**values), model=Path(values["model"]))


@dataclass(frozen=True)
class BuildResult:
    """A built engine.

    Attributes:
        plan: the serialised engine.
        timing: the timing cache with the new timings; empty with tensorrt_rtx, which has none.
        tensors: by name, the type of each input and output.
    """

    plan: bytes
    timing: bytes
    tensors: dict[str, str]


def build(
    flavour: Flavour, request: BuildRequest, model: bytes, timing: bytes = b""
) -> BuildResult:
    """Build an engine in this process.

    Args:
        model: the ONNX file's content.
        timing: the timing cache of earlier builds with the same TensorRT on the same GPU.

    Raises:
        ModelError: TensorRT cannot parse the file.
        EngineError: TensorRT cannot build it.
        InputError: the request is not possible with this flavour.
    """
    _check(flavour, request)
    api, errors = flavour.api, [""]
    builder = api.Builder(flavour.logger(errors.append))
    network = _parse(flavour, builder, request.model, model)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    _set_types(flavour, network, config, request.precision)
    if request.is_fixed:  # with a profile, TensorRT would plan for shapes that change
        for tensor in map(network.get_input, range(network.num_inputs)):
            tensor.shape = request.profile.get(tensor.name, [tensor.shape])[0]
    else:
        profile = builder.create_optimization_profile()
        for name, shapes in request.profile.items():
            profile.set_shape(name, *shapes)
        config.add_optimization_profile(profile)
    if request.compute_capability:
        config.num_compute_capabilities = 1
        config.set_compute_capability(_capability(api, request.compute_capability), 0)
    if request.hardware_compatible:
        config.hardware_compatibility_level = api.HardwareCompatibilityLevel.AMPERE_PLUS
    if request.version_compatible:
        config.set_flag(api.BuilderFlag.VERSION_COMPATIBLE)
    cache = None
    if not flavour.is_rtx:
        cache = config.create_timing_cache(timing)
        config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{request.model}: {flavour} cannot build an engine: {errors[-1]}")
    grown = bytes(cache.serialize()) if cache else b""
    return BuildResult(bytes(plan), grown, _tensors(api, network))


def build_in_child(request: BuildRequest, flavour: Flavour, target: Path) -> None:
    """Build an engine in a child process.

    Progress is logged every `LOG_PERIOD_S`. The child ends if the thread that waits for it ends.

    Args:
        target: an engine file to write, or the folder of a cache.

    Raises:
        EngineError: `build` failed in the child, or the child was killed.
    """
    command = [sys.executable, "-m", __package__, str(target), flavour.name, request.as_json()]
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    logger.info("building a TensorRT engine for %s, %s", request.shapes, request.precision)
    while True:
        try:
            reason, details = child.communicate(timeout=LOG_PERIOD_S)
            break
        except subprocess.TimeoutExpired:
            logger.info(
                "building a TensorRT engine: %.0f s so far (it can take minutes, but only once)",
                time.monotonic() - start,
            )
    if child.returncode < 0:
        raise EngineError(
            "the process that built the TensorRT engine was killed by signal "
            f"{-child.returncode}; signal 9 means too little memory: close other programs, or add "
            "swap"
        )
    if child.returncode:
        raise EngineError(reason.strip() or details.strip())


def _check(flavour: Flavour, request: BuildRequest) -> None:
    if request.compute_capability and not flavour.is_rtx:
        raise InputError(
            f"compute capability {request.compute_capability}: {flavour} builds only for the GPU "
            "of this machine; use tensorrt_rtx, or build on the other machine"
        )
    if flavour.is_rtx and (request.hardware_compatible or request.version_compatible):
        raise InputError(
            f"{flavour} has no hardware- or version-compatible engines; remove these options"
        )


def _parse(flavour: Flavour, builder: Any, path: Path, model: bytes) -> Any:
    api = flavour.api
    flags = api.NetworkDefinitionCreationFlag
    flag = flags.STRONGLY_TYPED if flavour.is_strongly_typed else flags.EXPLICIT_BATCH
    network = builder.create_network(1 << int(flag))
    parser = api.OnnxParser(network, builder.logger)
    if not parser.parse(model):
        messages = [_error_text(parser.get_error(index)) for index in range(parser.num_errors)]
        raise ModelError(
            f"{path}: {flavour} cannot parse this file: {'; '.join(messages) or 'no reason given'}"
            "; export the model again with this version"
        )
    return network


def _error_text(error: Any) -> str:
    """The parser's message, with the node if this TensorRT names it."""
    name = getattr(error, "node_name", lambda: "")()
    operator = getattr(error, "node_operator", lambda: "")()
    place = f"node '{name}' ({operator}): " if name or operator else ""
    return place + " ".join(error.desc().split())


def _set_types(flavour: Flavour, network: Any, config: Any, precision: str) -> None:
    api = flavour.api
    tf32 = getattr(api.BuilderFlag, "TF32", None)
    if precision == "fp32" and tf32 is not None:
        config.clear_flag(tf32)  # TF32 has only 10 bits of mantissa
    if flavour.is_strongly_typed:
        return
    if precision != "fp32":
        config.set_flag(api.BuilderFlag.FP16)
        config.set_flag(api.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
        keep_float(api, network, precision)
    if precision == "int8":
        config.set_flag(api.BuilderFlag.INT8)


def keep_float(api: Any, network: Any, precision: str) -> None:
    """Keep layers in float that TensorRT 8.6 could otherwise run in half.

    In the fp16 file these are all float layers. In the int8 file every layer is float; there only
    the layers up to the sampling of the thermal image are kept, because half cannot hold 16-bit
    counts.
    """
    types = api.LayerType
    # Constants and shapes are data. TensorRT refuses to set the type of the others.
    fixed = (types.CONSTANT, types.SHAPE, types.CAST, types.QUANTIZE, types.DEQUANTIZE)
    for layer in map(network.get_layer, range(network.num_layers)):
        if layer.get_output(0).dtype == api.float32 and layer.type not in fixed:
            layer.precision = api.float32
            layer.set_output_type(0, api.float32)
        if precision == "int8" and layer.type == types.GRID_SAMPLE:
            return


def _tensors(api: Any, network: Any) -> dict[str, str]:
    names = {api.uint8: "uint8", api.float32: "float32"}
    inputs = map(network.get_input, range(network.num_inputs))
    outputs = map(network.get_output, range(network.num_outputs))
    return {t.name: names.get(t.dtype, str(t.dtype)) for t in (*inputs, *outputs)}


def _capability(api: Any, text: str) -> Any:
    known = {name: getattr(api.ComputeCapability, name) for name in dir(api.ComputeCapability)
             if name.startswith("SM")}  # fmt: skip
    name = "SM" + text.replace(".", "")
    if name not in known:
        raise InputError(
            f"compute capability '{text}'; expected one of "
            + ", ".join(sorted(f"{key[2:-1]}.{key[-1]}" for key in known))
        )
    return known[name]
