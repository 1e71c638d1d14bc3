"""Visible-thermal fusion and segmentation without ROS.

What a robot runs:
    recordings    bags, videos and folders -> pairs; `types` says what a pair is
    cameras       what a camera pair is; `calibration` finds it
    thermal       counts -> what the network sees
    graph         the contract of the graph, the graph, its export
    engines       TensorRT, OpenVINO and ONNX Runtime
    pipeline      pair -> fused image, labels, confidence; `overlay` draws the classes, and
                  `viewer` shows all of it over time
    detections    labels -> boxes
    bundle        a model and its cameras in one folder with hashes

What trains and judges it:
    models        the networks (PyTorch)
    losses        what they learn from
    labels        what people draw -> masks of class ids
    training      stages, trainer, naming
    metrics       scores as pure functions
    evaluation    scores and reports of recordings; `page` is the frame of all HTML pages
    synthetic     the generator of drives

    cli           the command `ssvif`
    files, errors, machine, background    small things that all of them use
"""

import os

# PyTorch's threads otherwise keep a core busy while they wait. Beside other work, training took
# ten times as long. It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
