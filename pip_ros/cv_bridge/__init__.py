"""Stand-in for ROS 2 Jazzy's Python `cv_bridge`, for machines without a ROS installation."""

from __future__ import annotations

from .core import CvBridge, CvBridgeError

__all__ = ["CvBridge", "CvBridgeError"]

STAND_IN = True  # the real package does not have this name
