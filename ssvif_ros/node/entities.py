"""What a node has created: to destroy what came since a moment, and nothing else."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node


class Entities:
    """The publishers, subscriptions, services, clients and timers that a node has now."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._kept = _all(node)

    def destroy_newer(self) -> None:
        """Destroy what the node has created since."""
        kept = {id(entity) for entities in self._kept.values() for entity in entities}
        for kind, entities in _all(self._node).items():
            destroy = getattr(self._node, f"destroy_{kind}")
            for entity in entities:
                if id(entity) not in kept:
                    destroy(entity)


def _all(node: Node) -> dict[str, list[Any]]:
    # rclpy subscribes to /clock whenever use_sim_time is set, and needs that subscription.
    subscriptions = [each for each in node.subscriptions if each.topic_name != "/clock"]
    return {
        "subscription": subscriptions,
        "service": list(node.services),
        "client": list(node.clients),
        "timer": list(node.timers),
        "publisher": list(node.publishers),
    }
