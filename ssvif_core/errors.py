"""Errors that the user can fix. They say what came, what was expected, and what to do."""

from __future__ import annotations


class SsvifError(Exception):
    """Base of all errors of this package."""


class InputError(SsvifError):
    """A file, folder, topic, message or option is not what was expected."""


class ModelError(SsvifError):
    """A model file is missing, damaged, or not an ssvif model."""


class EngineError(SsvifError):
    """An engine cannot be used on this machine, or failed while it ran."""
