"""TensorRT: what a robot with an NVIDIA GPU runs.

    flavour   the TensorRT that is installed: tensorrt 8.6, 10.3 to 11, or tensorrt_rtx
    build     ONNX file -> engine, in a process of its own
    cache     where engines lie, and which may be loaded
    cuda      device, buffers, stream and graph by the CUDA driver
    engine    the `Engine` on top of them

Everything here needs NumPy alone beside TensorRT and cuda-bindings.
"""
