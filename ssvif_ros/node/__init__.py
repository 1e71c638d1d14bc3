"""The fusion node.

fusion_node   the managed node: puts the parts together
interface     topics and services
parameters    what can be set
preparation   parameters -> pipeline, calibration, image sizes
pairing       two image topics -> the newest matched messages
stream        one camera's topic: how to subscribe, and what came
messages      messages -> arrays, arrays -> messages
worker        matched messages -> pipeline -> outputs, on a thread of its own
outputs       publishes only what someone listens to
vision_outputs  boxes and class names as vision_msgs
camera_infos  the camera_info topics of both cameras
services      switches on and off, saves a pair, reads the model anew
saved_pairs   one pair as files
calibration   recalibrates on request and watches the alignment
status        the keys of the diagnostics, for those who write and who read them
diagnostics   publishes the state once a second
entities      what a node has created, and how it goes again
prometheus    the figures of the diagnostics as a text file
process       start, spin and end of a process that uses rclpy
build_engine  a separate executable: builds the TensorRT engine and ends
"""
