"""Device, memory, stream and CUDA graph, through the CUDA driver and cuda-bindings.

The driver interface comes with every driver of CUDA 12 and 13. The runtime does not.
"""

from __future__ import annotations

import ctypes
import importlib
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssvif_core.errors import EngineError
from ssvif_core.types import AnyArray


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        name: as the driver gives it.
        compute_capability: such as "8.7".
        handle: the driver's.
    """

    name: str
    compute_capability: str
    handle: Any = None

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.compute_capability})"


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the installed driver can run, (major, minor); None without a driver.

    It asks the driver itself, since cuda-bindings of another major version cannot.
    """
    number = ctypes.c_int()
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return number.value // 1000, number.value % 1000 // 10


def find_device() -> Device:
    """The first GPU of CUDA_VISIBLE_DEVICES.

    Raises:
        EngineError: there is no GPU, no driver, or no cuda-bindings.
    """
    try:
        cuda = driver()
        call(cuda.cuInit, 0)
        if call(cuda.cuDeviceGetCount) == 0:
            raise EngineError("the CUDA driver finds no GPU; is CUDA_VISIBLE_DEVICES empty?")
        handle = call(cuda.cuDeviceGet, 0)
        attribute = cuda.CUdevice_attribute
        major, minor = (
            call(cuda.cuDeviceGetAttribute, number, handle)
            for number in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        name = call(cuda.cuDeviceGetName, 256, handle).split(b"\0")[0].decode()
    except RuntimeError as error:  # cuda-bindings raises it if there is no driver to load
        raise EngineError(f"no CUDA device: {error}") from error
    return Device(name, f"{major}.{minor}", handle)


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
    """Call a driver function.

    Returns:
        Its result without the status: a value, a list of values, or None.

    Raises:
        EngineError: the driver reports an error.
    """
    status, *results = function(*arguments)
    if status != 0:
        raise EngineError(f"CUDA: {function.__name__}: {getattr(status, 'name', status)}")
    return results[0] if len(results) == 1 else results or None


class Cuda:
    """The primary context of a device, which TensorRT uses too, with one stream.

    One thread at a time may use it. Another thread must call `enter` first. The context is never
    released, because arrays in pinned memory may outlive all other objects.

    Attributes:
        device: the GPU.
        api: the driver's functions.
        stream: the stream of all work.
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
        """Make this the current context of the calling thread."""
        call(self.api.cuCtxSetCurrent, self._context)

    def free_with(self, owner: object, function: Any, handle: Any) -> None:
        """Call `function(handle)` when `owner` is freed, in any thread."""
        finalizer = weakref.finalize(owner, _in_context, self.api, self._context, function, handle)
        # The end of the process frees everything. Until then a daemon thread may still copy.
        finalizer.atexit = False

    def buffer(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        """A new buffer of zeros on the host."""
        return Buffer(self, shape, np.dtype(dtype))

    def synchronise(self) -> None:
        """Wait until the stream has done all its work."""
        call(self.api.cuStreamSynchronize, self.stream)

    def capture(self, enqueue: Any) -> Graph:
        """The work that `enqueue()` queues on the stream, as a graph for one launch.

        Raises:
            EngineError: some of the work cannot be captured.
        """
        mode = self.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        call(self.api.cuStreamBeginCapture, self.stream, mode)
        try:
            enqueue()
        finally:  # the stream must not stay in capture after an error
            graph = call(self.api.cuStreamEndCapture, self.stream)
        return Graph(self, graph)


def _in_context(api: Any, context: Any, function: Any, handle: Any) -> None:
    api.cuCtxSetCurrent(context)
    function(handle)  # an error here could not be handled


class Buffer:
    """The same array in the memory of host and device.

    The host memory lives as long as a view of `host`. The device memory lives as long as this
    object.

    Attributes:
        host: the array, in pinned memory.
        address: of the array in device memory.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._cuda, api = cuda, cuda.api
        self._size = int(np.prod(shape)) * dtype.itemsize
        pinned = int(call(api.cuMemHostAlloc, self._size, 0))
        memory = (ctypes.c_uint8 * self._size).from_address(pinned)
        cuda.free_with(memory, api.cuMemFreeHost, pinned)
        self.host: AnyArray = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
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
    """A CUDA graph: captured work for one launch."""

    def __init__(self, cuda: Cuda, graph: Any) -> None:
        self._cuda, api = cuda, cuda.api
        self._graph = call(api.cuGraphInstantiate, graph, 0)
        call(api.cuGraphDestroy, graph)
        cuda.free_with(self, api.cuGraphExecDestroy, self._graph)

    def launch(self) -> None:
        """Queue the graph on the stream."""
        call(self._cuda.api.cuGraphLaunch, self._graph, self._cuda.stream)
