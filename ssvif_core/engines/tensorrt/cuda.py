"""Device, memory, stream and graph, by the CUDA driver through cuda-bindings.

The driver interface and not the runtime's: it comes with every driver, of CUDA 12 and 13 alike.
"""

from __future__ import annotations

import ctypes
import importlib
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssvif_core.errors import EngineError


@dataclass(frozen=True)
class Device:
    """A GPU. compute_capability: as "8.7"; handle: of the driver."""

    name: str
    compute_capability: str
    handle: Any = None

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.compute_capability})"


def find_device() -> Device:
    """The first GPU of CUDA_VISIBLE_DEVICES.

    Raises:
        EngineError: there is none, or no driver, or no cuda-bindings.
    """
    try:
        cuda = driver()
        call(cuda.cuInit, 0)
        if call(cuda.cuDeviceGetCount) == 0:
            raise EngineError("the CUDA driver knows no GPU; is CUDA_VISIBLE_DEVICES empty?")
        handle = call(cuda.cuDeviceGet, 0)
        attribute = cuda.CUdevice_attribute
        numbers = [
            call(cuda.cuDeviceGetAttribute, which, handle)
            for which in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        ]
        name = call(cuda.cuDeviceGetName, 256, handle).split(b"\0")[0].decode()
    except RuntimeError as error:  # of cuda-bindings, when there is no driver to load
        raise EngineError(f"no CUDA device: {error}") from error
    return Device(name, "{}.{}".format(*numbers), handle)


def driver() -> Any:
    """The module `cuda.bindings.driver`.

    Raises:
        EngineError: it is not installed.
    """
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ImportError as error:
        raise EngineError(
            f"cuda-bindings is missing ({error}); `pip install cuda-bindings`"
        ) from error


def call(function: Any, *arguments: Any) -> Any:
    """Result of a driver function.

    Raises:
        EngineError: the driver reports an error.
    """
    status, *results = function(*arguments)
    if status != 0:
        raise EngineError(f"CUDA: {function.__name__}: {getattr(status, 'name', status)}")
    return results[0] if len(results) == 1 else results or None


class Cuda:
    """The primary context of a device, which TensorRT uses too, with one stream.

    For one thread at a time; one that takes over calls `enter` first. The context is never
    released: arrays in pinned memory may outlive whatever else there was.

    Attributes:
        api: the driver's functions.
        stream: that all work is queued on.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.api = driver()
        self._context = call(self.api.cuDevicePrimaryCtxRetain, device.handle)
        self.enter()
        flag = self.api.CUstream_flags.CU_STREAM_NON_BLOCKING
        self.stream = call(self.api.cuStreamCreate, int(flag.value))
        self.free_with(self, self.api.cuStreamDestroy, self.stream)

    def enter(self) -> None:
        """Make the context that of the calling thread."""
        call(self.api.cuCtxSetCurrent, self._context)

    def free_with(self, owner: object, function: Any, handle: Any) -> None:
        """Call `function(handle)` when `owner` is gone, in whichever thread that happens."""
        done = weakref.finalize(owner, _in_context, self.api, self._context, function, handle)
        # The end of the process frees all; before it, a daemon thread may still be copying.
        done.atexit = False

    def buffer(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        return Buffer(self, shape, np.dtype(dtype))

    def synchronise(self) -> None:
        """Wait for all that the stream was given."""
        call(self.api.cuStreamSynchronize, self.stream)

    def capture(self, enqueue: Any) -> Graph:
        """The work that `enqueue()` gives to the stream, as one launch.

        Raises:
            EngineError: some of it cannot be captured.
        """
        mode = self.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        call(self.api.cuStreamBeginCapture, self.stream, mode)
        try:
            enqueue()
        finally:  # whatever happened, the stream must not stay in capture
            graph = call(self.api.cuStreamEndCapture, self.stream)
        return Graph(self, graph)


def _in_context(api: Any, context: Any, function: Any, handle: Any) -> None:
    api.cuCtxSetCurrent(context)
    function(handle)  # its status tells nothing that could be mended here


class Buffer:
    """The same array twice: `host`, pinned, as a NumPy array, and `device`, as an address.

    Pinned memory lives as long as a view of `host`; device memory as long as this object.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._cuda, api = cuda, cuda.api
        self._size = int(np.prod(shape)) * dtype.itemsize
        pinned = int(call(api.cuMemHostAlloc, self._size, 0))
        memory = (ctypes.c_uint8 * self._size).from_address(pinned)
        cuda.free_with(memory, api.cuMemFreeHost, pinned)
        self.host = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
        self.host[...] = 0
        self._device = call(api.cuMemAlloc, self._size)
        self.address = int(self._device)
        cuda.free_with(self, api.cuMemFree, self._device)

    def upload(self) -> None:
        """Queue the copy from host to device."""
        cuda = self._cuda
        call(cuda.api.cuMemcpyHtoDAsync, self._device, self.host.ctypes.data, self._size,
             cuda.stream)  # fmt: skip

    def download(self) -> None:
        """Queue the copy from device to host."""
        cuda = self._cuda
        call(cuda.api.cuMemcpyDtoHAsync, self.host.ctypes.data, self._device, self._size,
             cuda.stream)  # fmt: skip


class Graph:
    """Captured work, launched as one."""

    def __init__(self, cuda: Cuda, graph: Any) -> None:
        self._cuda, api = cuda, cuda.api
        self._graph = call(api.cuGraphInstantiate, graph, 0)
        call(api.cuGraphDestroy, graph)
        cuda.free_with(self, api.cuGraphExecDestroy, self._graph)

    def launch(self) -> None:
        """Queue it on the stream."""
        call(self._cuda.api.cuGraphLaunch, self._graph, self._cuda.stream)
