"""ONNX file -> TensorRT engine.

The node builds in a child process (`build_apart`): minutes of work that must be stoppable, whose
memory goes back to the robot, and whose crash must not be the node's. Precision is in the file
(`ssvif export --precision`), since TensorRT 11 takes its types from nowhere else.
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

WORKSPACE = 1 << 30  # bytes of GPU memory the builder may try out
SAID_EVERY = 5.0  # seconds between lines while it builds


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    model: ONNX file of that precision.
    shapes: that it is built for; with `smallest` and `largest`, the most usual of a range.
    compute_capability: of another GPU than this machine's, as "8.6"; tensorrt_rtx only, which
        needs no GPU for that.
    hardware_compatible: runs on every GPU from Ampere on, somewhat slower.
    version_compatible: runs with later TensorRT of the same major version.
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
        return self.smallest is None and self.largest is None

    @property
    def profile(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Smallest, usual and largest shape of each input whose shape the ONNX file leaves open."""
        shapes = self.smallest or self.shapes, self.shapes, self.largest or self.shapes
        inputs = [input_shapes(each) for each in shapes]
        return {name: tuple(shape[name] for shape in inputs) for name in inputs[0]}

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "model": str(self.model)})

    @classmethod
    def from_json(cls, text: str) -> BuildRequest:
        values = json.loads(text)
        for name in ("shapes", "smallest", "largest"):
            values[name] = values[name] and Shapes(**values[name])
        return replace(cls(**values), model=Path(values["model"]))


@dataclass(frozen=True)
class Built:
    """plan: the serialised engine. timing: the timing cache, grown by what was timed; empty with
    tensorrt_rtx, which has none. tensors: name and type of each input and output."""

    plan: bytes
    timing: bytes
    tensors: dict[str, str]


def build(flavour: Flavour, request: BuildRequest, model: bytes, timing: bytes = b"") -> Built:
    """Build an engine in this process.

    Args:
        model: the ONNX file's content.
        timing: timing cache of earlier builds with the same TensorRT on the same GPU.

    Raises:
        ModelError: TensorRT cannot parse the file.
        EngineError: TensorRT cannot build it.
        InputError: the request is not possible with this flavour.
    """
    _check(flavour, request)
    api, errors = flavour.api, [""]
    builder = api.Builder(flavour.logger(lambda text: errors.append(text)))
    network = _parse(flavour, builder, request.model, model)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, WORKSPACE)
    _set_types(flavour, network, config, request.precision)
    if request.is_fixed:  # by a profile TensorRT would plan for shapes that change, if only in name
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
    return Built(bytes(plan), bytes(cache.serialize()) if cache else b"", _tensors(api, network))


def build_apart(request: BuildRequest, flavour: Flavour, target: Path) -> None:
    """Have a child process build the engine, into the file `target` or the cache in that folder.

    Says every few seconds that it is at it. The child ends with the thread that waits for it.

    Raises:
        EngineError: what `build` raises there, or the child was killed.
    """
    command = [sys.executable, "-m", __package__, str(target), flavour.name, request.as_json()]
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    logger.info("building a TensorRT engine for %s, %s", request.shapes, request.precision)
    while True:
        try:
            reason, details = child.communicate(timeout=SAID_EVERY)
            break
        except subprocess.TimeoutExpired:
            logger.info(
                "building a TensorRT engine: %.0f s so far (it may be minutes; then it is kept)",
                time.monotonic() - began,
            )
    if child.returncode < 0:
        raise EngineError(
            f"the process that built the TensorRT engine died by signal {-child.returncode}; if it "
            "is 9 the memory was too small: close other programs, or add swap"
        )
    if child.returncode:
        raise EngineError(reason.strip() or details.strip())


def _check(flavour: Flavour, request: BuildRequest) -> None:
    if request.compute_capability and not flavour.is_rtx:
        raise InputError(
            f"an engine for compute capability {request.compute_capability} ahead of time: "
            f"{flavour} builds for the GPU it runs on only; use tensorrt_rtx, or build there"
        )
    if flavour.is_rtx and (request.hardware_compatible or request.version_compatible):
        raise InputError(
            f"{flavour} has no hardware- or version-compatible engines; leave these options out"
        )


def _parse(flavour: Flavour, builder: Any, path: Path, model: bytes) -> Any:
    api = flavour.api
    flags = 0
    if flavour.is_strongly_typed:
        flags |= 1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    else:
        flags |= 1 << int(api.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network = builder.create_network(flags)
    parser = api.OnnxParser(network, builder.logger)
    if not parser.parse(model):
        messages = [_readable(parser.get_error(index)) for index in range(parser.num_errors)]
        raise ModelError(
            f"{path}: {flavour} cannot parse this file: {'; '.join(messages) or 'no reason given'}"
            "; export the model again with this version"
        )
    return network


def _readable(error: Any) -> str:
    """A parser's message with the place in the graph, where this TensorRT tells it."""
    name = getattr(error, "node_name", lambda: "")()
    operator = getattr(error, "node_operator", lambda: "")()
    place = f"node '{name}' ({operator}): " if name or operator else ""
    return place + " ".join(error.desc().split())


def _set_types(flavour: Flavour, network: Any, config: Any, precision: str) -> None:
    api = flavour.api
    tf32 = getattr(api.BuilderFlag, "TF32", None)
    if precision == "fp32" and tf32 is not None:
        config.clear_flag(tf32)  # 10 bits of mantissa are not what fp32 was chosen for
    if flavour.is_strongly_typed:
        return
    if precision != "fp32":
        config.set_flag(api.BuilderFlag.FP16)
        config.set_flag(api.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
        keep_float(api, network, precision)
    if precision == "int8":
        config.set_flag(api.BuilderFlag.INT8)


def keep_float(api: Any, network: Any, precision: str) -> None:
    """Hold layers to float that TensorRT 8.6 would be free to run in half.

    In the fp16 file these are all that are float; in the int8 file, where everything is, those up
    to the sampling of the thermal image: counts of 16 bits are beyond half.
    """
    kinds = api.LayerType
    # Constants and shapes are data. The others have their own type: TensorRT refuses a second one.
    fixed = (kinds.CONSTANT, kinds.SHAPE, kinds.CAST, kinds.QUANTIZE, kinds.DEQUANTIZE)
    for layer in map(network.get_layer, range(network.num_layers)):
        if layer.get_output(0).dtype == api.float32 and layer.type not in fixed:
            layer.precision = api.float32
            layer.set_output_type(0, api.float32)
        if precision == "int8" and layer.type == api.LayerType.GRID_SAMPLE:
            return


def _tensors(api: Any, network: Any) -> dict[str, str]:
    names = {api.uint8: "uint8", api.float32: "float32"}
    inputs = map(network.get_input, range(network.num_inputs))
    outputs = map(network.get_output, range(network.num_outputs))
    return {each.name: names.get(each.dtype, str(each.dtype)) for each in (*inputs, *outputs)}


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
