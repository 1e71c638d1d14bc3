"""A test bench: recordings through the real node.

process     node and player as processes of their own
player      plays a bag with its recorded timing
recorder    records what the node publishes
replay      node, player and recorder together: pairs fused, lost, latencies
demo        a drive through the node, with pictures
pictures    videos and a contact sheet from the recorded outputs
evaluation  figures of a replay for `ssvif evaluate --through-ros`
live        the running node in a viewer
cli         the commands `ssvif play` and `ssvif demo`
"""
