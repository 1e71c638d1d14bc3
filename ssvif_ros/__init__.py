"""The ROS 2 side: the fusion node, and a test bench that replays recordings through it.

node/       the fusion node, in the order of the data: pairing, messages, worker, outputs
replay/     bags through the real node: player, recorder, demo, evaluation
transport   the Fast DDS profile that both need
"""
