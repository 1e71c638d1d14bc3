"""Stand-in for ROS 2 Jazzy's Python `cv_bridge`, for machines without a ROS install."""

from __future__ import annotations

from .core import CvBridge, CvBridgeError

__all__ = ["CvBridge", "CvBridgeError"]

STAND_IN = True  # only here, never in ROS: tells which of the two was imported
