"""The graph: the ONNX file that every engine runs.

contract     names, types and shapes of its inputs and outputs
model_file   file names by precision, and the note inside each file
agreement    how closely an engine follows the float32 graph
raw_graph    the graph as a PyTorch module
quantise     float32 graph -> int8 graph
export       model -> ONNX files

Engines need only the first three. The others need PyTorch or onnx, which robots do not have.
"""
