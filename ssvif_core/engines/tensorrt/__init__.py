"""TensorRT: the engine of robots with an NVIDIA GPU.

flavour   the installed TensorRT: tensorrt 8.6, 10.3 to 11, or tensorrt_rtx
build     ONNX file -> engine, in a child process
cache     where engines are stored, and which may be loaded
cuda      device, buffers, stream and CUDA graph, through the CUDA driver
engine    the `Engine` that uses the others

These modules need only NumPy, TensorRT and cuda-bindings.
"""
